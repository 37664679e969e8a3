"""Versions of the formats of stored files: which this code reads, and why it refuses a newer one."""

from __future__ import annotations


def newer_format(found: object, *, newest: int, what: str) -> str | None:
    """Why a file is of a newer Keepwell, in words; None where this one reads it.

    A file that states no version has version 1.

    >>> newer_format(None, newest=1, what="The list") is None
    True
    >>> newer_format(2, newest=1, what="The list")
    'The list has format version 2, of a newer Keepwell; this one reads versions up to 1. Use the newer \
Keepwell, or restore a backup that is older than the upgrade (keepwell restore). Nothing was changed.'
    """
    version = 1 if found is None else found
    if isinstance(version, int) and version <= newest:
        return None
    return (
        f"{what} has format version {version!r}, of a newer Keepwell; this one reads versions up to "
        f"{newest}. Use the newer Keepwell, or restore a backup that is older than the upgrade "
        f"(keepwell restore). Nothing was changed."
    )
