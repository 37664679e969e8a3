"""Serve snapshots through Feast, offline and online.

The only folder that imports Feast. The online store is a packed SQLite file, or Redis where the
settings name one.
"""

__all__ = ["feast"]
