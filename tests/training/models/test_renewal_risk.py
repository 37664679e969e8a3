"""The renewal model finds what makes accounts leave when their term ends."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from registry.bundle.calibration import sigmoid
from registry.bundle.renewal_risk import ContractCalendar, RenewalRisk
from training.models import renewal_risk
from training.models.renewal_risk import (
    RenewalRiskError,
    decision_rows,
    fit_renewal_form,
    fit_renewal_risk,
    leads_of,
)

HORIZONS = (30, 60, 90)
CALENDAR = ContractCalendar(renewal=0, months=1)
TRUE = np.array([-3.0, -3.2, -3.4, 1.0, 0.9, 0.8, 0.9, -6.0, 0.5])


def world(n: int = 6000, seed: int = 0, parameters=TRUE, leads=HORIZONS):
    """Accounts with a known risk, and when each of them left, by the formula itself."""
    rng = np.random.default_rng(seed)
    months = rng.choice([1.0, 3.0, 12.0], n)
    days = np.floor(rng.uniform(0, months * 30.4))
    signal, noise = rng.normal(size=n), rng.normal(size=n)
    matrix = np.column_stack((days, months, signal, noise))
    truth = RenewalRisk(
        leads=leads, calendar=CALENDAR, parameters=parameters, draws=np.tile(parameters, (20, 1))
    )
    drawn = rng.random(n)
    outcomes = np.column_stack([drawn < truth.probability(signal, matrix, h) for h in leads])
    return matrix, outcomes.astype(float), truth


def served(f, matrix, outcomes, leads=HORIZONS) -> RenewalRisk:
    found, draws = fit_renewal_risk(
        f, matrix, outcomes, leads, np.arange(len(f)), calendar=CALENDAR,
        weights=np.ones(len(f)), n_draws=100, rng=np.random.default_rng(0),
    )  # fmt: skip
    return RenewalRisk(leads=leads, calendar=CALENDAR, parameters=found, draws=draws)


def test_decisions_are_counted_where_they_fall() -> None:
    matrix = np.array([[10.0, 1, 0, 0], [37, 12, 0, 0], [np.nan, 1, 0, 0], [200, 12, 0, 0]])
    outcomes = np.array([[0, 1, 1], [0, 0, np.nan], [0, 0, 0], [0, 0, 0.0]])
    rows = decision_rows(matrix, outcomes, HORIZONS, CALENDAR)
    asked = sorted(zip(rows.row, rows.interval, rows.left, rows.has_decision, strict=True))
    assert asked == [
        (0, 0, 0.0, True), (0, 1, 1.0, True),  # who left is not asked again
        (1, 0, 0.0, False), (1, 1, 0.0, True),  # what is not decided is not asked
        (3, 0, 0.0, False), (3, 1, 0.0, False), (3, 2, 0.0, False),
    ]  # fmt: skip


def test_the_truth_is_found() -> None:
    matrix, outcomes, truth = world(20_000)
    form = fit_renewal_form(matrix, outcomes, HORIZONS, calendar=CALENDAR, first=[2], strength=0.01)
    f = form.score(matrix)
    assert np.corrcoef(f, matrix[:, 2])[0, 1] > 0.98  # bounded and logged
    assert not form.contributions(matrix)[:, :2].any()  # dates and terms have no part in the score
    ours = served(f, matrix, outcomes)
    for horizon in HORIZONS:
        true = truth.probability(matrix[:, 2], matrix, horizon)
        assert (
            np.abs(ours.probability(f, matrix, horizon) - true).mean() < 0.015
        )  # of .15 that leave


def test_the_intervals_hold_the_truth() -> None:
    held = []
    for seed in range(6):
        matrix, outcomes, truth = world(4000, seed=seed)
        ours = served(matrix[:, 2], matrix, outcomes)
        for horizon in HORIZONS:
            true = truth.probability(matrix[:, 2], matrix, horizon)
            low, high = ours.probability_interval(matrix[:, 2], matrix, horizon)
            decides = matrix[:, 0] < horizon  # else it is a belief more than a finding
            held.append(((low <= true) & (true <= high))[decides].mean())
    assert 0.88 < np.mean(held) <= 1


def test_a_kind_of_contract_with_few_renewals_leans_on_the_others() -> None:
    """Twenty annual renewals that all went well do not say that nobody leaves."""
    matrix, outcomes, _ = world(4000, seed=2)
    annual = matrix[:, 1] == 12
    ending = annual & (matrix[:, 0] < 90)
    kept = ~annual | (ending & (np.cumsum(ending & (outcomes[:, 2] == 0)) <= 20))
    kept &= ~(annual & (outcomes[:, 2] == 1))
    matrix, outcomes = matrix[kept], outcomes[kept]
    f = matrix[:, 2]
    found, _ = fit_renewal_risk(
        f, matrix, outcomes, HORIZONS, np.arange(len(f)), calendar=CALENDAR,
        weights=np.ones(len(f)), rng=np.random.default_rng(0),
    )  # fmt: skip
    at_a_year = float(sigmoid(found[0] + found[6] * np.log(12)))
    assert 0.04 < at_a_year < float(sigmoid(TRUE[0] + TRUE[6] * np.log(12)))
    without_belief = 0.5 / 20
    assert at_a_year > 2 * without_belief


def test_a_rate_of_which_no_case_was_seen_is_not_certain() -> None:
    matrix, outcomes, _ = world(3000, parameters=np.array([*TRUE[:-2], -30.0, 0.5]))
    risk = served(matrix[:, 2], matrix, outcomes)
    later = np.array([[200.0, 12, 0, 0]])
    low, high = risk.probability_interval(np.zeros(1), later, 90)
    assert 0 < 3 * low[0] < high[0] < 0.02


def test_a_far_decision_is_a_belief_until_some_were_seen() -> None:
    leads = leads_of(HORIZONS)
    parameters = np.array([-3, -3.2, -3.4, -3.4, -3.4, 1, 0.9, 0.8, 0.7, 0.6, 0.9, -6, 0.5])
    matrix, outcomes, truth = world(6000, parameters=parameters, leads=leads)
    asked = np.array([[120.0, 12, 0, 0], [300.0, 12, 0, 0]])
    f = np.array([1.0, 1.0])
    widths = []
    for known in (5, 3):
        seen = np.where(np.arange(5) < known, outcomes, np.nan)
        risk = served(matrix[:, 2], matrix, seen, leads=leads)
        _, low, high = risk.at_renewal(f, asked)
        true, *_ = truth.at_renewal(f, asked)
        assert (low < true).all()
        assert (true < high).all()
        widths.append(high - low)
    assert (widths[1] > 1.5 * widths[0]).all()


def test_the_gradient_is_that_of_the_loss() -> None:
    matrix, outcomes, _ = world(300)
    asked = decision_rows(matrix, outcomes, HORIZONS, CALENDAR)
    problem = renewal_risk._Likelihood(
        f=matrix[asked.row, 2], asked=asked, weight=np.full(len(asked.row), 0.4), leads=HORIZONS
    )
    free = problem.start() + 0.1
    numeric = approx_fprime(free, lambda t: problem.posterior(t)[0], 1e-6)
    assert problem.posterior(free)[1] == pytest.approx(numeric, rel=1e-3, abs=1e-3)


def test_too_few_decisions_are_refused_with_their_count() -> None:
    matrix, outcomes, _ = world(400)
    outcomes[:, :] = 0
    with pytest.raises(RenewalRiskError, match=r"^0 of \d+ decisions ended in leaving"):
        fit_renewal_form(matrix, outcomes, HORIZONS, calendar=CALENDAR, first=[], strength=0.01)
