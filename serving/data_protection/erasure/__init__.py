"""Forget an account or a person everywhere in a workspace: plan, carry out, resume, receipt.

Each place that holds data about somebody has its own way to find and erase a subject, in ``places_*``
modules; ``erase`` goes through all of them with a journal, so that a killed erasure is finished.
"""

__all__ = ["erase", "erase_pending", "exports", "holds", "learned_from", "places", "protocol"]
