from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from registry.bundle.calibration import sigmoid
from training.dataset.labels import Label, LabelError, cohort_rows, label_named
from training.models.calibration import CalibrationFit
from training.models.fitting.fit_rows import usable_columns
from training.models.fitting.held_out import scores_by_fifths
from training.models.long_horizons import (
    fit_long_horizons,
    label_long_horizons,
    long_horizon_probability,
)
from training.models.specs import BASE_RATE, LOGISTIC
from training.pipeline.prepare import prepare


@pytest.fixture(scope="module")
def company(small_company):
    return small_company(n_accounts=300, months=30, leaves=0.025)


@pytest.fixture(scope="module")
def prepared(company):
    return prepare(
        label_named("churn"),
        events=company.events,
        reader=company.reader,
        digests=company.digests,
        cutoffs=company.cutoffs,
        known_until=company.known_until,
    )


@pytest.fixture(scope="module")
def result(company):
    return company.train(trials=0)


def near_of(training, columns):
    """The logistic regression's score of every row, by a fit without its account."""
    return scores_by_fifths(
        LOGISTIC, training, ~np.isnan(training.outcome), columns, LOGISTIC.parameters, seed=0
    )


def no_scores(training):
    return np.zeros(len(training.outcome))


@pytest.fixture(scope="module")
def rows(company):
    return company.reader(
        pl.DataFrame({"account_id": [f"a{i:03}" for i in range(300)]}).with_columns(
            as_of=pl.lit(company.known_until).cast(pl.Datetime("us", "UTC"))
        )
    )


def test_half_a_year_is_served_and_a_year_is_not_estimable(result) -> None:
    assert result.bundle.horizons == (30, 60, 90, 180)
    assert "365 days: not estimable. 30 cutoffs are too few" in result.summary
    assert set(result.bundle.not_estimable) == {365}
    assert result.bundle.metrics["log_loss_180d"] == (
        result.long_horizon_metrics[180][result.best.name]["log_loss"].value
    )


def test_probabilities_never_fall_over_the_served_horizons(result, rows) -> None:
    bounds = [
        (result.bundle.probability(rows, h), *result.bundle.probability_interval(rows, h))
        for h in result.bundle.horizons
    ]
    for near, far in pairwise(bounds):
        for a, b in zip(near, far, strict=True):
            assert (a <= b).all()


def test_to_ask_for_longer_horizons_changes_nothing_that_is_said_of_the_shorter(
    result, company, rows
) -> None:
    shorter = company.train(trials=0, horizons=(30, 60, 90))
    for h in (30, 60, 90):
        assert np.array_equal(
            shorter.bundle.probability(rows, h), result.bundle.probability(rows, h)
        )
    assert shorter.metrics == result.metrics


def test_few_accounts_give_the_far_a_slope_and_no_fit_and_the_summary_says_so(result) -> None:
    (far,) = result.bundle.long_horizons
    assert far.form is None
    assert 0 < far.slope < 1.5
    assert (
        "180 days: only a slope of its own on the score of the shorter horizons" in result.summary
    )
    assert "fewer than 150" in result.bundle.metadata.notes["later_180d"]


def test_enough_accounts_give_the_far_a_fit_of_its_own(prepared, monkeypatch) -> None:
    training, long = prepared.training, prepared.long_horizons
    columns = usable_columns(training, training.rows_at(training.cutoffs[:-3]), LOGISTIC)
    monkeypatch.setattr("training.models.long_horizons.FEW_ACCOUNTS", 20)
    (far,) = fit_long_horizons(
        LOGISTIC,
        training,
        long.outcomes,
        columns,
        near_of(training, columns),
        at=prepared.known_until,
        seed=0,
    )
    assert far.form is not None
    assert "180 days: a fit of its own, from" in far.sentence
    assert far.form.n_features_read == len(columns)


def test_a_baseline_has_no_fit_of_its_own_however_many_accounts(prepared, monkeypatch) -> None:
    monkeypatch.setattr("training.models.long_horizons.FEW_ACCOUNTS", 20)
    training, long = prepared.training, prepared.long_horizons
    (far,) = fit_long_horizons(
        BASE_RATE,
        training,
        long.outcomes,
        [],
        np.zeros(len(training.outcome)),
        at=prepared.known_until,
        seed=0,
    )
    assert far.form is None


