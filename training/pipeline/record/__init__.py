"""The record of a training: the run, its model card, plots, tables and a summary.

Written once; nothing reads it back to decide.
"""

__all__ = ["record_training", "summary", "tables"]
