"""Search hyperparameters with Optuna on rows that are binned once.

A study can be resumed from its journal.
"""

__all__ = ["study", "tune"]
