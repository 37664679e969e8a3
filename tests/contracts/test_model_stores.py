"""Every model store sits this exam; what is peculiar to one is tested beside it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from registry.bundle.bundle import BundleMetadata, GoldenRows, ModelBundle, ReferenceDistribution
from registry.bundle.calibration import Calibration
from registry.bundle.feature_contract import ContractFeature, FeatureContract
from registry.bundle.linear import LinearForm
from registry.store.mlflow import MlflowModelStore
from registry.store.store import (
    ChampionChange,
    ChampionChangedError,
    MemoryModelStore,
    ModelStoreError,
    NoChampionError,
    NothingToRollBackError,
    PromotionRequest,
    TrainingRun,
    UnknownModelError,
)

AT = datetime(2026, 2, 1, 9, 30, tzinfo=UTC)
EVIDENCE = {"log_loss": 0.25, "reasons": ["Better than the base rate."], "over_champion": None}


def bundle(slope: float, label: str = "churn") -> ModelBundle:
    form = LinearForm.plain(
        intercept=slope, fill=np.zeros(1), center=np.zeros(1), scale=np.ones(1),
        coefficient=np.array([slope]),
    )  # fmt: skip
    rows = np.array([[1.0], [np.nan]])
    return ModelBundle(
        label=label, contract=FeatureContract((ContractFeature(name="x", digest="d"),)), form=form,
        calibration=Calibration(
            horizons=(90,), slope=1.0, intercepts=(0.0,), draws=np.ones((20, 2))
        ),
        base_rates={90: 0.1}, reference=ReferenceDistribution.of(rows),
        golden=GoldenRows(matrix=rows, raw=form.score(rows)),
        metadata=BundleMetadata(
            as_of=AT, data_fingerprint="data", code_version="1", label_policy={"grace_days": 30}
        ),
    )  # fmt: skip


def run(slope: float, label: str = "churn", **changes) -> TrainingRun:
    given = {
        "label": label, "name": f"{label} {slope}", "started_at": AT - timedelta(minutes=5),
        "ended_at": AT, "bundle": bundle(slope, label.removesuffix("-formula")),
        "params": {"num_leaves": 31}, "plots": {"calibration.png": b"\x89PNG"},
        "metrics": {"log_loss_90d": slope, "log_loss_90d_low": 0.1, "log_loss_90d_high": 0.9},
        "tags": {"candidate": "logistic"}, "documents": {"model_card.md": "# Card"},
    }  # fmt: skip
    return TrainingRun(**{**given, **changes})


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """MLflow migrates an empty database through all its history: seconds, so once a session."""
    database = tmp_path_factory.getbasetemp() / "empty-mlflow" / "mlflow.db"
    if not database.exists():
        MlflowModelStore(f"sqlite:///{database}")._client.search_experiments()
    return database


@pytest.fixture(params=["memory", "mlflow"])
def store(request, tmp_path, empty_database):
    if request.param == "memory":
        return MemoryModelStore()
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return MlflowModelStore(f"sqlite:///{tmp_path / 'mlflow.db'}")


def add(store, slope, label="churn"):
    return store.register(label, store.record_run(run(slope, label)))


def promote(store, version, label="churn", day=0, by="ann"):
    return store.promote(label, version, evidence=EVIDENCE, by=by, at=AT + timedelta(days=day))


def slope(bundle: ModelBundle) -> float:
    return float(bundle.form.coefficient[0])


def flags(store, label="churn"):
    return [(v.version, v.is_champion, v.is_challenger) for v in store.versions(label)]


def test_a_new_store_has_nothing_and_says_what_to_do(store):
    assert store.versions("churn") == ()
    assert store.history("churn") == ()
    assert store.challenger("churn") is None
    for ask in (store.champion, store.champion_version):
        with pytest.raises(NoChampionError, match=r"No version of 'churn' .*keepwell train churn"):
            ask("churn")


def test_versions_count_from_one_and_keep_what_the_run_said(store):
    assert [add(store, 1.0), add(store, 2.0)] == [1, 2]
    first, second = store.versions("churn")
    assert (first.version, second.version) == (1, 2)
    assert first.run_name == "churn 1.0"
    assert first.run_id != second.run_id
    assert second.metrics == {
        "log_loss_90d": 2.0,
        "log_loss_90d_low": 0.1,
        "log_loss_90d_high": 0.9,
    }
    assert second.fingerprint == bundle(2.0).fingerprint
    assert slope(store.load("churn", 1)) == 1.0
    assert slope(store.load("churn", 2)) == 2.0


def test_a_registered_version_is_a_challenger_and_no_champion(store):
    add(store, 1.0)
    assert flags(store) == [(1, False, True)]
    assert slope(store.challenger("churn")) == 1.0
    with pytest.raises(NoChampionError):
        store.champion("churn")


def test_a_promoted_version_is_the_champion_and_no_challenger(store):
    add(store, 1.0)
    change = promote(store, 1)
    assert change == ChampionChange(version=1, how="promoted", by="ann", at=AT, evidence=EVIDENCE)
    assert flags(store) == [(1, True, False)]
    assert store.champion_version("churn").version == 1
    assert slope(store.champion("churn")) == 1.0
    assert store.challenger("churn") is None


def test_the_newest_version_challenges_the_champion(store):
    for value in (1.0, 2.0, 3.0):
        add(store, value)
    promote(store, 1)
    assert flags(store) == [(1, True, False), (2, False, False), (3, False, True)]
    assert slope(store.challenger("churn")) == 3.0


def test_promotion_changes_the_champion_and_is_remembered_with_its_evidence(store):
    add(store, 1.0)
    add(store, 2.0)
    changes = (promote(store, 1), promote(store, 2, day=1, by="bob"))
    assert slope(store.champion("churn")) == 2.0
    assert store.history("churn") == changes
    assert changes[1].by == "bob"
    assert changes[1].at == AT + timedelta(days=1)
    assert store.history("churn")[1].evidence == EVIDENCE


def test_promoting_the_champion_again_changes_nothing(store):
    add(store, 1.0)
    first = promote(store, 1)
    assert promote(store, 1, day=3, by="bob") == first
    assert store.history("churn") == (first,)


def test_two_promotions_on_the_same_evidence_one_wins_and_the_other_is_told(store):
    for value in (1.0, 2.0, 3.0):
        add(store, value)
    promote(store, 1)
    known = len(store.history("churn"))
    store.promote("churn", 2, evidence=EVIDENCE, by="bob", at=AT, known_changes=known)
    with pytest.raises(ChampionChangedError, match="meanwhile: bob made version 2 serve"):
        store.promote("churn", 3, evidence=EVIDENCE, by="eve", at=AT, known_changes=known)
    assert [c.version for c in store.history("churn")] == [1, 2]
    assert flags(store) == [(1, False, False), (2, True, False), (3, False, True)]
    now = len(store.history("churn"))
    store.promote("churn", 3, evidence=EVIDENCE, by="eve", at=AT, known_changes=now)
    assert slope(store.champion("churn")) == 3.0


def test_there_and_back_is_a_change_too(store):
    for value in (1.0, 2.0):
        promote(store, add(store, value))
    store.rollback("churn", by="eve", at=AT)
    add(store, 3.0)
    with pytest.raises(ChampionChangedError, match="eve made version 1 serve"):
        store.promote("churn", 3, evidence=EVIDENCE, by="ann", at=AT, known_changes=1)


def test_a_request_moves_nothing_and_waits(store):
    for value in (1.0, 2.0):
        add(store, value)
    promote(store, 1)
    assert store.pending_request("churn") is None
    request = store.request_promotion("churn", 2, evidence=EVIDENCE, by="ann", at=AT)
    assert request == PromotionRequest(version=2, by="ann", at=AT, evidence=EVIDENCE, changes=1)
    assert store.pending_request("churn") == request
    assert store.pending_request("expansion") is None
    assert flags(store) == [(1, True, False), (2, False, True)]


def test_the_newest_request_counts(store):
    for value in (1.0, 2.0):
        add(store, value)
    store.request_promotion("churn", 2, evidence=EVIDENCE, by="ann", at=AT)
    newer = store.request_promotion("churn", 1, evidence={}, by="bob", at=AT)
    assert store.pending_request("churn") == newer


def test_a_request_is_void_after_another_change_of_the_champion(store):
    for value in (1.0, 2.0):
        add(store, value)
    store.request_promotion("churn", 2, evidence=EVIDENCE, by="ann", at=AT)
    promote(store, 1)
    assert store.pending_request("churn") is None


def test_who_approved_is_remembered(store):
    add(store, 1.0)
    change = store.promote("churn", 1, evidence=EVIDENCE, by="ann", at=AT, approved_by="bob")
    assert change.approved_by == "bob"
    assert store.history("churn") == (change,)


def test_what_is_not_there_can_not_be_asked_for(store):
    with pytest.raises(UnknownModelError, match="'churn' has no version 1"):
        store.request_promotion("churn", 1, evidence={}, by="ann", at=AT)


def test_promoting_what_is_not_there_changes_nothing(store):
    add(store, 1.0)
    promote(store, 1)
    for version in (0, 2, -1):
        with pytest.raises(UnknownModelError, match=f"'churn' has no version {version}"):
            promote(store, version)
    assert len(store.history("churn")) == 1


def test_rollback_undoes_one_promotion_at_a_time(store):
    for value in (1.0, 2.0, 3.0):
        promote(store, add(store, value))
    change = store.rollback("churn", by="eve", at=AT)
    assert (change.version, change.how, change.by, change.evidence) == (2, "rolled back", "eve", {})
    assert slope(store.champion("churn")) == 2.0
    assert store.rollback("churn", by="eve", at=AT).version == 1
    assert [c.version for c in store.history("churn")] == [1, 2, 3, 2, 1]
    with pytest.raises(NothingToRollBackError, match="No champion of 'churn' came before this"):
        store.rollback("churn", by="eve", at=AT)
    assert slope(store.champion("churn")) == 1.0


def test_what_was_rolled_back_can_be_promoted_again(store):
    for value in (1.0, 2.0):
        promote(store, add(store, value))
    store.rollback("churn", by="eve", at=AT)
    promote(store, 2, day=2)
    assert slope(store.champion("churn")) == 2.0
    assert store.rollback("churn", by="eve", at=AT).version == 1


def test_a_version_that_was_rolled_back_is_no_challenger(store):
    for value in (1.0, 2.0):
        promote(store, add(store, value))
    store.rollback("churn", by="eve", at=AT)
    assert store.challenger("churn") is None


def test_rollback_without_a_champion_is_refused(store):
    add(store, 1.0)
    with pytest.raises(NothingToRollBackError):
        store.rollback("churn", by="eve", at=AT)


def test_models_do_not_mix(store):
    add(store, 1.0)
    add(store, 5.0, "churn-formula")
    add(store, 7.0, "expansion")
    promote(store, 1, "churn-formula")
    assert slope(store.champion("churn-formula")) == 5.0
    assert slope(store.load("expansion", 1)) == 7.0
    assert store.history("churn") == store.history("expansion") == ()
    with pytest.raises(NoChampionError):
        store.champion("churn")


def test_loading_what_is_not_there_is_refused(store):
    add(store, 1.0)
    for version in (0, 2, -1):
        with pytest.raises(UnknownModelError, match=f"'churn' has no version {version}"):
            store.load("churn", version)


@pytest.mark.parametrize("run_id", ["run-77", "0" * 32])
def test_registering_a_run_that_is_not_there_is_refused(store, run_id):
    with pytest.raises(UnknownModelError, match=f"no finished run '{run_id}' of the model 'churn'"):
        store.register("churn", run_id)


def test_registering_the_run_of_another_model_is_refused(store):
    run_id = store.record_run(run(1.0, "expansion"))
    with pytest.raises(UnknownModelError, match=r"no finished run .* of the model 'churn'"):
        store.register("churn", run_id)
    assert store.versions("churn") == ()


def test_a_run_of_an_unknown_model_can_not_be_made():
    with pytest.raises(UnknownModelError, match="no model 'love'; there are churn, expansion"):
        run(1.0, "love")


def test_a_run_whose_bundle_predicts_something_else_can_not_be_made():
    with pytest.raises(ModelStoreError, match="'expansion' cannot be a 'churn-formula' model"):
        replace(run(1.0, "churn-formula"), bundle=bundle(1.0, "expansion"))


def test_a_plot_that_is_no_png_can_not_be_kept():
    with pytest.raises(ModelStoreError, match=r"'a.jpg' needs a name that ends in \.png"):
        run(1.0, plots={"a.jpg": b""})


def test_more_numbers_than_fit_in_one_request_are_kept(store):
    many = {f"m{i}": float(i) for i in range(1003)}
    params = {f"p{i}": i for i in range(103)}
    store.register("churn", store.record_run(run(1.0, metrics=many, params=params)))
    assert store.versions("churn")[0].metrics == many


def test_what_a_training_kept_beside_its_bundle_is_found_by_name(store):
    version = add(store, 0.5)
    assert store.load_document("churn", version, "model_card.md") == b"# Card"
    assert store.load_document("churn", version, "plots/calibration.png") == b"\x89PNG"
    for name in ("plots/other.png", "calibration.png", "none.md", "../../mlflow.db", "plots"):
        assert store.load_document("churn", version, name) is None
    with pytest.raises(UnknownModelError, match="has no version 7"):
        store.load_document("churn", 7, "model_card.md")
