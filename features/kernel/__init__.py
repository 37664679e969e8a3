"""The sweep: one compiled pass over time-ordered events that fills the windows of all cutoffs.

It takes and returns arrays. The backfill, one account and a Spark partition use the same pass.
"""

__all__ = ["aggregations", "numba_cache", "ordering", "strings", "sweep", "windows"]
