"""Read one state of a workspace while other processes go on writing to it.

The lock of the lake is held for a moment, in which no event is written. In that moment a transaction
is opened on each database, so that each is read as of then. A database that notes how far it has read
another one comes first: the outbox before the ledger, ``touched.db`` before the features. Then the lock is
released, and the databases are copied from their transactions. All other files are only ever replaced
as a whole, and parts of the lake never change.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Set
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from features.lake.manifest import MANIFEST, Manifest, read_manifest
from features.workspace import Workspace
from features.workspace_files import hold_lock
from serving.data_protection.backup.errors import BackupError
from serving.data_protection.places import files_of, place_of
from serving.data_protection.stored_files.declaration import SQLITE_SUFFIXES, Place
from serving.ledger.stores.ledger_copy import pinned_ledger

FIRST = ("webhooks.db", "touched.db", "ledger.db")
"""The databases that are pinned first, in this order: none knows more than one that comes later."""

PATIENCE = 20.0
"""Seconds to wait for a writer of a database that keeps readers out while it commits."""


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """A file of the workspace by its path in it, where its content is now, and its place."""

    path: str
    content: Path
    place: Place
    mode: int


@dataclass(frozen=True, kw_only=True)
class SourceFiles:
    """The files of one state."""

    files: tuple[SourceFile, ...]
    not_listed: tuple[str, ...]
    lake: Manifest | None
    ledger: Path | None  # a copy, which may be opened
    ledger_from: str


@contextmanager
def consistent_copy(
    workspace: Workspace, *, ledger_url: str | None, scratch: Path, wait_seconds: float
) -> Iterator[SourceFiles]:
    """Give the files of a workspace as of one moment; databases are copied to ``scratch``.

    Raises:
        BackupError: a database of the workspace is damaged.
        WorkspaceBusyError: others write to the lake for longer than ``wait_seconds``.
    """
    root = workspace.root
    busy = (
        f"Others have been writing events to {root} for {wait_seconds:g} s. Nothing was stored; "
        f"try again when they are done, or wait longer with --wait."
    )
    with ExitStack() as pins:
        with hold_lock(workspace.events_dir, wait_seconds=wait_seconds, busy=busy):
            listed = _copied_files(root)
            databases = sorted(
                (name for name, place in listed.items() if place.kind == "SQLite"), key=_turn
            )
            pinned = {
                name: pins.enter_context(_pinned(root, name))
                for name in databases
                if not (ledger_url and name in ("ledger.db", "webhooks.db"))
            }
            server = pins.enter_context(pinned_ledger(ledger_url)) if ledger_url else None
            manifest_file = workspace.events_dir / MANIFEST
            lake = read_manifest(manifest_file) if manifest_file.exists() else None
            if lake is not None:
                _copy(manifest_file, scratch / "events" / MANIFEST)
        copies: dict[str, Path] = {}
        for name, connection in pinned.items():
            copies[name] = scratch / name
            _copy_database(name, connection, copies[name])
        if server is not None:
            copies["ledger.db"] = scratch / "ledger.db"
            server.write(copies["ledger.db"], scratch / "webhooks.db")
            if (scratch / "webhooks.db").exists():
                copies["webhooks.db"] = scratch / "webhooks.db"
    if lake is not None:
        copies[f"events/{MANIFEST}"] = scratch / "events" / MANIFEST
    wanted = None if lake is None else _files_of_lake(lake)
    files = tuple(_files(root, copies, wanted))
    _check_lake(lake, {file.path for file in files})
    yield SourceFiles(
        files=files,
        not_listed=tuple(name for name, place in files_of(root) if place is None),
        lake=lake,
        ledger=copies.get("ledger.db"),
        ledger_from="postgresql" if ledger_url else "sqlite",
    )


def _copied_files(root: Path) -> dict[str, Place]:
    """The files that a backup may hold, without what lies beside a database for SQLite itself."""
    return {
        name: place
        for name, place in files_of(root)
        if place is not None
        and place.in_backup != "never"
        and not (place.kind == "SQLite" and name.endswith(SQLITE_SUFFIXES))
    }


def _files(
    root: Path, copies: Mapping[str, Path], of_lake: frozenset[str] | None
) -> Iterator[SourceFile]:
    listed = _copied_files(root)
    for name in sorted({*listed, *copies}):
        folder = name.partition("/")[0]
        if folder in ("events", "quarantine") and of_lake is not None and name not in of_lake:
            continue  # of a batch that was killed, or that came after
        place = listed.get(name) or _place(name)
        if place.kind == "SQLite" and name not in copies:
            continue  # made since, or what a server has in its place
        path = root / name
        try:
            mode = path.stat().st_mode & 0o777
        except FileNotFoundError:
            if name not in copies:
                continue  # removed since, as a study that ended
            mode = 0o600
        yield SourceFile(path=name, content=copies.get(name, path), place=place, mode=mode)


def _place(name: str) -> Place:
    found = place_of(name)
    assert found is not None
    return found


def _files_of_lake(lake: Manifest) -> frozenset[str]:
    """The files that a manifest names, with their indexes of keys, and those that it replaced last."""
    names = {*lake.parts, *lake.superseded, *lake.retired, *lake.retired_earlier}
    indexes = {str(Path(name).with_suffix(".keys")) for name in names}
    kept = {f"events/{name}" for name in {*names, *indexes, MANIFEST}}
    return frozenset(kept | {f"quarantine/{name}" for name in {*lake.quarantine, *names}})


def _check_lake(lake: Manifest | None, names: Set[str]) -> None:
    """A backup without a part of the lake would look like one of a smaller lake."""
    if lake is None:
        return
    needed = {f"events/{name}" for name in (*lake.parts, *lake.superseded)}
    needed |= {f"quarantine/{name}" for name in lake.quarantine}
    if missing := sorted(needed - names):
        raise BackupError(
            f"{missing[0]}, which the lake's manifest names, is missing. No backup was made: put it "
            f"back from an earlier one (`keepwell restore`)."
        )


def _turn(name: str) -> tuple[int, str]:
    return (FIRST.index(name) if name in FIRST else len(FIRST), name)


@contextmanager
def _pinned(root: Path, name: str) -> Iterator[sqlite3.Connection]:
    """A database in a transaction that reads its state of now."""
    address = f"file:{quote(str(root / name))}?mode=rw"
    try:
        with closing(
            sqlite3.connect(address, uri=True, timeout=PATIENCE, isolation_level=None)
        ) as connection:
            connection.execute("BEGIN")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            yield connection
    except sqlite3.DatabaseError as error:
        raise _unreadable(name, error) from error


def _copy_database(name: str, connection: sqlite3.Connection, copy: Path) -> None:
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.touch(mode=0o600)
    try:
        with closing(sqlite3.connect(copy)) as into:
            into.execute("PRAGMA synchronous = OFF")  # it is read again at once
            connection.backup(into)
    except sqlite3.DatabaseError as error:
        raise _unreadable(name, error) from error
    finally:
        connection.close()


def _unreadable(name: str, error: sqlite3.DatabaseError) -> BackupError:
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return BackupError(
            f"Another process has locked {name} for longer than {PATIENCE:g} s. No backup was made, and "
            f"nothing is damaged: try again when that process is done."
        )
    place = _place(name)
    helps = (
        f"It can be made again with `{place.rebuilt_by}`."
        if place.rebuilt_by
        else "Put it back from a backup (`keepwell restore`), and keep this one to look at."
    )
    return BackupError(
        f"{name} of the workspace cannot be read: {error}. No backup was made. {helps}"
    )


def _copy(source: Path, copy: Path) -> None:
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_bytes(source.read_bytes())
