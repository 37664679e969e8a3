"""Search hyperparameters with Optuna on rows that are binned once.

A study can be resumed from its journal. How many trees are grown is learned on held-out accounts.
"""

__all__ = ["rounds", "study", "tune"]
