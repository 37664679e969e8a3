from __future__ import annotations

import math
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from registry.store._mlflow_sql import MlflowTables, RegisteredModel
from registry.store.mlflow import MlflowModelStore
from registry.store.store import NoChampionError, TrackingError, TrainingRun

AT = datetime(2026, 2, 1, 9, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    return tmp_path_factory.mktemp("tables #ü") / "mlflow.db"


@pytest.fixture(scope="module")
def store(database, make_linear_bundle):
    """Three versions of a model, of which one is deleted, and one of another."""
    store = MlflowModelStore(f"sqlite:///{database}")
    for seed, label in ((1, "churn"), (2, "churn"), (3, "churn"), (4, "churn-formula")):
        run = TrainingRun(
            label=label,
            name=f"run {seed}",
            bundle=make_linear_bundle(seed),
            started_at=AT,
            ended_at=AT,
            metrics={"log_loss_90d": 0.2 + seed, "not_known": math.nan},
        )
        store.register(label, store.record_run(run))
    store.promote("churn", 2, evidence={"auc": 0.7}, by="ann", at=AT)
    store.promote("churn", 1, evidence={}, by="ann", at=AT)
    store._client.delete_model_version("keepwell-churn", "3")
    return store


@pytest.mark.parametrize("name", ["keepwell-churn", "keepwell-churn-formula", "nobody's"])
def test_what_is_read_is_what_mlflow_says(store, database, name):
    tables = MlflowTables(database)
    assert tables.are_known
    read = tables.model(name)
    said = {
        int(each.version): each
        for each in store._client.search_model_versions("name='" + name.replace("'", "") + "'")
    }
    assert list(read.versions) == sorted(said)
    for number, version in read.versions.items():
        assert (version.run_id, version.tags) == (said[number].run_id, said[number].tags)
        run, theirs = tables.run(version.run_id), store._client.get_run(version.run_id)
        assert run.name == theirs.info.run_name
        assert run.metrics == pytest.approx(theirs.data.metrics, nan_ok=True)
    if said:
        assert read.aliases == {
            alias: int(number)
            for alias, number in store._client.get_registered_model(name).aliases.items()
        }
    else:
        assert read == RegisteredModel()


def test_mlflow_is_asked_where_its_tables_are_of_another_revision(store, database):
    read = repr((store.versions("churn"), store.history("churn")))  # NaN equals NaN in words
    with sqlite3.connect(database) as link:
        link.execute("CREATE TABLE kept AS SELECT * FROM alembic_version")
        link.execute("DELETE FROM alembic_version")
    link.close()
    try:
        assert not MlflowTables(database).are_known
        assert repr((store.versions("churn"), store.history("churn"))) == read
        with pytest.raises(NoChampionError):
            store.champion_version("expansion")
    finally:
        with sqlite3.connect(database) as link:
            link.execute("INSERT INTO alembic_version SELECT * FROM kept")
            link.execute("DROP TABLE kept")
        link.close()


def test_a_run_that_is_gone_is_an_error_in_words(store, database):
    with pytest.raises(sqlite3.DatabaseError, match="there is no run 0123"):
        MlflowTables(database).run("0123")
    with sqlite3.connect(database) as link:
        link.execute("UPDATE runs SET run_uuid = run_uuid || '-' WHERE name = 'run 4'")
    link.close()
    with pytest.raises(TrackingError, match="could not describe a version: there is no run"):
        store.versions("churn-formula")


def test_nothing_is_read_where_there_is_no_database(tmp_path):
    assert not MlflowTables(tmp_path / "mlflow.db").are_known
    assert not any(tmp_path.iterdir())


def test_to_read_the_champion_mlflow_is_not_imported(store, database):
    asked = (
        "import sys\nfrom registry.store.mlflow import MlflowModelStore\n"
        f"store = MlflowModelStore('sqlite:///{database}')\n"
        "print(store.champion('churn').label, store.champion_version('churn').version,\n"
        "      len(store.history('churn')), 'mlflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", asked],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    assert done.stdout.split() == ["churn", "1", "2", "False"]