def test_where_too_few_windows_have_closed_the_shorter_horizons_go_on(prepared) -> None:
    training, long = prepared.training, prepared.long_horizons
    near = CalibrationFit(
        intercepts=np.array([-3.0, -2.5, -2.2]),
        slope=1.1,
        draws=np.tile([1.1, -3, -2.5, -2.2], (5, 1)),
    )
    (far,) = fit_long_horizons(
        BASE_RATE,
        training,
        long.outcomes,
        [],
        no_scores(training),
        at=training.cutoffs[4] + timedelta(days=100),  # windows of 90 days have closed, none of 180
        seed=0,
        calibration=near,
    )
    f = np.array([0.0, 0.5])
    assert far.log_odds(f, np.empty((2, 0))) == pytest.approx(-2.2 + 1.1 * f)  # as long, as likely
    assert far.sentence.startswith("180 days: at the rate of the shorter horizons")
    assert far.rate > training.outcome[~np.isnan(training.outcome)].mean()


def test_a_model_that_knows_dates_needs_no_closed_window(prepared, company) -> None:
    labels = prepared.long_horizons
    assert (labels.horizons, labels.by_date) == ((180,), ())  # it reads no date
    training = prepared.training
    dated = replace(
        training,
        names=(*training.names, "days_to_renewal"),
        matrix=np.column_stack((training.matrix, np.full(len(training.outcome), 40.0))),
    )
    found = label_long_horizons(
        training.label,
        dated,
        company.events,
        cohort_rows(training.label, company.events, training.cutoffs),
        known_until=prepared.known_until,
    )
    assert (found.horizons, found.by_date) == ((180,), (365,))
    assert found.with_dates().horizons == (180, 365)
    assert 365 in found.not_estimable
    assert not found.with_dates().not_estimable


def test_the_far_chance_is_that_of_those_who_are_still_there(prepared) -> None:
    training, long = prepared.training, prepared.long_horizons
    (far,) = fit_long_horizons(
        BASE_RATE,
        training,
        long.outcomes,
        [],
        np.zeros(len(training.outcome)),
        at=prepared.known_until,
        seed=0,
    )
    f = np.zeros(1)
    q = float(sigmoid(far.log_odds(f, np.empty((1, 0))))[0])
    closed = [
        place
        for place, cutoff in enumerate(training.cutoffs)
        if cutoff + timedelta(days=180) <= prepared.known_until
    ]
    newest = np.isin(training.cutoff, closed[-math.ceil(len(closed) / 3) :])
    there = newest & (training.outcome == 0) & ~np.isnan(long.outcomes[180])
    assert q == pytest.approx(long.outcomes[180][there].mean(), abs=0.01)
    whole = long.outcomes[180][newest & ~np.isnan(long.outcomes[180])]
    assert far.rate == pytest.approx(whole.mean(), abs=0.01)


def test_a_longer_horizon_is_judged_beside_formula_and_base_rate(result) -> None:
    assert set(result.long_horizon_metrics[180]) == {result.best.name, "formula", "base_rate"}
    losses = {name: m["log_loss"].value for name, m in result.long_horizon_metrics[180].items()}
    assert losses[result.best.name] < losses["base_rate"]


def test_a_score_that_is_no_better_than_the_base_rate_there_is_not_served(small_company) -> None:
    result = small_company(n_accounts=300, months=30, leaves=0.025, told=0.0).train(trials=0)
    assert result.bundle.horizons == (30, 60, 90)
    assert "180 days: not estimable. On later rows its log loss is" in result.summary
    assert "of the draws of accounts, and 80% are required" in result.bundle.not_estimable[180]


