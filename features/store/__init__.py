"""Serve snapshots through Feast, offline and online.

The only home of Feast. Online features are packed in SQLite, or in Redis where it is set up.
"""

__all__ = ["feast"]
