"""The two predictions behind an observational effect.

Who receives the action (the propensity), and what happens to an account either way (the outcome).
Each is the mean of a regularised linear model and LightGBM, and is used only on accounts that it
was not fitted to. The one place in this package that imports LightGBM and scikit-learn.
"""

from __future__ import annotations

from dataclasses import dataclass

import lightgbm
import numpy as np
from sklearn.linear_model import LogisticRegression, Ridge

from experiments.causal.sample import Bools, Floats, Ints

FOLDS = 5
FURTHEST = 5.0  # standard deviations; a linear model is not pulled further by one account
TREES = 60
ARM_TREES = 30  # per arm, where several arms are predicted together
SHRINK = 0.1  # smaller is a flatter logistic model
LEAST_OF_EACH = 5  # fewer of either value: the rate is predicted, nothing is fitted
SETTINGS = {
    "num_leaves": 8,
    "learning_rate": 0.08,
    "min_data_in_leaf": 20,
    "lambda_l2": 10.0,
    "feature_fraction": 0.8,
    "verbosity": -1,
    "deterministic": True,
    "num_threads": 1,  # small fits: threads cost more than they save
}


def scaled_columns(covariates: Floats, *, like: Floats) -> list[Floats]:
    """Columns standardised by other rows (rows x columns), the mean where unknown, and indicator
    columns of unknown values; columns that do not vary there are left out."""
    columns: list[Floats] = []
    for column, known in zip(covariates.T, like.T, strict=True):
        unknown = np.isnan(known)
        if unknown.all():
            continue
        spread = float(np.nanstd(known))
        if spread > 0:
            scaled = (column - np.nanmean(known)) / spread
            columns.append(np.clip(np.where(np.isnan(column), 0.0, scaled), -FURTHEST, FURTHEST))
        if unknown.any():
            columns.append(scaled_flag(np.isnan(column), like=unknown))
    return columns


def scaled_flag(is_so: Bools, *, like: Bools) -> Floats:
    """A flag standardised by other rows, in which it varies."""
    share = like.mean()
    return np.asarray((is_so - share) / np.sqrt(share * (1 - share)))


def design_matrix(covariates: Floats) -> Floats:
    """Standardised columns with the mean where unknown, and indicators of unknown values."""
    columns = scaled_columns(covariates, like=covariates)
    if not columns:
        return np.empty((covariates.shape[0], 0))
    matrix = np.column_stack(columns)
    _, first = np.unique(np.round(matrix, 9), axis=1, return_index=True)  # equal columns once
    return np.asarray(matrix[:, np.sort(first)])


@dataclass(frozen=True, kw_only=True)
class Folds:
    """Which fold every row is in; all rows of a cluster are in one."""

    fold: Ints

    @classmethod
    def draw(
        cls, cluster: Ints, treated: Bools, *, rng: np.random.Generator, folds: int = FOLDS
    ) -> Folds:
        """Random folds of whole clusters, dealt out so that treated clusters spread evenly."""
        names, index = np.unique(cluster, return_inverse=True)
        ever = np.bincount(index, weights=treated) > 0
        order = np.lexsort(np.vstack([rng.random(names.shape[0]), ever]))
        fold_of = np.empty(names.shape[0], dtype=np.int64)
        fold_of[order] = np.arange(names.shape[0]) % folds
        return cls(fold=fold_of[index])

    def splits(self) -> list[tuple[Bools, Bools]]:
        """(fit, predict) masks, one per fold."""
        return [(self.fold != number, self.fold == number) for number in np.unique(self.fold)]


def predict_binary(
    covariates: Floats,
    matrix: Floats,
    outcome: Bools,
    *,
    fit: Bools,
    predict: Bools,
    seed: int,
) -> Floats:
    """Probability of the outcome for the rows to predict."""
    chosen = outcome[fit]
    rate = float(chosen.mean()) if chosen.size else 0.0
    if min(int(chosen.sum()), int((~chosen).sum())) < LEAST_OF_EACH:
        return np.full(int(predict.sum()), rate)
    first = predict_linearly(matrix, outcome.astype(float), fit=fit, predict=predict)
    second = predict_by_trees(
        covariates, outcome.astype(float), fit=fit, predict=predict, seed=seed
    )
    return np.asarray((first + second) / 2)


def predict_number(
    covariates: Floats,
    matrix: Floats,
    outcome: Floats,
    *,
    fit: Bools,
    predict: Bools,
    seed: int,
) -> Floats:
    """Mean of the outcome for the rows to predict."""
    chosen = outcome[fit]
    if chosen.size == 0 or float(np.ptp(chosen)) == 0:
        return np.full(int(predict.sum()), float(chosen.mean()) if chosen.size else 0.0)
    first = Ridge(alpha=1.0).fit(matrix[fit], chosen).predict(matrix[predict])
    second = _boosted(covariates, chosen, fit=fit, predict=predict, seed=seed, objective="l2")
    return np.asarray((first + second) / 2)


