"""Estimates of effects with their intervals, for all trials or by segment.

Errors are clustered: rows of one account are one observation, and with few accounts the interval
uses Student's t. With several segments at once each interval is widened and each p-value adjusted,
so that the chance of one false claim among all of them stays at 5 %. Pure: arrays in, values out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy import stats

from experiments.causal.contrast import Contrast, Scores
from experiments.causal.sample import Bools, Estimand, Floats, Ints, SampleError

CONFIDENCE = 0.95
"""The confidence level of every interval of a report."""

Verdict = Literal["works", "harms", "does not work", "unknown"]
Goal = Literal["lower", "higher"]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """One estimate with its estimand, interval and counts."""

    estimand: Estimand
    estimate: float
    standard_error: float
    low: float
    high: float
    p_value: float
    n: int
    n_treated: int
    n_control: int
    n_clusters: int

    def scaled(self, factor: float) -> Estimate:
        """The same estimate in another unit (per account to in total)."""
        low, high = sorted((self.low * factor, self.high * factor))
        return replace(
            self,
            estimate=self.estimate * factor,
            low=low,
            high=high,
            standard_error=self.standard_error * abs(factor),
        )

    def shifted(self, amount: float) -> Estimate:
        """The same estimate after adding a number that is known exactly (a cost).

        Its p-value is of the shifted number against 0, so that it agrees with the interval.
        """
        moved = self.estimate + amount
        reach = abs(moved) / self.standard_error if self.standard_error > 0 else math.inf
        return replace(
            self,
            estimate=moved,
            low=self.low + amount,
            high=self.high + amount,
            p_value=float(2 * stats.t.sf(reach, self.n_clusters - 1)) if moved else 1.0,
        )


@dataclass(frozen=True, kw_only=True)
class SegmentEffect:
    """The effect in one segment; interval and p-value hold for all segments together."""

    segment: str
    estimate: Estimate
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class Heterogeneity:
    """Whether the segments differ by more than chance: Cochran's Q over their estimates."""

    statistic: float
    degrees: int
    p_value: float


def clustered_error(influence: Floats, cluster: Ints) -> tuple[float, int]:
    """Standard error of a mean-zero sum whose terms are dependent within a cluster.

    ``influence`` is already normalised. Returns the error and the number of clusters.

    >>> clustered_error(np.array([1.0, 1.0, -1.0, -1.0]), np.array([0, 0, 1, 1]))
    (4.0, 2)
    """
    _, index = np.unique(cluster, return_inverse=True)
    sums = np.bincount(index, weights=influence)
    clusters = sums.shape[0]
    if clusters < 2:
        raise SampleError("All trials belong to one cluster, so no error can be estimated.")
    return math.sqrt(float(np.sum(sums**2)) * clusters / (clusters - 1)), clusters


def ratio_and_error(
    numerator: Floats, denominator: Floats, cluster: Ints
) -> tuple[float, float, int]:
    """Median over repeats of ``sum(numerator) / sum(denominator)``, its error, and the clusters.

    Both are repeats x rows. The error adds the spread between repeats (Chernozhukov et al. 2018,
    definition 3.3).
    """
    values, errors, clusters = [], [], 0
    for top, bottom in zip(numerator, denominator, strict=True):
        value = float(top.sum() / bottom.sum())
        error, clusters = clustered_error((top - value * bottom) / bottom.sum(), cluster)
        values.append(value)
        errors.append(error)
    middle = float(np.median(values))
    spread = np.square(errors) + (np.array(values) - middle) ** 2
    return middle, math.sqrt(float(np.median(spread))), clusters


def mean_and_error(score: Floats, cluster: Ints) -> tuple[float, float, int]:
    """Median over repeats (rows of ``score``) of the mean, its error, and the clusters."""
    return ratio_and_error(score, np.ones_like(score), cluster)


def estimate_of(contrast: Contrast, *, rows: Bools | None = None, comparisons: int = 1) -> Estimate:
    """The effect over these rows (all by default), the median over the repeats.

    ``comparisons`` is the number of intervals that are read together (Bonferroni).

    Raises:
        SampleError: fewer than two clusters, or an arm without rows.
    """
    chosen = contrast.kept if rows is None else contrast.kept & rows
    n_treated = int((chosen & contrast.treated).sum())
    n_control = int((chosen & contrast.untreated).sum())
    if n_treated == 0 or n_control == 0:
        raise SampleError(
            f"{n_treated} treated and {n_control} untreated comparable trials: nothing to compare."
        )
    middle, error, clusters = ratio_and_error(
        contrast.numerator[:, chosen], contrast.denominator[:, chosen], contrast.cluster[chosen]
    )
    reach = float(stats.t.ppf(1 - (1 - CONFIDENCE) / (2 * comparisons), clusters - 1))
    p_value = float(2 * stats.t.sf(abs(middle) / error, clusters - 1)) if error > 0 else 1.0
    return Estimate(
        estimand=contrast.estimand,
        estimate=middle,
        standard_error=error,
        low=middle - reach * error,
        high=middle + reach * error,
        p_value=p_value,
        n=n_treated + n_control,
        n_treated=n_treated,
        n_control=n_control,
        n_clusters=clusters,
    )


