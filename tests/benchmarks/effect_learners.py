"""Learners of the effect for a single account, and their stack: peers of the benchmarks.

Every learner predicts, for accounts that it was not fitted on, what an action changes:

- ``t_linear``: a linear model (logistic for zeros and ones) in either arm, and the difference
- ``dr_ridge``: ridge regression of the cross-fitted scores (Kennedy 2023)
- ``t_trees``: LightGBM in either arm, and the difference
- ``x_trees``: the X-learner (Künzel et al. 2019) with LightGBM

The stack weighs their departures from the mean effect, none below zero, so that the scores are
predicted best. Scores are mostly noise, so weights start from equal shares and leave them as far as
the scores ask for. A model of the outcome alone ranks by who stays anyway and is no learner of
effects.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls
from sklearn.linear_model import RidgeCV

from experiments.causal.estimators.nuisances import (
    Folds,
    predict_by_trees,
    predict_linearly,
)
from experiments.causal.sample import Bools, Floats, Ints


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """What a learner sees: trials, and further accounts at the end that are only asked about.

    ``score`` is the cross-fitted score of the action against none; ``arm`` is -1, and outcome and
    score are 0, where an account is only asked about.
    """

    covariates: Floats
    matrix: Floats
    arm: Ints
    action: int
    outcome: Floats
    score: Floats
    cluster: Ints


FLATNESS = np.geomspace(1.0, 1e5, 11)

EQUAL_WITHIN = 0.25
"""Standard deviation of a weight around its equal share, believed before looking."""

Learner = Callable[[Lesson, Bools, Bools, int], Floats]
"""(lesson, rows to fit on, rows to predict, seed) -> what the action changes for these."""


def t_linear(lesson: Lesson, fit: Bools, predict: Bools, seed: int) -> Floats:
    """A linear model in either arm."""
    acted, untouched = (
        predict_linearly(
            lesson.matrix, lesson.outcome, fit=fit & (lesson.arm == arm), predict=predict
        )
        for arm in (lesson.action, 0)
    )
    return acted - untouched


def dr_ridge(lesson: Lesson, fit: Bools, predict: Bools, seed: int) -> Floats:
    """Ridge regression of the scores."""
    return predict_flatly(lesson.matrix, lesson.score, fit=fit, predict=predict)


def t_trees(lesson: Lesson, fit: Bools, predict: Bools, seed: int) -> Floats:
    """LightGBM in either arm."""
    acted, untouched = _trees_of_arms(lesson, fit, predict, seed)
    return acted - untouched


def x_trees(lesson: Lesson, fit: Bools, predict: Bools, seed: int) -> Floats:
    """Each arm's outcome less what the other arm's model expects, learned, and mixed."""
    acted, untouched = _trees_of_arms(lesson, fit, np.ones(len(fit), dtype=bool), seed)
    is_acted, is_untouched = lesson.arm == lesson.action, lesson.arm == 0
    gained, missed = lesson.outcome - untouched, acted - lesson.outcome
    from_acted = _trees_of_number(lesson, gained, fit & is_acted, predict, seed)
    from_untouched = _trees_of_number(lesson, missed, fit & is_untouched, predict, seed)
    share = (fit & is_acted).sum() / (fit & (is_acted | is_untouched)).sum()
    return np.asarray(share * from_untouched + (1 - share) * from_acted)


LEARNERS: Mapping[str, Learner] = {
    "t_linear": t_linear,
    "dr_ridge": dr_ridge,
    "t_trees": t_trees,
    "x_trees": x_trees,
}


@dataclass(frozen=True, kw_only=True)
class Stack:
    """How much of each learner's departure from the mean effect is believed."""

    mean: float
    weights: Mapping[str, float]

    def mixed(
        self,
        predicted: Mapping[str, Floats],
        centre: Mapping[str, float],
        *,
        rows: int,
    ) -> Floats:
        """The stack's prediction; ``centre`` is the mean of each learner's over the trials."""
        total = np.full(rows, self.mean)
        for name, weight in self.weights.items():
            total = total + weight * (predicted[name] - centre[name])
        return total


def fit_stack(predicted: Mapping[str, Floats], score: Floats) -> Stack:
    """The weights that predict the scores best, from predictions for accounts not fitted on."""
    if not predicted:
        return Stack(mean=float(score.mean()), weights={})
    columns = np.column_stack([column - column.mean() for column in predicted.values()])
    apart = score - score.mean()
    count = columns.shape[1]
    firmness = float(apart.std()) / EQUAL_WITHIN
    weights, _ = nnls(
        np.vstack([columns, firmness * np.eye(count)]),
        np.concatenate([apart, np.full(count, firmness / count)]),
    )
    return Stack(
        mean=float(score.mean()), weights=dict(zip(predicted, weights.tolist(), strict=True))
    )


def out_of_fold(
    lesson: Lesson,
    folds: Folds,
    known: Bools,
    *,
    rng: np.random.Generator,
    learners: Mapping[str, Learner] = LEARNERS,
) -> dict[str, Floats]:
    """Every learner's prediction for every known trial, by models of other accounts."""
    found = {name: np.zeros(len(known)) for name in learners}
    for fit, predict in folds.splits():
        seed = int(rng.integers(2**31 - 1))
        for name, learner in learners.items():
            found[name][predict & known] = learner(lesson, fit & known, predict & known, seed)
    return {name: values[known] for name, values in found.items()}


def _trees_of_arms(lesson: Lesson, fit: Bools, predict: Bools, seed: int) -> tuple[Floats, Floats]:
    acted, untouched = (
        predict_by_trees(
            lesson.covariates,
            lesson.outcome,
            fit=fit & (lesson.arm == arm),
            predict=predict,
            seed=seed,
        )
        for arm in (lesson.action, 0)
    )
    return acted, untouched


def _trees_of_number(
    lesson: Lesson,
    number: Floats,
    fit: Bools,
    predict: Bools,
    seed: int,
) -> Floats:
    return predict_by_trees(lesson.covariates, number, fit=fit, predict=predict, seed=seed)


def predict_flatly(matrix: Floats, outcome: Floats, *, fit: Bools, predict: Bools) -> Floats:
    """Ridge regression, as flat as leaving rows out says: for outcomes that are mostly noise."""
    model = RidgeCV(alphas=FLATNESS).fit(matrix[fit], outcome[fit])
    return np.asarray(model.predict(matrix[predict]))
