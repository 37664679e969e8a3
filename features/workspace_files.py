"""Write files of a workspace whole, and by one process at a time."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
    temporary.replace(path)
