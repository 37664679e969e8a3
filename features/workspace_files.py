"""Write files of a workspace whole, by one process at a time, and for the eyes of its owner only."""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

OTHERS = stat.S_IRWXG | stat.S_IRWXO
"""What a group and everybody else may do with a file."""


class WorkspaceError(Exception):
    """The workspace cannot be used as it is."""


class WorkspaceBusyError(WorkspaceError):
    """Another process is writing to the workspace."""


@contextmanager
def hold_lock(folder: Path, *, wait_seconds: float = 0.0, busy: str) -> Iterator[None]:
    """Hold a folder for writing; the kernel lets go when the process ends.

    Raises:
        WorkspaceBusyError: another process holds it, longer than ``wait_seconds``. ``busy`` is
            its message.
    """
    folder.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + wait_seconds
    with (folder / ".lock").open("a+") as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as exc:
                if time.monotonic() >= until:
                    raise WorkspaceBusyError(busy) from exc
                time.sleep(0.02)
        yield


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or the next start after a kill, sees the old or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as handle:
        handle.write(content)
        handle.flush()
        os.fsync(handle.fileno())
    keep_mode(temporary, path)
    temporary.replace(path)


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
