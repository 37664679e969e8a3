"""A model for few outcomes, which starts from the health formula and the renewal date.

Two things are known before any account has left: the health formula, and that a contract whose
renewal lies after the label window does not end in it. Their log-odds, calibrated on the rows, are
the offset; the other features are added by a strongly penalised regression that starts from zero::

    f = offset(health score, renewal beyond the window) + added(all other features)

Both parts are linear in bounded values, so the sum is one linear form with exact reasons.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from registry.bundle.calibration import sigmoid
from registry.bundle.linear import LinearForm
from training.models.linear_design import LinearDesign
from training.models.specs import HEALTH_SCORE, RENEWAL, Parameters

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

MOST_STEPS = 60
CLOSE = 1e-12
"""The relative gain below which Newton's method stops; its last digits come in one step."""

SMALLEST = 1e-6


def fit_formula_prior(
    matrix: Matrix,
    outcome: Vector,
    parameters: Parameters,
    *,
    names: Sequence[str],
    horizon_days: int | None,
) -> LinearForm:
    """Calibrate the offset, then fit what the other features add to it.

    Args:
        matrix: rows × features, NaN unknown.
        outcome: 1 or 0 per row, of both.
        parameters: ``prior_strength`` of the offset, ``strength`` of what is added.
        names: features of the columns; without names there is no offset but the base rate.
        horizon_days: from the cutoff to the end of the label window; None leaves the renewal date
            among the other features.
    """
    offset_of = {HEALTH_SCORE} | ({RENEWAL} if horizon_days is not None else set())
    starts = np.array([name in offset_of for name in names] or [False] * matrix.shape[1])
    unbounded = np.full(int(starts.sum()), np.inf)
    lower, upper = -unbounded, unbounded.copy()
    for place, name in enumerate(np.array([*names])[starts] if len(names) else ()):
        if name == RENEWAL and horizon_days is not None:
            # a step where the window closes: sooner or later within it makes no difference
            lower[place], upper[place] = np.log1p(horizon_days - 1), np.log1p(horizon_days)
    none = np.zeros(len(outcome))
    offset = _fitted(
        LinearDesign.of(matrix[:, starts], lower=lower, upper=upper),
        matrix[:, starts],
        outcome,
        none,
        strength=parameters["prior_strength"],
    )
    added = _fitted(
        LinearDesign.of(matrix[:, ~starts]),
        matrix[:, ~starts],
        outcome,
        offset.score(matrix[:, starts]),
        strength=parameters["strength"],
    )
    parts: dict[str, Vector] = {}
    for field in fields(LinearForm):
        if field.name != "intercept":
            parts[field.name] = np.empty(matrix.shape[1])
            parts[field.name][starts] = getattr(offset, field.name)
            parts[field.name][~starts] = getattr(added, field.name)
    return LinearForm(intercept=offset.intercept + added.intercept, **parts)


def _fitted(
    design: LinearDesign, matrix: Matrix, outcome: Vector, offset: Vector, *, strength: float
) -> LinearForm:
    weights = penalised_weights(design.columns(matrix), outcome, offset, strength=strength)
    return design.form(float(weights[0]), weights[1:])


def penalised_weights(
    columns: Matrix, outcome: Vector, offset: Vector, *, strength: float | Vector
) -> Vector:
    """Intercept and weights of a logistic regression beside an offset, by Newton's method.

    The penalty is scikit-learn's with ``C = strength``, one for all columns or each its own; the
    intercept has none.
    """
    design = np.column_stack((np.ones(len(columns)), columns))
    penalty = np.zeros(design.shape[1])
    penalty[1:] = 1 / np.asarray(strength)
    weights = np.zeros(design.shape[1])

    def loss(tried: Vector) -> float:
        f = offset + design @ tried
        return float((np.logaddexp(0, f) - outcome * f).sum() + 0.5 * penalty @ tried**2)

    reached = loss(weights)
    for _ in range(MOST_STEPS):
        p = sigmoid(offset + design @ weights)
        gradient = design.T @ (p - outcome) + penalty * weights
        curvature = (design * (p * (1 - p))[:, None]).T @ design + np.diag(penalty)
        step = np.linalg.solve(curvature, gradient)
        size = 1.0
        while (found := loss(weights - size * step)) > reached and size > SMALLEST:
            size /= 2
        if size <= SMALLEST:
            return weights  # rounding is all that is left
        gained, reached = reached - found, found
        weights = weights - size * step
        if gained <= CLOSE * (1 + abs(reached)):
            return weights
    return weights
