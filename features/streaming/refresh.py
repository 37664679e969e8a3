"""Find the accounts with new events, and compute their features again.

::

    new parts of the lake ─► accounts ─► tables ``seen`` and ``waiting``
    some waiting accounts ─► cached timelines ─► snapshots ─► publish ─► table ``published``

The lake itself is the queue: after any process has stored events, the next ``step`` of any process
finds their accounts, recomputes some of them with the function of the backfill, and records that. If
a process is killed in between, the next one does the work. One process works at a time. Accounts are
recomputed in the order of their ids, in a circle, so that no account waits for more than one round.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from features.compute.snapshot_store import SnapshotStore
from features.compute.snapshots import compute_snapshots
from features.events.visibility import changed_since
from features.format_version import newer_sqlite, stated_in_sqlite
from features.lake.integrity import reading
from features.lake.lake import Lake
from features.lake.manifest import LakeDamagedError, Manifest
from features.lake.manifest_diff import MOST_ROWS, diff_manifest, is_merged
from features.reloaded_file import stamp_of
from features.streaming.offsets import stream_clock
from features.streaming.timeline_cache import MOST_EVENTS, TimelineCache
from features.workspace import Workspace
from features.workspace_files import UnusableStoreError

log = logging.getLogger("keepwell.features")

JUST_AFTER = timedelta(microseconds=1)
"""An event of the current moment is visible just after it."""

ACCOUNTS_AT_ONCE = 250
"""Accounts that are recomputed and published in one step."""

ATTEMPTS = 3
"""How often a step is tried where another process merges the files that it reads."""

FILE, FORMAT = "touched.db", 1
"""The file of accounts with new events, and the newest version of its form (``user_version``)."""

TABLES = (
    "CREATE TABLE IF NOT EXISTS seen (name TEXT PRIMARY KEY) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS waiting (account_id TEXT PRIMARY KEY) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS published (account_id TEXT PRIMARY KEY, number INTEGER NOT NULL)"
    " WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS by_number ON published (number)",
)

DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

Publish = Callable[[pl.DataFrame], object]


@dataclass(frozen=True, kw_only=True)
class RefreshedAccounts:
    """The new features of accounts, and the number of their publication.

    Accounts without known events have no features. Where there are no others, the number is that of
    the last publication.
    """

    frame: pl.DataFrame
    number: int
    left: int = 0  # accounts that still wait


class AccountRefresh:
    """Recomputes the accounts of a workspace that have new events.

    A database, shared by all processes, holds which files were seen, which accounts wait, and which
    were published under which number. An object only caches timelines, the last account and the
    generation that is done; nothing is lost with it. It keeps its connection to the database until
    ``close``; the threads of a process take turns on it.

    Args:
        workspace: the workspace of the accounts.
        most_events: how many events stay in memory between two steps.
    """

    def __init__(self, workspace: Workspace, *, most_events: int = MOST_EVENTS) -> None:
        self._workspace = workspace
        self._lake = Lake(workspace.events_dir, workspace.quarantine_dir)
        self._database = workspace.root / FILE
        self._most_events = most_events
        self._timelines: TimelineCache | None = None
        self._done: int | None = None  # generation of the lake for which no account waits
        self._last = ""  # the account that was recomputed last
        self._connection: sqlite3.Connection | None = None
        self._connected_to: int | None = None  # the inode, to notice that the file was removed
        self._turn = threading.Lock()

    def close(self) -> None:
        """Close the database; the next call opens it again."""
        with self._turn:
            self._disconnect()

    def catch_up(self, *, moment: datetime, publish: Publish) -> RefreshedAccounts | None:
        """Recompute all accounts that have new events.

        Args:
            moment: the workspace's clock, see ``seen_as_of``.
            publish: writes the features to the online store; not called where there are none. It is
                called while this object is locked, so it must not call the object itself
                (``newest_number``, ``published_since``), which would wait for ever.

        Returns:
            The snapshots of the accounts; None where no account has new events.
        """
        fresh = self.step(moment=moment, publish=publish)
        if fresh is None:
            return None
        frames, number = [fresh.frame], fresh.number
        for _ in range(
            0, fresh.left, ACCOUNTS_AT_ONCE
        ):  # not the accounts of events that come meanwhile
            fresh = self.step(moment=moment, publish=publish)
            if fresh is None:
                break
            frames.append(fresh.frame)
            number = fresh.number
        newest = pl.concat(frames).unique("account_id", keep="last", maintain_order=True)
        return RefreshedAccounts(frame=newest, number=number)

    def step(self, *, moment: datetime, publish: Publish) -> RefreshedAccounts | None:
        """Recompute some of the waiting accounts; None where none waits.

        Args:
            moment: as in ``catch_up``.
            publish: as in ``catch_up``.
        """
        for _ in range(ATTEMPTS - 1):
            with suppress(FileNotFoundError):
                return self._step(moment, publish)
        with reading(self._lake.folder):
            return self._step(moment, publish)

    def _step(self, moment: datetime, publish: Publish) -> RefreshedAccounts | None:
        if self._lake.manifest.generation == self._done:
            return None
        with self._working() as connection:
            manifest = self._lake.manifest
            self._take_in(connection, manifest)
            accounts = self._next(connection)
            if not accounts:
                self._done = manifest.generation
                return None
            frame = self._snapshots(accounts, seen_as_of(moment, manifest), manifest)
            if not frame.is_empty():
                publish(frame)
            number = _note_published(connection, accounts, frame["account_id"].to_list())
            left = connection.execute("SELECT count(*) FROM waiting").fetchone()[0]
        self._last = accounts[-1]
        return RefreshedAccounts(frame=frame, number=number, left=left)

    def start_over(self) -> None:
        """Let every account wait that has events since the newest snapshot, as for the first time.

        That is needed where the online store was made again from that snapshot.
        """
        with self._connected() as connection:
            connection.execute("DELETE FROM seen")
        self._done = None

    def newest_number(self) -> int:
        """The number of the last publication; 0 before the first."""
        with self._connected() as connection:
            return _newest_number(connection)

    def published_since(self, number: int) -> tuple[tuple[str, ...], int]:
        """The accounts that were published after a number, by any process, and the newest number."""
        with self._connected() as connection:
            if _newest_number(connection) < number:
                number = 0  # the database was made again, and counts anew
            rows = connection.execute(
                "SELECT account_id, number FROM published WHERE number > ? ORDER BY account_id",
                [number],
            ).fetchall()
        return tuple(row[0] for row in rows), max((row[1] for row in rows), default=number)

    def _take_in(self, connection: sqlite3.Connection, manifest: Manifest) -> None:
        """Add the accounts of new events to ``waiting``, and their files to ``seen``, in one step."""
        seen = {name for (name,) in connection.execute("SELECT name FROM seen")}
        names = {self._declared(), *manifest.parts, *manifest.superseded, *manifest.retired}
        if names == seen:
            return
        accounts = (
            self._touched(connection, manifest, seen) if seen else self._since_newest_snapshot()
        )
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(
            "INSERT OR IGNORE INTO waiting VALUES (?)", [(account_id,) for account_id in accounts]
        )
        connection.executemany("DELETE FROM seen WHERE name = ?", [(n,) for n in seen - names])
        connection.executemany("INSERT INTO seen VALUES (?)", [(name,) for name in names - seen])
        connection.execute("COMMIT")

    def _next(self, connection: sqlite3.Connection) -> list[str]:
        """The next waiting accounts after the last one, in a circle."""
        found: list[str] = []
        for where in ("account_id > ?", "account_id <= ?"):
            rows = connection.execute(
                f"SELECT account_id FROM waiting WHERE {where} ORDER BY account_id LIMIT ?",
                [self._last, ACCOUNTS_AT_ONCE - len(found)],
            )
            found += [account_id for (account_id,) in rows]
        return found

    def _touched(
        self,
        connection: sqlite3.Connection,
        manifest: Manifest,
        seen: set[str],
    ) -> set[str]:
        news = diff_manifest(manifest, seen)
        accounts: set[str] = set()
        if self._declared() not in seen:  # an older snapshot replaces none of them
            accounts |= {name for (name,) in connection.execute("SELECT account_id FROM published")}
        parts = [
            self._lake.folder / name
            for name in news.parts
            if is_merged(name) or _rows(self._lake.folder / name) <= MOST_ROWS
        ]
        if parts:
            accounts |= set(
                pl.scan_parquet(parts)
                .filter(pl.col("kind").is_in([*self._kinds()]))
                .select("account_id")
                .unique()
                .collect()["account_id"]
            )
        corrected = news.corrected_accounts(self._lake, manifest, self._kinds())
        return accounts | set(corrected or ())

    def _kinds(self) -> frozenset[str]:
        """The kinds of events that change a feature."""
        return self._workspace.settings.catalogue.kinds_read

    def _declared(self) -> str:
        """A digest of the declarations, with a prefix that no file name has."""
        settings = self._workspace.settings
        declared = (
            sorted(settings.catalogue.digests.items()),
            settings.formula.version,
        )
        return f"declared {hashlib.blake2b(repr(declared).encode(), digest_size=16).hexdigest()}"

    def _since_newest_snapshot(self) -> set[str]:
        """For the first time: the accounts with events that the newest snapshot has not seen."""
        moments = SnapshotStore(self._workspace.snapshots_dir).moments()
        events = self._lake.scan().filter(pl.col("kind").is_in([*self._kinds()]))
        if moments:
            events = events.filter(changed_since(moments[-1]))
        return set(events.select("account_id").unique().collect()["account_id"])

    def _snapshots(
        self,
        accounts: Sequence[str],
        as_of: datetime,
        manifest: Manifest,
    ) -> pl.DataFrame:
        settings = self._workspace.settings
        features = settings.catalogue
        timelines = self._timelines
        if timelines is None or timelines.catalogue is not features:
            timelines = TimelineCache(self._lake, features, most_events=self._most_events)
        self._timelines = None  # after an error, start anew
        timelines.follow(manifest)
        kept = timelines.load(accounts, as_of=as_of)
        self._timelines = timelines
        return compute_snapshots(
            kept.timelines,
            kept.events,
            [as_of],
            features,
            first_recorded=manifest.first_recorded,
            formula=settings.formula,
        )

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        with self._turn:
            try:
                yield self._connect()
            except BaseException as error:
                self._disconnect()  # an open transaction is rolled back
                if isinstance(error, sqlite3.DatabaseError) and is_damage(error):
                    self._start_over(error)
                raise

    def _connect(self) -> sqlite3.Connection:
        try:
            return self._connect_once()
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            self._disconnect()
            self._start_over(error)
            return self._connect_once()

    def _start_over(self, error: sqlite3.DatabaseError) -> None:
        """Remove a damaged database: all that it says is found again from the events."""
        with self._database.with_suffix(".lock").open("a") as lock:
            fcntl.flock(lock.fileno(), fcntl.LOCK_EX)
            if _is_sound(self._database):
                return  # another process has made it again meanwhile
            log.warning(
                "%s is damaged (%s) and is made again from the events", self._database.name, error
            )
            for ending in ("", "-wal", "-shm"):
                Path(f"{self._database}{ending}").unlink(missing_ok=True)

    def _connect_once(self) -> sqlite3.Connection:
        stamp = stamp_of(self._database)
        if self._connection is not None and stamp is not None and stamp[0] == self._connected_to:
            return self._connection
        self._disconnect()
        self._workspace.root.mkdir(parents=True, exist_ok=True)
        try:
            connection = self._open(self._database)
        except sqlite3.OperationalError:
            if os.access(self._workspace.root, os.W_OK):
                raise
            connection = self._open(":memory:")  # nothing can be touched where nothing is written
        stamp = stamp_of(self._database)
        self._connected_to = None if stamp is None else stamp[0]
        return connection

    def _open(self, database: Path | str) -> sqlite3.Connection:
        connection = self._connection = sqlite3.connect(
            database, timeout=30, isolation_level=None, check_same_thread=False
        )
        stated = stated_in_sqlite(connection)
        newer = newer_sqlite(stated, newest=FORMAT, what=FILE)
        if newer is not None:
            self._disconnect()
            raise UnusableStoreError(newer)
        connection.execute("PRAGMA journal_mode = WAL")
        for statement in TABLES:
            connection.execute(statement)
        if stated != FORMAT:
            connection.execute(f"PRAGMA user_version = {FORMAT}")
        return connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = self._connected_to = None

    @contextmanager
    def _working(self) -> Iterator[sqlite3.Connection]:
        with self._connected() as connection, self._database.with_suffix(".lock").open("a") as lock:
            fcntl.flock(lock.fileno(), fcntl.LOCK_EX)
            yield connection


def clock_of(workspace: Workspace, computer: Callable[[], datetime]) -> datetime:
    """The current moment of a workspace that reads streams.

    It is ``clock``, where the settings state one, else the later of ``complete_until`` and the newest
    moment of a stream. A workspace with neither uses the clock of the computer.
    """
    settings = workspace.settings
    if settings.clock is not None:
        return settings.clock
    if settings.complete_until is None:
        return computer()
    try:
        streamed = stream_clock(Lake(workspace.events_dir, workspace.quarantine_dir))
    except LakeDamagedError:  # what the exports reach is known without it
        streamed = None
    return max(settings.complete_until, streamed or settings.complete_until)


def seen_as_of(moment: datetime, manifest: Manifest) -> datetime:
    """The ``as_of`` of refreshed features at a moment of the clock.

    An event of a live source at this moment counts at once, so the features are as of just after it.
    Where no live source has reached the moment, they are as of the moment itself, as in a backfill:
    an event at the very end of a file (a contract that ends on that day) belongs to the time
    after.
    """
    live = (s.last_recorded_at for s in manifest.sources.values() if s.complete_until is None)
    newest = max((at for at in live if at is not None), default=None)
    return moment if newest is None or newest < moment else moment + JUST_AFTER


def _note_published(
    connection: sqlite3.Connection, done: Sequence[str], published: Sequence[str]
) -> int:
    """Record in one step which accounts are done and which were published; the newest number.

    The number is raised only where an account was published.
    """
    connection.execute("BEGIN IMMEDIATE")
    number = _newest_number(connection) + bool(published)
    connection.executemany(
        "INSERT OR REPLACE INTO published VALUES (?, ?)",
        [(account_id, number) for account_id in published],
    )
    connection.executemany(
        "DELETE FROM waiting WHERE account_id = ?", [(account_id,) for account_id in done]
    )
    connection.execute("COMMIT")
    return number


def _rows(part: Path) -> int:
    return int(pl.scan_parquet(part).select(pl.len()).collect().item())


def _newest_number(connection: sqlite3.Connection) -> int:
    found = connection.execute("SELECT max(number) FROM published").fetchone()[0]
    return int(found or 0)


def is_damage(error: sqlite3.DatabaseError) -> bool:
    """Whether the error says that the file is no database, or a broken one; else it is locked, say."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGE


def _is_sound(database: Path) -> bool:
    try:
        with closing(sqlite3.connect(database, timeout=30)) as connection:
            return bool(connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))
    except sqlite3.DatabaseError:
        return False
