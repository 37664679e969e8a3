"""Cache the content of a file, and read it again when the file is replaced."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")

Stamp = tuple[int, int, int]
"""Inode, time of the last change in nanoseconds, size in bytes."""


def stamp_of(path: Path) -> Stamp | None:
    """The stamp of a file, which changes when the file is replaced; None where there is no file.

    A replaced file has another inode. A file that is written in place has another time or size; a
    change of the same size within one tick of the file system's clock (some milliseconds on older
    kernels) is not noticed.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     file = Path(folder) / "settings.toml"
    ...     before = stamp_of(file)
    ...     _ = file.write_text("capacity = 20")
    ...     before, stamp_of(file) == stamp_of(file), stamp_of(file)[2]
    (None, True, 13)
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


class ReloadedFile(Generic[T]):
    """The current content of a file, which is read again only when its stamp has changed.

    Args:
        path: the file.
        read: returns the content of the file.
        absent: returns the content where there is no file; it may raise a tolerated error, where a file
            that is missing is not to be believed.
        settle_seconds: how long after its last change a file counts as completely written, and a
            missing one as deleted. Until then the content before is used, because half of a file
            may be readable. The first read waits for that.
        tolerated_errors: errors of ``read`` at which the content before is used. ``problem`` is then
            the error, and the next call reads the file again.
    """

    def __init__(
        self,
        path: Path,
        read: Callable[[Path], T],
        absent: Callable[[], T],
        *,
        settle_seconds: float = 0.0,
        tolerated_errors: tuple[type[Exception], ...] = (),
    ) -> None:
        self.problem: Exception | None = None
        self._path = path
        self._read = read
        self._absent = absent
        self._settle_seconds = settle_seconds
        self._tolerated_errors = tolerated_errors
        self._known: tuple[Stamp | None, T] | None = None
        self._missing_since: float | None = None
        self._reading = threading.Lock()

    def current(self) -> T:
        """The content of the file.

        Raises:
            Exception: an error of ``read`` that is not tolerated.
        """
        known = self._known
        if known is not None:
            stamp, is_settled = self._look()
            if stamp == known[0] and is_settled:
                self.problem = None  # the file that was read before is back
            if stamp == known[0] or not is_settled:
                return known[1]
        with self._reading:
            return self._read_again()

    def _read_again(self) -> T:
        known = self._known
        stamp, is_settled = self._look()
        while known is None and stamp is not None and not is_settled:
            time.sleep(self._settle_seconds / 10)
            stamp, is_settled = self._look()
        if known is not None and (stamp == known[0] or not is_settled):
            self.problem = None if is_settled else self.problem
            return known[1]
        try:
            found = self._absent() if stamp is None else self._read(self._path)
        except FileNotFoundError:  # deleted since its stamp was read; not cached
            return self._absent() if known is None else known[1]
        except self._tolerated_errors as error:
            if known is None:
                raise
            self.problem = error
            return known[1]
        if self._settle_seconds and known is not None and self._look()[0] != stamp:
            return known[1]  # it changed while it was read
        self._known, self.problem = (stamp, found), None
        return found

    def _look(self) -> tuple[Stamp | None, bool]:
        """The stamp of the file, and whether its last change is over."""
        if not self._settle_seconds:
            return stamp_of(self._path), True
        try:
            status = self._path.stat()
            stamp: Stamp | None = (status.st_ino, status.st_mtime_ns, status.st_size)
            changed = status.st_ctime
        except OSError:
            # a file may be missing for a moment while it is replaced; what else is written into its
            # folder changes the folder's time, so what counts is since when nobody saw it here
            self._missing_since = self._missing_since or time.time()
            stamp, changed = None, self._missing_since
        else:
            self._missing_since = None
        return stamp, not 0 <= time.time() - changed < self._settle_seconds
