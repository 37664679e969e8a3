from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from training.models.fit import fit
from training.models.formula_prior import penalised_weights
from training.models.specs import FORMULA, FORMULA_PRIOR, HEALTH_SCORE, RENEWAL

NAMES = ("uses_28d", HEALTH_SCORE, "tickets_90d", RENEWAL)


def rows(n: int = 900, seed: int = 4):
    """Health decides, use adds a little, and nobody leaves before the contract is renewed."""
    rng = np.random.default_rng(seed)
    matrix = np.column_stack(
        (rng.gamma(2, 20, n), rng.uniform(0, 100, n), rng.poisson(3, n), rng.uniform(0, 365, n))
    )
    odds = 0.5 - 0.04 * matrix[:, 1] - 0.01 * matrix[:, 0]
    leaves = (matrix[:, 3] < 90) & (rng.random(n) < 1 / (1 + np.exp(-odds)))
    matrix[rng.random((n, 4)) < 0.1] = np.nan
    return matrix, leaves.astype(float)


def refined(matrix, outcome, *, horizon_days: int | None = 90, names=NAMES, **parameters):
    return fit(
        FORMULA_PRIOR,
        matrix,
        outcome,
        {**FORMULA_PRIOR.parameters, **parameters},
        seed=0,
        names=names,
        horizon_days=horizon_days,
    ).form


def test_with_no_offset_it_is_scikit_learns_regression() -> None:
    rng = np.random.default_rng(1)
    columns, outcome = rng.normal(size=(400, 5)), (rng.random(400) < 0.2).astype(float)
    model = LogisticRegression(C=0.05, solver="newton-cholesky", tol=1e-10).fit(columns, outcome)
    weights = penalised_weights(columns, outcome, np.zeros(400), strength=0.05)
    assert weights == pytest.approx([*model.intercept_, *model.coef_[0]], abs=1e-6)


def test_an_offset_that_says_all_leaves_nothing_to_add() -> None:
    rng = np.random.default_rng(2)
    columns = rng.normal(size=(20_000, 2))
    truth = -2 + columns @ np.array([0.8, -0.5])
    outcome = (rng.random(len(truth)) < 1 / (1 + np.exp(-truth))).astype(float)
    weights = penalised_weights(columns, outcome, truth, strength=100.0)
    assert weights == pytest.approx(np.zeros(3), abs=0.1)


def test_rows_that_one_column_separates_have_finite_weights() -> None:
    outcome = np.repeat([0.0, 1.0], 50)
    weights = penalised_weights(outcome[:, None] * 200 - 100, outcome, np.zeros(100), strength=1.0)
    assert np.isfinite(weights).all()


def test_features_that_are_not_believed_leave_the_calibrated_formula() -> None:
    matrix, outcome = rows()
    form = refined(matrix, outcome, strength=1e-12, horizon_days=None)
    formula = fit(FORMULA, matrix[:, 1:2], outcome, FORMULA.parameters, seed=0)
    assert form.score(matrix) == pytest.approx(formula.score(matrix[:, 1:2]), abs=1e-5)


def test_features_that_are_believed_add_to_the_formula() -> None:
    matrix, outcome = rows(n=4000)
    held_back, believed = (refined(matrix, outcome, strength=s) for s in (1e-6, 1.0))
    assert abs(held_back.coefficient[0]) < 0.01
    assert believed.coefficient[0] < -0.05
    assert believed.coefficient[1] == held_back.coefficient[1]  # the offset stays as it is


def test_within_the_window_the_day_of_renewal_makes_no_difference() -> None:
    matrix, outcome = rows()
    form = refined(matrix, outcome)
    row = np.array([[30.0, 50.0, 2.0, 0.0]])

    def at(days: float) -> float:
        return float(form.score(np.where(np.arange(4) == 3, days, row))[0])

    assert at(-5) == at(3) == at(88)
    assert at(91) == at(400)
    assert at(88) - at(91) > 2  # nobody has left before a renewal


def test_a_longer_window_has_its_step_later() -> None:
    matrix, outcome = rows()
    form = refined(matrix, outcome, horizon_days=180)
    assert form.lower[3] == pytest.approx(np.log1p(179))
    assert form.upper[3] == pytest.approx(np.log1p(180))


@pytest.mark.parametrize("days", [(0, 60), (200, 365)], ids=["all within", "all beyond"])
def test_renewals_on_one_side_of_the_window_say_nothing(days) -> None:
    matrix, outcome = rows()
    matrix[:, 3] = np.random.default_rng(0).uniform(*days, len(matrix))
    form = refined(matrix, outcome)
    assert form.coefficient[3] == 0
    assert np.isfinite(form.score(matrix)).all()


def test_contributions_of_a_row_sum_to_its_score() -> None:
    matrix, outcome = rows()
    form = refined(matrix, outcome)
    assert form.contributions(matrix).sum(axis=1) + form.base == pytest.approx(form.score(matrix))


def test_without_a_formula_the_base_rate_is_the_start() -> None:
    matrix, outcome = rows()
    form = refined(matrix[:, [0, 2]], outcome, strength=1e-12, names=("uses_28d", "tickets_90d"))
    rate = outcome.mean()
    assert form.score(matrix[:, [0, 2]]) == pytest.approx(np.log(rate / (1 - rate)), abs=1e-5)
