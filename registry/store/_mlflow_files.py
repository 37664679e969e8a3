"""Keep the addresses of MLflow's files right when the workspace is moved.

MLflow writes absolute artifact addresses into its database. A workspace is one folder with
``mlflow.db`` and ``artifacts/`` beside it, and may be moved, copied or mounted elsewhere: when a
database is opened whose addresses point to another place, they are rewritten in one transaction.
"""

from __future__ import annotations

import fcntl
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

EXPERIMENTS = "keepwell-"
DEFAULT = "Default"  # MLflow makes this one itself
LOCK_FILE = ".champion.lock"

PATIENCE = 5.0
"""Seconds to wait for a program that has the database locked."""

# Every column of MLflow 3.17's tables that holds an artifact address.
ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("logged_models", "artifact_location"),
)


class UnusablePlaceError(Exception):
    """MLflow cannot keep its database there."""


@dataclass(frozen=True, kw_only=True)
class LocalPlace:
    """The database file and the folder of artifacts."""

    database: Path
    artifacts: Path

    @classmethod
    def of(cls, tracking_uri: str, artifacts_dir: Path | None) -> LocalPlace | None:
        """The place that a tracking address names; None when it is not on this machine."""
        if not tracking_uri.startswith("sqlite:///"):
            return None
        database = Path(tracking_uri.removeprefix("sqlite:///")).resolve()
        return cls(
            database=database,
            artifacts=(artifacts_dir or database.parent / "artifacts").resolve(),
        )

    @property
    def tracking_uri(self) -> str:
        """The database's address as MLflow wants it: absolute."""
        if {"%", "?"} & {*str(self.database)}:
            raise UnusablePlaceError(
                f"MLflow cannot open {self.database}: it takes a % or ? in a path for something "
                "else. Move the workspace to a folder without them."
            )
        return f"sqlite:///{self.database}"

    def beside(self, name: str) -> LocalPlace:
        """The place of another database with the same artifacts."""
        return replace(self, database=self.database.parent / name / self.database.name)

    def experiment_uri(self, name: str) -> str:
        """Where the runs of an experiment keep their files."""
        return (self.artifacts / name).as_uri()

    def run_folder(self, name: str, run_id: str) -> Path:
        """Where one run keeps its files: known without asking the database."""
        return self.artifacts / name / run_id / "artifacts"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Wait until no other process changes a champion here; the kernel lets go after a kill.

        A file of its own: closing the database's file would end SQLite's locks on it.
        """
        if not self.database.exists():
            yield
            return
        with (self.database.parent / LOCK_FILE).open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def settle(self) -> bool:
        """Rewrite the addresses if the folder was moved; whether that was needed and done.

        A database that can only be read stays as it is: bundles are found by ``run_folder``.
        """
        with closing(
            sqlite3.connect(self.database, timeout=PATIENCE, isolation_level=None)
        ) as link:
            found = link.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            tables = {name for (name,) in found}
            if "experiments" not in tables or not self._strays(link):
                return False
            try:
                link.execute("BEGIN IMMEDIATE")
                for name, was, becomes in self._strays(link):
                    for table, column in ADDRESSES:
                        if table in tables:
                            self._move(link, table, column, was, becomes)
                    link.execute(
                        "UPDATE experiments SET artifact_location = ? WHERE name = ?",
                        (becomes, name),
                    )
                link.execute("COMMIT")
            except sqlite3.DatabaseError as exc:
                if "readonly" not in str(exc):
                    raise
                return False
        return True

    def _strays(self, link: sqlite3.Connection) -> list[tuple[str, str, str]]:
        rows = link.execute(
            "SELECT name, artifact_location FROM experiments "
            "WHERE substr(name, 1, ?) = ? OR name = ?",
            (len(EXPERIMENTS), EXPERIMENTS, DEFAULT),
        ).fetchall()
        places = [(name, was, self.experiment_uri(name)) for name, was in rows]
        return [place for place in places if place[1] != place[2]]

    @staticmethod
    def _move(link: sqlite3.Connection, table: str, column: str, was: str, becomes: str) -> None:
        # The slash keeps …/keepwell-churn apart from …/keepwell-churn-formula.
        link.execute(
            f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
            f"WHERE substr({column}, 1, ?) = ?",
            (f"{becomes}/", len(was) + 2, len(was) + 1, f"{was}/"),
        )
