"""Held-out scores: no account scores itself, levels are the right ones, horizons have own orders."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from registry.bundle.calibration import sigmoid
from training.dataset.labels import label_named
from training.dataset.training_set import TrainingSet
from training.models.fit import fit
from training.models.fitting.held_out import (
    outcomes_known_at,
    recency,
    score_held_out,
    scores_by_fifths,
)
from training.models.fitting.shares import shared_probability
from training.models.specs import LIGHTGBM, LOGISTIC

START = datetime(2023, 1, 1, tzinfo=UTC)
HORIZONS = (30, 60, 90)
NAMES = ("use", "trouble", "days_to_renewal")


def company(n_accounts: int = 500, months: int = 9, seed: int = 0) -> TrainingSet:
    """Contracts end where they renew; who leaves then is told by use and trouble."""
    rng = np.random.default_rng(seed)
    account = np.tile(np.arange(n_accounts), months)
    cutoff = np.repeat(np.arange(months), n_accounts)
    use = rng.normal(size=n_accounts)[account] + 0.3 * rng.normal(size=len(account))
    trouble = rng.normal(size=len(account))
    renewal = rng.integers(1, 366, len(account)).astype(float)
    leaves = rng.random(len(account)) < sigmoid(-1.0 - use + 0.5 * trouble)
    outcomes = np.column_stack([leaves & (renewal < h) for h in HORIZONS]).astype(float)
    return TrainingSet(
        label=label_named("churn"),
        horizons=HORIZONS,
        names=NAMES,
        digests=dict.fromkeys(NAMES, ""),
        matrix=np.column_stack((use, trouble, renewal)),
        outcomes=outcomes,
        amounts=np.full(len(account), np.nan),
        cutoffs=tuple(START + timedelta(days=30 * month) for month in range(months)),
        cutoff=cutoff,
        accounts=tuple(f"a{n:03}" for n in range(n_accounts)),
        account=account,
    )


AT = START + timedelta(days=30 * 9)


def fitted_rows(training: TrainingSet) -> np.ndarray:
    return ~np.isnan(outcomes_known_at(training, AT)[:, -1])


@pytest.mark.parametrize("spec", [LOGISTIC, LIGHTGBM], ids=lambda spec: spec.name)
def test_an_account_changes_nothing_in_its_own_scores(spec) -> None:
    training = company(n_accounts=120)
    rows, its = fitted_rows(training), training.account == 7
    turned = np.where(its[:, None], 1 - training.outcomes, training.outcomes)
    one, other = (
        scores_by_fifths(spec, given, rows, [0, 1, 2], spec.parameters, seed=1)
        for given in (training, replace(training, outcomes=turned))
    )
    assert np.array_equal(one[its], other[its])
    assert not np.array_equal(one, other)


def test_windows_that_close_later_are_not_known() -> None:
    training = company()
    known = outcomes_known_at(training, AT)
    closed = [[cutoff + timedelta(days=h) <= AT for h in HORIZONS] for cutoff in training.cutoffs]
    assert np.array_equal(~np.isnan(known), np.array(closed)[training.cutoff])


def test_a_row_a_year_older_weighs_half() -> None:
    training = company(months=14)
    weight = dict(zip(training.cutoff, recency(training, AT), strict=True))
    assert weight[9] == weight[13] == 1.0  # at the moment and after it
    assert weight[0] == pytest.approx(0.5 ** (270 / 365))


@pytest.mark.parametrize("spec", [LOGISTIC, LIGHTGBM], ids=lambda spec: spec.name)
@pytest.mark.parametrize("longer", [0.05, 0.95], ids=["most renew soon", "most renew late"])
def test_what_is_promised_to_other_accounts_comes(spec, longer) -> None:
    """Also where the mix of contracts has changed since the older months."""
    training, other = company(n_accounts=700), company(n_accounts=3000, seed=9)
    rng = np.random.default_rng(3)
    later = training.cutoff >= 5
    late = later & (rng.random(len(later)) < longer)
    matrix = training.matrix.copy()
    matrix[late, 2] = rng.integers(95, 366, late.sum())
    training = replace(
        training,
        matrix=matrix,
        outcomes=np.where(late[:, None], 0.0, training.outcomes),
    )
    rows = fitted_rows(training)
    held = score_held_out(spec, training, rows, [0, 1, 2], spec.parameters, at=AT, seed=1)
    model = fit(
        spec,
        training.matrix[rows],
        training.outcome[rows],
        spec.parameters,
        seed=1,
        names=NAMES,
        horizon_days=90,
    )
    f = model.score(other.matrix)
    for position in range(len(HORIZONS)):
        p = shared_probability(held.calibration, held.shares, f, other.matrix, position)
        assert other.outcomes[:, position].mean() / p.mean() == pytest.approx(1.0, abs=0.15)


def test_each_horizon_has_an_order_of_its_own_where_that_is_better() -> None:
    training, other = company(), company(n_accounts=2000, seed=5)
    rows = fitted_rows(training)
    held = score_held_out(LOGISTIC, training, rows, [0, 1, 2], LOGISTIC.parameters, at=AT, seed=1)
    assert [share.horizon for share in held.shares] == [60, 30]
    soon, late = other.matrix.copy(), other.matrix.copy()
    soon[:, 2], late[:, 2] = 10.0, 80.0
    model = fit(LOGISTIC, training.matrix[rows], training.outcome[rows], LOGISTIC.parameters,
                seed=1, names=NAMES, horizon_days=90)  # fmt: skip
    for matrix, share in ((soon, 0.9), (late, 0.2)):
        f = model.score(matrix)
        near, far = (
            shared_probability(held.calibration, held.shares, f, matrix, position).mean()
            for position in (0, 2)
        )
        assert (near / far > share) == (share > 0.5)


def test_where_time_tells_nothing_one_order_serves_all() -> None:
    training = company(n_accounts=400)
    rng = np.random.default_rng(1)
    outcome = training.outcome
    by_lot = rng.integers(0, 3, len(outcome))  # when somebody leaves has nothing to do with them
    outcomes = np.column_stack([outcome * (by_lot <= position) for position in range(3)])
    training = replace(training, outcomes=outcomes)
    held = score_held_out(
        LOGISTIC, training, fitted_rows(training), [0, 1, 2], LOGISTIC.parameters, at=AT, seed=1
    )
    assert held.shares == ()
