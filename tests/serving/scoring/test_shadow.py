from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from keepwell_command import run_keepwell
from small_company import AS_OF, READS, add_model, make_bundle

from features.compute.snapshot_store import SnapshotStore
from features.workspace import Workspace
from registry.store.mlflow import MlflowModelStore
from registry.store.store import MemoryModelStore, TrainingRun
from serving.scoring.shadow import SCHEMA, ShadowError, ShadowFiles, compare, shadow, summarise

ROOT = Path(__file__).parents[3]
OTHER = [0.2, -0.1, -0.9, 0.4, 0.3]


def challenge(store, bundle, label: str = "churn") -> int:
    run = TrainingRun(label=label, name="new", bundle=bundle, started_at=AS_OF, ended_at=AS_OF)
    return store.register(label, store.record_run(run))


@pytest.fixture
def place(shared_workspace, tmp_path) -> Workspace:
    """The small company, to write beside."""
    return Workspace(shutil.copytree(shared_workspace.root, tmp_path / "ws"), environment={})


@pytest.fixture
def both(place) -> MemoryModelStore:
    """A champion and a challenger."""
    store = MemoryModelStore()
    add_model(store, "churn", make_bundle(place, READS, [0.9, -0.7, -0.2, 0.1, -0.3]))
    challenge(store, make_bundle(place, READS, OTHER))
    return store


def test_both_probabilities_of_every_account_are_kept(place, both):
    told = shadow(place, both, AS_OF)
    assert told == (
        "churn: 47 accounts also scored by challenger version 2; see keepwell models shadow churn.",
        "expansion: there is no champion, so nothing was compared.",
    )
    kept = ShadowFiles(place.shadow_dir).newest("churn")
    assert dict(kept.schema) == SCHEMA
    assert kept.height == 47  # the 48th has left
    assert set(kept["champion_version"]) == {1}
    assert set(kept["challenger_version"]) == {2}
    frame = SnapshotStore(place.snapshots_dir).read(AS_OF)
    for name, version in (("champion", 1), ("challenger", 2)):
        bundle = both.load("churn", version)
        expected = frame.select("account_id").with_columns(
            p=pl.Series(bundle.probability(bundle.contract.matrix(frame), 90))
        )
        joined = kept.join(expected, on="account_id")
        assert joined[f"{name}_probability"].equals(joined["p"], check_names=False)


def test_the_same_again_replaces_and_a_later_challenger_comes_first(place, both):
    shadow(place, both, AS_OF)
    shadow(place, both, AS_OF)
    assert len(list(place.shadow_dir.rglob("*.parquet"))) == 1
    for _ in range(9):
        challenge(both, make_bundle(place, READS, OTHER))
    shadow(place, both, AS_OF)
    assert len(list(place.shadow_dir.rglob("*.parquet"))) == 2
    assert ShadowFiles(place.shadow_dir).newest("churn")["challenger_version"][0] == 11


def test_a_challenger_of_other_features_is_a_sentence(place, both):
    bundle = make_bundle(place, READS, OTHER)
    older = replace(bundle.contract.features[0], digest="of before")
    contract = replace(bundle.contract, features=(older, *bundle.contract.features[1:]))
    challenge(both, replace(bundle, contract=contract))
    (churn, _) = shadow(place, both, AS_OF)
    assert churn.startswith("churn: nothing was compared, because ")
    assert READS[0] in churn
    assert not place.shadow_dir.exists()


def test_two_without_a_common_horizon_are_not_compared(place, both):
    frame = SnapshotStore(place.snapshots_dir).read(AS_OF)
    growing = make_bundle(place, READS, OTHER, "expansion")
    short = replace(
        growing, base_rates={30: 0.1}, calibration=replace(growing.calibration, horizons=(30,))
    )
    with pytest.raises(ShadowError, match="no horizon in common"):
        compare(frame, growing, short, versions=(1, 2), digests={})


def test_nobody_left_is_nobody_to_compare(place, both):
    frame = SnapshotStore(place.snapshots_dir).read(AS_OF).clear()
    with pytest.raises(ShadowError, match="no account has a running contract"):
        compare(frame, both.champion("churn"), both.load("churn", 2), versions=(1, 2), digests={})


def test_nothing_kept_says_what_to_do(tmp_path):
    with pytest.raises(ShadowError, match=r"keepwell score --shadow --out FILE"):
        ShadowFiles(tmp_path).newest("churn")


def table(champion: list[float], challenger: list[float], tiers: list[tuple[str, str]]):
    size = len(champion)
    return pl.DataFrame(
        {
            "account_id": [f"a{n}" for n in range(size)],
            "as_of": [AS_OF] * size,
            "horizon_days": [90] * size,
            "champion_version": [3] * size,
            "challenger_version": [4] * size,
            "champion_probability": champion,
            "challenger_probability": challenger,
            "champion_tier": [one for one, _ in tiers],
            "challenger_tier": [other for _, other in tiers],
        }
    )


def test_a_summary_counts_what_would_change():
    tiers = [("low", "critical"), ("high", "medium"), ("low", "low"), ("medium", "high")]
    found = summarise(
        "churn", table([0.1, 0.3, 0.05, 0.2], [0.9, 0.2, 0.05, 0.3], tiers), largest=2
    )
    assert (found.to_higher_tier, found.to_lower_tier) == (2, 1)
    assert [one.account_id for one in found.largest] == ["a0", "a1"]  # 0.1 twice: the first name
    assert found.mean_distance == pytest.approx(0.25)
    assert found.agreement == pytest.approx(np.corrcoef([2, 4, 1, 3], [4, 2, 1, 3])[0, 1])
    assert "a0: 10.0% and 90.0%" in found.lines()[3]


def test_one_that_says_the_same_of_everybody_has_no_order():
    found = summarise("churn", table([0.1, 0.1], [0.2, 0.3], [("low", "low")] * 2))
    assert found.agreement is None
    assert "Rank agreement not known" in found.lines()[1]


def test_the_command_keeps_both_and_its_file_is_the_same(place):
    store = MlflowModelStore(place.tracking_uri)
    add_model(store, "churn", make_bundle(place, READS, [0.9, -0.7, -0.2, 0.1, -0.3]))
    challenge(store, make_bundle(place, READS, OTHER))
    here = place.root.parent

    def keepwell(*words: str) -> subprocess.CompletedProcess[str]:
        return run_keepwell(*words, "-w", "ws", cwd=here, columns=400)

    plain = keepwell("score", "--out", "plain.parquet")
    assert plain.returncode == 0, plain.stderr
    assert not place.shadow_dir.exists()
    done = keepwell("score", "--out", "shadowed.parquet", "--shadow")
    assert done.returncode == 0, done.stderr
    assert "churn: 47 accounts also scored by challenger version 2" in done.stdout
    assert (here / "plain.parquet").read_bytes() == (here / "shadowed.parquet").read_bytes()
    told = keepwell("models", "shadow", "churn")
    assert told.returncode == 0, told.stderr
    assert f"as of {AS_OF:%Y-%m-%d}: champion version 1 beside challenger version 2" in told.stdout
    nothing = keepwell("models", "shadow", "expansion")
    assert nothing.returncode == 3
    assert "No expansion challenger was scored" in nothing.stderr
