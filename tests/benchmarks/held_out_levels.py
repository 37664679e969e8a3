"""How finely effects may be told apart: everybody, segment, or account. A peer of benchmarks.

Held-out scores decide: a level's squared error against the scores of accounts that it was not
fitted on (the DR loss; its minimum is the true effect). A finer level is used only where the
one-sided 95 % bound of the paired difference says that it is the better one: the segments than the
mean of everybody, the accounts than both. Without that everybody is given the coarser number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from effect_learners import LEARNERS, Lesson, Stack, fit_stack, out_of_fold
from scipy import stats

from experiments.causal.contrast import Scores
from experiments.causal.estimates import clustered_error
from experiments.causal.estimators.nuisances import Folds, design_matrix
from experiments.causal.sample import Bools, Floats, Ints, SampleError, Words
from experiments.uplift.segments import TYPICAL_SPREAD, segment_uplifts

Level = Literal["everybody", "segment", "account"]

CONFIDENCE = 0.95

LEAST_TRIALS = 100
"""Trials of the action, and of none, below which single accounts are not told apart."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Held-out loss of a finer level less that of a coarser one, and its upper 95 % bound."""

    finer: Level
    coarser: Level
    difference: float
    upper: float

    @property
    def is_better(self) -> bool:
        """Whether the finer level is better with confidence."""
        return self.upper < 0


@dataclass(frozen=True, kw_only=True)
class AccountEffects:
    """What one action changes for the accounts asked about, at the level that was earned."""

    action: str
    level: Level
    estimates: Floats
    comparisons: tuple[Comparison, ...]
    stack: Stack


def account_effects(
    scores: Scores,
    outcome: Floats,
    action: str,
    *,
    asked: Floats,
    asked_segment: Words,
    rng: np.random.Generator,
    typical_spread: float = TYPICAL_SPREAD,
) -> AccountEffects:
    """The effect of one action on accounts with these covariates, as finely as can be told.

    ``typical_spread`` is the segments', in units of the outcome (see there).
    With fewer than ``LEAST_TRIALS`` in an arm the stack is empty and gives everybody the mean.

    Raises:
        SampleError: an action that is not among the arms, or covariates of another shape.
    """
    sample = scores.sample
    if action not in sample.arms[1:]:
        raise SampleError(
            f"{action!r} is no action of these trials; they are {', '.join(sample.arms[1:])}."
        )
    if asked.shape != (len(asked_segment), len(sample.covariate_names)):
        raise SampleError(
            f"The accounts asked about have covariates of shape {asked.shape} and "
            f"{len(asked_segment)} segments; {len(sample.covariate_names)} covariates are needed: "
            f"{', '.join(sample.covariate_names)}."
        )
    number = sample.arms.index(action)
    lesson = _lesson(scores, outcome, number, asked)
    known = lesson.arm >= 0
    held_out, predicted = _held_out(scores, lesson, number, typical_spread, rng)
    score = lesson.score[known]
    comparisons = (
        _compare(held_out, "segment", "everybody", score, sample.cluster),
        _compare(held_out, "account", "everybody", score, sample.cluster),
        _compare(held_out, "account", "segment", score, sample.cluster),
    )
    stack = fit_stack(predicted, score)
    level: Level = "everybody"
    if comparisons[1].is_better and comparisons[2].is_better:
        level = "account"
    elif comparisons[0].is_better:
        level = "segment"
    return AccountEffects(
        action=action,
        level=level,
        comparisons=comparisons,
        stack=stack,
        estimates=_at_level(
            level, scores, lesson, number, stack, asked_segment, typical_spread, rng
        ),
    )


def _held_out(
    scores: Scores, lesson: Lesson, number: int, typical_spread: float, rng: np.random.Generator
) -> tuple[dict[Level, Floats], dict[str, Floats]]:
    """At every level the effect on each trial, and what every learner says, from other folds."""
    sample, known = scores.sample, lesson.arm >= 0
    enough = min((sample.arm == number).sum(), (sample.arm == 0).sum()) >= LEAST_TRIALS
    folds = Folds.draw(lesson.cluster, lesson.arm == number, rng=rng)
    predicted = out_of_fold(lesson, folds, known, rng=rng, learners=LEARNERS if enough else {})
    score, fold, action = lesson.score[known], folds.fold[known], sample.arms[number]
    return {
        "everybody": _by_fold(fold, lambda rest: np.full(len(sample), score[rest].mean())),
        "segment": _by_fold(
            fold,
            lambda rest: _segment_values(scores, action, rest, sample.segment, typical_spread, rng),
        ),
        "account": _by_fold(fold, lambda rest: _stacked(predicted, score, rest)),
    }, predicted


