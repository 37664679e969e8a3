"""Random assignment that anyone can reproduce: keyed draws, arms and the holdout.

The same key and account always give the same draw.
"""

__all__ = ["assignment", "holdout", "keyed_draw"]
