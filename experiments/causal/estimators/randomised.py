"""The effect of actions that chance assigned.

Difference in means, adjusted by a regression in each arm on covariates from before the start
(Lin 2013): chance alone makes the plain difference right, the covariates make it precise, and a
wrong regression cannot bias it. Every row counts by the inverse of its logged probability, so
that draws with different odds (k of n, month by month) add up to the average effect.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from experiments.causal.contrast import Contrast, Scores
from experiments.causal.estimators.nuisances import design_matrix
from experiments.causal.sample import Bools, Estimand, Floats, Sample, SampleError

LEAST_ROWS_PER_COLUMN = 20
"""The regression takes one column per so many rows of the smaller arm; further ones are left out.
"""


def estimate_randomised(
    sample: Sample,
    outcomes: Mapping[str, Floats],
    *,
    estimand: Estimand,
    rng: np.random.Generator,
    action: int = 1,
) -> dict[str, Contrast]:
    """One action against none, a contrast per outcome, as `score_lottery`.

    Intention to treat: rows count by the arm that was drawn. Uses no randomness.
    """
    matrix, weight = _prepare(sample)
    return {
        name: _score(sample, matrix, outcome, weight).contrast(action, estimand)
        for name, outcome in outcomes.items()
    }


def score_lottery(
    sample: Sample,
    outcome: Floats,
    *,
    rng: np.random.Generator | None = None,
    repeats: int = 1,
) -> Scores:
    """The scores of one outcome under every arm. Uses no randomness, so nothing is repeated.

    Raises:
        SampleError: a row without logged probabilities, or with 0 or 1.
    """
    matrix, weight = _prepare(sample)
    return _score(sample, matrix, outcome, weight)


def _prepare(sample: Sample) -> tuple[Floats, Floats]:
    """Regressors and weights; needs logged probabilities strictly between 0 and 1 for every row.

    Raises:
        SampleError: a row without logged probabilities, or with 0 or 1.
    """
    outside = ~((sample.propensity > 0) & (sample.propensity < 1)).all(axis=1)
    if outside.any():
        raise SampleError(
            f"{int(outside.sum())} of {len(sample)} trials have no logged propensity between 0 and "
            f"1, so chance did not decide them. Use a design with the mechanism 'judgement'."
        )
    weight = 1 / sample.propensity[np.arange(len(sample)), sample.arm]
    return _regressors(sample), weight


def _score(sample: Sample, matrix: Floats, outcome: Floats, weight: Floats) -> Scores:
    return Scores(
        sample=sample,
        score=_lin(sample, matrix, outcome, weight)[None],
        propensity=sample.propensity,
        weight=weight,
    )


def _lin(sample: Sample, matrix: Floats, outcome: Floats, weight: Floats) -> Floats:
    """Weighted least squares with an intercept in each arm; the score of each row under each arm.

    The weighted residuals of each arm sum to zero, so the mean of the differences is the
    coefficient of treatment in the regression with centred, interacted covariates. The outcome is
    centred in the arm first: where a column is constant in it, the smallest solution would otherwise
    carry part of the level there, and the effect on staying would not be that on leaving with the
    other sign.
    """
    score = np.empty((len(sample), len(sample.arms)))
    for arm in range(len(sample.arms)):
        rows = sample.arm == arm
        root = np.sqrt(weight[rows])
        level = np.average(outcome[rows], weights=weight[rows])
        coefficients, *_ = np.linalg.lstsq(
            matrix[rows] * root[:, None], (outcome[rows] - level) * root, rcond=1e-10
        )
        score[:, arm] = level + matrix @ coefficients
        residual = outcome[rows] - score[rows, arm]
        score[rows, arm] += _degrees_factor(rows, matrix) * weight[rows] * residual
    return score


def _degrees_factor(rows: np.ndarray, matrix: Floats) -> float:
    """Residuals of a fitted regression are too small by the parameters it used up (HC1)."""
    count = int(rows.sum())
    used = int(np.linalg.matrix_rank(matrix[rows]))
    return float(np.sqrt(count / (count - used))) if count > used else 1.0


def _regressors(sample: Sample) -> Floats:
    """An intercept, then covariates in the design's order, then draws, as far as the rows allow.

    The order was written before the data were read, so nobody chooses where the list ends.
    Leaving a column out costs precision, never correctness.
    """
    smaller = int(np.bincount(sample.arm).min())
    allowed = max(smaller // LEAST_ROWS_PER_COLUMN - 1, 0)
    covariates = design_matrix(sample.covariates)[:, :allowed]
    columns = [np.ones((len(sample), 1)), covariates]
    draws = _draws(sample)
    if all(_has_all_arms(draw, sample) for draw in draws) and (
        len(draws) <= allowed - covariates.shape[1]
    ):
        columns.extend(draw.astype(float)[:, None] for draw in draws)
    return np.column_stack(columns)


def _draws(sample: Sample) -> list[Bools]:
    """The rows of every draw but the first."""
    if sample.stratum is None:
        return []
    return [sample.stratum == draw for draw in np.unique(sample.stratum)[1:]]


def _has_all_arms(rows: Bools, sample: Sample) -> bool:
    return len(np.unique(sample.arm[rows])) == len(sample.arms)