def predict_linearly(matrix: Floats, outcome: Floats, *, fit: Bools, predict: Bools) -> Floats:
    """The linear half alone: a logistic model of zeros and ones, else ridge regression."""
    chosen = outcome[fit]
    if _is_rate(outcome):
        if min((chosen > 0).sum(), (chosen == 0).sum()) < LEAST_OF_EACH:
            return np.full(int(predict.sum()), float(chosen.mean()) if chosen.size else 0.0)
        model = LogisticRegression(C=SHRINK, solver="newton-cholesky").fit(matrix[fit], chosen > 0)
        return np.asarray(model.predict_proba(matrix[predict])[:, 1])
    return np.asarray(Ridge(alpha=1.0).fit(matrix[fit], chosen).predict(matrix[predict]))


def predict_by_trees(
    covariates: Floats,
    outcome: Floats,
    *,
    fit: Bools,
    predict: Bools,
    seed: int,
) -> Floats:
    """The half of LightGBM alone."""
    return _boosted(
        covariates,
        outcome[fit],
        fit=fit,
        predict=predict,
        seed=seed,
        objective="binary" if _is_rate(outcome) else "l2",
    )


def predict_outcome(
    covariates: Floats,
    matrix: Floats,
    outcome: Floats,
    *,
    fit: Bools,
    predict: Bools,
    seed: int,
) -> Floats:
    """A probability for an outcome of zeros and ones, else a mean."""
    if _is_rate(outcome):
        return predict_binary(covariates, matrix, outcome > 0, fit=fit, predict=predict, seed=seed)
    return predict_number(covariates, matrix, outcome, fit=fit, predict=predict, seed=seed)


def _is_rate(outcome: Floats) -> bool:
    return bool(np.isin(outcome, (0.0, 1.0)).all())


def predict_arms(
    covariates: Floats,
    matrix: Floats,
    arm: Ints,
    n_arms: int,
    *,
    fit: Bools,
    predict: Bools,
    seed: int,
) -> Floats:
    """Probability of each of several arms for the rows to predict; rows sum to 1.

    An arm with fewer than ``LEAST_OF_EACH`` rows to fit has its share as the probability of every
    row.
    """
    if n_arms == 2:
        acted = predict_binary(covariates, matrix, arm > 0, fit=fit, predict=predict, seed=seed)
        return np.column_stack([1 - acted, acted])
    counts = np.bincount(arm[fit], minlength=n_arms)
    chances = np.tile(counts / counts.sum(), (int(predict.sum()), 1))
    modelled = np.flatnonzero(counts >= LEAST_OF_EACH)
    if len(modelled) < 2:
        return chances
    rows = fit & np.isin(arm, modelled)
    code = np.searchsorted(modelled, arm[rows])
    linear = LogisticRegression(C=SHRINK, solver="newton-cholesky").fit(matrix[rows], code)
    first = linear.predict_proba(matrix[predict])
    data = lightgbm.Dataset(covariates[rows], label=code, params={"verbosity": -1})
    booster = lightgbm.train(
        {**SETTINGS, "objective": "multiclass", "num_class": len(modelled), "seed": seed},
        data,
        num_boost_round=ARM_TREES,
        keep_training_booster=True,
    )
    second = np.asarray(booster.predict(covariates[predict], num_threads=1))
    chances[:, modelled] = (first + second) / 2 * chances[:, modelled].sum(axis=1, keepdims=True)
    return np.asarray(chances)


def predict_under_arms(
    covariates: Floats,
    matrix: Floats,
    arm: Ints,
    n_arms: int,
    outcome: Floats,
    *,
    fit: Bools,
    predict: Bools,
    seed: int,
) -> Floats:
    """What the outcome would be under each arm, for the rows to predict: one model of all arms.

    The arm is a column among the others: with a few dozen rows an arm, models of their own are
    off by half as much again.
    """
    flags = np.eye(n_arms)[:, 1:]
    n_fit, asked = int(fit.sum()), int(predict.sum())
    flag = np.vstack([flags[arm[fit]], np.repeat(flags, asked, axis=0)])
    place = np.concatenate([np.flatnonzero(fit), np.tile(np.flatnonzero(predict), n_arms)])
    is_fit = np.arange(len(place)) < n_fit
    found = predict_outcome(
        np.column_stack([covariates[place], flag]),
        np.column_stack([matrix[place], flag]),
        outcome[place],
        fit=is_fit,
        predict=~is_fit,
        seed=seed,
    )
    return np.asarray(found.reshape(n_arms, asked).T)


def _boosted(
    covariates: Floats, chosen: Floats, *, fit: Bools, predict: Bools, seed: int, objective: str
) -> Floats:
    data = lightgbm.Dataset(covariates[fit], label=chosen, params={"verbosity": -1})
    booster = lightgbm.train(
        {**SETTINGS, "objective": objective, "seed": seed},
        data,
        num_boost_round=TREES,
        keep_training_booster=True,
    )
    return np.asarray(booster.predict(covariates[predict], num_threads=1))
