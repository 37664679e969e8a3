"""Expressions of a mapping: columns that are computed from others, and which rows are read.

A small language of its own, checked when the mapping is read. It cannot run code, open a file or
search by pattern, and its size is bounded.
"""

__all__ = ["columns", "grammar"]
