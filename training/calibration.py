"""This module is about calibration: one raw score becomes one probability per horizon.

``p_h = sigmoid(a_h + b·f)`` with one slope ``b > 0`` for all horizons and ``a_h`` that never
falls, so a probability never falls as the horizon grows. That is the proportional-odds model of
when the outcome first comes; it is fitted jointly, by maximum likelihood over the intervals
between horizons (McCullagh 1980), on rows that were scored out of time. A row whose later windows
are not decided counts as far as it is known.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from registry.calibration import Calibration, sigmoid

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

SLOPE_PRIOR = 0.7
"""Standard deviation of log b around 0: a score in log-odds should need no stretching."""

PRIOR_ROWS = 0.5
"""Weight of the made-up row that keeps an empty interval between horizons finite."""

NARROWEST = 1e-12


class CalibrationError(ValueError):
    """The scores can not be calibrated."""


@dataclass(frozen=True, kw_only=True)
class CalibrationFit:
    """Intercepts per horizon, the shared slope, and bootstrap draws of all of them."""

    intercepts: Vector  # one per horizon, never falling
    slope: float
    draws: Matrix  # draws × (1 + horizons): the slope, then the intercepts

    def probability(self, f: Vector, position: int) -> Vector:
        """Probability at the horizon in this position."""
        return sigmoid(self.intercepts[position] + self.slope * f)

    def for_serving(self, horizons: tuple[int, ...]) -> Calibration:
        """The value that a bundle holds."""
        return Calibration(horizons=horizons, slope=self.slope,
                           intercepts=tuple(map(float, self.intercepts)), draws=self.draws)


def fit_calibration(
    f: Vector, outcomes: Matrix, accounts: NDArray[np.int64], *,
    n_draws: int = 0, rng: np.random.Generator,
) -> CalibrationFit:
    """Fit intercepts and slope to out-of-time scores.

    Args:
        f: raw score per row, in log-odds.
        outcomes: rows × horizons, 1 happened, 0 did not, NaN not decided.
        accounts: account of each row as a number from 0; draws take whole accounts.
        n_draws: bootstrap draws to keep for intervals.
        rng: randomness of the draws.

    Raises:
        CalibrationError: scores that are not finite, or rows of one class only.
    """
    if not np.isfinite(f).all():
        raise CalibrationError(
            f"{int((~np.isfinite(f)).sum())} of {len(f)} raw scores are not finite numbers."
        )
    happened, spared = np.nansum(outcomes == 1), np.nansum(outcomes[:, -1] == 0)
    if happened == 0 or spared == 0:
        raise CalibrationError(
            f"The {len(f)} calibration rows hold only one class; nothing can be calibrated. "
            f"Use more cutoffs or a longer horizon."
        )
    rows = _Intervals.of(f, outcomes)
    weight = np.ones(len(f))
    start = _start(outcomes)
    best = _maximise(rows, weight, start)
    n_accounts = int(accounts.max()) + 1
    draws = np.empty((n_draws, len(best)))
    chances = np.full(n_accounts, 1 / n_accounts)
    for i in range(n_draws):
        drawn = rng.multinomial(n_accounts, chances)
        plain = _plain(_maximise(rows, drawn[accounts].astype(np.float64), best))
        draws[i] = np.concatenate((plain[-1:], plain[:-1]))
    plain = _plain(best)
    return CalibrationFit(intercepts=plain[:-1], slope=float(plain[-1]), draws=draws)


@dataclass(frozen=True, kw_only=True)
class _Intervals:
    """Each row's outcome as an interval of horizons: after ``low``, by ``high``.

    Positions 1 to K are the horizons; 0 is before all (probability 0), K + 1 after all (1).
    """

    f: Vector
    low: NDArray[np.int64]
    high: NDArray[np.int64]
    centre: float
    n_horizons: int

    @classmethod
    def of(cls, f: Vector, outcomes: Matrix) -> _Intervals:
        n_horizons = outcomes.shape[1]
        position = np.arange(1, n_horizons + 1)
        low = np.where(outcomes == 0, position, 0).max(axis=1)
        high = np.where(outcomes == 1, position, n_horizons + 1).min(axis=1)
        return cls(f=f, low=low, high=high, centre=float(f.mean()), n_horizons=n_horizons)


def _start(outcomes: Matrix) -> Vector:
    """Start at the observed rates and slope 1."""
    rate = np.clip(np.nanmean(outcomes, axis=0), 1e-4, 1 - 1e-4)
    logit = np.maximum.accumulate(np.log(rate / (1 - rate)))
    steps = np.maximum(np.diff(logit), 1e-2)
    return np.concatenate((logit[:1], np.log(steps), [0.0]))


def _plain(theta: Vector) -> Vector:
    """Free parameters (first intercept, log steps, log slope) to intercepts and slope."""
    steps = np.exp(theta[1:-1])
    return np.concatenate((theta[:1], theta[0] + np.cumsum(steps), [np.exp(theta[-1])]))


def _maximise(rows: _Intervals, weight: Vector, start: Vector) -> Vector:
    result = minimize(_loss, start, args=(rows, weight), jac=True, method="L-BFGS-B",
                      bounds=[(-20, 20)] + [(-12, 4)] * (len(start) - 2) + [(-4, 3)])
    return np.asarray(result.x, dtype=np.float64)


def _loss(theta: Vector, rows: _Intervals, weight: Vector) -> tuple[float, Vector]:
    """Negative log posterior and its gradient in the free parameters."""
    plain = _plain(theta)
    slope = float(plain[-1])
    k = rows.n_horizons
    loss, at_low, at_high = _interval_loss(plain, rows.f, rows.low, rows.high)
    score_gradient = float((weight * rows.f) @ (at_low + at_high))
    by_position = (np.bincount(rows.low, weights=weight * at_low, minlength=k + 2)
                   + np.bincount(rows.high, weights=weight * at_high, minlength=k + 2))
    total = float(weight @ loss)
    # the made-up row: one part in every interval, at the mean score
    places = np.arange(k + 1)
    share = PRIOR_ROWS / (k + 1)
    extra, extra_low, extra_high = _interval_loss(
        plain, np.full(k + 1, rows.centre), places, places + 1)
    total += share * float(extra.sum())
    by_position = by_position + share * (np.r_[extra_low, 0.0] + np.r_[0.0, extra_high])
    score_gradient += share * rows.centre * float((extra_low + extra_high).sum())

    intercepts = by_position[1:-1]
    tail = np.cumsum(intercepts[::-1])[::-1]  # a step moves every later intercept
    gradient = np.empty_like(theta)
    gradient[0] = tail[0]
    gradient[1:-1] = tail[1:] * np.exp(theta[1:-1])
    gradient[-1] = score_gradient * slope + theta[-1] / SLOPE_PRIOR**2
    return total + 0.5 * (float(theta[-1]) / SLOPE_PRIOR) ** 2, gradient


def _interval_loss(
    plain: Vector, f: Vector, low: NDArray[np.int64], high: NDArray[np.int64]
) -> tuple[Vector, Vector, Vector]:
    """-log(P_high - P_low) per row, and its derivative in the two linear predictors."""
    intercepts = np.concatenate(([-np.inf], plain[:-1], [np.inf]))
    p_low = sigmoid(intercepts[low] + plain[-1] * f)
    p_high = sigmoid(intercepts[high] + plain[-1] * f)
    width = np.maximum(p_high - p_low, NARROWEST)
    return -np.log(width), p_low * (1 - p_low) / width, -p_high * (1 - p_high) / width
