"""Versions of the formats of stored files: which this code reads, and why it refuses a newer one."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

PARQUET_KEY = "keepwell.format"
"""Key of the metadata of a Parquet file that holds the version of its format."""


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


def newer_parquet(metadata: Mapping[str, str], *, newest: int, what: str) -> str | None:
    """Why a Parquet file is of a newer Keepwell, by its metadata; None where this one reads it.

    >>> newer_parquet({}, newest=1, what="The file") is None
    True
    """
    stated = metadata.get(PARQUET_KEY, "1")
    found: object = int(stated) if stated.isascii() and stated.isdigit() else stated
    return newer_format(found, newest=newest, what=what)


def newer_sqlite(version: int, *, newest: int, what: str) -> str | None:
    """Why a file of SQLite is of a newer Keepwell, by its ``user_version``; 0 is that of version 1.

    >>> newer_sqlite(0, newest=1, what="The file") is None
    True
    """
    return newer_format(version or None, newest=newest, what=what)


def stated_in_sqlite(connection: sqlite3.Connection) -> int:
    """The ``user_version`` of an open file of SQLite."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
