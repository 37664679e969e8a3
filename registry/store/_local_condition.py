"""See that a tracking store on this machine is whole: its database, and bundles that were loaded.

A file is looked at again only when its stamp has changed. Nothing is written.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from registry.store._mlflow_files import PATIENCE, LocalPlace
from registry.store.store import LockedTrackingError, TrackingError

Stamps = tuple[tuple[str, int, int, int], ...]
"""Of each file of a folder its name, inode, time of change and size."""

PUT_BACK = "Put it back from a backup."


class LocalCondition:
    """Whether the database of a place, and the bundles beside it, are those that were written."""

    def __init__(self, place: LocalPlace) -> None:
        self._place = place
        self._sound: Stamps | None = None
        self._loaded: dict[Path, Stamps] = {}

    def check_there(self) -> None:
        """See that the database is there, where there are runs that it holds.

        Raises:
            TrackingError: it is missing.
        """
        database, artifacts = self._place.database, self._place.artifacts
        if database.exists() or not any(artifacts.glob("*/*/artifacts/bundle")):
            return
        raise TrackingError(
            f"The tracking store {database.name} is missing beside its {artifacts.name}/, so nobody "
            f"knows which model serves. {PUT_BACK} To begin anew, move {artifacts.name}/ away."
        )

    def check_database(self) -> None:
        """See that the database is there and its structure is whole; one that did not change is
        read once.

        Raises:
            TrackingError: it is not, or another program has it locked.
        """
        self.check_there()
        database = self._place.database
        if not database.exists():
            return
        stamps = _stamps_of(database)
        if stamps == self._sound:
            return
        try:
            found = _structure_problem(database)
        except sqlite3.DatabaseError as error:
            if "locked" in str(error):
                raise locked_by_another(database) from error
            found = str(error)
        if found is not None:
            raise TrackingError(
                f"The tracking store {database.name} is damaged: {found}. {PUT_BACK}"
            )
        self._sound = stamps

    def loads_as_before(self, folder: Path) -> bool:
        """Whether a bundle has not changed since it was last loaded."""
        return self._loaded.get(folder) == _stamps_of(folder)

    def note_loaded(self, folder: Path, stamps: Stamps) -> None:
        """A bundle was loaded whole, and its files were these before."""
        self._loaded[folder] = stamps

    @staticmethod
    def stamps_of(folder: Path) -> Stamps:
        """What the files of a bundle look like."""
        return _stamps_of(folder)


def locked_by_another(database: Path) -> LockedTrackingError:
    """The error of a database that was waited for in vain."""
    return LockedTrackingError(
        f"The tracking store {database.name} is locked by another program. Wait for it, or end it."
    )


def _structure_problem(database: Path) -> str | None:
    """What SQLite finds wrong with the file, its first line; None: nothing."""
    address = f"file:{quote(str(database))}?mode=ro"
    with closing(sqlite3.connect(address, uri=True, timeout=PATIENCE)) as link:
        found = str(link.execute("PRAGMA integrity_check(1)").fetchone()[0])
    return None if found == "ok" else " ".join(found.split())


def _stamps_of(place: Path) -> Stamps:
    """The stamps of a file, or of the files of a folder; of what is missing there are none."""
    stamps = []
    try:
        files = sorted(place.iterdir()) if place.is_dir() else [place]
        for file in files:
            found = file.stat()
            stamps.append((file.name, found.st_ino, found.st_mtime_ns, found.st_size))
    except OSError:
        return ()
    return tuple(stamps)
