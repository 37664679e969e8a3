"""Weigh the trials of an action by age, if a half-life predicts better.

The effect of an action may change over time. Trials then count by their age::

    weight = ½ ^ (age / half-life)

Young trials are fewer, so ageing costs precision, and is used only where it pays. The newest half
of the history is predicted in blocks, each from trials that were over before it began, once with
every half-life and once with all trials alike. A half-life is used where the one-sided 95 % bound
of its held-out loss, for all half-lives tried together, lies below that of not ageing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from scipy import stats

from experiments.causal.contrast import Scores
from experiments.causal.estimates import CONFIDENCE, clustered_error
from experiments.causal.sample import Floats, Ints, SampleError

HALF_LIVES = (90.0, 180.0, 365.0, 730.0)
"""Days; those longer than the history would change nothing."""

BLOCKS = 4
"""Parts of the newest half, each predicted by what was over before it."""

LEAST_BEFORE = 100
"""The least number of trials behind a prediction."""


@dataclass(frozen=True, kw_only=True)
class Ageing:
    """The half-life of an action's trials in days, None where they do not age.

    ``difference`` is its held-out loss less that of not ageing, ``upper`` its upper bound; without
    ageing they are those of the best half-life, or 0 if none was tried.
    """

    half_life_days: float | None
    difference: float
    upper: float

    @property
    def words(self) -> str | None:
        """The note beside an effect; None: no ageing."""
        if self.half_life_days is None:
            return None
        return (
            f"The effect moves: trials count half after {self.half_life_days:.0f} days, which "
            f"predicts the newest ones better than counting all alike."
        )


NO_AGEING = Ageing(half_life_days=None, difference=0.0, upper=0.0)


def estimate_ageing(
    score: Floats, age_days: Floats, cluster: Ints, *, follow_up_days: float
) -> Ageing:
    """Whether and how fast the trials of one action age.

    Args:
        score: of each trial, of the action less that of none.
        age_days: how long before the newest trial each one began.
        cluster: accounts.
        follow_up_days: from the start of a trial to its end.

    Raises:
        SampleError: an age that is not known or below 0.
    """
    if age_days.shape != score.shape or not (np.isfinite(age_days) & (age_days >= 0)).all():
        raise SampleError(
            f"Each of the {len(score)} trials needs an age of at least 0 days, "
            f"counted from the newest one."
        )
    if not len(score):
        return NO_AGEING
    span = float(age_days.max())
    tried = tuple(half for half in HALF_LIVES if half < span)
    losses = _held_out(score, age_days, tried, follow_up_days)
    if losses is None:
        return NO_AGEING
    found = []
    for half, gap, rows in losses:
        difference = float(gap.mean())
        error, clusters = clustered_error((gap - difference) / gap.size, cluster[rows])
        reach = float(stats.t.ppf(1 - (1 - CONFIDENCE) / len(tried), max(clusters - 1, 1)))
        found.append(
            Ageing(half_life_days=half, difference=difference, upper=difference + reach * error)
        )
    moving = [each for each in found if each.upper < 0]
    if moving:
        return min(moving, key=lambda each: each.difference)
    return replace(min(found, key=lambda each: each.upper), half_life_days=None)


def weight_by_age(scores: Scores, age_days: Floats, ageing: Mapping[int, Ageing]) -> Scores:
    """The scores with the trials of each action counted by their age; arm 0 is nothing.

    Within every segment the weights are 1 on average, so that its mean stays a mean.
    """
    score = scores.score - scores.score[:, :, :1]
    for action, found in ageing.items():
        if found.half_life_days is not None:
            score[:, :, action] *= segment_weights(scores, age_days, found.half_life_days)
    return replace(scores, score=score)


def segment_weights(scores: Scores, age_days: Floats, half_life_days: float) -> Floats:
    """The weight of each trial by its age, 1 on average within every segment."""
    weight = np.empty(len(age_days))
    for segment in np.unique(scores.sample.segment):
        inside = scores.sample.segment == segment
        weight[inside] = age_weights(age_days[inside], half_life_days)
    return weight


def age_weights(age_days: Floats, half_life_days: float) -> Floats:
    """The weight of each trial by its age, 1 on average.

    >>> age_weights(np.array([0.0, 90.0]), 90.0).round(3).tolist()
    [1.333, 0.667]
    """
    weight = 0.5 ** (age_days / half_life_days)
    return np.asarray(weight / weight.mean())


def _held_out(
    score: Floats,
    age_days: Floats,
    tried: tuple[float, ...],
    follow_up_days: float,
) -> list[tuple[float, Floats, Ints]] | None:
    """For each half-life: the loss less that of not ageing, of every predicted trial."""
    newest = float(np.median(age_days))
    edges = np.linspace(newest, 0.0, BLOCKS + 1)
    gaps: dict[float, list[Floats]] = {half: [] for half in tried}
    rows: list[Ints] = []
    for old, young in pairwise(edges):
        inside = np.flatnonzero((age_days <= old) & ((age_days > young) | (young == 0.0)))
        before = age_days >= old + follow_up_days
        if before.sum() < LEAST_BEFORE or not len(inside):
            continue
        alike = float(score[before].mean())
        rows.append(inside)
        for half in tried:
            weight = age_weights(age_days[before], half)
            guess = float((weight * score[before]).mean())
            gaps[half].append((score[inside] - guess) ** 2 - (score[inside] - alike) ** 2)
    if not rows or not tried:
        return None
    which = np.concatenate(rows)
    return [(half, np.concatenate(gaps[half]), which) for half in tried]
