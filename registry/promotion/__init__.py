"""Decide whether a model may replace the champion, on evidence alone.

Reads nothing and writes nothing.
"""

__all__ = ["promotion"]
