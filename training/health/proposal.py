"""Fit a health formula to churn: steps of each measure, weights of the parts, edges of the bands.

The method is that of a points scorecard (Siddiqi 2006, *Credit Risk Scorecards*)::

    steps     the churn of the rows in groups of a measure's values, made monotone in the direction
              that the written formulas declare (pool adjacent violators), at most ``MOST_STEPS``;
              where they are not clearly more likely than the written points, those stay
    weights   a logistic regression on the log odds of the parts, no weight below 0
    points    0 for the worst step of a part, 100 for the best, in proportion to the log odds
    bands     the scores at which churn is 1, 2 and 4 times as frequent as on average, as in the
              tiers of risk

A part may only say what its direction says: a measure that goes with churn the other way, or with
nothing, is left out. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.optimize import minimize

from features.health.formula import Band, Component, HealthFormula, Knots, Measure
from features.health.score import health_column
from training.dataset.errors import TrainingError

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

OWN_FORMULA = "own"
"""The id of a proposed formula."""

MOST_PARTS = 8
MOST_STEPS = 4
GROUPS = 12
LEAST_KNOWN = 0.3
"""A measure is a candidate where so large a share of the rows knows it."""

LEAST_LEAVERS = 30
"""Rows with churn, below which no formula is fitted."""

LEAST_GAIN = 6.0
"""Log likelihood that a step has to bring: 1.92 (95 % for one number) times about three rows of one
account with overlapping label windows."""

LEAST_WEIGHT = 4
PRIOR_ROWS = 50.0
"""So many rows with the average churn are added to each step."""

RIDGE = 1.0
MULTIPLES = (1.0, 2.0, 4.0)
"""Churn over average churn at the lower edges of the bands but the last, from the best one on."""


class ProposalError(TrainingError):
    """No health formula can be fitted to these rows."""


@dataclass(frozen=True, kw_only=True)
class Signal:
    """A measure that may become a part, and the part of a written formula that declares it."""

    name: str
    measure: Measure
    group: str | None
    rises: bool  # more is better


@dataclass(frozen=True, kw_only=True)
class Steps:
    """A measure cut into steps: upper edges (the last infinite) and log odds against the average.

    ``gain`` is the log likelihood that they have over no difference.
    """

    edges: Vector
    log_odds: Vector
    gain: float

    @property
    def knots(self) -> Knots:
        """Points of the steps: 100 for the least churn, 0 for the most."""
        worst, best = self.log_odds.max(), self.log_odds.min()
        points = np.round(100 * (worst - self.log_odds) / (worst - best))
        return tuple((float(x), float(y)) for x, y in zip(self.edges, points, strict=True))


@dataclass(frozen=True, kw_only=True)
class Part:
    """A measure with its points, and the log odds of churn that its whole range stands for."""

    signal: Signal
    measure: Measure
    lost: Vector  # of each row: the share of the points that is missing, less the mean; 0 unknown
    gain: float


def signals_of(written: HealthFormula, others: Iterable[HealthFormula]) -> tuple[Signal, ...]:
    """The measures of all formulas, those of the written one first.

    A measure that two formulas declare in opposite directions is left out.
    """
    found: dict[tuple[object, ...], Signal] = {}
    opposite = set()
    names: set[str] = set()
    for formula in (written, *others):
        for component in formula.components:
            for measure in component.measures:
                key = (measure.feature, measure.over, measure.only_if)
                points = [y for _, y in measure.knots]
                rises = points[-1] > points[0]
                if key in found:
                    if found[key].rises != rises:
                        opposite.add(key)
                    continue
                name = component.name if component.name not in names else measure.feature
                if name in names:
                    continue
                names.add(name)
                found[key] = Signal(name=name, measure=measure, group=component.group, rises=rises)
    return tuple(signal for key, signal in found.items() if key not in opposite)


def measured(frame: pl.DataFrame, signals: Sequence[Signal]) -> Matrix:
    """The value of each signal for each row, NaN where it is unknown."""
    inputs = {name for signal in signals for name in signal.measure.inputs}
    there = frame.with_columns(
        pl.lit(None, dtype=pl.Float64).alias(name)
        for name in sorted(inputs)
        if name not in frame.columns
    )
    values = there.select(
        signal.measure.value_expression().cast(pl.Float64).alias(str(place))
        for place, signal in enumerate(signals)
    )
    return values.fill_null(float("nan")).to_numpy()


def propose(
    frame: pl.DataFrame,
    churned: Vector,
    *,
    written: HealthFormula,
    others: Sequence[HealthFormula],
    source: str,
) -> HealthFormula:
    """A formula fitted to rows of which it is known whether they churned.

    Args:
        frame: the features of each row.
        churned: 1 or 0 for each row.
        written: the formula in use; the names and actions of its bands are kept.
        others: formulas whose measures may be parts too.
        source: in words, which churn it was fitted to.

    Raises:
        ProposalError: too few rows churned, or no measure goes with churn as it is declared to.
    """
    leavers = int(churned.sum())
    if leavers < LEAST_LEAVERS or leavers > len(churned) - LEAST_LEAVERS:
        raise ProposalError(
            f"Of {len(churned):,} rows {leavers:,} churned; {LEAST_LEAVERS} of each are needed to "
            f"fit a health formula. Wait for more, or make older snapshots (keepwell snapshot "
            f"--from … --to …)."
        )
    signals = signals_of(written, others)
    values = measured(frame, signals)
    chosen = [
        part
        for place, signal in enumerate(signals)
        if (part := part_of(signal, values[:, place], churned)) is not None
    ]
    if not chosen:
        raise ProposalError(
            "No measure of the health formulas goes with churn in the direction that they declare. "
            "Keep the written formula."
        )
    while True:
        shares = _nonnegative_slopes(np.column_stack([part.lost for part in chosen]), churned)
        if shares.sum() <= 0:
            raise ProposalError("No measure keeps a weight beside the others. Keep the formula.")
        shares = 100 * shares / shares.sum()
        weak = int(np.argmin(shares))
        if len(chosen) == 1 or (len(chosen) <= MOST_PARTS and shares[weak] >= LEAST_WEIGHT):
            break
        chosen.pop(weak)
    weights = _whole_weights(shares)
    parts = sorted(zip(chosen, weights, strict=True), key=lambda pair: -pair[1])
    fitted = HealthFormula(
        id=OWN_FORMULA,
        title=f"Fitted to {source}",
        source=source,
        ours=("parts", "weights", "knots", "bands"),
        bands=written.bands,
        components=tuple(
            Component(
                name=part.signal.name,
                group=part.signal.group,
                weight=float(weight),
                source=source,
                ours=("weight", "knots"),
                measures=(part.measure,),
            )
            for part, weight in parts
        ),
    )
    return with_bands(fitted, frame, churned)


def part_of(signal: Signal, values: Vector, churned: Vector) -> Part | None:
    """A measure with the points that fit churn: its written ones, or steps that fit clearly better.

    None where too few rows know it, or where it does not go with churn in its direction.
    """
    known = ~np.isnan(values)
    if known.mean() < LEAST_KNOWN:
        return None
    found: list[tuple[float, Measure]] = []
    written = _lost(signal.measure, values)
    if np.ptp(written[known]) > 0:
        found.append((_gain_of_line(written[known], churned[known]), signal.measure))
    steps = cut_into_steps(values[known], churned[known], rises=signal.rises)
    if steps is not None:
        measure = replace(signal.measure, shape="at_most", knots=steps.knots)
        found.append((steps.gain - LEAST_GAIN * (len(steps.edges) - 2), measure))
    if not found:
        return None
    gain, measure = max(found, key=lambda one: one[0])
    if gain < LEAST_GAIN:
        return None
    return Part(signal=signal, measure=measure, lost=_lost(measure, values), gain=gain)


def _lost(measure: Measure, values: Vector) -> Vector:
    """The share of the points that each row misses, less the mean of the known; 0 where unknown."""
    points = pl.select(measure.points_of(pl.lit(pl.Series(values).fill_nan(None)))).to_series()
    lost = 1 - points.to_numpy() / 100
    mean = np.nanmean(lost) if (~np.isnan(lost)).any() else 0.0
    return np.nan_to_num(lost - mean, nan=0.0)


def _gain_of_line(column: Vector, churned: Vector) -> float:
    """Log likelihood of a logistic regression with a slope of at least 0 over none."""
    slope = _nonnegative_slopes(column[:, None], churned)[0]
    level = _level(slope * column, churned)
    raw = level + slope * column
    value = float(np.sum(churned * raw - np.logaddexp(0, raw)))
    return value - _likelihood(len(churned), float(churned.sum()))


def cut_into_steps(values: Vector, churned: Vector, *, rises: bool) -> Steps | None:
    """Steps of a measure in which churn only falls (``rises``) or only grows with the value.

    None where churn does not differ that way. Every value is known.
    """
    inner = np.unique(np.quantile(values, np.linspace(0, 1, GROUPS + 1)[1:-1], method="lower"))
    edges = [_round(edge) for edge in inner if edge < values.max()]
    edges = [*dict.fromkeys(edges), math.inf]
    place = np.searchsorted(np.array(edges), values, side="left")
    rows = np.bincount(place, minlength=len(edges)).astype(float)
    left = np.bincount(place, weights=churned, minlength=len(edges))
    steps = [[edge, n, k] for edge, n, k in zip(edges, rows, left, strict=True) if n > 0]
    steps[-1][0] = math.inf
    sign = -1.0 if rises else 1.0
    while (worst := _first_violation(steps, sign)) is not None:
        _merge(steps, worst)
    while len(steps) > 1:
        losses = [_gain(a, b) for a, b in pairwise(steps)]
        least = int(np.argmin(losses))
        if len(steps) <= MOST_STEPS and losses[least] >= LEAST_GAIN:
            break
        _merge(steps, least)
    if len(steps) < 2:
        return None
    average = float(churned.mean())
    n, k = np.array([step[1] for step in steps]), np.array([step[2] for step in steps])
    rate = (k + PRIOR_ROWS * average) / (n + PRIOR_ROWS)
    apart = sum(_likelihood(step[1], step[2]) for step in steps)
    return Steps(
        edges=np.array([step[0] for step in steps]),
        log_odds=_logit(rate) - _logit(average),
        gain=apart - _likelihood(len(churned), float(churned.sum())),
    )


def with_bands(formula: HealthFormula, frame: pl.DataFrame, churned: Vector) -> HealthFormula:
    """The formula with its bands cut where churn is a multiple of the average.

    The names and the actions of the bands stay; a formula of three bands has no fourfold one.
    """
    score = health_column(frame, formula).to_numpy()
    known = ~np.isnan(score)
    level, slope = _line(score[known], churned[known])
    average = float(churned.mean())
    multiples = MULTIPLES[: len(formula.bands) - 1]
    lowest: list[float] = []
    ceiling = 100.0
    for left, multiple in zip(range(len(multiples), 0, -1), multiples, strict=True):
        share = min(multiple * average, 0.99)
        at = (_logit(np.array(share)) - level) / slope if slope < 0 else 50.0
        ceiling = float(min(max(math.ceil(float(at)), left), ceiling - 1))
        lowest.append(ceiling)
    edges = (*lowest, 0.0)
    bands = (
        Band(lowest=edge, name=band.name, action=band.action)
        for edge, band in zip(edges, formula.bands, strict=True)
    )
    return replace(formula, bands=tuple(bands))


def _whole_weights(shares: Vector) -> list[int]:
    """Whole weights that add to 100, by the largest remainders."""
    weights = np.floor(shares).astype(int)
    for place in np.argsort(weights - shares, kind="stable")[: 100 - int(weights.sum())]:
        weights[place] += 1
    return [int(weight) for weight in weights]


def _nonnegative_slopes(columns: Matrix, churned: Vector) -> Vector:
    """The slopes of a logistic regression, none below 0, each drawn a little toward 0."""
    rows, parts = columns.shape

    def loss(numbers: Vector) -> tuple[float, Vector]:
        raw = numbers[0] + columns @ numbers[1:]
        p = 1 / (1 + np.exp(-raw))
        value = float(np.sum(np.logaddexp(0, raw) - churned * raw))
        slope = np.concatenate([[np.sum(p - churned)], columns.T @ (p - churned)])
        slope[1:] += 2 * RIDGE * numbers[1:]
        return (value + RIDGE * float(numbers[1:] @ numbers[1:])) / rows, slope / rows

    start = np.concatenate([[float(_logit(np.array(churned.mean())))], np.full(parts, 0.5)])
    bounds = [(None, None), *[(0.0, None)] * parts]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds)
    return np.asarray(found.x[1:])


def _line(score: Vector, churned: Vector) -> tuple[float, float]:
    """Level and slope of the log odds of churn along the score."""
    columns = (100 - score)[:, None] / 100
    slope = float(_nonnegative_slopes(columns, churned)[0])
    return _level(slope * columns[:, 0], churned) + slope, -slope / 100


def _level(raw: Vector, churned: Vector) -> float:
    """The level beside which as many are expected to churn as have."""
    low, high = -20.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        if float(np.mean(1 / (1 + np.exp(-(middle + raw))))) < churned.mean():
            low = middle
        else:
            high = middle
    return middle


def _gain(one: Sequence[float], other: Sequence[float]) -> float:
    """Log likelihood that two steps have over one."""
    apart = _likelihood(one[1], one[2]) + _likelihood(other[1], other[2])
    return apart - _likelihood(one[1] + other[1], one[2] + other[2])


def _likelihood(n: float, k: float) -> float:
    if k in (0, n):
        return 0.0
    return k * math.log(k / n) + (n - k) * math.log(1 - k / n)


def _first_violation(steps: list[list[float]], sign: float) -> int | None:
    """The first step after which churn does not go on as it should."""
    rates = [k / n for _, n, k in steps]
    broken = (n for n, (a, b) in enumerate(pairwise(rates)) if sign * (b - a) <= 0)
    return next(broken, None)


def _merge(steps: list[list[float]], at: int) -> None:
    """Make one step of this one and the next."""
    here, there = steps[at], steps.pop(at + 1)
    steps[at] = [there[0], here[1] + there[1], here[2] + there[2]]


def _logit(p: Vector | float) -> Vector:
    clipped = np.clip(p, 1e-4, 1 - 1e-4)
    return np.asarray(np.log(clipped / (1 - clipped)))


def _round(edge: float) -> float:
    """An edge of three digits, which people can read."""
    return float(f"{edge:.3g}")
