"""This module is about touched accounts: those whose features new events have changed.

::

    lake, parts not seen yet ─► accounts ─► build_snapshots ─► publish ─► note: seen, published

The lake itself is the queue: whichever process commits events, the next ``catch_up`` of any
process finds their accounts, recomputes them with the function of the backfill, and notes what it
did. A process that is killed in between leaves the work to the next. One works at a time; another
finds nothing left to do.
"""

from __future__ import annotations

import fcntl
import hashlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from features.catalogue import catalogue
from features.health import FORMULAS
from features.lake import Lake
from features.manifest import Manifest
from features.snapshots import SnapshotStore, build_snapshots
from features.stream import stream_clock
from features.workspace import Workspace

JUST_AFTER = timedelta(microseconds=1)
"""What was recorded at the clock's own moment is seen just after it."""

ACCOUNTS_AT_ONCE = 500
"""Accounts that are recomputed and published in one step."""

MOST_ROWS = 100_000
"""A part with more rows is an import, whose accounts ``keepwell snapshot`` recomputes."""

TABLES = (
    "CREATE TABLE IF NOT EXISTS seen (name TEXT PRIMARY KEY) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS published (account_id TEXT PRIMARY KEY, number INTEGER NOT NULL)"
    " WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS by_number ON published (number)",
)

Publish = Callable[[pl.DataFrame], object]


@dataclass(frozen=True, kw_only=True)
class Fresh:
    """The newest features of touched accounts, and the number they were published under."""

    frame: pl.DataFrame
    number: int


