"""Which contenders take part on given rows, and why others do not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.dataset.training_set import FIFTHS, TrainingSet
from training.models.fit import fitting_of
from training.models.fitting.fit_rows import usable_columns
from training.models.renewal_risk import LEAST_LEFT, calendar_of, decisions_left
from training.models.specs import HEALTH_SCORE, ModelSpec


def is_made_for(spec: ModelSpec, training: TrainingSet) -> bool:
    """Whether a contender is about outcomes of this kind."""
    label = training.label
    return spec.rule is None or (spec.rule == label.rule and label.lead_days == 0)


def why_not(spec: ModelSpec, training: TrainingSet, rows: NDArray[np.bool_]) -> str | None:
    """Why a contender cannot learn from these rows, as the end of a sentence; None where it can."""
    if not fitting_of(spec).reads_features:
        return None
    columns = usable_columns(training, rows, spec)
    if not columns:
        return f"{spec.reads or 'every model input'} is unknown or constant in the training rows."
    names = [training.names[column] for column in columns]
    if spec.form == "prior" and training.label.rule == "no_use" and HEALTH_SCORE not in names:
        # a model would serve whose name says health, of which nothing is known
        return f"{HEALTH_SCORE} is unknown or constant in the training rows."
    if spec.form != "renewal":
        return None
    calendar = calendar_of([training.names[column] for column in columns])
    if calendar is None:
        return "no date of renewal is known in the training rows."
    left = decisions_left(
        training.part(rows, columns), training.outcomes[rows], training.horizons, calendar
    )
    fifth = training.fifth[rows][left]
    fewest = len(left) - np.bincount(fifth, minlength=FIFTHS).max()
    if fewest < LEAST_LEFT:
        return (
            f"{len(left)} decisions at the end of a term ended in leaving, which leaves {fewest} "
            f"without a fifth of the accounts; at least {LEAST_LEFT} are needed."
        )
    return None
