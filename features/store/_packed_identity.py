"""Which file of the packed online store was written last, so that another one in its place is noticed.

The file holds an id and counts its transactions. After each, both are noted in a file beside it; so the
file is never older than the note. The note is no loss: without one, the file is taken as it is.
"""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

TABLE = "CREATE TABLE IF NOT EXISTS identity (id TEXT NOT NULL, generation INTEGER NOT NULL)"


NOTE_FORMAT = 1
"""Version of the note's form; one of another version counts as none, and the next rows write it."""


def note_of(path: Path) -> Path:
    """The note beside a file of the store."""
    return path.with_suffix(".head")


def count_transaction(connection: sqlite3.Connection) -> tuple[str, int]:
    """Count a transaction, in which this is called; the id of the file and its number."""
    connection.execute(TABLE)
    connection.execute(
        "INSERT INTO identity SELECT ?, 0 WHERE NOT EXISTS (SELECT 1 FROM identity)",
        [secrets.token_hex(16)],
    )
    connection.execute("UPDATE identity SET generation = generation + 1")
    found: tuple[str, int] = connection.execute("SELECT id, generation FROM identity").fetchone()
    return found


def note_transaction(path: Path, found: tuple[str, int]) -> None:
    """Note what was committed, unless the note is of another file, or of a later state of this one.

    The note may be lost with the power: an older one is right, too.
    """
    note, noted = note_of(path), _noted(path)
    if noted is not None and (noted[0] != found[0] or noted[1] > found[1]):
        return  # rows were written to a file in the place of the own; that stays to be noticed
    draft = note.with_name(f".{note.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    with suppress(OSError):  # the rows are stored; what is noted is that of before
        draft.write_text(
            json.dumps({"format": NOTE_FORMAT, "id": found[0], "generation": found[1]})
        )
        draft.replace(note)


def replaced(path: Path) -> str | None:
    """Why a file is not the one that was written last; None where it is, or where that is not known."""
    noted = _noted(path)
    if noted is None:
        return None
    expected, generation = noted
    if not path.exists():
        return "it is missing"
    if path.is_dir():
        return "it is a folder"
    if _is_cut_short(path):
        return "it was cut short"
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as link:
            found = link.execute("SELECT id, generation FROM identity").fetchone()
    except sqlite3.OperationalError as exc:
        if "no such table" not in str(exc):
            return None  # it is locked, or may not be opened now
        found = None
    except sqlite3.DatabaseError as exc:
        return str(exc)
    if found is None or found[0] != expected:
        return "it is not the file that was written"
    return "it is older than what was written" if found[1] < generation else None


def _noted(path: Path) -> tuple[str, int] | None:
    try:
        content = json.loads(note_of(path).read_bytes())
        if content.get("format", NOTE_FORMAT) != NOTE_FORMAT:
            return None  # of a newer Keepwell
        return str(content["id"]), int(content["generation"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _is_cut_short(path: Path) -> bool:
    """Whether a file of SQLite has fewer pages than it says; those of its log come on top."""
    try:
        with path.open("rb") as file:
            header = file.read(100)
        size = path.stat().st_size
    except OSError:
        return False
    page = int.from_bytes(header[16:18], "big")
    page = 65536 if page == 1 else page
    return len(header) < 100 or int.from_bytes(header[28:32], "big") * page > size
