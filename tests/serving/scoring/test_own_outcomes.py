"""The more of a company's customers left or stayed, the less its prior counts."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from small_company import AS_OF

from features.compute.snapshot_store import SnapshotStore
from features.workspace import Workspace
from registry.store.store import MemoryModelStore
from serving.scoring.first_day.own_outcomes import NONE, OwnOutcomes, moved, outcomes_of
from serving.scoring.first_day.prior import (
    RATE_SPREAD,
    SLOPE,
    SLOPE_SPREAD,
    first_day_model,
    prior_model,
    said_of_prior,
)
from serving.scoring.models_served import models_of

DAYS = 30.0
USUAL, STATED = 70.0, -3.0  # log-odds of the stated rate
WEEK = timedelta(days=7)


def world(n: int, *, level: float, slope: float, seed: int = 1) -> OwnOutcomes:
    rng = np.random.default_rng(seed)
    health = rng.uniform(20, 100, n)
    chance = 1 / (1 + np.exp(-(STATED + level + slope * (USUAL - health))))
    left = (rng.random(n) < chance).astype(float)
    return OwnOutcomes(health=health, days=np.full(n, DAYS), left=left)


def learn(outcomes: OwnOutcomes):
    return moved(
        outcomes,
        log_odds=np.full(len(outcomes.left), STATED),
        usual_health=USUAL,
        slope=SLOPE,
        level_spread=RATE_SPREAD,
        slope_spread=SLOPE_SPREAD * SLOPE,
    )


def test_without_outcomes_it_is_the_prior_and_with_many_the_truth() -> None:
    before = learn(NONE)
    assert (before.level, before.slope) == pytest.approx((0.0, SLOPE))
    assert before.covariance == pytest.approx(
        np.diag([RATE_SPREAD**2, (SLOPE_SPREAD * SLOPE) ** 2])
    )
    after = learn(world(20_000, level=1.0, slope=0.02))
    assert after.level == pytest.approx(1.0, abs=0.1)
    assert after.slope == pytest.approx(0.02, abs=0.003)


def test_the_more_outcomes_the_nearer_to_the_truth_and_the_surer() -> None:
    found = [learn(world(n, level=1.0, slope=SLOPE, seed=3)) for n in (0, 300, 3_000, 30_000)]
    gaps = [abs(one.level - 1.0) for one in found]
    assert gaps[0] > 3 * gaps[1]
    assert max(gaps[2:]) < 0.1
    spreads = [one.covariance[0, 0] for one in found]
    assert spreads == sorted(spreads, reverse=True)


def test_healthier_accounts_are_never_likelier_to_leave() -> None:
    against = world(3_000, level=0.0, slope=-0.05)
    assert learn(against).slope > 0
    served = prior_model(0.2, usual_health=USUAL, horizons=(30, 90), formula="f", outcomes=against)
    chance = served.model.probability(np.array([[20.0], [60.0], [100.0]]), 90)
    assert (np.diff(chance) < 0).all()
    low, high = served.model.probability_interval(np.array([[20.0], [60.0], [100.0]]), 90)
    assert ((low <= chance) & (chance <= high)).all()


@pytest.fixture
def watched(own_workspace: Workspace) -> Workspace:
    """Three snapshots four weeks apart and one in between; some accounts left from one to the next."""
    own_workspace.change_settings(yearly_churn=0.2)
    store = SnapshotStore(own_workspace.snapshots_dir)
    frame = store.read(AS_OF)
    for moment in store.moments():
        store.remove(moment)
    running = frame.filter(~pl.col("contract_status").is_in(["ended", "none"]))
    names = running.sort("account_id")["account_id"].to_list()
    for weeks, gone in ((8, 0), (6, 0), (4, 6), (0, 10)):
        is_gone = pl.col("account_id").is_in(names[:gone])
        store.write(
            running.with_columns(
                as_of=pl.lit(AS_OF - weeks * WEEK).cast(pl.Datetime("us", "UTC")),
                contract_status=pl.when(is_gone)
                .then(pl.lit("ended"))
                .otherwise(pl.col("contract_status")),
            )
        )
    return own_workspace


def test_each_account_counts_once_in_each_of_windows_that_follow_one_another(
    watched: Workspace,
) -> None:
    found = outcomes_of(watched)
    assert found.n_left == 10
    assert set(found.days) == {28.0}
    customers = (
        SnapshotStore(watched.snapshots_dir)
        .read(AS_OF)
        .filter(pl.col("health_score").is_not_null())
    )
    assert len(found.left) == 2 * customers.height - 6  # six were gone after the first window
    said = said_of_prior(watched)
    assert "not yet learned from your data" in said
    assert f"10 left of {len(found.left)} that were looked at" in said
    assert models_of(watched, MemoryModelStore()).churn_formula is first_day_model(watched)


def test_a_damaged_snapshot_tells_nothing_and_stops_nothing(watched: Workspace) -> None:
    store = SnapshotStore(watched.snapshots_dir)
    path = store.path(AS_OF - 4 * WEEK)
    path.write_bytes(path.read_bytes()[:200])
    assert set(outcomes_of(watched).days) == {42.0}  # from six weeks before


def test_a_model_that_cannot_be_used_is_no_reason_for_a_prior(
    watched: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from registry.bundle.bundle import BundleError
    from registry.store.store import NoChampionError

    store = MemoryModelStore()

    def champion(label: str) -> object:
        if label == "churn":
            raise BundleError("it was altered")
        raise NoChampionError(label)

    monkeypatch.setattr(store, "champion_version", champion)
    models = models_of(watched, store)
    assert models.churn is models.churn_formula is None
    assert "it was altered" in models.refusals["churn"]
    assert "learned from your data" not in models.refusals["churn"]
