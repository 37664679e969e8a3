"""Decide on evidence alone whether a model may replace the champion, and what earns a reason.

Reads nothing and writes nothing.
"""

__all__ = ["level", "promotion", "reason_evidence"]
