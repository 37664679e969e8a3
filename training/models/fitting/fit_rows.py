"""Fit a spec to rows of a training set."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.dataset.training_set import TrainingSet
from training.models.binned_rows import Grower, rules_of
from training.models.fit import FittedModel, fit, fitting_of
from training.models.specs import HEALTH_SCORE, TERM, ModelSpec, Parameters


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
    # a company where every contract has the same term needs to know which one
    same = {TERM} if spec.form == "renewal" else set()
    return [
        position
        for position, low, high in zip(wanted, lowest, highest, strict=True)
        if low < high or (low == high and training.names[position] in same)
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
        outcomes=training.outcomes[rows],
        horizons=training.horizons,
        rules=rules_of(training, columns) if fitting_of(spec).is_grown else None,
    )