def mean_effect(scores: Scores, action: int, rows: Bools | None = None) -> Estimate:
    """The mean effect of one action over these trials (all by default).

    Raises:
        SampleError: no variation between accounts, so that no error can be estimated.
    """
    found = estimate_of(scores.contrast(action), rows=rows)
    if found.standard_error == 0:
        raise SampleError(
            f"{scores.sample.arms[action]!r}: every trial says the same, so no "
            f"error can be estimated. Wait until accounts have left and stayed."
        )
    return found


def mean_effects(scores: Scores) -> tuple[Estimate, ...]:
    """The mean effect of every action over all trials, in the order of the arms."""
    return tuple(mean_effect(scores, number) for number in range(1, len(scores.sample.arms)))


def verdict_of(estimate: Estimate, *, goal: Goal, smallest_effect: float) -> Verdict:
    """The verdict: an effect is claimed or excluded only when the whole interval agrees.

    ``goal`` says whether a lower or a higher outcome is good. "does not work" is an equivalence
    statement: every gain in the interval is smaller than the smallest effect that matters.
    """
    low, high = (
        (estimate.low, estimate.high) if goal == "higher" else (-estimate.high, -estimate.low)
    )
    if low > 0:
        return "works"
    if high < 0:
        return "harms"
    return "does not work" if high < smallest_effect else "unknown"


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Adjusted p-values (Holm 1979): the family-wise error is controlled whatever the dependence.

    >>> holm([0.01, 0.04, 0.03])
    (0.03, 0.06, 0.06)
    """
    count = len(p_values)
    adjusted = [0.0] * count
    running = 0.0
    for rank, position in enumerate(sorted(range(count), key=lambda i: p_values[i])):
        running = max(running, min(1.0, (count - rank) * p_values[position]))
        adjusted[position] = running
    return tuple(adjusted)


def segment_effects(
    contrast: Contrast,
    segments: Sequence[str],
    *,
    goal: Goal,
    smallest_effect: float,
    least_rows: int = 30,
) -> tuple[tuple[SegmentEffect, ...], tuple[str, ...]]:
    """The effect in each segment, and the segments too small to say (fewer rows in an arm)."""
    labels = np.asarray(segments, dtype=object)
    large: list[str] = []
    small: list[str] = []
    for segment in sorted(set(segments)):
        rows = (labels == segment) & contrast.kept
        in_arm = min(int((rows & contrast.treated).sum()), int((rows & contrast.untreated).sum()))
        (large if in_arm >= least_rows else small).append(segment)
    found = [
        estimate_of(contrast, rows=labels == segment, comparisons=len(large)) for segment in large
    ]
    adjusted = holm([estimate.p_value for estimate in found])
    effects = tuple(
        SegmentEffect(
            segment=segment,
            estimate=replace(estimate, p_value=p_value),
            verdict=verdict_of(estimate, goal=goal, smallest_effect=smallest_effect),
        )
        for segment, estimate, p_value in zip(large, found, adjusted, strict=True)
    )
    return effects, tuple(small)


def heterogeneity(effects: Sequence[SegmentEffect]) -> Heterogeneity | None:
    """Cochran's Q: are the segments' effects further apart than their errors? None below two."""
    usable = [effect.estimate for effect in effects if effect.estimate.standard_error > 0]
    if len(usable) < 2:
        return None
    value = np.array([estimate.estimate for estimate in usable])
    weight = np.array([estimate.standard_error for estimate in usable]) ** -2
    q = float(np.sum(weight * (value - np.sum(weight * value) / weight.sum()) ** 2))
    degrees = len(usable) - 1
    return Heterogeneity(statistic=q, degrees=degrees, p_value=float(stats.chi2.sf(q, degrees)))


def tipping_risk_ratio(estimate: Estimate, *, control_rate: float) -> float | None:
    """The E-value of the interval's bound (VanderWeele and Ding 2017).

    An unmeasured cause would have to make both the treatment and the outcome this many times as
    likely to explain the effect away. None when the interval includes no effect, or when a rate
    leaves 0 to 1.
    """
    if estimate.low <= 0 <= estimate.high or not 0 < control_rate < 1:
        return None
    bound = estimate.high if estimate.high < 0 else estimate.low
    rate = control_rate + bound
    if not 0 < rate < 1:
        return None
    ratio = max(rate / control_rate, control_rate / rate)
    return ratio + math.sqrt(ratio * (ratio - 1))
