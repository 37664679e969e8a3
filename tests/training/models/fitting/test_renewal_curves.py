"""Retention by how often contracts have renewed, beside the example that was published."""

from __future__ import annotations

import numpy as np
import pytest

from registry.bundle.renewal_risk import ContractCalendar
from training.models.fitting.renewal_curves import (
    CurvesByTerm,
    Renewals,
    RetentionCurve,
    fit_curve,
    period_of,
    rate_by_tenure,
    renewals_over,
)

# Fader and Hardie (2007), table 1: the share of 1,000 that is still there after each year.
SURVIVORS = {
    "regular": [63.1, 46.8, 38.2, 32.6, 28.9, 26.2, 24.1, 22.3, 20.7, 19.4, 18.3, 17.3],
    "high end": [86.9, 74.3, 65.3, 59.3, 55.1, 51.7, 49.1, 46.8, 44.5, 42.7, 40.9, 39.4],
}
CALENDAR = ContractCalendar(renewal=0, months=1)


def published(segment: str, years: int = 7) -> Renewals:
    return renewals_of(np.array(SURVIVORS[segment])[:years] / 100)


def renewals_of(survivors: np.ndarray) -> Renewals:
    """The renewals of 1,000 contracts of which these shares are still there after each year."""
    share, years = np.append(1.0, survivors), len(survivors)
    t = np.arange(1.0, years + 1)
    return Renewals(
        period=np.tile(t, 2),
        months=np.full(2 * years, 12.0),
        left=np.repeat([0.0, 1.0], years),
        weight=1000 * np.concatenate((share[1:], share[:-1] - share[1:])),
    )


@pytest.mark.parametrize(
    ("segment", "alpha", "beta"), [("regular", 0.704, 1.182), ("high end", 0.668, 3.806)]
)
def test_the_published_example_comes_out(segment, alpha, beta) -> None:
    curve = fit_curve(published(segment), has_shape=False)
    assert (curve.alpha, curve.beta) == (
        pytest.approx(alpha, abs=0.001),
        pytest.approx(beta, abs=0.005),
    )
    later = np.exp(curve.log_survival(np.array([12.0])))[0]
    assert later == pytest.approx(SURVIVORS[segment][-1] / 100, abs=0.02)


def test_a_chance_that_moves_with_time_is_told_by_the_shape() -> None:
    t = np.arange(1.0, 13.0)
    true = RetentionCurve(alpha=0.259, beta=1.722, shape=1.584)
    curve = fit_curve(renewals_of(np.exp(true.log_survival(t))), has_shape=True)
    assert (curve.alpha, curve.beta, curve.shape) == pytest.approx((0.259, 1.722, 1.584), rel=0.02)
    high_end = fit_curve(published("high end"), has_shape=True)
    assert np.exp(high_end.log_survival(t))[-1] == pytest.approx(0.394, abs=0.012)  # sBG: .378
    plain = RetentionCurve(alpha=0.7, beta=1.2)
    assert RetentionCurve(alpha=0.7, beta=1.2, shape=1.0).log_stay(t) == pytest.approx(
        np.log((1.2 + t - 1) / (0.7 + 1.2 + t - 1))
    )
    assert (np.diff(plain.log_stay(t)) > 0).all()  # who has renewed often renews again


def test_each_term_has_a_curve_of_its_own_where_it_can_be_told() -> None:
    rng = np.random.default_rng(0)
    months = np.repeat([1.0, 12.0, 24.0], [2000, 2000, 15])
    period = rng.integers(1, 6, len(months)).astype(float)
    rate = np.where(months == 1, 0.03, 0.25)
    given = Renewals(
        period=period, months=months, left=(rng.random(len(months)) < rate).astype(float),
        weight=np.ones(len(months)),
    )  # fmt: skip
    curves = CurvesByTerm.fitted(given, has_shape=True)
    assert set(curves.by_months) == {1.0, 12.0}
    matrix = np.array([[10.0, 1.0], [10.0, 12.0], [200.0, 12.0]])
    p = curves.probability(matrix, 90, CALENDAR, np.array([20.0, 355.0, 165.0]))
    assert p[0] == pytest.approx(1 - 0.97**3, abs=0.02)  # three months, three renewals
    assert p[1] == pytest.approx(0.25, abs=0.04)
    assert p[2] == 0.0  # no renewal within


def test_which_renewal_a_coming_one_is() -> None:
    tenure, days = np.array([355.0, 700.0, 20.0, np.nan]), np.array([10.0, 30.0, 10.0, 5.0])
    months = np.array([12.0, 12.0, 1.0, 12.0])
    assert period_of(tenure, days, months).tolist() == [1, 2, 1, 1]


def test_a_renewal_is_counted_once_by_the_last_month_before_it() -> None:
    matrix = np.array([[75.0, 12], [45.0, 12], [15.0, 12], [np.nan, 12]])
    outcomes = np.array([[0, 0, 1], [0, 1, 1], [1, 1, 1], [0, 0, 0.0]])
    tenure = np.array([290.0, 320.0, 350.0, 10.0])
    found = renewals_over(matrix, outcomes, (30, 60, 90), CALENDAR, tenure)
    assert (found.period.tolist(), found.left.tolist(), found.months.tolist()) == ([1], [1], [12])


def test_a_tenure_has_the_rate_of_rows_like_it() -> None:
    tenure = np.repeat([30.0, 400.0, np.nan], [1000, 1000, 100])
    outcome = np.concatenate((np.arange(1000) < 200, np.arange(1000) < 50, np.zeros(100)))
    asked = rate_by_tenure(tenure, outcome.astype(float), np.array([10.0, 500.0, np.nan, 2000.0]))
    assert asked == pytest.approx([0.2, 0.05, 0.01, 0.119], abs=0.003)  # none of 2,000 days: usual
