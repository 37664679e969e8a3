"""This module is about SQLite files of the service: how every connection to one behaves.

Write-ahead log, every commit synced, foreign keys held to; a transaction that will write takes the
file's lock at its beginning, so that two writers wait for each other instead of failing midway.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

BUSY_SECONDS = 10.0
"""A writer waits this long for its turn."""


def sqlite_engine(
    where: Path | sa.URL, *, reads_are_snapshots: bool = True, most_more: int = 10
) -> Engine:
    """An engine on a SQLite file; ``keepwell_writes`` marks a transaction that will write.

    Args:
        where: the file.
        reads_are_snapshots: a reader sees one state of the file until it ends; otherwise each of
            its statements sees the newest, as watching a file for changes needs.
        most_more: connections beyond those of the pool.
    """
    url = sa.URL.create("sqlite", database=str(where)) if isinstance(where, Path) else where
    engine = sa.create_engine(url, connect_args={"timeout": BUSY_SECONDS}, max_overflow=most_more)

    @event.listens_for(engine, "connect")
    def prepare(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if connection.get_execution_options().get("keepwell_writes", False):
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        elif reads_are_snapshots:
            connection.exec_driver_sql("BEGIN")

    return engine
