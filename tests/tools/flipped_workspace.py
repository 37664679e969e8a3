"""Flip random bits in the files of a workspace, and break the JSON of rows of its ledger.

A seed decides which kind of store and how much of it; names and sizes differ from one world to the next, so
a copy that broke a promise is described in words, and not made again by its seed alone.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

LEFT_ALONE = (".lock", ".secret", "-shm", ".log")
"""Nobody reads what is in a lock, and SQLite makes an index of a log again."""

OTHER_JSON = ("", "null", "[]", "{}", '{"a": 1}', '{"a": NaN}', "[" * 500, '"\\ud800"', "3")


def flip(root: Path, rng: random.Random) -> list[str]:
    """Flip some bits somewhere in a workspace; what was done, in words."""
    done = []
    files = files_by_store(root)
    for _ in range(rng.choice((1, 1, 2, 4))):
        path = rng.choice(files[rng.choice(sorted(files))])
        size, count = path.stat().st_size, rng.choice((1, 1, 8, 64))
        places = sorted(rng.randrange(size) for _ in range(count))
        with path.open("r+b") as file:
            for place in places:
                file.seek(place)
                [byte] = file.read(1)
                file.seek(place)
                file.write(bytes([byte ^ 1 << rng.randrange(8)]))
        done.append(f"{path.relative_to(root)}: {count} of {size} bytes from {places[0]}")
    return done


def files_by_store(root: Path) -> dict[str, list[Path]]:
    """The files of a workspace that hold something, by the first part of their name."""
    found: dict[str, list[Path]] = {}
    for path in sorted(root.rglob("*")):
        if path.is_file() and path.stat().st_size and not path.name.endswith(LEFT_ALONE):
            found.setdefault(path.relative_to(root).parts[0], []).append(path)
    return found


def break_rows(ledger: Path, rng: random.Random) -> list[str]:
    """Put other texts in the place of some JSON of the ledger; what was done, in words."""
    done = []
    with closing(sqlite3.connect(ledger, isolation_level=None)) as link:
        for (name,) in link.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'"):
            link.execute(f"DROP TRIGGER {name}")
        cells = sorted(_json_cells(link))
        for _ in range(min(rng.choice((1, 3)), len(cells))):
            table, column, row = rng.choice(cells)
            [text] = link.execute(f"SELECT {column} FROM {table} WHERE rowid = ?", [row]).fetchone()
            other = rng.choice((*OTHER_JSON, text[: rng.randrange(len(text))]))
            link.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", [other, row])
            done.append(f"{table}.{column} of row {row}: {other[:40]!r}")
        link.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return done


def _json_cells(link: sqlite3.Connection) -> Iterator[tuple[str, str, int]]:
    tables = link.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    for (table,) in tables:
        columns = [row[1] for row in link.execute(f"PRAGMA table_info({table})")]
        for column in columns:
            try:
                rows = link.execute(
                    f"SELECT rowid FROM {table} WHERE substr({column}, 1, 1) IN ('{{', '[')"
                ).fetchall()
            except sqlite3.OperationalError:
                continue  # a table without rowid
            for (row,) in rows:
                yield table, column, row
