"""Decide on evidence alone whether a model may replace the champion, and what earns a reason.

Reads nothing and writes nothing.
"""

__all__ = ["promotion", "reason_evidence"]
