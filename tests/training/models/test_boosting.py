"""What trees are told: the step of the renewal date, and the directions that features declare."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import lightgbm as lgb
import numpy as np
import pytest

from registry.bundle.calibration import sigmoid
from registry.bundle.model_forms import TreeForm
from training.dataset.labels import label_named
from training.dataset.training_set import TrainingSet
from training.models.binned_rows import BinnedRows
from training.models.boosting import GrowthRules, raw_scores
from training.models.fitting.fit_rows import fit_rows
from training.models.specs import LIGHTGBM

NAMES = ("errors_7d", "nps_last", "days_to_renewal", "mrr")
CHURN, EXPANSION = label_named("churn"), label_named("expansion")


def company(label=CHURN, *, slope: float = -0.3, n: int = 1500, seed: int = 0) -> TrainingSet:
    """Rows whose outcome falls with errors by ``slope``, and comes only where terms end in time."""
    rng = np.random.default_rng(seed)
    matrix = np.column_stack(
        (rng.poisson(3, n), rng.integers(0, 11, n), rng.integers(0, 366, n), rng.gamma(2, 400, n))
    ).astype(float)
    matrix[rng.random(n) < 0.1, 2] = np.nan
    happens = rng.random(n) < sigmoid(slope * (matrix[:, 0] - 3) - 0.2 * (matrix[:, 1] - 5))
    happens &= ~(matrix[:, 2] >= 90)
    label = replace(label, horizons=(90,), long_horizons=())
    return TrainingSet(
        label=label,
        horizons=(90,),
        names=NAMES,
        digests=dict.fromkeys(NAMES, ""),
        matrix=matrix,
        outcomes=happens[:, None].astype(float),
        amounts=np.full(n, np.nan),
        cutoffs=(datetime(2023, 1, 1, tzinfo=UTC) + timedelta(days=0),),
        cutoff=np.zeros(n, np.int64),
        accounts=tuple(f"a{i:04}" for i in range(n)),
        account=np.arange(n),
    )


def grown(training: TrainingSet):
    everybody = np.ones(len(training.account), dtype=np.bool_)
    columns = list(range(len(NAMES)))
    return fit_rows(LIGHTGBM, training, everybody, columns, LIGHTGBM.parameters, seed=0)


def test_the_step_is_the_rate_of_each_part_drawn_to_the_rate_of_all() -> None:
    days = np.repeat([0.0, 89.0, 90.0, np.nan], [10, 10, 20, 10])
    outcome = np.zeros(50)
    outcome[:5] = 1  # of 20 within the window; the rate of all is .1
    rules = GrowthRules.of(("days_to_renewal",), CHURN, 90)
    step = rules.step(days[:, None], outcome)
    # ten rows at the rate of all are added to each part: 6 of 30, 1 of 30, 1 of 20
    assert step.log_odds == pytest.approx(np.log([6 / 24, 1 / 29, 1 / 19]))
    assert step.rows == (20, 20, 10)
    assert step.scores(np.array([[12.0], [89.4], [90.0], [np.nan]])) == pytest.approx(
        np.log([6 / 24, 6 / 24, 1 / 29, 1 / 19])
    )


def test_trees_are_served_after_the_step_and_lightgbm_says_the_same() -> None:
    training = company()
    fitted = grown(training)
    theirs = raw_scores(lgb.Booster(model_str=fitted.text), training.matrix)
    np.testing.assert_allclose(fitted.score(training.matrix), theirs, rtol=0, atol=1e-12)
    assert isinstance(fitted.form, TreeForm)
    shares = fitted.form.contributions(training.matrix)
    np.testing.assert_allclose(fitted.form.base + shares.sum(axis=1), theirs, rtol=0, atol=1e-9)


def test_beyond_its_step_no_tree_of_leaving_reads_the_date() -> None:
    fitted = grown(company())
    date = NAMES.index("days_to_renewal")
    trees = fitted.form.trees
    assert trees.n_trees == LIGHTGBM.parameters["rounds"] + 1
    first = trees.first_node[1]
    assert (trees.feature[:first] == date).all()
    assert not (trees.feature[first:] == date).any()
    days = np.tile([1.0, 5.0, 0.0, 800.0], (4, 1))
    days[:, date] = 1, 80, 91, 300
    soon, late, after, long_after = fitted.score(days)
    assert soon == late
    assert after == long_after < soon - 2


@pytest.mark.parametrize(("name", "may"), [("expansion", False), ("contraction", True)])
def test_trees_of_other_outcomes_may_read_the_date_beside_the_step(name, may) -> None:
    training = company(label_named(name))
    late = training.matrix[:, 2] > 45
    training = replace(training, outcomes=np.where(late[:, None], 0.0, training.outcomes))
    trees = grown(training).form.trees
    read = (trees.feature[trees.first_node[1] :] == NAMES.index("days_to_renewal")).any()
    assert read == may


def test_a_part_of_the_binned_rows_starts_from_its_own_step() -> None:
    training = company()
    everybody = np.ones(len(training.account), dtype=np.bool_)
    half = training.account < 750
    bins = BinnedRows.of(training, everybody, [0, 1, 2, 3])
    dataset, step = bins.part(half)
    own = bins.rules.step(training.matrix[half], training.outcome[half])
    assert step == own
    assert dataset.get_init_score() == pytest.approx(own.scores(training.matrix[half]))


@pytest.mark.parametrize(("label", "falls"), [(CHURN, False), (EXPANSION, True)])
def test_more_of_what_is_declared_riskier_never_lowers_the_risk_to_leave(label, falls) -> None:
    """The rows say the opposite: they leave less with more errors."""
    fitted = grown(company(label))
    errors = np.tile([0.0, 5.0, 30.0, 800.0], (12, 1))
    errors[:, 0] = np.arange(12)
    steps = np.diff(fitted.score(errors))
    assert (steps < 0).any() == falls


def test_an_undeclared_feature_is_free() -> None:
    rules = GrowthRules.of(NAMES, CHURN, 90)
    assert rules.directions == (1, -1, 0, 0)
    assert GrowthRules.of(NAMES, EXPANSION, 90).directions == (0, 0, 0, 0)
    assert GrowthRules.of(("mrr",), CHURN, 90).step(np.ones((3, 1)), np.ones(3)) is None
