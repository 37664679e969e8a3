"""This module is about the effect of an action that chance assigned.

Difference in means, adjusted by a regression in each arm on covariates from before the start
(Lin 2013): chance alone makes the plain difference right, the covariates make it precise, and a
wrong regression can not bias it. Every row counts by the inverse of its logged probability, so
that draws with different odds (k of n, month by month) add up to the average effect.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from experiments.causal.estimators.nuisances import design_matrix
from experiments.causal.sample import Estimand, Fit, Floats, Sample, SampleError

LEAST_ROWS_PER_COLUMN = 20
"""The regression takes one column per so many rows of the smaller arm; further ones are left out.
"""


def estimate_randomised(
    sample: Sample,
    outcomes: Mapping[str, Floats],
    *,
    estimand: Estimand,
    rng: np.random.Generator,
) -> dict[str, Fit]:
    """One fit per outcome; needs a logged probability strictly between 0 and 1 for every row.

    Intention to treat: rows count by the arm that was drawn. Uses no randomness.

    Raises:
        SampleError: a row without a logged probability, or with 0 or 1.
    """
    outside = ~((sample.propensity > 0) & (sample.propensity < 1))
    if outside.any():
        raise SampleError(
            f"{int(outside.sum())} of {len(sample)} trials have no logged propensity between 0 and "
            f"1, so chance did not decide them. Use a design with the mechanism 'judgement'."
        )
    treated = sample.treated
    probability = np.where(treated, sample.propensity, 1 - sample.propensity)
    weight = 1 / probability
    matrix = _regressors(sample)
    return {
        name: _lin(sample, matrix, outcome, weight, estimand) for name, outcome in outcomes.items()
    }


def _lin(
    sample: Sample, matrix: Floats, outcome: Floats, weight: Floats, estimand: Estimand
) -> Fit:
    """Weighted least squares with an intercept in each arm.

    The weighted residuals of each arm sum to zero, so the mean of the influence terms is the
    coefficient of treatment in the regression with centred, interacted covariates.
    """
    predicted = {}
    for arm in (False, True):
        rows = sample.treated == arm
        root = np.sqrt(weight[rows])
        coefficients, *_ = np.linalg.lstsq(
            matrix[rows] * root[:, None], outcome[rows] * root, rcond=1e-10
        )
        predicted[arm] = matrix @ coefficients
    residual = outcome - np.where(sample.treated, predicted[True], predicted[False])
    freedom = {arm: _degrees_factor(sample.treated == arm, matrix) for arm in (False, True)}
    scale = np.where(sample.treated, freedom[True], -freedom[False])
    numerator = predicted[True] - predicted[False] + scale * weight * residual
    return Fit(
        estimand=estimand,
        numerator=numerator[None, :],
        denominator=np.ones((1, len(sample))),
        cluster=sample.cluster,
        treated=sample.treated,
        propensity=sample.propensity,
        weight=weight,
        kept=np.ones(len(sample), dtype=bool),
    )


def _degrees_factor(rows: np.ndarray, matrix: Floats) -> float:
    """Residuals of a fitted regression are too small by the parameters it used up (HC1)."""
    count = int(rows.sum())
    used = int(np.linalg.matrix_rank(matrix[rows]))
    return float(np.sqrt(count / (count - used))) if count > used else 1.0


def _regressors(sample: Sample) -> Floats:
    """An intercept, then covariates in the design's order, then draws, as far as the rows allow.

    The order was written before the data were read, so where the list ends is no choice of ours.
    Leaving one out costs precision, never correctness.
    """
    smaller = min(int(sample.treated.sum()), int((~sample.treated).sum()))
    allowed = max(smaller // LEAST_ROWS_PER_COLUMN - 1, 0)
    covariates = design_matrix(sample.covariates)[:, :allowed]
    columns = [np.ones((len(sample), 1)), covariates]
    draws = [sample.stratum == draw for draw in np.unique(sample.stratum)[1:]]
    if all(_both_arms(draw, sample) for draw in draws) and (
        len(draws) <= allowed - covariates.shape[1]
    ):
        columns.extend(draw.astype(float)[:, None] for draw in draws)
    return np.column_stack(columns)


def _both_arms(rows: np.ndarray, sample: Sample) -> bool:
    return bool(sample.treated[rows].any() and (~sample.treated[rows]).any())
