"""The sweep: one compiled pass over time-ordered events that fills the windows of all cutoffs.

Pure: arrays in, arrays out. The same pass serves the backfill, one account and a Spark partition.
"""

__all__ = ["aggregations", "numba_cache", "ordering", "strings", "sweep", "windows"]