def _at_level(
    level: Level,
    scores: Scores,
    lesson: Lesson,
    number: int,
    stack: Stack,
    asked_segment: Words,
    typical_spread: float,
    rng: np.random.Generator,
) -> Floats:
    known = lesson.arm >= 0
    if level == "account" and stack.weights:
        return _asked_by_stack(lesson, known, stack, rng)
    if level == "segment":
        return _segment_values(
            scores,
            scores.sample.arms[number],
            np.ones(len(scores.sample), dtype=bool),
            asked_segment,
            typical_spread,
            rng,
        )
    return np.full(len(asked_segment), lesson.score[known].mean())


def _lesson(scores: Scores, outcome: Floats, number: int, asked: Floats) -> Lesson:
    sample, more = scores.sample, len(asked)
    covariates = np.vstack([sample.covariates, asked])
    return Lesson(
        covariates=covariates,
        matrix=design_matrix(covariates),
        arm=np.concatenate([sample.arm, np.full(more, -1)]),
        action=number,
        outcome=np.concatenate([outcome, np.zeros(more)]),
        score=np.concatenate([scores.middle(number), np.zeros(more)]),
        cluster=np.concatenate([sample.cluster, np.full(more, sample.cluster.max() + 1)]),
    )


def _by_fold(fold: Ints, predict: Callable[[Bools], Floats]) -> Floats:
    values = np.empty(len(fold))
    for number in np.unique(fold):
        inside = fold == number
        values[inside] = predict(~inside)[inside]
    return values


def _stacked(predicted: Mapping[str, Floats], score: Floats, rest: Bools) -> Floats:
    stack = fit_stack({name: values[rest] for name, values in predicted.items()}, score[rest])
    return stack.mixed(
        predicted,
        {name: float(values[rest].mean()) for name, values in predicted.items()},
        rows=len(rest),
    )


def _segment_values(
    scores: Scores,
    action: str,
    fit: Bools,
    asked: Words,
    typical_spread: float,
    rng: np.random.Generator,
) -> Floats:
    """Shrunk effects of segments from these trials; the mean where a segment is not among them."""
    part = replace(
        scores,
        sample=scores.sample.keep(fit),
        score=scores.score[:, fit],
        propensity=scores.propensity[fit],
        weight=scores.weight[fit],
    )
    found = {
        item.segment: item.estimate
        for item in segment_uplifts(part, rng=rng, actions=[action], typical_spread=typical_spread)
    }
    mean = float(scores.middle(scores.sample.arms.index(action))[fit].mean())
    return np.array([found.get(str(segment), mean) for segment in asked])


def _asked_by_stack(lesson: Lesson, known: Bools, stack: Stack, rng: np.random.Generator) -> Floats:
    seed = int(rng.integers(2**31 - 1))
    everybody = np.ones(len(known), dtype=bool)
    used = {name: learner(lesson, known, everybody, seed) for name, learner in LEARNERS.items()}
    return stack.mixed(
        {name: values[~known] for name, values in used.items()},
        {name: float(values[known].mean()) for name, values in used.items()},
        rows=int((~known).sum()),
    )


def _compare(
    held_out: Mapping[Level, Floats], finer: Level, coarser: Level, score: Floats, cluster: Ints
) -> Comparison:
    gap = (score - held_out[finer]) ** 2 - (score - held_out[coarser]) ** 2
    difference = float(gap.mean())
    error, clusters = clustered_error((gap - difference) / gap.size, cluster)
    reach = float(stats.t.ppf(CONFIDENCE, clusters - 1))
    return Comparison(
        finer=finer, coarser=coarser, difference=difference, upper=difference + reach * error
    )
