"""Compute snapshots, which are the features of accounts as of moments, from the lake.

The same kernel computes all accounts, one account after a new event, or a partition on Spark.
"""

__all__ = [
    "backfill",
    "encode",
    "hierarchy",
    "lost_columns",
    "snapshot_store",
    "snapshots",
    "spark",
]
