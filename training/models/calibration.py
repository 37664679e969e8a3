"""Fit the calibration: one raw score becomes one probability per horizon.

``p_h = sigmoid(a_h + b·f)`` with one slope ``b > 0`` for all horizons and ``a_h`` that never
falls, so a probability never falls as the horizon grows. That is the proportional-odds model of
when the outcome first comes; it is fitted jointly, by maximum likelihood over the intervals
between horizons (McCullagh 1980), on rows that were scored out of time. A row whose longer windows
are not decided counts up to the horizon that is known. Scores are centred on the rows of their own
fit: then the intercepts are the newest level, and no fit's older level enters twice.

How low a probability may be is decided by how many accounts are behind the lowest scores, not by the
line (``unseen_by``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import logit
from scipy.stats import beta

from registry.bundle.calibration import Calibration, Unseen, raised, sigmoid
from training.dataset.errors import TrainingError

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

SLOPE_PRIOR = 0.2
"""Standard deviation of log b around 0: a penalised score in log-odds needs little stretching."""

PRIOR_ROWS = 0.5
"""Weight of an artificial row that keeps an empty interval between horizons finite."""

NARROWEST = 1e-12

LEAST_CHANCE = 1e-12
"""A drawn chance is above 0: its log-odds are finite."""


LOWEST_SHARE = 0.2
"""The rows with the lowest scores, whose accounts say how low a chance can be told."""


class CalibrationError(TrainingError):
    """The scores cannot be calibrated."""


@dataclass(frozen=True, kw_only=True)
class CalibrationFit:
    """Intercepts per horizon, the shared slope, and bootstrap draws of all of them."""

    intercepts: Vector  # one per horizon, never falling
    slope: float
    draws: Matrix  # draws × (1 + horizons): the slope, then the intercepts
    unseen: Unseen | None = None
    days: tuple[int, ...] = ()  # of the horizons, where there is a floor

    def probability(self, f: Vector, position: int) -> Vector:
        """Probability at the horizon in this position."""
        return sigmoid(self.log_odds(f, position))

    def log_odds(self, f: Vector, position: int) -> Vector:
        """The same in log-odds."""
        line = np.asarray(self.intercepts[position] + self.slope * f)
        if self.unseen is None:
            return line
        return raised(line, float(logit(self.unseen.chance * self.days[position] / self.days[-1])))

    def shifted(self, offset: float) -> CalibrationFit:
        """The same probabilities for scores that lie higher by ``offset``."""
        slopes = self.draws[:, :1]
        return CalibrationFit(
            intercepts=self.intercepts - self.slope * offset,
            slope=self.slope,
            unseen=self.unseen,
            days=self.days,
            draws=np.concatenate((slopes, self.draws[:, 1:] - slopes * offset), axis=1),
        )

    def for_serving(self, horizons: tuple[int, ...]) -> Calibration:
        """The value that a bundle holds."""
        return Calibration(
            horizons=horizons,
            slope=self.slope,
            intercepts=tuple(map(float, self.intercepts)),
            draws=self.draws,
            unseen=self.unseen,
        )


def unseen_by(
    f: Vector,
    accounts: NDArray[np.int64],
    n_draws: int,
    rng: np.random.Generator,
) -> Unseen:
    """The chance of what none of the accounts with the lowest scores had, by Jeffreys' prior.

    Of ``n`` accounts its distribution is Beta(1/2, n + 1/2), its mean ``1 / (2n + 2)`` (Brown, Cai
    and DasGupta 2001). Whether one of them did have the outcome makes no difference: the line
    learns from it, and this is only how little can be told from nothing.
    """
    lowest = np.argsort(f, kind="stable")[: max(1, int(LOWEST_SHARE * len(f)))]
    n = len(np.unique(accounts[lowest]))
    belief = beta(0.5, n + 0.5)
    return Unseen(
        chance=float(belief.mean()),
        most=float(belief.ppf(0.975)),
        draws=np.maximum(belief.rvs(n_draws, random_state=rng), LEAST_CHANCE),
    )


def fit_calibration(
    f: Vector,
    outcomes: Matrix,
    accounts: NDArray[np.int64],
    *,
    weights: Vector | None = None,
    n_draws: int = 0,
    rng: np.random.Generator,
) -> CalibrationFit:
    """Fit intercepts and slope to scores by fits that could not know their rows.

    Rows of one account overlap in time, so the likelihood is tempered by the mean number of rows
    an account has: the prior then weighs as if accounts were the sample, which they are.

    Args:
        f: raw score per row, in log-odds.
        outcomes: rows × horizons, 1 happened, 0 did not, NaN not decided.
        accounts: account of each row as a number from 0; draws take whole accounts.
        weights: of each row, at most 1; None: all alike.
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
    rows = _Intervals.of(f, outcomes, np.ones(len(f)) if weights is None else weights)
    share = len(np.unique(accounts)) / len(f)  # of an account that a row is worth
    best = _maximise(rows, share, _start(outcomes))
    plain = _plain(best)
    return CalibrationFit(
        intercepts=plain[:-1],
        slope=float(plain[-1]),
        draws=_draws(rows, share, best, accounts, n_draws, rng),
    )


