"""How a place is declared: a file of a workspace, or all files that a pattern names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Literal

Kind = Literal["SQLite", "Parquet", "JSON", "TOML", "text", "files", "secret", "lock", "draft"]
"""The form of the files. The log and the index beside a file of SQLite belong to its line; a ``draft``
is a file that a killed process may leave behind."""

About = Literal["people", "accounts", "nobody"]
"""Whose data: ``people`` means users, contacts or staff by name, and accounts with them."""

InBackup = Literal["always", "if encrypted", "never"]

Newer = Literal["refused", "made again", "by another file", "by its library", "not read"]
"""What happens with a file of a newer Keepwell. It is ``refused`` in words, or counts as none and is
``made again``. ``by another file``: the file that states the version is refused. ``by its library``:
MLflow or Feast say so. ``not read``: Keepwell writes it for people and other programs only."""

SQLITE_SUFFIXES = ("-wal", "-shm", "-journal")


@dataclass(frozen=True)
class FileFormat:
    """The format of the files of one place.

    Attributes:
        name: what the format is called.
        version: the newest that this Keepwell writes and reads; None where another program has it.
        stated: where a file states its version. A file that states none has version 1.
        declared_in: the constant that the code goes by, as ``module:NAME``.
        newer: what happens with a newer file.
    """

    name: str
    version: int | None = None
    stated: str = ""
    declared_in: str = ""
    newer: Newer = "refused"


@dataclass(frozen=True, kw_only=True)
class Place:
    """One place: a file, or all files that a pattern names.

    Attributes:
        path: from the folder of the workspace; ``*`` is within one folder, ``**`` is any depth.
        kind: the form of the files.
        holds: what they hold, for a person.
        about: whose data they hold.
        written_by: the commands that write them, or who does it by hand.
        format: their format and its version; None for drafts, locks and secrets, which have none.
        rebuilt_by: the command that makes them again from other places; None where they are lost.
        in_backup: whether a backup holds them.
    """

    path: str
    kind: Kind
    holds: str
    about: About
    written_by: str
    format: FileFormat | None = None
    rebuilt_by: str | None = None
    in_backup: InBackup = "always"

    def covers(self, name: str) -> bool:
        """Whether a file belongs to this place, by its path within the workspace.

        >>> place = Place(
        ...     path="a/*.db", kind="SQLite", holds="rows", about="nobody", written_by="keepwell serve"
        ... )
        >>> [place.covers(name) for name in ("a/b.db", "a/b.db-wal", "a/c/b.db", "b.db")]
        [True, True, False, False]
        """
        if self.kind == "SQLite":
            for suffix in SQLITE_SUFFIXES:
                name = name.removesuffix(suffix)
        return _pattern(self.path).fullmatch(name) is not None


@cache
def _pattern(path: str) -> re.Pattern[str]:
    within = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*|\*|\?)", path)
    return re.compile("".join(within.get(part, re.escape(part)) for part in parts), re.DOTALL)
