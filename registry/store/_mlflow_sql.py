"""Read registered models from MLflow's own SQLite database, without importing MLflow.

Importing MLflow and opening its store takes five seconds of cpu, more than scoring a quarter of a
million accounts; reading which version serves from SQLite takes a millisecond. The tables are those
of one revision of MLflow's schema, and a database of another one is left to MLflow. Nothing is
written.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from registry.store._mlflow_files import PATIENCE

KNOWN_REVISION = "dc11669786a5"
"""Of MLflow 3.17's schema; a test compares the values read here with MLflow's own."""


@dataclass(frozen=True, kw_only=True)
class RegisteredVersion:
    """One version of a registered model: its run, and its tags."""

    run_id: str
    tags: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class RegisteredModel:
    """The versions of a registered model by number, oldest first, and its aliases."""

    versions: Mapping[int, RegisteredVersion] = field(default_factory=dict)
    aliases: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """The name and the metrics of a run."""

    name: str
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class MlflowTables:
    """The tables of one database file that is there."""

    database: Path

    @property
    def are_known(self) -> bool:
        """Whether they are of the revision that is read here; False where that is unknown.

        Raises:
            sqlite3.DatabaseError: the file cannot be read.
        """
        if not self.database.exists():
            return False
        with self._link() as link:
            try:
                found = link.execute("SELECT version_num FROM alembic_version").fetchall()
            except sqlite3.OperationalError as error:
                if "no such table" not in str(error):
                    raise
                return False
        return found == [(KNOWN_REVISION,)]

    def model(self, name: str) -> RegisteredModel:
        """The model registered under this name, read at one moment; empty if there is none.

        Raises:
            sqlite3.DatabaseError: the file cannot be read.
        """
        with self._link() as link:
            link.execute("BEGIN")  # one moment for the three questions
            runs = link.execute(
                "SELECT version, run_id FROM model_versions WHERE workspace = 'default' "
                "AND name = ? AND current_stage != 'Deleted_Internal' ORDER BY version",
                (name,),
            ).fetchall()
            tags: dict[int, dict[str, str]] = {version: {} for version, _ in runs}
            for version, key, value in link.execute(
                "SELECT version, key, value FROM model_version_tags WHERE workspace = 'default' "
                "AND name = ?",
                (name,),
            ):
                tags.setdefault(version, {})[key] = value
            aliases = dict(
                link.execute(
                    "SELECT alias, version FROM registered_model_aliases "
                    "WHERE workspace = 'default' AND name = ?",
                    (name,),
                ).fetchall()
            )
        return RegisteredModel(
            versions={
                version: RegisteredVersion(run_id=run_id, tags=tags[version])
                for version, run_id in runs
            },
            aliases=aliases,
        )

    def run(self, run_id: str) -> RunSummary:
        """A run that a version names.

        Raises:
            sqlite3.DatabaseError: the file cannot be read, or there is no such run.
        """
        with self._link() as link:
            link.execute("BEGIN")
            found = link.execute("SELECT name FROM runs WHERE run_uuid = ?", (run_id,)).fetchone()
            if found is None:
                raise sqlite3.DatabaseError(f"there is no run {run_id}")
            measured = link.execute(
                "SELECT key, value, is_nan FROM latest_metrics WHERE run_uuid = ?", (run_id,)
            ).fetchall()
        return RunSummary(
            name=str(found[0]),
            metrics={
                key: float("nan") if is_nan else float(value) for key, value, is_nan in measured
            },
        )

    @contextmanager
    def _link(self) -> Iterator[sqlite3.Connection]:
        # rw: it has to be there; what a killed writer left half done is rolled back
        address = f"file:{quote(str(self.database))}?mode=rw"
        with closing(
            sqlite3.connect(address, uri=True, timeout=PATIENCE, isolation_level=None)
        ) as link:
            yield link
