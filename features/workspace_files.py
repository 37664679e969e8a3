"""Write files of a workspace whole, by one process at a time, and for the eyes of its owner only."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

OTHERS = stat.S_IRWXG | stat.S_IRWXO
"""What a group and everybody else may do with a file."""


class WorkspaceError(Exception):
    """The workspace cannot be used as it is."""


class WorkspaceBusyError(WorkspaceError):
    """Another process is writing to the workspace."""


class UnusableStoreError(WorkspaceError):
    """A store of the workspace is damaged, or cannot be read or written now.

    Each store says so with a subclass in its home module. The message says what is wrong, of which
    file, and what to do.
    """


class UnwritableError(UnusableStoreError):
    """A file of the workspace cannot be written: the disk is full, or may only be read."""


CANNOT_WRITE = frozenset(
    {
        errno.EACCES,
        errno.EDQUOT,
        errno.EFBIG,
        errno.EIO,
        errno.ENOSPC,
        errno.EPERM,
        errno.EROFS,
    }
)
"""What an operating system says where a file cannot be written, though everything else is right."""

OS_ERROR = re.compile(r"\(os error (\d+)\)")
"""How Polars says which error of the operating system it met."""


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Say of files below this folder that they cannot be written, where that is so.

    Raises:
        UnwritableError: the block met a full disk, or one that may only be read.
    """
    try:
        yield
    except Exception as exc:
        found = OS_ERROR.search(str(exc))
        number = int(found[1]) if found else exc.errno if isinstance(exc, OSError) else None
        if number not in CANNOT_WRITE or isinstance(exc, UnusableStoreError):
            raise
        raise UnwritableError(
            f"{folder} cannot be written: {os.strerror(number)}. Nothing was changed. Make room on "
            f"the disk, or let this user write there, and try again."
        ) from exc


@contextmanager
def hold_lock(folder: Path, *, wait_seconds: float = 0.0, busy: str) -> Iterator[None]:
    """Hold a folder for writing; the kernel lets go when the process ends.

    Raises:
        WorkspaceBusyError: another process holds it, longer than ``wait_seconds``. ``busy`` is
            its message.
        UnwritableError: the block, or the lock, could not be written.
    """
    until = time.monotonic() + wait_seconds
    with writing_to(folder), _lock_file(folder) as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as exc:
                if time.monotonic() >= until:
                    raise WorkspaceBusyError(busy) from exc
                time.sleep(0.02)
        yield


def _lock_file(folder: Path) -> IO[str]:
    folder.mkdir(parents=True, exist_ok=True)
    return (folder / ".lock").open("a+")


def rewrite_database(connection: sqlite3.Connection, *, wait_seconds: float, name: str) -> None:
    """Write a database of SQLite anew, without what was deleted from it, and empty its log.

    Raises:
        WorkspaceBusyError: somebody reads an older state of it for longer than ``wait_seconds``.
    """
    connection.execute("VACUUM")
    until = time.monotonic() + wait_seconds
    while connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
        if time.monotonic() >= until:
            raise WorkspaceBusyError(
                f"What was to go is deleted from {name}, but a process that reads it for longer than "
                f"{wait_seconds:g} s keeps an older state in its log. Run this again when that process "
                f"has ended."
            )
        time.sleep(0.05)


@contextmanager
def locked_for_long(name: str, *, then: str) -> Iterator[None]:
    """Say in a sentence that others lock a database of SQLite for longer than it was waited for.

    Raises:
        WorkspaceBusyError: they do; ``then`` says what holds now and what to do.
    """
    try:
        yield
    except sqlite3.OperationalError as exc:
        if getattr(exc, "sqlite_errorcode", 0) & 0xFF not in (
            sqlite3.SQLITE_BUSY,
            sqlite3.SQLITE_LOCKED,
        ):
            raise
        raise WorkspaceBusyError(
            f"Another process has locked a database ({name}) for longer than is waited for. {then}"
        ) from exc


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or the next start after a kill, sees the old or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        keep_mode(temporary, path)
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)  # half a file would keep the disk full
        raise


def keep_mode(newer: Path, path: Path) -> None:
    """Give a file that will replace another what that one's owner let others do with it."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return
    newer.chmod(mode)


def shut_to_others(folder: Path) -> bool:
    """Let nobody but its owner read a workspace; whether anybody else could.

    The folder alone keeps others out. Its files follow, for they may be copied or moved. Links are
    left alone: what they lead to is not the workspace's.

    Raises:
        PermissionError: it belongs to another user, who alone can do this.
    """
    if not folder.stat().st_mode & OTHERS:
        return False
    for place in (folder, *folder.rglob("*")):
        if place.is_symlink():
            continue
        mode = stat.S_IMODE(place.lstat().st_mode)
        if mode & OTHERS:
            with suppress(FileNotFoundError):  # a temporary file of another process
                place.chmod(mode & ~OTHERS)
    return True
