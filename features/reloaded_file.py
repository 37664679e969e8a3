"""This module is about stamps: what tells a file that is replaced as a whole from the one before.

Who reads such a file again and again keeps what it said beside its stamp.
"""

from __future__ import annotations

from pathlib import Path

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
