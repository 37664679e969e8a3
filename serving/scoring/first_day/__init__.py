"""The first day of a company: a chance to leave before anything was learned from its data."""

__all__ = ["prior"]
