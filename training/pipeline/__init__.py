"""One training from labels to a released version: prepare, tune, compare, release, record.

Writes the run, its evidence and its model card.
"""

__all__ = ["evidence", "prepare", "record", "train", "training_result", "workspace"]