class TouchedAccounts:
    """Which accounts of a workspace are to be recomputed, and which were."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._lake = Lake(workspace.events_dir, workspace.quarantine_dir)
        self._database = workspace.root / "touched.db"
        self._done: int | None = None  # generation of the lake that nothing is left to do of

    def catch_up(self, *, moment: datetime, publish: Publish) -> Fresh | None:
        """Recompute the accounts of events that came since the last time.

        Args:
            moment: the workspace's clock; what was recorded until then is seen.
            publish: puts the features into the online store.

        Returns:
            The snapshots of the accounts, as of just after the moment; None where none was
            touched.
        """
        manifest = self._lake.manifest
        if manifest.generation == self._done:
            return None
        with self._working() as connection:
            manifest = self._lake.manifest
            accounts = self._touched(connection, manifest)
            frames: list[pl.DataFrame] = []
            for first in range(0, len(accounts), ACCOUNTS_AT_ONCE):
                some = accounts[first:first + ACCOUNTS_AT_ONCE]
                frame = self._snapshots(some, moment + JUST_AFTER, manifest)
                publish(frame)
                frames.append(frame)
            number = _note(connection, [self._declared(), *manifest.parts, *manifest.superseded,
                                        *manifest.retired],
                           pl.concat(frames)["account_id"].to_list() if frames else [])
        self._done = manifest.generation
        return Fresh(frame=pl.concat(frames), number=number) if frames else None

    def newest_number(self) -> int:
        """The number under which accounts were last published; 0 before the first."""
        with self._connected() as connection:
            return _newest_number(connection)

    def published_since(self, number: int) -> tuple[tuple[str, ...], int]:
        """The accounts that any process has published after a number, and the newest number."""
        with self._connected() as connection:
            rows = connection.execute(
                "SELECT account_id, number FROM published WHERE number > ? ORDER BY account_id",
                [number]).fetchall()
        return tuple(row[0] for row in rows), max((row[1] for row in rows), default=number)

    def _touched(self, connection: sqlite3.Connection, manifest: Manifest) -> list[str]:
        seen = {name for (name,) in connection.execute("SELECT name FROM seen")}
        if not seen:
            return self._since_newest_snapshot()
        folder = self._lake.folder
        new = [name for name in manifest.parts if name not in seen]
        retired = [name for name in manifest.retired if (folder / name).exists()]
        if any(name in seen for name in retired):  # merged since: only what is not seen is new
            merged = [name for name in new if "-merged-" in name]
            new = [name for name in new if name not in merged]
            new += [name for name in retired if name not in seen]
        accounts: set[str] = set()
        if self._declared() not in seen:  # a snapshot of before the clock replaces none of them
            accounts |= {name for (name,) in connection.execute(
                "SELECT account_id FROM published")}
        read = [*catalogue(self._workspace.settings.use_names).kinds_read]
        for name in new:
            part = pl.scan_parquet(folder / name)
            if part.select(pl.len()).collect().item() <= MOST_ROWS:
                accounts |= set(part.filter(pl.col("kind").is_in(read)).select("account_id")
                                .unique().collect()["account_id"])
        corrected = [name for name in manifest.superseded if name not in seen]
        if corrected:
            ids = pl.concat([pl.read_parquet(folder / name, columns=["event_id"])
                             for name in corrected])["event_id"]
            if ids.len() <= MOST_ROWS:
                accounts |= set(self._lake.scan().filter(pl.col("event_id").is_in(ids.implode()))
                                .select("account_id").unique().collect()["account_id"])
        return sorted(accounts)

    def _declared(self) -> str:
        """A name for the declarations that features are made by; no part is called so."""
        settings = self._workspace.settings
        declared = (sorted(catalogue(settings.use_names).digests.items()),
                    FORMULAS[settings.health_formula].version)
        return f"declared {hashlib.blake2b(repr(declared).encode(), digest_size=16).hexdigest()}"

    def _since_newest_snapshot(self) -> list[str]:
        """At the first time: whatever the newest snapshot can not have seen."""
        moments = SnapshotStore(self._workspace.snapshots_dir).moments()
        events = self._lake.scan()
        if moments:
            events = events.filter(pl.col("recorded_at") >= moments[-1])
        return events.select("account_id").unique().collect()["account_id"].sort().to_list()

    def _snapshots(self, accounts: Sequence[str], as_of: datetime, manifest: Manifest,
                   ) -> pl.DataFrame:
        settings = self._workspace.settings
        features = catalogue(settings.use_names)
        events = self._lake.scan().filter(
            pl.col("account_id").is_in(list(accounts)),
            pl.col("kind").is_in([*features.kinds_read])).collect()
        return build_snapshots(
            events, [as_of], features, first_recorded=manifest.first_recorded,
            formula=FORMULAS[settings.health_formula], threads=2)

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        self._workspace.root.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._database, timeout=30, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            for statement in TABLES:
                connection.execute(statement)
            yield connection
        finally:
            connection.close()

    @contextmanager
    def _working(self) -> Iterator[sqlite3.Connection]:
        with self._connected() as connection, self._database.with_suffix(".lock").open("a") as lock:
            fcntl.flock(lock.fileno(), fcntl.LOCK_EX)
            yield connection


def clock_of(workspace: Workspace, computer: Callable[[], datetime]) -> datetime:
    """The workspace's moment where streams come in.

    The stated ``clock`` stands still. ``complete_until`` moves on with what a stream records. A
    workspace that states neither is asked by the computer's clock.
    """
    settings = workspace.settings
    if settings.clock is not None:
        return settings.clock
    if settings.complete_until is None:
        return computer()
    streamed = stream_clock(Lake(workspace.events_dir, workspace.quarantine_dir))
    return max(settings.complete_until, streamed or settings.complete_until)


def _note(connection: sqlite3.Connection, seen: Sequence[str], accounts: Sequence[str]) -> int:
    """Remember in one step what was seen and what was published."""
    connection.execute("BEGIN IMMEDIATE")
    number = _newest_number(connection) + 1
    connection.executemany("INSERT OR REPLACE INTO published VALUES (?, ?)",
                           [(account_id, number) for account_id in accounts])
    connection.execute("DELETE FROM seen")
    connection.executemany("INSERT OR IGNORE INTO seen VALUES (?)", [(name,) for name in seen])
    connection.execute("COMMIT")
    return number


def _newest_number(connection: sqlite3.Connection) -> int:
    found = connection.execute("SELECT max(number) FROM published").fetchone()[0]
    return int(found or 0)