def test_what_is_decided_after_the_test_opens_is_not_learned_from(prepared) -> None:
    training, long = prepared.training, prepared.long_horizons
    opens = long.test[180][0]
    late = np.array(
        [
            [(cutoff + timedelta(days=h)) > opens for h in training.horizons]
            for cutoff in training.cutoffs
        ]
    )[training.cutoff]
    spoiled = replace(training, outcomes=np.where(late, 1 - training.outcomes, training.outcomes))
    assert not np.array_equal(spoiled.outcomes, training.outcomes, equal_nan=True)
    far = long.outcomes[180]
    reached = training.cutoff >= next(
        place
        for place, cutoff in enumerate(training.cutoffs)
        if cutoff + timedelta(days=180) > opens
    )
    turned = np.where(reached, 1 - far, far)
    rows = training.rows_at(long.test[180])
    one, two = (
        long_horizon_probability(
            LOGISTIC, given, {180: said}, rows, LOGISTIC.parameters, at=opens, seed=0
        )[180]
        for given, said in ((training, far), (spoiled, turned))
    )
    assert np.array_equal(one, two)


def test_rows_that_leave_within_the_short_horizon_leave_within_the_long_one(prepared) -> None:
    short, long = prepared.training.outcome, prepared.long_horizons.outcomes[180]
    known = ~np.isnan(short) & ~np.isnan(long)
    assert (long[known] >= short[known]).all()
    assert long[known].mean() > 1.5 * short[known].mean()


@pytest.mark.parametrize("long_horizons", [(60,), (90, 180), (365, 180), (180, 180)])
def test_long_horizons_are_longer_and_in_order(long_horizons) -> None:
    with pytest.raises(LabelError, match="needs long horizons in rising order"):
        Label(
            name="x",
            description="",
            rule="contract_ends",
            horizons=(30, 90),
            long_horizons=long_horizons,
        )


@pytest.fixture(scope="module")
def renewing(prepared):
    """The same rows with a renewal date: whoever leaves after 90 days has it within 180."""
    training, long = prepared.training, prepared.long_horizons
    rng = np.random.default_rng(4)
    leaves = (long.outcomes[180] == 1) & (training.outcome == 0)
    days = np.where(
        leaves | (rng.random(len(leaves)) < 0.5),
        rng.uniform(1, 179, len(leaves)),
        rng.uniform(181, 360, len(leaves)),
    )
    return replace(
        training,
        names=(*training.names, "days_to_renewal"),
        matrix=np.column_stack((training.matrix, days)),
    )


def far_of(training, prepared, columns=None):
    columns = list(range(len(training.names))) if columns is None else columns
    (far,) = fit_long_horizons(
        LOGISTIC,
        training,
        prepared.long_horizons.outcomes,
        columns,
        near_of(training, columns),
        at=prepared.known_until,
        seed=0,
    )
    return far


def test_a_contract_that_outlasts_the_horizon_hardly_ends_in_the_time_before_it(
    renewing,
    prepared,
) -> None:
    far = far_of(renewing, prepared)
    matrix = np.tile(renewing.matrix[0], (4, 1))
    matrix[:, -1] = (10, 179, 180, 350)
    soon, last, beyond, long = sigmoid(far.log_odds(np.zeros(4), matrix))
    assert soon == last
    assert beyond == long
    assert beyond < soon / 5
    assert not far.has_own_fit
    assert "180 days: only a slope of its own on the score of the shorter horizons" in far.sentence


def test_where_no_contract_outlasts_the_horizon_there_is_no_step(renewing, prepared) -> None:
    none = replace(
        renewing,
        matrix=np.column_stack((renewing.matrix[:, :-1], np.minimum(renewing.matrix[:, -1], 179))),
    )
    assert far_of(none, prepared).form is None
    unknown = replace(
        renewing,
        matrix=np.column_stack((renewing.matrix[:, :-1], np.full(len(renewing.matrix), np.nan))),
    )
    assert far_of(unknown, prepared).form is None


def test_a_model_that_does_not_read_the_renewal_has_no_step(renewing, prepared) -> None:
    assert far_of(renewing, prepared, list(range(len(renewing.names) - 1))).form is None


def test_the_step_and_a_fit_of_its_own_stand_beside_each_other(
    renewing,
    prepared,
    monkeypatch,
) -> None:
    monkeypatch.setattr("training.models.long_horizons.FEW_ACCOUNTS", 20)
    far = far_of(renewing, prepared)
    assert far.has_own_fit
    assert far.form.coefficient[-1] < -1  # the step, hardly penalised
    assert (far.form.coefficient[:-1] != 0).sum() > 3
    assert np.abs(far.form.coefficient[:-1]).max() < 0.5
