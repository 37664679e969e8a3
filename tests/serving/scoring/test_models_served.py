"""A champion that cannot be used leaves the one before it serving, over a really damaged store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_company import add_model, make_bundle

from registry.integrity.hashed_folder import MANIFEST, SIGNATURE
from registry.integrity.signing import SigningKey
from registry.store.mlflow import MlflowModelStore
from serving.scoring.models_served import champions

READS = ("errors_28d", "seats")
KEY = SigningKey(secret=b"sixteen bytes 16")


@pytest.fixture(scope="module")
def two(shared_workspace, tmp_path_factory):
    """A store with a champion and one before it, signed; read only."""
    home = tmp_path_factory.mktemp("models")
    store = MlflowModelStore(f"sqlite:///{home / 'mlflow.db'}", key=KEY)
    for weight in (0.9, 0.5):
        add_model(store, "churn", make_bundle(shared_workspace, READS, [weight, 0.1]))
    return home


@pytest.fixture
def home(two, tmp_path):
    import shutil

    return Path(shutil.copytree(two, tmp_path / "models"))


def open_store(home: Path) -> MlflowModelStore:
    return MlflowModelStore(f"sqlite:///{home / 'mlflow.db'}", key=KEY)


def bundle_folder(home: Path, version: int) -> Path:
    run_id = open_store(home).versions("churn")[version - 1].run_id
    return home / "artifacts" / "keepwell-churn" / run_id / "artifacts" / "bundle"


def truncate(folder: Path) -> None:
    (folder / "arrays.npz").write_bytes((folder / "arrays.npz").read_bytes()[:-100])


def make_older(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_bytes())
    text = json.dumps({**manifest, "version": 0}).encode()
    (folder / MANIFEST).write_bytes(text)
    (folder / SIGNATURE).write_text(KEY.signature(text))


REFUSED = {
    "truncated": (truncate, "'arrays.npz' in bundle is not the one that was saved"),
    "altered": (lambda f: (f / "bundle.json").write_text("{}"), "'bundle.json' in bundle is not"),
    "of an older format": (make_older, "bundle is of format version 0; this Keepwell reads 1"),
    "not signed": (lambda f: (f / SIGNATURE).unlink(), "bundle is not signed"),
    "signed by another": (lambda f: (f / SIGNATURE).write_text("0" * 64), "not signed with the"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_the_champion_before_goes_on(home, case, caplog):
    damage, reason = REFUSED[case]
    damage(bundle_folder(home, 2))
    models = champions(open_store(home))
    assert models.churn is not None
    assert models.churn.version == "churn version 1"
    assert reason in models.refusals["churn"]
    assert "Train the model again, or roll back" in models.refusals["churn"]
    assert "churn version 1 goes on" in caplog.text
    assert str(home) not in caplog.text


def test_a_whole_champion_serves(home):
    models = champions(open_store(home))
    assert models.churn is not None
    assert models.churn.version == "churn version 2"
    assert "churn" not in models.refusals


def test_where_none_can_be_used_the_formula_answers(home):
    for version in (1, 2):
        truncate(bundle_folder(home, version))
    models = champions(open_store(home))
    assert models.churn is None
    assert "truncated or altered" in models.refusals["churn"]


def test_what_was_rolled_back_does_not_come_again(home):
    """Version 2 was taken back by a person; a damaged version 1 does not bring it up again."""
    store = open_store(home)
    store.rollback("churn", by="ann", at=store.history("churn")[-1].at)
    truncate(bundle_folder(home, 1))
    assert champions(open_store(home)).churn is None
