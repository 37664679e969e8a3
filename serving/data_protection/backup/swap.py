"""Put a finished folder in the place of another that nobody uses, in one step.

Linux exchanges two names at once. Where a file system cannot, the old folder is moved aside first,
and a process that is killed just then leaves the new one beside its place, finished.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
from pathlib import Path

AT_FDCWD, EXCHANGE = -100, 2

WHO_IS_IN = 128
"""The byte of the index of a database of SQLite that everybody who has it open holds a lock on."""

FLOCK = "hhqqi4x"


def put_in_place(finished: Path, place: Path, aside: Path) -> bool:
    """Move a folder to a place, and the folder that is there to ``aside``; return whether there was one.

    An empty folder at the place is replaced, and not moved aside.
    """
    if not place.exists():
        finished.rename(place)
        sync_folder(place.parent)
        return False
    if not any(place.iterdir()):
        finished.rename(place)  # replaces an empty folder, never a full one
        sync_folder(place.parent)
        return False
    if exchange(finished, place):
        finished.rename(aside)
    else:
        place.rename(aside)
        finished.rename(place)
    sync_folder(place.parent)
    return True


def exchange(one: Path, other: Path) -> bool:
    """Exchange two folders in one step; False where the system or the file system cannot."""
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "renameat2"):
        return False
    done = library.renameat2(
        AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), ctypes.c_uint(EXCHANGE)
    )
    if done == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        return False
    raise OSError(number, os.strerror(number), str(other))


def sync_folder(folder: Path) -> None:
    """Return when the entries of a folder survive a loss of power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def process_with_open(database: Path) -> int | None:
    """A process that has a database open; None where there is none, or nobody can tell.

    Asks the kernel who holds the lock, and takes none itself.
    """
    try:
        handle = os.open(database.with_name(f"{database.name}-shm"), os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        asked = struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, WHO_IS_IN, 1, 0)
        found = struct.unpack(FLOCK, fcntl.fcntl(handle, fcntl.F_GETLK, asked))
    finally:
        os.close(handle)
    return None if found[0] == fcntl.F_UNLCK else int(found[4])
