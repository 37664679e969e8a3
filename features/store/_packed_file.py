"""The SQLite file of the packed online store: rows by view and key.

Readers never wait for a writer. A transaction is stored whole or not at all, also when the process is
killed. This module handles bytes and moments, not objects of Feast.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from features.store._packed_identity import count_transaction, note_transaction
from features.workspace_files import rewrite_database

BUSY_SECONDS = 30.0
"""So long others who write to the file, or read an older state of it, are waited for."""

FORMAT = 2
"""Format of the file. Rows of another format are dropped; the next snapshot writes them again."""

TABLES = (
    "CREATE TABLE views (view INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
    "CREATE TABLE layouts (layout INTEGER PRIMARY KEY, fields TEXT NOT NULL UNIQUE)",
    "CREATE TABLE rows (view INTEGER NOT NULL, entity_key BLOB NOT NULL, layout INTEGER NOT NULL,"
    " event_at INTEGER NOT NULL, created_at INTEGER, packed BLOB NOT NULL,"
    " PRIMARY KEY (view, entity_key)) WITHOUT ROWID",
)

PUT = (
    "INSERT INTO rows (view, entity_key, layout, event_at, created_at, packed)"
    " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (view, entity_key) DO UPDATE SET"
    " layout = excluded.layout, event_at = excluded.event_at,"
    " created_at = excluded.created_at, packed = excluded.packed"
    " WHERE excluded.event_at > rows.event_at OR excluded.event_at = rows.event_at"
    " AND coalesce(excluded.created_at >= rows.created_at, TRUE)"
)
"""An older row never replaces a newer one. Of two rows of the same moment, the one that was created
later stays, or the one that is written later where a creation time is missing."""


Row = tuple[bytes, int, int, int | None, bytes]
"""Key, layout, moment and creation in microseconds, and the packed values."""


class PackedFile:
    """An open file of the store, with the numbers of its views and layouts, which are never reused."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.connection = _connect(path)
        self._inode = _inode(path)
        self._views: dict[str, int] = {}
        self._layouts: dict[tuple[str, ...], int] = {}
        self._fields: dict[int, list[str]] = {}

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything that is written inside is stored, or nothing is."""
        try:
            with _transaction(self.connection):
                counted = count_transaction(self.connection)
                yield
        except BaseException:
            self._views.clear()  # new numbers are not in the file
            self._layouts.clear()
            raise
        note_transaction(self._path, counted)
        # move the rows to the file itself, because others look at its time; does not wait
        self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)")

    @property
    def is_replaced(self) -> bool:
        """Whether another file is in its place since it was opened."""
        return _inode(self._path) != self._inode

    def view(self, name: str) -> int | None:
        """The number of a view; None if it never had rows."""
        if name not in self._views:
            found = self.connection.execute(
                "SELECT view FROM views WHERE name = ?", [name]
            ).fetchone()
            if found is None:
                return None
            self._views[name] = found[0]
        return self._views[name]

    def new_view(self, name: str) -> int:
        """The number of a view, a new one if it has none."""
        self.connection.execute("INSERT OR IGNORE INTO views (name) VALUES (?)", [name])
        number = self.view(name)
        assert number is not None
        return number

    def layout(self, fields: tuple[str, ...]) -> int:
        """The number of these fields in this order, a new one if they have none."""
        if fields not in self._layouts:
            text = json.dumps(fields)
            self.connection.execute("INSERT OR IGNORE INTO layouts (fields) VALUES (?)", [text])
            self._layouts[fields] = self.connection.execute(
                "SELECT layout FROM layouts WHERE fields = ?", [text]
            ).fetchone()[0]
        return self._layouts[fields]

    def fields(self, layout: int) -> list[str]:
        """The fields of a layout."""
        if layout not in self._fields:
            self._fields[layout] = json.loads(
                self.connection.execute(
                    "SELECT fields FROM layouts WHERE layout = ?", [layout]
                ).fetchone()[0]
            )
        return self._fields[layout]

    def rows(self, view: int, keys: Sequence[bytes]) -> Iterator[tuple[bytes, int, int, bytes]]:
        """Key, layout, moment and bytes of the rows with these keys; missing ones are left out."""
        at_once = 500  # well under SQLite's bound on parameters
        for start in range(0, len(keys), at_once):
            part = keys[start : start + at_once]
            marks = ",".join("?" * len(part))
            yield from self.connection.execute(
                f"SELECT entity_key, layout, event_at, packed FROM rows"
                f" WHERE view = ? AND entity_key IN ({marks})",
                [view, *part],
            )

    def put(self, view: int, rows: Iterable[Row]) -> None:
        """Write rows of a view; of two rows with the same key, the newer stays."""
        self.connection.executemany(PUT, ((view, *row) for row in rows))

    def delete(self, keys: Iterable[bytes]) -> None:
        """Delete the rows of these keys in every view."""
        self.connection.executemany(
            "DELETE FROM rows WHERE entity_key = ?", [(key,) for key in keys]
        )

    def rewrite(self) -> None:
        """Write the file anew, without what was deleted or replaced, and empty its log."""
        rewrite_database(self.connection, wait_seconds=BUSY_SECONDS, name="the online store")

    def drop(self, views: Iterable[str]) -> None:
        """Drop all rows of these views."""
        self.connection.executemany(
            "DELETE FROM rows WHERE view = (SELECT view FROM views WHERE name = ?)",
            [(name,) for name in views],
        )

    def close(self) -> None:
        """Close the file."""
        self.connection.close()


def _connect(path: Path) -> sqlite3.Connection:
    """Open the database, or make it if there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(
        path, check_same_thread=False, timeout=BUSY_SECONDS, isolation_level=None
    )
    connection.execute("PRAGMA page_size = 16384")  # a row of 370 numbers lies in one page
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    if _format(connection) != FORMAT:
        with _transaction(connection):
            if _format(connection) != FORMAT:  # no other process has changed it in between
                names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
                for (name,) in names.fetchall():
                    connection.execute(f"DROP TABLE {name}")
                for statement in TABLES:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {FORMAT}")
    return connection


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None


def _format(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
