"""Fit, calibrate and judge every contender on the same rows.

::

    cutoffs   ── before the test ─────────────────────┤ embargo ├── test ──┤
    trees     as many as held-out accounts ask for                    ▲
    scores    each fifth of the accounts by a fit                     ▲
              of the others, at the same cutoffs      fitted on all ──┤
                        a_h, b from these scores ─────────────────────┘

The released model is made the same way from more cutoffs, so what is judged is the procedure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from training.dataset.training_set import TrainingSet
from training.metrics import Interval, evaluate
from training.models.binned_rows import BinnedRows, Grower
from training.models.fit import FittedModel, fitting_of
from training.models.fitting.fit_rows import fit_rows, usable_columns
from training.models.fitting.held_out import score_held_out
from training.models.specs import ModelSpec, Parameters
from training.models.tuning.rounds import learn_rounds

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One fitted spec: its probabilities on the test rows and their metrics."""

    spec: ModelSpec
    parameters: Parameters
    fitted: FittedModel
    probabilities: Mapping[int, Vector]  # horizon -> one per test row
    metrics: Mapping[int, Mapping[str, Interval]]  # horizon -> metric
    at_renewal: Vector | None = None  # one per test row, of a model that knows dates


def run_contender(
    spec: ModelSpec,
    training: TrainingSet,
    before_test: NDArray[np.bool_],
    test: NDArray[np.bool_],
    parameters: Parameters,
    draws: Matrix,
    *,
    at: datetime,
    seed: int,
    grower: Grower | None = None,
    hidden: NDArray[np.bool_] | None = None,
) -> Contender:
    """Fit before the test, calibrate on held-out accounts, and judge on the test rows.

    What was known ``at`` a moment, the first of the test, calibrates. How many trees are grown is
    learned on the rows before the test, whatever the parameters say.
    ``grower`` is one of these rows; without it trees have one made of them. ``hidden`` are rows whose
    outcomes only judge, where the test has the same cutoffs as what is fitted.
    """
    whole, training = training, training if hidden is None else training.hide(hidden)
    columns = usable_columns(training, before_test, spec)
    if fitting_of(spec).is_grown:
        bins = grower  # on a cluster the number is learned here
        if not isinstance(bins, BinnedRows):
            bins = BinnedRows.of(training, before_test, columns)
        parameters = learn_rounds(training, before_test, columns, parameters, seed=seed, bins=bins)
        grower = grower or bins
    calibrated = score_held_out(
        spec, training, before_test, columns, parameters, at=at, seed=seed, grower=grower
    )
    fitted = fit_rows(spec, training, before_test, columns, parameters, seed=seed, grower=grower)
    matrix = training.part(test, columns)
    raw = fitted.score(matrix)
    probabilities, metrics = {}, {}
    for position, horizon in enumerate(training.horizons):
        probabilities[horizon] = calibrated.probability(raw, matrix, position)
        outcome = whole.outcomes[test, position]
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
        at_renewal=None
        if calibrated.renewal_risk is None
        else calibrated.renewal_risk.at_renewal(raw, matrix)[0],
    )
