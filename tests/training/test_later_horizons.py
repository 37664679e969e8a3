from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.calibration import sigmoid
from training.calibration import fit_calibration, with_horizon
from training.labels import Label, LabelError, label_named
from training.later_horizons import judge_later
from training.prepare import prepare
from training.specs import LOGISTIC


@pytest.fixture(scope="module")
def company(small_company):
    return small_company(n_accounts=300, months=30, leaves=0.025)


@pytest.fixture(scope="module")
def prepared(company):
    return prepare(label_named("churn"), events=company.events, reader=company.reader,
                   digests=company.digests, cutoffs=company.cutoffs,
                   known_until=company.known_until)


@pytest.fixture(scope="module")
def result(company):
    return company.train(trials=0)


@pytest.fixture(scope="module")
def rows(company):
    return company.reader(pl.DataFrame({"account_id": [f"a{i:03}" for i in range(300)]})
                          .with_columns(as_of=pl.lit(company.known_until)
                                        .cast(pl.Datetime("us", "UTC"))))


def test_half_a_year_is_served_and_a_year_is_not_estimable(result) -> None:
    assert result.bundle.horizons == (30, 60, 90, 180)
    assert "365 days: not estimable. 30 cutoffs are too few" in result.summary
    assert set(result.bundle.not_estimable) == {365}
    assert result.bundle.metrics["log_loss_180d"] == (
        result.later[180][result.best.name]["log_loss"].value)


def test_probabilities_never_fall_over_the_served_horizons(result, rows) -> None:
    bounds = [(result.bundle.probability(rows, h), *result.bundle.probability_interval(rows, h))
              for h in result.bundle.horizons]
    for near, far in pairwise(bounds):
        for a, b in zip(near, far, strict=True):
            assert (a <= b).all()


def test_to_ask_for_longer_horizons_changes_nothing_that_is_said_of_the_shorter(
    result, company, rows) -> None:
    shorter = company.train(trials=0, horizons=(30, 60, 90))
    for h in (30, 60, 90):
        assert np.array_equal(shorter.bundle.probability(rows, h),
                              result.bundle.probability(rows, h))
    assert shorter.metrics == result.metrics


def test_a_longer_horizon_is_judged_beside_formula_and_base_rate(result) -> None:
    assert set(result.later[180]) == {result.best.name, "formula", "base_rate"}
    losses = {name: m["log_loss"].value for name, m in result.later[180].items()}
    assert losses[result.best.name] < losses["base_rate"]


def test_a_score_that_is_no_better_than_the_base_rate_there_is_not_served(small_company) -> None:
    result = small_company(n_accounts=300, months=30, leaves=0.025, told=0.0).train(trials=0)
    assert result.bundle.horizons == (30, 60, 90)
    assert "180 days: not estimable. On later rows its log loss is" in result.summary
    assert "no better than the" in result.bundle.not_estimable[180]


def test_what_is_decided_after_the_test_opens_is_not_learned_from(prepared) -> None:
    training, later = prepared.training, prepared.later
    draws = np.ones((1, len(training.accounts)))
    opens = later.test[180][0]
    late = np.array([[(cutoff + timedelta(days=h)) > opens
                      for h in training.horizons]
                     for cutoff in training.cutoffs])[training.cutoff]
    spoiled = replace(training, outcomes=np.where(late, 1 - training.outcomes, training.outcomes))
    assert not np.array_equal(spoiled.outcomes, training.outcomes, equal_nan=True)
    one, two = (judge_later(LOGISTIC, given, later, 180, LOGISTIC.parameters, draws, seed=0)
                for given in (training, spoiled))
    assert one == two


def test_rows_that_leave_within_the_short_horizon_leave_within_the_long_one(prepared) -> None:
    short, long = prepared.training.outcome, prepared.later.outcomes[180]
    known = ~np.isnan(short) & ~np.isnan(long)
    assert (long[known] >= short[known]).all()
    assert long[known].mean() > 1.5 * short[known].mean()


@pytest.mark.parametrize("later", [(60,), (90, 180), (365, 180), (180, 180)])
def test_later_horizons_are_longer_and_in_order(later) -> None:
    with pytest.raises(LabelError, match="needs later horizons in rising order"):
        Label(name="x", description="", outcome="churn", horizons=(30, 90), later=later)


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.floats(0.0, 2.0), st.floats(-4.0, 1.0))
def test_an_added_horizon_keeps_the_others_and_never_falls(seed, slope, level) -> None:
    rng = np.random.default_rng(seed)
    f = rng.normal(size=120)
    chance = rng.random(120)
    outcomes = np.column_stack([chance < sigmoid(a + slope * f) for a in (-2.0, -1.0)])
    accounts = np.arange(120) // 3
    if not 0 < outcomes[:, -1].sum() < 120:
        return
    fit = fit_calibration(f, outcomes.astype(float), accounts, n_draws=20, rng=rng)
    longer = with_horizon(fit, f, (chance < sigmoid(level + slope * f)).astype(float), accounts,
                          rng=rng)
    assert longer.slope == fit.slope
    assert np.array_equal(longer.intercepts[:-1], fit.intercepts)
    assert np.array_equal(longer.draws[:, :-1], fit.draws)
    assert longer.intercepts[-1] >= fit.intercepts[-1]
    assert (longer.draws[:, -1] >= longer.draws[:, -2]).all()
    longer.for_serving((30, 90, 180))  # which refuses a probability that falls


def test_the_probabilities_of_an_added_horizon_sum_to_its_outcomes() -> None:
    rng = np.random.default_rng(2)
    f, accounts = rng.normal(size=3000), np.arange(3000)
    near, far = ((rng.random(3000) < sigmoid(a + f)).astype(float) for a in (-3.0, -1.0))
    fit = fit_calibration(f, near[:, None], accounts, n_draws=200, rng=rng)
    longer = with_horizon(fit, f, far, accounts, rng=rng)
    assert longer.probability(f, 1).mean() == pytest.approx(far.mean(), abs=1e-3)
    assert 0.02 < longer.draws[:, -1].std() < 0.2