RATE_GOES_ON_SPREAD = 0.25
"""Standard deviation, in logarithms, of how fast accounts leave later over how fast they leave at first.
Ours: 95 % of it is from .6 to 1.6 times as fast."""

MOST_SCORES = 512
"""Scores at which a longer horizon is fitted: quantiles, where there are more."""


def extended(
    calibration: Calibration, scores: Vector, to: tuple[int, ...], *, seed: int
) -> Calibration:
    """A calibration with longer horizons, as if the rate of its longest one went on.

    No account was followed for so long, so the level is the constant hazard's, the share
    ``1 - (1 - p) ^ (longer / longest)`` on average over these scores, and the draws vary the hazard, too. The
    slope, and so the order of accounts, is that of the longest horizon that was learned.

    Args:
        calibration: of the horizons that were learned.
        scores: raw scores of training rows, as the calibration reads them.
        to: the longer horizons in days, rising.
        seed: of the draws.
    """
    f = np.sort(scores)
    if len(f) > MOST_SCORES:
        f = np.quantile(f, np.linspace(0, 1, MOST_SCORES))
    rng = np.random.default_rng(seed)
    faster = np.exp(rng.normal(0.0, RATE_GOES_ON_SPREAD, len(calibration.draws)))
    last = calibration.horizons[-1]
    slopes = np.array([calibration.slope, *calibration.draws[:, 0]])
    own = np.array([calibration.intercepts[-1], *calibration.draws[:, -1]])
    columns: list[Vector] = []
    for days in to:
        times = 1 + (days / last - 1) * np.array([1.0, *faster])
        columns.append(_intercepts_of(own, slopes, times, f))
    rows = np.maximum.accumulate(np.column_stack([own, *columns]), axis=1)[:, 1:]
    unseen = calibration.unseen
    if unseen is not None:
        longer = to[-1] / last
        unseen = Unseen(
            chance=_within(unseen.chance, longer),
            most=_within(unseen.most, longer),
            draws=np.asarray(1 - (1 - unseen.draws) ** longer),
        )
    return Calibration(
        horizons=(*calibration.horizons, *to),
        slope=calibration.slope,
        intercepts=(*calibration.intercepts, *map(float, rows[0])),
        draws=np.column_stack([calibration.draws, rows[1:]]),
        unseen=unseen,
    )


def _within(chance: float, times: float) -> float:
    return float(1 - (1 - chance) ** times)


def _intercepts_of(own: Vector, slopes: Vector, times: Vector, f: Vector) -> Vector:
    """For each line the intercept at which the mean chance is that of the hazard going on, by halving."""
    line = slopes[:, None] * f
    wanted = (1 - (1 - sigmoid(own[:, None] + line)) ** times[:, None]).mean(axis=1)
    low, high = own - 1.0, own + np.log(times) + 12.0
    for _ in range(60):
        middle = (low + high) / 2
        below = sigmoid(middle[:, None] + line).mean(axis=1) < wanted
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return np.asarray((low + high) / 2)


@dataclass(frozen=True, kw_only=True)
class _Intervals:
    """Each row's outcome as an interval of horizons: after ``low``, by ``high``.

    Positions 1 to K are the horizons; 0 is before all (probability 0), K + 1 after all (1).
    """

    f: Vector
    low: NDArray[np.int64]
    high: NDArray[np.int64]
    weight: Vector

    @classmethod
    def of(cls, f: Vector, outcomes: Matrix, weight: Vector) -> _Intervals:
        n_horizons = outcomes.shape[1]
        position = np.arange(1, n_horizons + 1)
        low = np.where(outcomes == 0, position, 0).max(axis=1)
        high = np.where(outcomes == 1, position, n_horizons + 1).min(axis=1)
        return cls(f=f, low=low, high=high, weight=weight)

    def prior_rows(self, n_horizons: int) -> _Intervals:
        """One row in every interval, at the mean score."""
        places = np.arange(n_horizons + 1)
        middle = np.full(n_horizons + 1, np.average(self.f, weights=self.weight))
        return _Intervals(f=middle, low=places, high=places + 1, weight=np.ones(n_horizons + 1))


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


