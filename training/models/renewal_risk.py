"""Fit the renewal model: what makes accounts leave when their term ends.

A row of a training set is asked once for each decision within its horizons, and for the days
between them::

    account × cutoff       decision in 10 days │ decision in 40 days │ no decision
    (0, 30]  left?  ──────► band 30             │                     │ early
    (30, 60] left?  ──────►                     │ band 60             │ early

First the features of rows with a decision are weighed by one penalised regression over all
decisions, whatever their lead. Then the score of held-out accounts is calibrated jointly at every
lead, with the early rate (`registry.bundle.renewal_risk` has the formula).

What is believed beforehand, and gives way to data: a term of twice the length has twice the odds to
end in leaving, since reasons gather with time (a constant rate a day has a term weight of 1), a
score tells a little less at each longer lead, and hardly a contract ends before its term. So twenty
renewals of a new kind of contract are enough to begin with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from registry.bundle.calibration import sigmoid
from registry.bundle.linear import LinearForm
from registry.bundle.renewal_risk import EARLY_DAYS, ContractCalendar
from training.dataset.errors import TrainingError
from training.models.formula_prior import penalised_weights
from training.models.linear_design import LinearDesign
from training.models.specs import RENEWAL, TERM

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

TERM_WEIGHT, TERM_SPREAD = 1.0, 0.5
"""Weight of the log of the term, and its prior standard deviation."""

LONG_LEADS = (180, 365)
"""Ends of the bands of lead beyond the usual horizons: a contract of a year has one decision in it."""

BAND_DAYS = 30
"""What is believed of a step from one band to the next is about middles so many days apart."""

LEVEL_STEP = 0.5
"""Prior standard deviation of the level, at the usual score, from one band of lead to the next."""

SLOPE_SPREAD = 0.2
"""Prior standard deviation of the log of the first slope around 0, as of every calibration."""

SLOPE_STEP, SLOPE_STEP_SPREAD = float(np.log(0.9)), 0.15
"""The log of a slope over that of the band before, and its prior standard deviation."""

EARLY, EARLY_SPREAD = -6.0, 2.0
EARLY_SLOPE, EARLY_SLOPE_SPREAD = float(np.log(0.5)), 0.5
"""Level of the early rate in log-odds of 30 days, and the log of its slope, with their spreads."""

LOOSE = 100.0
"""Strength (inverse penalty) of what is not to be shrunk."""

LEAST_LEFT = 10
"""The least number of rows with a decision that ended in leaving."""


class RenewalRiskError(TrainingError):
    """The rows hold too few decisions to learn from."""


def calendar_of(names: Sequence[str]) -> ContractCalendar | None:
    """When contracts can end, by the names of the features; None without a date of renewal."""
    if RENEWAL not in names:
        return None
    return ContractCalendar(
        renewal=list(names).index(RENEWAL),
        months=list(names).index(TERM) if TERM in names else None,
    )


def leads_of(horizons: Sequence[int]) -> tuple[int, ...]:
    """The ends of the bands of lead, in days: the usual horizons, and those of half a year and a year.

    >>> leads_of((30, 60, 90))
    (30, 60, 90, 180, 365)
    """
    return (*horizons, *(lead for lead in LONG_LEADS if lead > horizons[-1]))


def decisions_left(
    matrix: Matrix, outcomes: Matrix, horizons: Sequence[int], calendar: ContractCalendar
) -> NDArray[np.intp]:
    """The rows whose decision ended in leaving, once for each."""
    asked = decision_rows(matrix, outcomes, horizons, calendar)
    return np.asarray(asked.row[asked.has_decision & (asked.left == 1)])


@dataclass(frozen=True, kw_only=True, eq=False)
class DecisionRows:
    """Rows of a training set, one for each interval between horizons that they were at risk in.

    ``days`` and ``months`` are rows × decisions: the lead of each decision within the interval
    (infinite where there is none) and the months of its term.
    """

    row: NDArray[np.intp]  # of the training set
    interval: NDArray[np.intp]
    left: Vector
    width: Vector  # days of the interval
    days: Matrix
    months: Vector

    @property
    def has_decision(self) -> NDArray[np.bool_]:
        """Which of them hold a decision."""
        return np.asarray(np.isfinite(self.days).any(axis=1))


def decision_rows(
    matrix: Matrix, outcomes: Matrix, horizons: Sequence[int], calendar: ContractCalendar
) -> DecisionRows:
    """The intervals that each row with a known date was at risk in.

    Args:
        matrix: rows × features, NaN unknown.
        outcomes: rows × horizons: 1 left, 0 did not, NaN not decided.
        horizons: days, rising.
        calendar: when contracts can end.
    """
    dated = calendar.has_date(matrix)
    leads, term = _leads(calendar, matrix, horizons[-1])
    parts = []
    for place, (low, high) in enumerate(zip((0, *horizons), horizons, strict=False)):
        there = dated & ~np.isnan(outcomes[:, place])
        if place:
            there &= outcomes[:, place - 1] == 0
        inside = np.where((leads >= low) & (leads < high), leads, np.inf)[there]
        parts.append((np.flatnonzero(there), place, outcomes[there, place], high - low, inside))
    return DecisionRows(
        row=np.concatenate([row for row, *_ in parts]),
        interval=np.concatenate([np.full(len(row), place) for row, place, *_ in parts]),
        left=np.concatenate([left for _, _, left, _, _ in parts]),
        width=np.concatenate([np.full(len(row), float(width)) for row, _, _, width, _ in parts]),
        days=np.concatenate([inside for *_, inside in parts]),
        months=np.concatenate([term[row] for row, *_ in parts]),
    )


def fit_renewal_form(
    matrix: Matrix,
    outcomes: Matrix,
    horizons: Sequence[int],
    *,
    calendar: ContractCalendar,
    first: Sequence[int],
    strength: float,
) -> LinearForm:
    """Weigh the features of accounts that decide; dates and terms have no part in the score.

    Args:
        matrix: rows × features, NaN unknown.
        outcomes: rows × horizons: 1 left, 0 did not, NaN not decided.
        horizons: days, rising.
        calendar: when contracts can end.
        first: columns that are hardly penalised, such as the health score.
        strength: of all other features; inverse penalty per row-sum of the loss.

    Raises:
        RenewalRiskError: too few decisions ended in leaving.
    """
    asked = decision_rows(matrix, outcomes, horizons, calendar)
    deciding = asked.has_decision
    left = asked.left[deciding]
    if min(left.sum(), len(left) - left.sum()) < LEAST_LEFT:
        raise RenewalRiskError(
            f"{int(left.sum())} of {len(left)} decisions ended in leaving; at least {LEAST_LEFT} "
            f"of either outcome are needed. Use more cutoffs, or let another model serve."
        )
    own = [j for j in range(matrix.shape[1]) if j not in calendar.columns]
    design = LinearDesign.of(matrix[:, own])
    columns = design.columns(matrix[:, own])[asked.row[deciding]]
    bands = asked.interval[deciding][:, None] == np.arange(1, len(horizons))
    term = np.log(asked.months[deciding])
    strengths = np.full(columns.shape[1], strength)
    strengths[[own.index(j) for j in first]] = 1.0
    weights = penalised_weights(
        np.column_stack((columns, bands, term)),
        left,
        TERM_WEIGHT * term,
        strength=np.concatenate((strengths, np.full(len(horizons) - 1, LOOSE), [TERM_SPREAD**2])),
    )
    form = design.form(0.0, weights[1 : 1 + columns.shape[1]])
    return _widened(form, own, matrix.shape[1])


def fit_renewal_risk(
    f: Vector,
    matrix: Matrix,
    outcomes: Matrix,
    horizons: Sequence[int],
    accounts: NDArray[np.int64],
    *,
    calendar: ContractCalendar,
    weights: Vector,
    n_draws: int = 0,
    rng: np.random.Generator,
) -> tuple[Vector, Matrix]:
    """Calibrate scores of held-out accounts: the parameters of a ``RenewalRisk``, and draws of them.

    Rows of one account overlap in time, so the likelihood is tempered by the mean number of rows an
    account has: what is believed beforehand weighs as if accounts were the sample, which they are.

    Args:
        f: the score of each row by a fit without its account.
        matrix: rows × features.
        outcomes: rows × horizons: 1 left, 0 did not, NaN not decided.
        horizons: days, rising; each ends a band of lead.
        accounts: account of each row as a number from 0; draws take whole accounts.
        calendar: when contracts can end.
        weights: of each row.
        n_draws: bootstrap draws to keep.
        rng: randomness of the draws.
    """
    asked = decision_rows(matrix, outcomes, horizons, calendar)
    share = len(np.unique(accounts[asked.row])) / max(1, len(np.unique(asked.row)))
    problem = _Likelihood(
        f=f[asked.row],
        asked=asked,
        weight=weights[asked.row] * share,
        leads=tuple(horizons),
    )
    result = minimize(
        problem.posterior, problem.start(), jac=True, method="L-BFGS-B",
        bounds=problem.bounds(), options={"ftol": 1e-12, "gtol": 1e-7},
    )  # fmt: skip
    best = np.asarray(result.x, dtype=np.float64)
    return problem.plain(best), problem.draws(best, accounts[asked.row], n_draws, rng)


@dataclass(frozen=True, kw_only=True)
class _Likelihood:
    """-log of the posterior of the free parameters: steps of levels and of logs of slopes.

    Levels are those at the usual score, that of the rows which decide: else what is believed of a
    level would depend on where the scores happen to lie, and a band without rows on its slope.
    """

    f: Vector
    asked: DecisionRows
    weight: Vector
    leads: tuple[int, ...]

    @property
    def bands(self) -> int:
        """The number of bands of lead."""
        return len(self.leads)

    @cached_property
    def usual(self) -> float:
        """The mean score of the rows that decide."""
        deciding = self.asked.has_decision
        return float(np.mean(self.f[deciding])) if deciding.any() else 0.0

    @cached_property
    def prior(self) -> tuple[Vector, Vector]:
        """Mean and standard deviation of each free parameter; infinite: no belief."""
        ends = np.array((0, *self.leads), dtype=np.float64)
        apart = np.diff((ends[1:] + ends[:-1]) / 2) / BAND_DAYS
        wide = np.sqrt(apart)
        mean = [0.0] * self.bands + [0.0, *(SLOPE_STEP * apart), TERM_WEIGHT, EARLY, EARLY_SLOPE]
        spread = [
            np.inf, *(LEVEL_STEP * wide), SLOPE_SPREAD, *(SLOPE_STEP_SPREAD * wide),
            TERM_SPREAD, EARLY_SPREAD, EARLY_SLOPE_SPREAD,
        ]  # fmt: skip
        return np.array(mean), np.array(spread)

    def start(self) -> Vector:
        """The prior, at the rate of the rows that decide."""
        start = self.prior[0].copy()
        deciding = self.asked.has_decision
        rate = np.clip(self.asked.left[deciding].mean(), 1e-4, 1 - 1e-4) if deciding.any() else 0.05
        start[0] = np.log(rate / (1 - rate)) - TERM_WEIGHT * np.log(self.asked.months).mean()
        return start

    def bounds(self) -> list[tuple[float, float]]:
        """Wide ones, against overflow."""
        n = self.bands
        return [(-25.0, 25.0)] * n + [(-4.0, 3.0)] * n + [(-3.0, 5.0), (-15.0, 5.0), (-6.0, 3.0)]

    def at_usual(self, free: Vector) -> Vector:
        """The parameters of a ``RenewalRisk`` of scores that are counted from the usual one."""
        n = self.bands
        return np.concatenate(
            (np.cumsum(free[:n]), np.exp(np.cumsum(free[n : 2 * n])), free[2 * n : 2 * n + 2],
             np.exp(free[-1:]))
        )  # fmt: skip

    def plain(self, free: Vector) -> Vector:
        """The parameters of a ``RenewalRisk``."""
        n, plain = self.bands, self.at_usual(free)
        plain[:n] -= plain[n : 2 * n] * self.usual
        plain[-2] -= plain[-1] * self.usual
        return plain

    def losses(self, free: Vector) -> tuple[Vector, Matrix]:
        """Weighted -log likelihood of each row, and its gradient in the free parameters."""
        n, asked, f = self.bands, self.asked, self.f - self.usual
        plain = self.at_usual(free)
        early = plain[-2] + plain[-1] * f
        share = asked.width / EARLY_DAYS
        log_stay = -share * np.logaddexp(0.0, early)
        slopes = np.zeros((len(f), len(plain)))  # of the log of staying
        slopes[:, -2] = -share * sigmoid(early)
        slopes[:, -1] = slopes[:, -2] * f
        band = asked.interval
        for days in asked.days.T:
            odds = plain[band] + plain[2 * n] * np.log(asked.months) + plain[n + band] * f
            inside = np.isfinite(days)
            log_stay = log_stay - np.where(inside, np.logaddexp(0.0, odds), 0.0)
            p = np.where(inside, sigmoid(odds), 0.0)
            slopes[np.arange(len(f)), band] -= p
            slopes[np.arange(len(f)), n + band] -= p * f
            slopes[:, 2 * n] -= p * np.log(asked.months)
        leave = np.maximum(-np.expm1(log_stay), 1e-12)
        loss = -np.where(asked.left == 1, np.log(leave), log_stay)
        along = np.where(asked.left == 1, np.exp(log_stay) / leave, -1.0)
        gradient = along[:, None] * slopes
        levels = np.cumsum(gradient[:, :n][:, ::-1], axis=1)[:, ::-1]
        scaled = gradient[:, n : 2 * n] * plain[n : 2 * n]
        logs = np.cumsum(scaled[:, ::-1], axis=1)[:, ::-1]
        last = gradient[:, -1:] * plain[-1]
        free_gradient = np.column_stack((levels, logs, gradient[:, 2 * n : 2 * n + 2], last))
        return self.weight * loss, self.weight[:, None] * free_gradient

    def posterior(self, free: Vector) -> tuple[float, Vector]:
        """The negative log posterior and its gradient."""
        losses, gradients = self.losses(free)
        mean, spread = self.prior
        away = (free - mean) / spread
        return float(losses.sum() + 0.5 * away @ away), gradients.sum(axis=0) + away / spread

    def draws(
        self, best: Vector, accounts: NDArray[np.int64], n_draws: int, rng: np.random.Generator
    ) -> Matrix:
        """Bootstrap draws of whole accounts, each by one Newton step (Shao and Tu 1995, 5.4).

        What is believed beforehand is drawn too, from its own spread (Newton and Raftery 1994):
        else a rate of which no case was ever seen would be certain.
        """
        if not n_draws:
            return np.empty((0, len(best)))
        _, gradients = self.losses(best)
        present, place = np.unique(accounts, return_inverse=True)
        by_account = np.zeros((len(present), len(best)))
        np.add.at(by_account, place, gradients)
        drawn = rng.multinomial(len(present), np.full(len(present), 1 / len(present)), size=n_draws)
        believed = rng.normal(size=(n_draws, len(best))) / self.prior[1]
        pushed = (drawn - 1.0) @ by_account + believed
        step = np.linalg.solve(self._curvature(best), pushed.T).T
        low, high = np.array(self.bounds()).T
        return np.array([self.plain(free) for free in np.clip(best - step, low, high)])

    def _curvature(self, best: Vector, step: float = 1e-4) -> Matrix:
        columns = [
            (self.posterior(best + nudge)[1] - self.posterior(best - nudge)[1]) / (2 * step)
            for nudge in step * np.eye(len(best))
        ]
        matrix = np.array(columns)
        return np.asarray((matrix + matrix.T) / 2)


def _leads(calendar: ContractCalendar, matrix: Matrix, longest: int) -> tuple[Matrix, Vector]:
    """The leads of all decisions of each row within the longest horizon, and its months."""
    days, months = calendar.first(matrix)
    leads = [lead for lead, _ in calendar.decisions(matrix, longest)] or [days]
    return np.stack(leads, axis=1), months


def _widened(form: LinearForm, own: list[int], width: int) -> LinearForm:
    """The form on all columns; those that are not its own contribute nothing."""
    neutral = {"scale": 1.0, "lower": -np.inf, "upper": np.inf}
    arrays = {}
    for name, array in form.arrays().items():
        if name != "intercept":
            arrays[name] = np.full(width, neutral.get(name, 0.0))
            arrays[name][own] = array
    return LinearForm(intercept=form.intercept, **arrays)
