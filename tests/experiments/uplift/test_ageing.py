"""Measurements age where the newest trials say so with confidence, and nowhere else."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from experiments.causal.estimators.aipw import cross_fit
from experiments.causal.sample import NO_ACTION, Sample, SampleError
from experiments.uplift.ageing import (
    NO_AGEING,
    age_weights,
    estimate_ageing,
    segment_weights,
    weight_by_age,
)
from experiments.uplift.effect_records import Measurement, action_effects

ROWS = 6_000
DAYS = 900.0
AT = datetime(2026, 3, 2, tzinfo=UTC)
MEASURED = Measurement(
    outcome="retention", horizon_days=90, measured_from=AT, measured_to=AT, source="a test"
)


def trials(seed, then, now, *, rows=ROWS):
    """Scores of trials over 900 days, whose effect went from one number to another half-way."""
    rng = np.random.default_rng(seed)
    age = np.sort(rng.random(rows) * DAYS)[::-1].copy()
    age -= age.min()
    effect = np.where(age > DAYS / 2, then, now)
    return effect + rng.normal(size=rows), age, np.arange(rows)


def found(seed, then, now, **settings):
    score, age, cluster = trials(seed, then, now, **settings)
    return estimate_ageing(score, age, cluster, follow_up_days=90)


def test_an_effect_that_stays_does_not_age():
    moved = [found(seed, 0.2, 0.2).half_life_days is not None for seed in range(60)]
    assert sum(moved) <= 6  # 5 % of 60 are 3; more than 6 come once in thirty


def test_an_effect_that_turned_ages_and_the_newest_are_predicted_better():
    ageing = found(1, 0.5, -0.3)
    assert ageing.half_life_days in (90.0, 180.0)
    assert ageing.difference < ageing.upper < 0
    assert "trials count half after" in (ageing.words or "")


def test_what_moved_too_little_to_be_seen_is_counted_alike():
    assert found(2, 0.22, 0.18).half_life_days is None
    assert found(2, 0.22, 0.18).words is None


def test_a_history_shorter_than_any_half_life_is_counted_alike():
    score, age, cluster = trials(1, 0.5, -0.5)
    assert estimate_ageing(score, age / 20, cluster, follow_up_days=90) == NO_AGEING


def test_trials_that_were_running_when_a_block_began_predict_nothing_of_it():
    score, age, cluster = trials(1, 0.5, -0.5)
    assert estimate_ageing(score, age, cluster, follow_up_days=2 * DAYS) == NO_AGEING


def test_an_account_that_is_there_often_counts_once():
    score, age, _ = trials(3, 0.35, 0.15)
    alone = estimate_ageing(score, age, np.arange(ROWS), follow_up_days=90)
    few = estimate_ageing(score, age, np.arange(ROWS) % 7, follow_up_days=90)
    assert few.upper - few.difference != pytest.approx(alone.upper - alone.difference)


@pytest.mark.parametrize("age", [[-1.0] * 4, [np.nan] * 4, [1.0] * 3], ids=["below", "nan", "few"])
def test_an_age_that_is_none_is_refused(age):
    with pytest.raises(SampleError, match="Each of the 4 trials needs an age of at least 0 days"):
        estimate_ageing(np.zeros(4), np.array(age), np.arange(4), follow_up_days=90)


def company(seed, then, now, rows=4_000):
    """A lottery of two actions; the first one's effect turned half-way, the second does nothing."""
    rng = np.random.default_rng(seed)
    age = np.linspace(DAYS, 0, rows)
    arm = rng.integers(0, 3, rows)
    gain = np.where(age > DAYS / 2, then, now)
    stays = (rng.random(rows) < 0.5 + np.where(arm == 1, gain, 0.0)).astype(float)
    sample = Sample(
        covariates=rng.normal(size=(rows, 2)),
        covariate_names=("a", "b"),
        arm=arm,
        arms=(NO_ACTION, "turns", "nothing"),
        propensity=np.full((rows, 3), 1 / 3),
        segment=rng.choice(["large", "small"], rows),
        cluster=np.arange(rows),
    )
    return cross_fit(sample, stays, rng=rng, repeats=1), stays, age


def records(seed, then, now, *, ages=True):
    scores, stays, age = company(seed, then, now)
    made = action_effects(
        scores,
        stays,
        placebos={},
        measured=MEASURED,
        rng=np.random.default_rng(seed),
        age_days=age if ages else None,
    )
    return {(one.action_id, one.segment): one for one in made.records}


def test_the_records_follow_an_effect_that_turned():
    old, new = records(1, 0.3, -0.3, ages=False), records(1, 0.3, -0.3)
    for segment in (None, "large", "small"):
        before, after = old["turns", segment], new["turns", segment]
        assert abs(before.estimate) < 0.1
        assert after.high < -0.1
        assert after.effective_n < before.effective_n
        assert after.standard_error > before.standard_error
        assert "The effect moves" in after.why
    assert new["nothing", None] == old["nothing", None]
    assert new["turns", None].grade == "A"


def test_where_nothing_moves_the_records_are_the_same_to_the_bit():
    assert records(2, 0.1, 0.1) == records(2, 0.1, 0.1, ages=False)


def test_within_a_segment_the_weights_are_one_on_average():
    scores, _, age = company(1, 0.1, 0.1)
    weight = segment_weights(scores, age, 180.0)
    for segment in ("large", "small"):
        assert weight[scores.sample.segment == segment].mean() == pytest.approx(1.0)
    assert weight[-1] > weight[0]
    assert age_weights(np.array([0.0, 180.0]), 180.0)[0] == pytest.approx(4 / 3)
    assert np.array_equal(weight_by_age(scores, age, {}).of(1), scores.of(1))


def test_no_trials_do_not_age() -> None:
    none = np.empty(0)
    assert estimate_ageing(none, none, none.astype(np.int64), follow_up_days=90) == NO_AGEING
