"""List every place where a workspace stores data, in one literal tuple.

A backup copies the files that ``PLACES`` names, and an erasure searches those that hold data about people or
accounts. A test walks a used workspace and fails where a file belongs to no place. A new store is a new
line here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

Kind = Literal["SQLite", "Parquet", "JSON", "TOML", "text", "files", "secret", "lock", "draft"]
"""The form of the files. The log and the index beside a file of SQLite belong to its line; a ``draft``
is a file that a killed process may leave behind."""

About = Literal["people", "accounts", "nobody"]
"""Whose data: ``people`` means users, contacts or staff by name, and accounts with them."""

InBackup = Literal["always", "if encrypted", "never"]

SQLITE_SUFFIXES = ("-wal", "-shm", "-journal")


@dataclass(frozen=True, kw_only=True)
class Place:
    """One place: a file, or all files that a pattern names.

    Attributes:
        path: from the folder of the workspace; ``*`` is within one folder, ``**`` is any depth.
        kind: the form of the files.
        holds: what they hold, for a person.
        about: whose data they hold.
        rebuilt_by: the command that makes them again from other places; None where they are lost.
        in_backup: whether a backup holds them.
    """

    path: str
    kind: Kind
    holds: str
    about: About
    rebuilt_by: str | None = None
    in_backup: InBackup = "always"

    def covers(self, name: str) -> bool:
        """Whether a file belongs to this place, by its path within the workspace.

        >>> place = Place(path="a/*.db", kind="SQLite", holds="rows", about="nobody")
        >>> [place.covers(name) for name in ("a/b.db", "a/b.db-wal", "a/c/b.db", "b.db")]
        [True, True, False, False]
        """
        if self.kind == "SQLite":
            for suffix in SQLITE_SUFFIXES:
                name = name.removesuffix(suffix)
        return _pattern(self.path).fullmatch(name) is not None


PLACES: tuple[Place, ...] = (
    Place(
        path="**.*.tmp",
        kind="draft",
        holds="a file that was being written when its process was killed",
        about="people",
        in_backup="never",
    ),
    Place(
        path="**.*-????????/**",
        kind="draft",
        holds="a folder that was being written when its process was killed",
        about="people",
        in_backup="never",
    ),
    Place(
        path="**.secret.*",
        kind="draft",
        holds="a secret that was being written when its process was killed",
        about="nobody",
        in_backup="never",
    ),
    Place(
        path=".backup/*/**",
        kind="draft",
        holds="copies of databases while a backup is made",
        about="people",
        in_backup="never",
    ),
    Place(
        path="events/.spool/**",
        kind="draft",
        holds="events of a file that is being read",
        about="people",
        in_backup="never",
    ),
    Place(path="**.lock", kind="lock", holds="nothing", about="nobody", in_backup="never"),
    Place(path="workspace.toml", kind="TOML", holds="the settings of the tenant", about="nobody"),
    Place(
        path="workspace.format",
        kind="JSON",
        holds="the version of the form of all files",
        about="nobody",
    ),
    Place(
        path="clock/noted.json",
        kind="JSON",
        holds="when the machine was started, by the time of the workspace, and what has passed",
        about="nobody",
        rebuilt_by="keepwell serve",
        in_backup="never",
    ),
    Place(
        path="health_formula.toml",
        kind="TOML",
        holds="the tenant's own health formula",
        about="nobody",
    ),
    Place(path="limits.toml", kind="TOML", holds="limits of contact and capacity", about="nobody"),
    Place(path="chance.toml", kind="TOML", holds="which draws are made", about="nobody"),
    Place(path="prices.toml", kind="TOML", holds="costs and prices of actions", about="nobody"),
    Place(
        path="events/manifest.json",
        kind="JSON",
        holds="which files of the lake are valid, and how far each source has come",
        about="nobody",
    ),
    Place(
        path="events/*.parquet",
        kind="Parquet",
        holds="events, with users and texts, and which of them were corrected",
        about="people",
    ),
    Place(
        path="events/*.keys",
        kind="files",
        holds="hashes of the ids of events, to recognise repeats",
        about="nobody",
        rebuilt_by="keepwell ingest",
    ),
    Place(
        path="quarantine/*.parquet",
        kind="Parquet",
        holds="refused rows as they were sent",
        about="people",
    ),
    Place(
        path="snapshots/*.parquet",
        kind="Parquet",
        holds="features of accounts, with who looks after each",
        about="people",
        rebuilt_by="keepwell snapshot",
    ),
    Place(
        path="snapshots/written.json",
        kind="JSON",
        holds="which snapshots were written, with the digest of each",
        about="nobody",
        rebuilt_by="keepwell serve",
        in_backup="never",
    ),
    Place(
        path="feast/*",
        kind="files",
        holds="the names and types of features for Feast",
        about="nobody",
        rebuilt_by="keepwell snapshot",
    ),
    Place(
        path="online.db",
        kind="SQLite",
        holds="the newest features of accounts, with who looks after each",
        about="people",
        rebuilt_by="keepwell snapshot",
    ),
    Place(
        path="online.head",
        kind="JSON",
        holds="which file of the online store was written last",
        about="nobody",
        rebuilt_by="keepwell serve",
        in_backup="never",
    ),
    Place(
        path="touched.db",
        kind="SQLite",
        holds="which accounts have new events",
        about="accounts",
        rebuilt_by="keepwell serve",
    ),
    Place(
        path="ledger.db",
        kind="SQLite",
        holds="decisions, claims, approvals, outcomes, feedback, and answers of requests",
        about="people",
    ),
    Place(
        path="ledger.head",
        kind="text",
        holds="the newest head of the ledger, and who replaced it on purpose",
        about="people",
        rebuilt_by="keepwell serve",
        in_backup="never",
    ),
    Place(
        path="erasures.jsonl",
        kind="JSON",
        holds="which erasures were carried out, without whom they were about",
        about="nobody",
    ),
    Place(
        path="erasures.pending.jsonl",
        kind="JSON",
        holds="erasures that a restored workspace still lacks",
        about="nobody",
    ),
    Place(
        path="backup.targets.json",
        kind="JSON",
        holds="where the workspace is backed up, so that erasures are listed there",
        about="nobody",
        rebuilt_by="keepwell backup",
        in_backup="never",
    ),
    Place(
        path="webhooks.db",
        kind="SQLite",
        holds="webhooks with their encrypted secrets, and messages about decisions",
        about="people",
    ),
    Place(
        path="webhooks.secret",
        kind="secret",
        holds="the key of the webhooks' secrets",
        about="nobody",
        in_backup="if encrypted",
    ),
    Place(
        path="keys.db",
        kind="SQLite",
        holds="API keys as hashes, with their owners",
        about="people",
    ),
    Place(
        path="keys.secret",
        kind="secret",
        holds="the pepper of the hashes of API keys",
        about="nobody",
        in_backup="if encrypted",
    ),
    Place(
        path="reviews.secret",
        kind="secret",
        holds="the key that signs reviews of access",
        about="nobody",
        in_backup="if encrypted",
    ),
    Place(
        path="mlflow.db",
        kind="SQLite",
        holds="trainings, model versions, and who promoted which",
        about="people",
    ),
    Place(
        path="artifacts/**",
        kind="files",
        holds="models, their cards, plots and tables",
        about="accounts",
    ),
    Place(
        path="waiting-runs/**",
        kind="files",
        holds="trainings that wait until the tracking server is back",
        about="accounts",
    ),
    Place(
        path="studies/*",
        kind="text",
        holds="trials of a search for parameters that was stopped",
        about="nobody",
        rebuilt_by="keepwell train",
    ),
    Place(
        path="monitoring/**",
        kind="files",
        holds="figures of monitoring, and segments for which no model answers",
        about="nobody",
    ),
    Place(
        path="shadow/**",
        kind="Parquet",
        holds="predictions of challengers beside those of champions",
        about="accounts",
        rebuilt_by="keepwell score --shadow",
    ),
    Place(
        path="plans/*",
        kind="JSON",
        holds="the newest plan of a team's week, with names",
        about="people",
    ),
    Place(
        path="reports/**",
        kind="files",
        holds="causal reports, their designs, and measured effects",
        about="accounts",
    ),
    Place(
        path="erasures/subjects.json",
        kind="JSON",
        holds="who was erased and when, as keyed digests",
        about="nobody",
    ),
    Place(
        path="erasures/subjects.secret",
        kind="secret",
        holds="the key of those digests",
        about="nobody",
        in_backup="if encrypted",
    ),
    Place(
        path="erasures/*.json",
        kind="JSON",
        holds="receipts of erasures, holds, and an erasure that is under way",
        about="people",
    ),
    Place(
        path="retention.toml",
        kind="TOML",
        holds="for how many days data are kept, and why",
        about="nobody",
    ),
    Place(
        path="retention/*.json",
        kind="JSON",
        holds="how far back retention has gone, and receipts of its runs",
        about="nobody",
    ),
    Place(
        path="demo.json",
        kind="JSON",
        holds="what `keepwell demo` did",
        about="nobody",
    ),
    Place(
        path="world/**",
        kind="files",
        holds="the simulated company of `keepwell demo --world simulated`",
        about="people",
        rebuilt_by="keepwell simulate",
    ),
)
"""The first place that covers a file is its place."""


def place_of(name: str) -> Place | None:
    """The place of a file of a workspace, by its path in it; None where no place covers it.

    >>> place_of("snapshots/as_of_20260101T000000Z.parquet").holds
    'features of accounts, with who looks after each'
    >>> place_of("notes.txt") is None
    True
    """
    return next((place for place in PLACES if place.covers(name)), None)


def files_of(root: Path) -> Iterator[tuple[str, Place | None]]:
    """Every file below a workspace by its path in it, in order, with its place."""
    for path in sorted(root.rglob("*")):
        if path.is_file():
            name = path.relative_to(root).as_posix()
            yield name, place_of(name)


@cache
def _pattern(path: str) -> re.Pattern[str]:
    within = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*|\*|\?)", path)
    return re.compile("".join(within.get(part, re.escape(part)) for part in parts), re.DOTALL)
