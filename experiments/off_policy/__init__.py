"""Estimate from logged decisions what another policy would have earned.

Uses only decisions in which chance had a part, with their recorded propensities.
"""

__all__ = ["evaluate", "log"]
