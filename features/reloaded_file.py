"""Read a file again when it is replaced: one reading is kept with the stamp of its file."""

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
    """What changes whenever a file is replaced as a whole (the new one has its own inode); None
    where there is none.

    A file that is written again in place is known by its time and size: with the same size, within
    one tick of the file system's clock (some milliseconds on older kernels), it is not seen.

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
    """What a file says now; it is read again only where it is another file than last time.

    Args:
        path: the file.
        read: returns what the file says.
        absent: returns what holds where there is no file.
        settles_in: seconds after its last change from which a file counts as written, and a missing
            one as gone. Until then what was read before holds on: half of a file may be read
            without an error. At the first reading it is waited for.
        holds_on: errors of ``read`` at which what was read before holds on; ``problem`` is the
            error then, and the file is tried again at the next question.
    """

    def __init__(
        self,
        path: Path,
        read: Callable[[Path], T],
        absent: Callable[[], T],
        *,
        settles_in: float = 0.0,
        holds_on: tuple[type[Exception], ...] = (),
    ) -> None:
        self.problem: Exception | None = None
        self._path = path
        self._read = read
        self._absent = absent
        self._settles_in = settles_in
        self._holds_on = holds_on
        self._known: tuple[Stamp | None, T] | None = None
        self._reading = threading.Lock()

    def current(self) -> T:
        """What the file says.

        Raises:
            Exception: what ``read`` raises, where nothing holds on.
        """
        known = self._known
        if known is not None:
            stamp, is_settled = self._look()
            if stamp == known[0] or not is_settled:
                return known[1]
        with self._reading:
            return self._read_again()

    def _read_again(self) -> T:
        known = self._known
        stamp, is_settled = self._look()
        while known is None and stamp is not None and not is_settled:
            time.sleep(self._settles_in / 10)
            stamp, is_settled = self._look()
        if known is not None and (stamp == known[0] or not is_settled):
            return known[1]
        try:
            found = self._absent() if stamp is None else self._read(self._path)
        except FileNotFoundError:  # since its stamp was taken; nothing is kept with that stamp
            return self._absent()
        except self._holds_on as error:
            if known is None:
                raise
            self.problem = error
            return known[1]
        if self._settles_in and known is not None and self._look()[0] != stamp:
            return known[1]  # it changed while it was read
        self._known, self.problem = (stamp, found), None
        return found

    def _look(self) -> tuple[Stamp | None, bool]:
        """Which file is there, and whether its last change is over."""
        if not self._settles_in:
            return stamp_of(self._path), True
        try:
            status = self._path.stat()
            stamp: Stamp | None = (status.st_ino, status.st_mtime_ns, status.st_size)
            changed = status.st_ctime
        except OSError:
            # a file that another is to replace is missing for a moment, which its folder tells
            stamp, changed = None, self._path.parent.stat().st_mtime
        return stamp, not 0 <= time.time() - changed < self._settles_in
