"""Fit, calibrate and judge every contender on the same rows.

::

    cutoffs   ── before the test ─────────────────────┤ embargo ├── test ──┤
    scores    fold 1 ─► calibration rows                              ▲
              fold 2 ─────► calibration rows      fitted on all before┘
                        a_h, b from these scores ─────────────────────┘

The released model is made the same way from more cutoffs, so what is judged is the procedure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.dataset.splits import Fold
from training.dataset.training_set import TrainingSet
from training.metrics import Interval, evaluate
from training.models.binned_rows import BinnedRows, Grower
from training.models.calibration import CalibrationFit, fit_calibration
from training.models.fit import FittedModel, fit, fitting_of
from training.models.specs import HEALTH_SCORE, ModelSpec, Parameters

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class OutOfTimeScores:
    """Centred scores of rows by fits that could not know them, and their calibration."""

    rows: NDArray[np.bool_]  # of the training set
    scores: Vector
    calibration: CalibrationFit


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One fitted spec: its probabilities on the test rows and their metrics."""

    spec: ModelSpec
    parameters: Parameters
    fitted: FittedModel
    probabilities: Mapping[int, Vector]  # horizon -> one per test row
    metrics: Mapping[int, Mapping[str, Interval]]  # horizon -> metric


def usable_columns(training: TrainingSet, rows: NDArray[np.bool_], spec: ModelSpec) -> list[int]:
    """Positions of what a spec reads: model inputs that take two known values in these rows."""
    wanted = [
        position
        for position, name in enumerate(training.names)
        if (
            name == spec.reads
            if spec.reads is not None
            else fitting_of(spec).reads_health_score or name != HEALTH_SCORE
        )
    ]
    part = training.part(rows, wanted)
    lowest = np.min(np.where(np.isnan(part), np.inf, part), axis=0, initial=np.inf)
    highest = np.max(np.where(np.isnan(part), -np.inf, part), axis=0, initial=-np.inf)
    return [
        position for position, low, high in zip(wanted, lowest, highest, strict=True) if low < high
    ]


def fit_rows(
    spec: ModelSpec,
    training: TrainingSet,
    rows: NDArray[np.bool_],
    columns: list[int],
    parameters: Parameters,
    *,
    seed: int,
    grower: Grower | None = None,
) -> FittedModel:
    """Fit a spec to these rows of a training set, at its longest horizon.

    Trees come from ``grower``, where one was made of these columns.
    """
    if grower is not None and fitting_of(spec).is_grown:
        return grower.fitted(rows, parameters, seed=seed)
    return fit(
        spec,
        training.part(rows, columns),
        training.outcome[rows],
        parameters,
        seed=seed,
        names=tuple(training.names[j] for j in columns),
        horizon_days=training.label.lead_days + training.horizons[-1],
    )


def score_out_of_time(
    spec: ModelSpec,
    training: TrainingSet,
    folds: tuple[Fold, ...],
    columns: list[int],
    parameters: Parameters,
    *,
    seed: int,
    draws: int = 0,
    grower: Grower | None = None,
) -> OutOfTimeScores:
    """Score the held-out rows of every fold by a fit on older rows, and calibrate on them."""
    rows = np.zeros(len(training.outcome), dtype=np.bool_)
    scores = np.full(len(training.outcome), np.nan)
    for fold in folds:
        train, held_out = training.rows_at(fold.train), training.rows_at(fold.held_out)
        fitted = fit_rows(spec, training, train, columns, parameters, seed=seed, grower=grower)
        scores[held_out] = fitted.score(training.part(held_out, columns)) - fitted.level
        rows |= held_out
    calibration = fit_calibration(
        scores[rows],
        training.outcomes[rows],
        training.account[rows],
        n_draws=draws,
        rng=np.random.default_rng(seed),
    )
    return OutOfTimeScores(rows=rows, scores=scores[rows], calibration=calibration)


def run_contender(
    spec: ModelSpec,
    training: TrainingSet,
    folds: tuple[Fold, ...],
    before_test: NDArray[np.bool_],
    test: NDArray[np.bool_],
    parameters: Parameters,
    draws: Matrix,
    *,
    seed: int,
    grower: Grower | None = None,
) -> Contender:
    """Fit before the test, calibrate out of time, and judge on the test rows.

    ``grower`` is one of the rows before the test; without it trees have one made of them.
    """
    columns = usable_columns(training, before_test, spec)
    if grower is None and fitting_of(spec).is_grown:
        grower = BinnedRows.of(training, before_test, columns)
    calibrated = score_out_of_time(
        spec, training, folds, columns, parameters, seed=seed, grower=grower
    )
    fitted = fit_rows(spec, training, before_test, columns, parameters, seed=seed, grower=grower)
    raw = fitted.score(training.part(test, columns)) - fitted.level
    probabilities, metrics = {}, {}
    for position, horizon in enumerate(training.horizons):
        probabilities[horizon] = calibrated.calibration.probability(raw, position)
        outcome = training.outcomes[test, position]
        decided = ~np.isnan(outcome)
        if not 0 < outcome[decided].sum() < decided.sum():
            continue  # a short horizon without any outcome cannot be judged
        metrics[horizon] = evaluate(
            outcome[decided],
            probabilities[horizon][decided],
            training.account[test][decided],
            draws,
        )
    return Contender(
        spec=spec,
        parameters=parameters,
        fitted=fitted,
        probabilities=probabilities,
        metrics=metrics,
    )
