"""The store of all events: an append-only folder of Parquet parts with a manifest.

Reading as of a moment gives what was known then; writing is atomic.
"""

__all__ = ["lake", "manifest", "manifest_diff", "parts", "summary"]
