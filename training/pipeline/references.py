"""Judge what renewals alone say beside the contenders, on the same test rows.

The references of a training for churn with known dates of renewal: that everything renews, the base
rate by tenure, and two curves of retention (`training.models.fitting.renewal_curves`). They never
serve; they say what a model brings beyond counting renewals.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from registry.bundle.renewal_risk import ContractCalendar
from training.metrics import evaluate
from training.models.fit import FittedModel
from training.models.fitting.renewal_curves import CurvesByTerm, rate_by_tenure, renewals_over
from training.models.fitting.taking_part import is_made_for
from training.models.model_selection import Contender
from training.models.renewal_risk import calendar_of
from training.models.specs import (
    BDW,
    EVERYTHING_RENEWS,
    REFERENCES,
    RENEWAL_RISK,
    SBG,
    TENURE,
    TENURE_RATE,
    ModelSpec,
)
from training.pipeline.prepare import PreparedData

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]


def judge_references(prepared: PreparedData, draws: Matrix) -> dict[str, Contender]:
    """Every reference by its name; none where no date of renewal is known, or it is not churn."""
    training = prepared.training
    calendar = calendar_of(training.names)
    if calendar is None or not is_made_for(RENEWAL_RISK, training):
        return {}
    fitted, test = training.matrix[prepared.before_test], training.matrix[prepared.test]
    outcomes = training.outcomes[prepared.before_test]
    renewals = renewals_over(
        fitted, outcomes, training.horizons, calendar, _tenure(prepared, fitted)
    )
    if not renewals.are_enough:
        return {}
    tenure = _tenure(prepared, test)
    curves = {
        spec.name: CurvesByTerm.fitted(renewals, has_shape=has_shape)
        for spec, has_shape in ((SBG, False), (BDW, True))
    }
    said: dict[str, dict[int, Vector]] = {spec.name: {} for spec in REFERENCES}
    for position, horizon in enumerate(training.horizons):
        decided = ~np.isnan(outcomes[:, position])
        happened = outcomes[decided, position]
        said[EVERYTHING_RENEWS.name][horizon] = np.zeros(len(test))
        said[TENURE_RATE.name][horizon] = rate_by_tenure(
            _tenure(prepared, fitted)[decided], happened, tenure
        )
        for name, curve in curves.items():
            said[name][horizon] = _by_date(
                curve, test, horizon, calendar, tenure, rest=float(happened.mean())
            )
    return {spec.name: _contender(spec, said[spec.name], prepared, draws) for spec in REFERENCES}


def _by_date(
    curve: CurvesByTerm, matrix: Matrix, horizon: int, calendar: ContractCalendar, tenure: Vector,
    *, rest: float,
) -> Vector:  # fmt: skip
    dated = calendar.has_date(matrix)
    found = np.full(len(matrix), rest)
    if dated.any():
        found[dated] = curve.probability(matrix[dated], horizon, calendar, tenure[dated])
    return found


def _tenure(prepared: PreparedData, matrix: Matrix) -> Vector:
    names = prepared.training.names
    return matrix[:, names.index(TENURE)] if TENURE in names else np.full(len(matrix), np.nan)


def _contender(
    spec: ModelSpec, probabilities: Mapping[int, Vector], prepared: PreparedData, draws: Matrix
) -> Contender:
    training, test = prepared.training, prepared.test
    metrics = {}
    for position, horizon in enumerate(training.horizons):
        outcome = training.outcomes[test, position]
        decided = ~np.isnan(outcome)
        if 0 < outcome[decided].sum() < decided.sum():
            metrics[horizon] = evaluate(
                outcome[decided],
                probabilities[horizon][decided],
                training.account[test][decided],
                draws,
            )
    return Contender(
        spec=spec,
        parameters={},
        fitted=FittedModel(form=None),
        probabilities=probabilities,
        metrics=metrics,
    )
