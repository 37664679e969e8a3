"""Compute snapshots, which are the features of accounts as of moments, from the lake.

On all accounts, on one account after a new event, or on Spark, by the same kernel.
"""

__all__ = ["backfill", "encode", "hierarchy", "snapshot_store", "snapshots", "spark"]
