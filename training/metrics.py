"""Metrics of probabilities with intervals, and paired differences between models.

Rows of one account are not independent, so every interval comes from a bootstrap that draws
whole accounts. All draws are weights on the same rows: nothing is copied, nothing is refitted.
Pure; randomness is an argument.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from registry.bundle.calibration import sigmoid
from training.dataset.errors import TrainingError

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

SMALLEST = 1e-6
"""Probabilities are clipped this far from 0 and 1 in the logarithm."""

CELLS = 4_000_000
"""Weights held in memory at once: draws are taken in blocks of this many cells."""

BOOTSTRAP_DRAWS = 500
"""Draws of accounts behind every interval of a judgement."""

NEWTON_STEPS = 25
NORMAL_95 = 1.959964

BINS = 10
TOP_SHARE = 0.10


class EvaluationError(TrainingError):
    """The rows cannot be judged."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def row_log_loss(y: Vector, p: Vector) -> Vector:
    """Log loss of each row."""
    p = np.clip(p, SMALLEST, 1 - SMALLEST)
    loss: Vector = -(y * np.log(p) + (1 - y) * np.log(1 - p))
    return loss


def log_loss(y: Vector, p: Vector, w: Matrix) -> Vector:
    """Mean log loss per draw."""
    return _mean(row_log_loss(y, p), w)


def brier(y: Vector, p: Vector, w: Matrix) -> Vector:
    """Mean squared error of the probability, per draw."""
    return _mean((y - p) ** 2, w)


def auc(y: Vector, p: Vector, w: Matrix) -> Vector:
    """Area under the ROC curve per draw; tied scores count half."""
    return _auc(_Ranking(y, p, w))


def metrics_by_draw(y: Vector, p: Vector, w: Matrix) -> dict[str, Vector]:
    """Every metric by its name, a number for each draw, NaN where a draw cannot tell.

    Args:
        y: 0 or 1 per row.
        p: probability per row.
        w: weights, draws × rows.
    """
    ranking = _Ranking(y, p, w)
    return {
        "log_loss": log_loss(y, p, w),
        "brier": brier(y, p, w),
        "auc": _auc(ranking),
        "average_precision": _average_precision(ranking),
        "lift_at_10_percent": _lift_at_top(ranking),
        "calibration_error": _calibration_error(ranking),
    }


class _Ranking:
    """The rows from the highest score down, with what each draw holds of them up to each row.

    The one pass over draws × rows that takes time is made once, for all metrics of the order.
    """

    def __init__(self, y: Vector, p: Vector, w: Matrix) -> None:
        order = np.argsort(p, kind="stable")[::-1]
        self.y, self.p, self.w = y[order], p[order], w[:, order]
        first = np.flatnonzero(np.r_[True, self.p[1:] != self.p[:-1]])
        ties = np.diff(np.r_[first, len(p)])
        self.higher = np.repeat(first, ties)  # rows with a higher score than the row
        self.as_high = np.repeat(first + ties, ties)  # and those with its score
        self.positives = np.flatnonzero(self.y)
        self.positive_w = self.w[:, self.positives]
        # of the first 0, 1, 2 ... rows: their weight, their positives, the positives' weight
        self.weight = _running_sum(self.w)
        self.n_positives = np.r_[0, np.cumsum(self.y)].astype(np.int64)
        self.found = _running_sum(self.positive_w)


def _auc(rank: _Ranking) -> Vector:
    def negatives(rows: NDArray[np.int64]) -> Matrix:
        return rank.weight[:, rows] - rank.found[:, rank.n_positives[rows]]

    higher, as_high = (negatives(of[rank.positives]) for of in (rank.higher, rank.as_high))
    before = (rank.positive_w * (higher + as_high)).sum(axis=1) / 2
    found = rank.found[:, -1]
    return 1 - _divide(before, found * (rank.weight[:, -1] - found))


def _average_precision(rank: _Ranking) -> Vector:
    """Area under the precision-recall curve, by steps."""
    rows = rank.as_high[rank.positives]
    precision = _divide(rank.found[:, rank.n_positives[rows]], rank.weight[:, rows])
    return _divide(np.nansum(precision * rank.positive_w, axis=1), rank.found[:, -1])


def _lift_at_top(rank: _Ranking) -> Vector:
    """Rate in the tenth that is scored highest over the base rate; ties share the last place."""
    draw = np.arange(len(rank.w))
    weight, found = rank.weight[:, -1], rank.found[:, -1]
    seats = TOP_SHARE * weight
    last = (rank.weight[:, 1:] < seats[:, None]).sum(axis=1)  # the row that takes the last seat
    before, after = rank.higher[last], rank.as_high[last]
    safe = rank.found[draw, rank.n_positives[before]]
    tied = rank.found[draw, rank.n_positives[after]] - safe
    left = seats - rank.weight[draw, before]
    hits = safe + tied * _divide(left, rank.weight[draw, after] - rank.weight[draw, before])
    return _divide(_divide(hits, seats), _divide(found, weight))


