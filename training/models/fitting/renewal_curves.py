"""Fit what renewals alone say: retention by how often a contract has renewed, and by tenure.

References for a model of churn. None reads what an account does; all know when contracts end.

The **shifted-beta-geometric** (Fader and Hardie 2007, "How to project customer retention") draws for
each contract a chance to leave that stays the same at every renewal, from Beta(alpha, beta). Those
with a high one leave first, so retention rises with the renewals:

    S(t) = B(alpha, beta + t) / B(alpha, beta),      P(leave at renewal t) = 1 - S(t) / S(t - 1)

The **beta-discrete-Weibull** (Fader, Hardie, Liu, Davin and Steenburgh 2018, "How to project customer
retention revisited") lets the chance of each contract move with time as well: ``t^c`` in place of
``t``; ``c`` of 1 is the former. Both are fitted by maximum likelihood, for each length of term with
enough renewals, else for all together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import betaln

from registry.bundle.renewal_risk import DAYS_A_MONTH, ContractCalendar
from training.models.renewal_risk import decision_rows

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

LEAST_OF_EACH = 10
"""Renewals of a length of term that ended in leaving, and in staying, for a curve of its own."""

WIDEST = 8.0
"""Bound of the logs of alpha and beta: beyond, all contracts are as good as alike."""

WIDEST_SHAPE = 2.0
"""Bound of the log of c."""

TENURE_EDGES = (90, 180, 365, 730)
"""Days at which another tenure begins."""

PRIOR_ROWS = 10
"""Rows at the base rate that each tenure starts from."""


@dataclass(frozen=True, kw_only=True)
class RetentionCurve:
    """A beta-discrete-Weibull; with ``shape`` 1 a shifted-beta-geometric."""

    alpha: float
    beta: float
    shape: float = 1.0

    def log_survival(self, t: Vector) -> Vector:
        """The log of the share that is still there after ``t`` renewals.

        >>> curve = RetentionCurve(alpha=0.668, beta=3.806)
        >>> float(np.exp(curve.log_survival(np.array([1.0])))[0]).__round__(3)
        0.851
        """
        return np.asarray(
            betaln(self.alpha, self.beta + np.asarray(t) ** self.shape)
            - betaln(self.alpha, self.beta)
        )

    def log_stay(self, t: Vector) -> Vector:
        """The log of the chance to stay at renewal ``t`` (from 1), of who is still there."""
        return np.asarray(self.log_survival(t) - self.log_survival(t - 1))


@dataclass(frozen=True, kw_only=True, eq=False)
class Renewals:
    """Decisions that are over: which renewal of a contract each was, its term, and who left."""

    period: Vector  # from 1
    months: Vector
    left: Vector  # 1 or 0
    weight: Vector

    def of_term(self, months: float) -> Renewals:
        """Those of one length of term."""
        same = self.months == months
        return Renewals(
            period=self.period[same], months=self.months[same], left=self.left[same],
            weight=self.weight[same],
        )  # fmt: skip

    @property
    def are_enough(self) -> bool:
        """Whether they can tell a curve."""
        return bool(min(self.left.sum(), (1 - self.left).sum()) >= LEAST_OF_EACH)


def fit_curve(renewals: Renewals, *, has_shape: bool) -> RetentionCurve:
    """The curve of the greatest likelihood; without ``has_shape`` a shifted-beta-geometric."""

    def loss(free: Vector) -> float:
        curve = RetentionCurve(
            alpha=float(np.exp(free[0])),
            beta=float(np.exp(free[1])),
            shape=float(np.exp(free[2])) if has_shape else 1.0,
        )
        stay = np.minimum(curve.log_stay(renewals.period), -1e-12)
        leave = np.log(-np.expm1(stay))
        return -float(renewals.weight @ np.where(renewals.left == 1, leave, stay))

    rate = float(np.average(renewals.left, weights=renewals.weight))
    start = [0.0, float(np.log(max(1 - rate, 0.01) / max(rate, 1e-3)))]
    bounds = [(-WIDEST, WIDEST)] * 2
    if has_shape:
        start, bounds = [*start, 0.0], [*bounds, (-WIDEST_SHAPE, WIDEST_SHAPE)]
    best = minimize(loss, start, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-13}).x
    return RetentionCurve(
        alpha=float(np.exp(best[0])),
        beta=float(np.exp(best[1])),
        shape=float(np.exp(best[2])) if has_shape else 1.0,
    )


def period_of(tenure: Vector, days: Vector, months: Vector) -> Vector:
    """Which renewal of the contract the coming one is, from 1; 1 where its start is not known."""
    at_end = np.nan_to_num(tenure) + days
    return np.maximum(np.round(at_end / (months * DAYS_A_MONTH)), 1.0)


def renewals_over(
    matrix: Matrix, outcomes: Matrix, horizons: tuple[int, ...], calendar: ContractCalendar,
    tenure: Vector,
) -> Renewals:  # fmt: skip
    """The decisions that these rows saw over, each by the last month before it, so once.

    Args:
        matrix: rows × features.
        outcomes: rows × horizons: 1 left, 0 did not, NaN not decided.
        horizons: days, rising; the first holds a month.
        calendar: when contracts can end.
        tenure: days since the first contract of each row, NaN unknown.
    """
    asked = decision_rows(matrix, outcomes, horizons[:1], calendar)
    deciding = asked.has_decision
    first = np.where(np.isfinite(asked.days), asked.days, np.inf).min(axis=1)[deciding]
    months = asked.months[deciding]
    return Renewals(
        period=period_of(tenure[asked.row[deciding]], first, months),
        months=months,
        left=asked.left[deciding],
        weight=np.ones(int(deciding.sum())),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class CurvesByTerm:
    """A curve for each length of term with enough renewals, and one for all others."""

    pooled: RetentionCurve
    by_months: Mapping[float, RetentionCurve]

    @classmethod
    def fitted(cls, renewals: Renewals, *, has_shape: bool) -> CurvesByTerm:
        """The curves of these renewals."""
        own = {
            float(months): fit_curve(some, has_shape=has_shape)
            for months in np.unique(renewals.months)
            if (some := renewals.of_term(months)).are_enough
        }
        return cls(pooled=fit_curve(renewals, has_shape=has_shape), by_months=own)

    def log_stay(self, period: Vector, months: Vector) -> Vector:
        """The log of the chance to stay at a renewal."""
        found = self.pooled.log_stay(period)
        for of_term, curve in self.by_months.items():
            found = np.where(months == of_term, curve.log_stay(period), found)
        return found

    def probability(
        self, matrix: Matrix, horizon_days: int, calendar: ContractCalendar, tenure: Vector
    ) -> Vector:
        """The chance to leave at any decision within the horizon, of rows with a date."""
        days, months = calendar.first(matrix)
        period = period_of(tenure, days, months)
        log_stay = np.zeros(len(matrix))
        for place, (lead, term) in enumerate(calendar.decisions(matrix, horizon_days)):
            log_stay += np.where(lead < horizon_days, self.log_stay(period + place, term), 0.0)
        return -np.expm1(log_stay)


def rate_by_tenure(tenure: Vector, outcome: Vector, asked: Vector) -> Vector:
    """The rate of the outcome among rows of like tenure, for the rows that are asked about.

    Args:
        tenure: days, NaN unknown, of rows with a decided outcome.
        outcome: 1 or 0 of these rows.
        asked: the tenure of the rows to predict.
    """
    n = len(TENURE_EDGES) + 2
    place, wanted = (
        np.where(np.isnan(days), n - 1, np.searchsorted(TENURE_EDGES, days, side="right"))
        for days in (tenure, asked)
    )
    rate = (np.bincount(place, outcome, n) + PRIOR_ROWS * outcome.mean()) / (
        np.bincount(place, minlength=n) + PRIOR_ROWS
    )
    return np.asarray(rate[wanted])