def _maximise(rows: _Intervals, share: float, start: Vector) -> Vector:
    result = minimize(
        _posterior,
        start,
        args=(rows, share),
        jac=True,
        method="L-BFGS-B",
        bounds=_bounds(len(start)),
        options={"ftol": 1e-12, "gtol": 1e-7},
    )
    return np.asarray(result.x, dtype=np.float64)


def _bounds(n_parameters: int) -> list[tuple[float, float]]:
    return [(-20.0, 20.0)] + [(-12.0, 4.0)] * (n_parameters - 2) + [(-4.0, 3.0)]


def _draws(
    rows: _Intervals,
    share: float,
    best: Vector,
    accounts: NDArray[np.int64],
    n_draws: int,
    rng: np.random.Generator,
) -> Matrix:
    """Bootstrap draws of whole accounts, each by one Newton step from the estimate.

    A step costs a matrix product instead of an optimisation, and differs from it by less than
    the draws differ among each other (Shao and Tu 1995, section 5.4).
    """
    if not n_draws:
        return np.empty((0, len(best)))
    _, gradients = _losses(best, rows)
    n_accounts = int(accounts.max()) + 1
    by_account = np.zeros((n_accounts, len(best)))
    np.add.at(by_account, accounts, share * gradients)
    present = np.unique(accounts)
    drawn = rng.multinomial(len(present), np.full(len(present), 1 / len(present)), size=n_draws)
    moved = (drawn - 1.0) @ by_account[present]
    theta = best - moved @ np.linalg.inv(_curvature(best, rows, share))
    low, high = np.array(_bounds(len(best))).T
    plain = np.array([_plain(row) for row in np.clip(theta, low, high)]).reshape(-1, len(best))
    return np.concatenate((plain[:, -1:], plain[:, :-1]), axis=1)


def _curvature(theta: Vector, rows: _Intervals, share: float, step: float = 1e-4) -> Matrix:
    """Second derivatives of the posterior, by central differences of its gradient."""
    columns = []
    for nudge in step * np.eye(len(theta)):
        _, above = _posterior(theta + nudge, rows, share)
        _, below = _posterior(theta - nudge, rows, share)
        columns.append((above - below) / (2 * step))
    matrix = np.array(columns)
    return np.asarray((matrix + matrix.T) / 2)


def _posterior(theta: Vector, rows: _Intervals, share: float) -> tuple[float, Vector]:
    """Negative log posterior and its gradient in the free parameters."""
    losses, gradients = _losses(theta, rows)
    extra, extra_gradients = _losses(theta, rows.prior_rows(len(theta) - 1))
    prior_share = PRIOR_ROWS / len(extra)
    total = share * losses.sum() + prior_share * extra.sum()
    gradient = share * gradients.sum(axis=0) + prior_share * extra_gradients.sum(axis=0)
    gradient[-1] += theta[-1] / SLOPE_PRIOR**2
    return float(total) + 0.5 * (float(theta[-1]) / SLOPE_PRIOR) ** 2, gradient


def _losses(theta: Vector, rows: _Intervals) -> tuple[Vector, Matrix]:
    """-log(P_high - P_low) per row by its weight, and the gradient in the free parameters."""
    plain = _plain(theta)
    slope = plain[-1]
    intercepts = np.concatenate(([-np.inf], plain[:-1], [np.inf]))
    p_low = sigmoid(intercepts[rows.low] + slope * rows.f)
    p_high = sigmoid(intercepts[rows.high] + slope * rows.f)
    width = np.maximum(p_high - p_low, NARROWEST)
    at_low, at_high = p_low * (1 - p_low) / width, -p_high * (1 - p_high) / width
    # a step moves its own intercept and every later one
    first = np.arange(1, len(theta))
    moves = at_low[:, None] * (rows.low[:, None] >= first)
    moves += at_high[:, None] * (rows.high[:, None] >= first)
    scaled = np.concatenate(([1.0], np.exp(theta[1:-1]))) * moves
    along = (at_low + at_high) * rows.f * slope
    gradients = np.column_stack((scaled, along))
    return -rows.weight * np.log(width), rows.weight[:, None] * gradients
