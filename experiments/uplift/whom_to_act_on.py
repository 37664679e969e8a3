"""This module is about whom to act on, and with what: decisions, judged by what they bring.

Effects may be told apart badly and still be decided on well, and the other way round: a finer level
changes decisions only near the cost. So where decisions are wanted, each level (everybody alike, by
segment, by account) is held to the value of its own decisions on accounts that it was not fitted
on, by their scores less the costs::

    decided: the arm with the largest effect − cost, or none
    value = mean of score[decided arm] − cost[decided arm]

Folds are drawn several times, and the level with the highest mean value is used, a coarser one
where they are equal. That is the point estimate, not its bound: a wrong choice costs as much as a
right one brings, and near-equal levels cost little either way. The one-sided 95 % bound of the
difference is given beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from experiments.effects import CONFIDENCE, clustered_error
from experiments.sample import Floats, Ints, SampleError
from experiments.uplift.arms import Words
from experiments.uplift.levels import Level, effects_at, held_out_effects
from experiments.uplift.scores import Scores
from experiments.uplift.segments import TYPICAL_SPREAD

LEVELS: tuple[Level, ...] = ("everybody", "segment", "account")
"""Coarse to fine."""

SPLITS = 5
"""Times that the folds are drawn; the mean counts."""


@dataclass(frozen=True, kw_only=True)
class LevelValue:
    """What the decisions of a level brought on held-out accounts, per trial.

    ``gain`` is the value less that of deciding for everybody alike, ``least`` its one-sided 95 %
    bound.
    """

    value: float
    gain: float
    least: float


@dataclass(frozen=True, kw_only=True)
class Decided:
    """The arm of every account asked about (0: none), and the level it was decided at."""

    arm: Ints
    level: Level
    values: Mapping[Level, LevelValue]


def decide(scores: Scores, outcome: Floats, *, cost: Floats, asked: Floats, asked_segment: Words,
           rng: np.random.Generator, splits: int = SPLITS, typical_spread: float = TYPICAL_SPREAD,
           ) -> Decided:
    """Whom to act on, and with what, among accounts with these covariates.

    Args:
        scores: of trials under every arm.
        outcome: of the trials, in units of the costs.
        cost: of every arm, nothing for arm 0.
        asked: covariates of the accounts to decide about.
        asked_segment: their segments.
        rng: of folds and learners.
        splits: how often folds are drawn.
        typical_spread: of segments, in units of the outcome.

    Raises:
        SampleError: not one cost for every arm, or one for none.
    """
    arms = scores.sample.arms
    if cost.shape != (len(arms),) or not np.isfinite(cost).all() or cost[0] != 0:
        raise SampleError(f"Give a cost for each of the arms {', '.join(arms)}, 0 for the first.")
    judged = scores.score.mean(axis=0) - cost
    rows = np.arange(len(scores.sample))
    brought = {level: np.zeros(len(rows)) for level in LEVELS}
    for _ in range(splits):
        effects = [held_out_effects(scores, outcome, action, rng=rng,
                                    typical_spread=typical_spread) for action in arms[1:]]
        for level in LEVELS:
            arm = _best([each[level] for each in effects], cost)
            brought[level] += judged[rows, arm] / splits
    values = {level: _value(brought[level], brought["everybody"], scores.sample.cluster)
              for level in LEVELS}
    level = max(LEVELS, key=lambda each: values[each].value)  # the first, coarsest, of equals
    return Decided(level=level, values=values, arm=_best([
        effects_at(level, scores, outcome, action, asked=asked, asked_segment=asked_segment,
                   rng=rng, typical_spread=typical_spread) for action in arms[1:]], cost))


def _best(effects: list[Floats], cost: Floats) -> Ints:
    gains = np.column_stack([np.zeros(len(effects[0])), *effects]) - cost
    return np.asarray(gains.argmax(axis=1))


def _value(brought: Floats, alike: Floats, cluster: Ints) -> LevelValue:
    gap = brought - alike
    gain = float(gap.mean())
    error, clusters = clustered_error((gap - gain) / gap.size, cluster)
    return LevelValue(value=float(brought.mean()), gain=gain,
                      least=gain - float(stats.t.ppf(CONFIDENCE, clusters - 1)) * error)
