"""Recognise repeated and corrected events when new ones are written to the lake.

Memory use is limited: the events of a large file are spooled to disk.
"""

__all__ = ["deduplicate", "ids", "key_index", "row_keys", "spool", "versions"]