def _calibration_error(rank: _Ranking) -> Vector:
    """Mean distance of promised and observed rate over ten equal groups by score.

    With few positives a perfect model has an error too: compare contenders with each other.
    """
    lowest_first = (np.arange(BINS + 1) * len(rank.p)) // BINS
    ends = np.unique(len(rank.p) - lowest_first)
    gap = rank.y - rank.p
    off = [np.abs(rank.w[:, a:b] @ gap[a:b]) for a, b in pairwise(ends)]
    return _divide(np.sum(off, axis=0), rank.weight[:, -1])


def account_draws(accounts: NDArray[np.int64], n_draws: int, rng: np.random.Generator) -> Matrix:
    """How often each account is drawn: draws × accounts, whole accounts with replacement."""
    n_accounts = int(accounts.max()) + 1 if len(accounts) else 0
    if n_accounts == 0:
        raise EvaluationError("There are no rows to judge; check the cohort and the cutoffs.")
    even = np.full(n_accounts, 1 / n_accounts)
    return rng.multinomial(n_accounts, even, size=n_draws).astype(np.float64)


def evaluate(
    y: Vector, p: Vector, accounts: NDArray[np.int64], draws: Matrix, *, cells: int = CELLS
) -> dict[str, Interval]:
    """All metrics of one contender, each with its account-clustered 95 % interval.

    Args:
        y: 0 or 1 per row.
        p: probability per row.
        accounts: account of each row as a number from 0.
        draws: from ``account_draws``, shared by all contenders so that they stay paired.
        cells: weights held in memory at once.

    Raises:
        EvaluationError: no rows, or only one class among them.
    """
    if not 0 < y.sum() < len(y):
        raise EvaluationError(
            f"The {len(y)} rows to judge hold only one class ({int(y.sum())} with the outcome): "
            f"nothing can be compared. Use more cutoffs or a longer horizon."
        )
    ones = np.ones((1, len(y)))
    values = {name: float(each[0]) for name, each in metrics_by_draw(y, p, ones).items()}
    block = max(1, cells // len(y))
    parts = [
        metrics_by_draw(y, p, draws[start : start + block][:, accounts])
        for start in range(0, len(draws), block)
    ]
    spread = {name: np.concatenate([part[name] for part in parts]) for name in values}
    # a resample repeats rows, which by itself adds to the error of groups: subtract that
    extra = float(np.nanmean(spread["calibration_error"])) - values["calibration_error"]
    spread["calibration_error"] = np.maximum(spread["calibration_error"] - max(extra, 0.0), 0.0)
    return {name: _interval(values[name], spread[name]) for name in values}


def came_over_promised(
    y: Vector, p: Vector, account: NDArray[np.int64], draws: Matrix, *, level: float = 0.95
) -> Interval:
    """Outcomes that came over those promised, with an interval at this level.

    Never narrower than the exact Poisson interval of the number of accounts with the outcome
    (Garwood 1936), so that no outcome at all is no proof. Rows may be weighed: multiply both.

    >>> import numpy as np
    >>> account = np.arange(200)
    >>> draws = account_draws(account, 500, np.random.default_rng(1))
    >>> none = came_over_promised(np.zeros(200), np.full(200, 0.01), account, draws)
    >>> [round(x, 2) for x in (none.value, none.low, none.high)]  # two promised, none came
    [0.0, 0.0, 1.84]
    """
    tail = (1 - level) / 2
    width = draws.shape[1]
    ratio = float(y.sum() / p.sum())
    came, promised = np.bincount(account, y, width), np.bincount(account, p, width)
    low, high = np.nanquantile(_divide(draws @ came, draws @ promised), [tail, 1 - tail])
    happened = len(np.unique(account[y > 0]))
    least = chi2.ppf(tail, 2 * happened) / 2 if happened else 0.0
    most = chi2.ppf(1 - tail, 2 * happened + 2) / 2
    # what one account with the outcome adds; without any, rows count as accounts
    each = ratio / happened if happened else len(account) / len(np.unique(account)) / p.sum()
    return Interval(
        value=ratio, low=float(min(low, least * each)), high=float(max(high, most * each))
    )


def calibration_slope(y: Vector, p: Vector, account: NDArray[np.int64]) -> Interval:
    """Slope of the outcome's log-odds on those promised: 1 as promised, 0 they say nothing.

    A logistic regression of the outcome on the log-odds (Cox 1958). Its error draws whole accounts
    (the sandwich of Liang and Zeger 1986). Probabilities that are all alike have no slope: 0, with
    an interval that excludes nothing.
    """
    x = np.log(np.clip(p, SMALLEST, 1 - SMALLEST)) - np.log1p(-np.clip(p, SMALLEST, 1 - SMALLEST))
    if np.ptp(x) == 0 or not 0 < y.sum() < len(y):
        return Interval(value=0.0, low=-np.inf, high=np.inf)
    design = np.column_stack((np.ones(len(x)), x - x.mean()))
    rate = y.mean()
    weights = np.array([np.log(rate / (1 - rate)), 0.0])
    for _ in range(NEWTON_STEPS):
        fitted = sigmoid(design @ weights)
        curvature = (design * (fitted * (1 - fitted))[:, None]).T @ design
        step = np.linalg.solve(curvature + SMALLEST * np.eye(2), design.T @ (y - fitted))
        weights = weights + np.clip(step, -1.0, 1.0)
    fitted = sigmoid(design @ weights)
    curvature = (design * (fitted * (1 - fitted))[:, None]).T @ design + SMALLEST * np.eye(2)
    scores = np.zeros((int(account.max()) + 1, 2))
    np.add.at(scores, account, design * (y - fitted)[:, None])
    bread = np.linalg.inv(curvature)
    error = float(np.sqrt((bread @ (scores.T @ scores) @ bread)[1, 1]))
    slope = float(weights[1])
    return Interval(value=slope, low=slope - NORMAL_95 * error, high=slope + NORMAL_95 * error)


def groups_covered(
    y: Vector,
    p: Vector,
    low: Vector,
    high: Vector,
    account: NDArray[np.int64],
    *,
    groups: int = 20,
) -> NDArray[np.bool_]:
    """Whether the intervals of probabilities cover the rate of accounts like it, by group.

    Rows in the order of their probability are cut into equal groups. The rate of a group has an
    error of its own (whole accounts, and at least that of the promised rate), which adds to the
    mean interval of its rows: with intervals that are right 95 % of groups are covered.

    >>> rng = np.random.default_rng(1)
    >>> true = np.repeat(rng.beta(2, 20, 2_000), 5)
    >>> y, account = (rng.random(10_000) < true).astype(float), np.arange(10_000)
    >>> bool(groups_covered(y, true, true * 0.95, true * 1.05, account).mean() >= 0.9)
    True
    >>> bool(groups_covered(y, true * 2, true * 1.9, true * 2.1, account).mean() >= 0.5)
    False
    """
    order = np.argsort(p, kind="stable")
    starts = np.unique((np.arange(groups) * len(p)) // groups)
    size = np.diff([*starts, len(p)])
    rate, promised, below, above = (
        np.add.reduceat(column[order], starts) / size for column in (y, p, low, high)
    )
    group = np.empty(len(p), np.int64)
    group[order] = np.repeat(np.arange(len(starts)), size)
    width = int(account.max()) + 1
    residual = np.bincount(group * width + account, y - p, len(starts) * width)
    spread = np.square(residual.reshape(-1, width)).sum(axis=1) / size**2
    chance = NORMAL_95**2 * np.maximum(spread, promised * (1 - promised) / size)
    lowest = promised - np.sqrt((promised - below) ** 2 + chance)
    highest = promised + np.sqrt((above - promised) ** 2 + chance)
    covered: NDArray[np.bool_] = (lowest <= rate) & (rate <= highest)
    return covered


def flat(metrics: Mapping[str, Interval], *, prefix: str = "") -> dict[str, float]:
    """Metrics as flat numbers for a tracking store: value, ``_low`` and ``_high``."""
    numbers: dict[str, float] = {}
    for name, interval in metrics.items():
        numbers[f"{prefix}{name}"] = interval.value
        numbers[f"{prefix}{name}_low"] = interval.low
        numbers[f"{prefix}{name}_high"] = interval.high
    return numbers


def _interval(value: float, spread: Vector) -> Interval:
    low, high = np.nanquantile(spread, [0.025, 0.975])
    return Interval(value=value, low=float(low), high=float(high))


def _mean(x: Vector, w: Matrix) -> Vector:
    return _divide(w @ x, w.sum(axis=1))


def _divide(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """``a / b``, unknown where a draw holds nothing to divide by."""
    a, b = np.broadcast_arrays(a, b)
    result = np.full(a.shape, np.nan)
    np.divide(a, b, out=result, where=b > 0)
    return result


def _running_sum(w: Matrix) -> Matrix:
    """Weight of the first 0, 1, 2 … columns of each draw: one column more than there are."""
    summed = np.zeros((len(w), w.shape[1] + 1))
    np.cumsum(w, axis=1, out=summed[:, 1:])
    return summed
