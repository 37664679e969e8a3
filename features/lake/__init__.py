"""The store of all events: an append-only folder of Parquet parts with a manifest.

It is read as of a moment, and written atomically.
"""

__all__ = [
    "admission",
    "erased_subjects",
    "forget",
    "integrity",
    "lake",
    "manifest",
    "manifest_diff",
    "parts",
    "retention",
    "summary",
]
