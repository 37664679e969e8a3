"""Estimate an effect from a table that is no timeline: arms, an outcome, and facts from before.

The estimators, checks and pictures are those of the causal report of a workspace.
"""

__all__ = ["arms_table", "page", "table_effects"]
