"""Forget an account or a person everywhere in a workspace: plan, carry out, resume, receipt.

Each store that holds data about somebody has an eraser (``*_erasers``). ``erase`` goes through all of them
with a journal, so that a killed erasure is finished.
"""

__all__ = [
    "damaged_snapshots",
    "erase",
    "erase_pending",
    "erasers",
    "exports",
    "holds",
    "protocol",
    "trained_on",
]
