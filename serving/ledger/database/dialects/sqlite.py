"""SQLite: one file beside the service.

Write-ahead log, every commit synced, foreign keys held to. A transaction that will write takes the
file's lock at its beginning, so that two writers wait for each other instead of failing midway.
Whoever finds the file locked sleeps for up to a tenth of a second and asks again.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry

from serving.ledger.database.dialects.protocol import (
    BUSY_SECONDS,
    DURABLE,
    MOST_CONNECTIONS,
    WRITES,
    LedgerFiles,
)


class SQLite:
    """A file, written by one process at a time."""

    name = "sqlite"
    address = "sqlite:///FILE"
    queues_writers = False
    connect_errors: tuple[type[Exception], ...] = (sqlite3.OperationalError,)

    def url(self, address: sa.URL) -> sa.URL | None:
        """The address as it is, where it is one of a file."""
        return address if address.drivername == self.name else None

    def engine(self, url: sa.URL) -> Engine:
        """An engine on a file."""
        return sqlite_engine(url, most_more=MOST_CONNECTIONS)

    def reading(self, connection: Connection) -> Connection:
        """The connection as it is: ``BEGIN`` gives a reader one state of the file."""
        return connection

    def files(self, url: sa.URL) -> LedgerFiles | None:
        """The file, its write-ahead log and the index of that; None for a database in memory."""
        if not url.database or url.database == ":memory:":
            return None
        file = Path(url.database).absolute()
        return LedgerFiles(
            database=file,
            log=file.with_name(f"{file.name}-wal"),
            index=file.with_name(f"{file.name}-shm"),
        )

    def limit_wait(self, connection: Connection, seconds: float) -> None:
        """Say how long ``BEGIN`` may ask for the lock."""
        _driver_of(connection).execute(f"PRAGMA busy_timeout={round(seconds * 1000)}").close()

    def take_turn(self, connection: Connection, lock: int, seconds: float) -> None:
        """Nothing: the lock of the file was taken as the transaction began."""

    def is_damaged(self, error: BaseException | None) -> bool:
        """Whether the file is none of SQLite, is malformed or cut off, or lacks a table."""
        code = getattr(error, "sqlite_errorcode", None)
        if code is None:
            return "Could not decode to UTF-8" in str(error)
        return (
            code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
            or code == sqlite3.SQLITE_IOERR_SHORT_READ
            or str(error).startswith(("no such table", "no such column"))
            or " has no column named " in str(error)
        )

    def structure_problem(self, connection: Connection) -> str | None:
        """The first finding of SQLite's quick check."""
        found = str(connection.exec_driver_sql("PRAGMA quick_check(1)").scalar())
        return None if found == "ok" else found

    def is_broken(self, error: BaseException | None) -> bool:
        """Whether it is no error of the file, the disk or the lock."""
        return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR

    def refuse_changes(self, tables: Iterable[str]) -> Iterable[str]:
        """Two triggers for each table."""
        for table in tables:
            for verb in ("UPDATE", "DELETE"):
                yield (
                    f"CREATE TRIGGER IF NOT EXISTS {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
                    f"BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
                )

    def permit_changes(self, tables: Iterable[str]) -> Iterable[str]:
        """Drop the triggers; a transaction that fails leaves them as they were."""
        for table in tables:
            for verb in ("update", "delete"):
                yield f"DROP TRIGGER IF EXISTS {table}_no_{verb}"

    def erase_deleted(self, engine: Engine, *tables: str) -> bool:
        """Write the whole file anew, and empty its log; False where somebody reads for long."""
        held = engine.raw_connection()
        try:
            held.cursor().execute("VACUUM")
            until = time.monotonic() + BUSY_SECONDS
            while held.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                if time.monotonic() > until:
                    return False
                time.sleep(0.05)
            return True
        finally:
            held.close()


def sqlite_engine(
    where: Path | sa.URL, *, reads_are_snapshots: bool = True, most_more: int = 10
) -> Engine:
    """An engine on a SQLite file.

    Args:
        where: the file.
        reads_are_snapshots: a reader sees one state of the file until it ends; otherwise each of
            its statements sees the newest, as watching a file for changes needs.
        most_more: connections beyond those of the pool.
    """
    url = sa.URL.create("sqlite", database=str(where)) if isinstance(where, Path) else where
    engine = sa.create_engine(
        url,
        connect_args={"timeout": BUSY_SECONDS},
        max_overflow=most_more,
        hide_parameters=True,  # an error names the statement, and not whom it was about
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()
        entry.info["synchronous"] = "FULL"

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        if options.get(WRITES, False):
            _wait_for_the_disk(connection, is_durable=options.get(DURABLE, True))
            _run(connection, "BEGIN IMMEDIATE")
        elif reads_are_snapshots:
            _run(connection, "BEGIN")

    return engine


def run_on_driver(connection: Connection, sql: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
    """Run a text by the driver itself, in the transaction of the connection.

    Raises:
        DBAPIError: as SQLAlchemy raises it.
    """
    if not connection.in_transaction():
        connection.begin()
    return _run(connection, sql, values)


def rows_by_driver(connection: Connection, sql: str, values: Sequence[Any] = ()) -> list[Any]:
    """All rows of a text, run by the driver itself, in the transaction of the connection.

    Raises:
        DBAPIError: as SQLAlchemy raises it; a damaged page may be met at any row.
    """
    cursor = run_on_driver(connection, sql, values)
    with _as_sqlalchemy(connection, sql):
        return cursor.fetchall()


def _run(connection: Connection, sql: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
    with _as_sqlalchemy(connection, sql):
        return _driver_of(connection).execute(sql, values)


@contextmanager
def _as_sqlalchemy(connection: Connection, sql: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise DBAPIError.instance(
            sql, None, error, sqlite3.Error, hide_parameters=True, dialect=connection.dialect
        ) from error


def _driver_of(connection: Connection) -> sqlite3.Connection:
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    return driver


def _wait_for_the_disk(connection: Connection, *, is_durable: bool) -> None:
    """Say whether the next commit waits for the disk; the file is only asked where it changes."""
    mode = "FULL" if is_durable else "NORMAL"
    if connection.info["synchronous"] != mode:
        _run(connection, f"PRAGMA synchronous={mode}")
        connection.info["synchronous"] = mode
