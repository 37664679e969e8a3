"""Recognise repeated and corrected events when new ones are written to the lake.

Memory stays bounded: what does not fit is spooled to disk.
"""

__all__ = ["deduplicate", "ids", "key_index", "row_keys", "spool", "versions"]
