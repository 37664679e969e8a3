"""A tracking store on this machine says what is damaged of it, and reads what did not change once."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from small_company import READS, add_model, make_bundle, make_workspace

from registry.bundle.bundle import BundleError
from registry.store.mlflow import MlflowModelStore
from registry.store.store import LockedTrackingError, TrackingError
from serving.scoring.models_served import champions

LABELS = ("churn", "expansion")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tracked") / "made"
    workspace = make_workspace(root)
    store = MlflowModelStore(workspace.tracking_uri)
    add_model(store, "churn", make_bundle(workspace, READS, [0.9, -0.7, -0.2, 0.1, -0.3]))
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "own")
    return tmp_path / "own"


@pytest.fixture
def store(root: Path) -> MlflowModelStore:
    return MlflowModelStore(f"sqlite:///{root / 'mlflow.db'}")


def bundle_file(root: Path) -> Path:
    [file] = root.glob("artifacts/*/*/artifacts/bundle/*.npz")
    return file


def cut_short(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def test_a_whole_store_has_no_problem(store: MlflowModelStore, tmp_path: Path) -> None:
    store.check(LABELS)
    MlflowModelStore(f"sqlite:///{tmp_path / 'none' / 'mlflow.db'}").check(LABELS)


def test_a_database_that_is_missing_beside_its_runs_is_no_empty_one(
    root: Path, store: MlflowModelStore
) -> None:
    (root / "mlflow.db").unlink()
    for ask in (lambda: store.check(LABELS), lambda: store.versions("churn")):
        with pytest.raises(TrackingError, match=r"mlflow\.db is missing beside its artifacts/"):
            ask()


@pytest.mark.parametrize("label", LABELS)
def test_a_database_that_is_cut_short_is_said(root, store, label: str) -> None:
    cut_short(root / "mlflow.db")
    with pytest.raises(TrackingError, match=r"mlflow\.db is damaged"):
        store.check(LABELS)
    with pytest.raises(TrackingError):
        store.versions(label)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"how": 1}', '{"at": "soon", "how": "promoted"}'])
def test_a_record_of_a_promotion_that_cannot_be_read_is_said(root, store, text: str) -> None:
    with closing(sqlite3.connect(root / "mlflow.db")) as link, link:
        link.execute("UPDATE model_version_tags SET value = ? WHERE key LIKE '%champion%'", (text,))
    for ask in (store.history, store.versions, store.champion_version):
        with pytest.raises(TrackingError, match="could not say which model serves"):
            ask("churn")


def test_a_lock_is_waited_for_once(root, store, monkeypatch) -> None:
    monkeypatch.setattr("registry.store._local_condition.PATIENCE", 0.05)
    monkeypatch.setattr("registry.store._mlflow_sql.PATIENCE", 0.05)
    held = {"churn": champions(store).churn}
    with closing(sqlite3.connect(root / "mlflow.db", isolation_level=None)) as link:
        link.execute("BEGIN EXCLUSIVE")
        with pytest.raises(LockedTrackingError, match="locked by another program"):
            store.check(LABELS)
        assert champions(store).churn is None
        assert champions(store, held).churn == held["churn"]
    store.check(LABELS)


def test_a_champion_in_memory_goes_on_while_its_bundle_is_damaged(root, store) -> None:
    store.check(LABELS)
    held = {"churn": champions(store).churn}
    cut_short(bundle_file(root))
    with pytest.raises(BundleError):
        store.check(LABELS)
    after = champions(store, held)
    assert after.churn == held["churn"]
    assert "churn" not in after.refusals
    assert champions(store).churn is None


def test_a_bundle_that_did_not_change_is_read_once(root, store, monkeypatch) -> None:
    store.check(LABELS)
    monkeypatch.setattr(store, "load", lambda *_: pytest.fail("it was read again"))
    store.check(LABELS)
