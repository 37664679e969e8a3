"""Commands about what a company declares for itself: its health formula, its rules."""

__all__ = ["health", "rules"]
