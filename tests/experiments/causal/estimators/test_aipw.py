from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from causal_worlds import sample_world

from experiments.causal.contrast import CLIP, has_counterparts
from experiments.causal.estimates import estimate_of
from experiments.causal.estimators.aipw import (
    arm_scores,
    arm_weights,
    estimate_aipw,
    treated_terms,
    treated_weights,
)
from experiments.causal.estimators.nuisances import (
    Folds,
    design_matrix,
    predict_binary,
    predict_number,
    predict_outcome,
)
from experiments.causal.sample import Estimand, Sample, SampleError


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(9)


def effect_of(
    outcome: np.ndarray,
    treated: np.ndarray,
    propensity: np.ndarray,
    predicted: tuple[np.ndarray, np.ndarray],
    estimand: Estimand,
) -> float:
    """The effect from given propensities and predictions: the arithmetic of the scores alone."""
    rows = len(outcome)
    sample = Sample.of_two_arms(
        covariates=np.empty((rows, 0)),
        covariate_names=(),
        treated=treated,
        propensity=np.full(rows, np.nan),
        cluster=np.arange(rows),
    )
    if estimand == "ATE":
        both = np.column_stack([1 - propensity, propensity])
        weight = arm_weights(sample, both)
        score = arm_scores(sample, outcome, np.column_stack(predicted), weight)
        return float((score[:, 1] - score[:, 0]).mean())
    kept = np.ones(rows, dtype=bool)
    weight = treated_weights(treated, ~treated, propensity, kept)
    top, bottom = treated_terms(outcome, predicted[0], treated, kept, weight)
    return float(top.sum() / bottom.sum())


@pytest.mark.parametrize(("estimand", "score"), [("ATE", "ATE"), ("ATT", "ATTE")])
def test_it_equals_double_ml_on_the_same_predictions(
    rng: np.random.Generator, estimand: Estimand, score: str
) -> None:
    """Same splits and nuisances given to both: only the arithmetic of the score is compared."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # DoubleML imports names that are on their way out
        from doubleml import DoubleMLData, DoubleMLIRM
        from sklearn.linear_model import LinearRegression, LogisticRegression

    world = sample_world(rng, rows=1500, rows_per_cluster=1, unknown=0.0)
    x, treated = world.sample.covariates, world.sample.treated
    propensity = np.clip(1 / (1 + np.exp(0.6 + x[:, 0])), 0.05, 0.95)
    m0, m1 = 40 * x[:, 0], 40 * x[:, 0] + 100
    frame = pd.DataFrame(x, columns=["a", "b", "c", "d"]).assign(
        y=world.continuous, t=treated.astype(float)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = DoubleMLIRM(
            DoubleMLData(frame, "y", "t"),
            LinearRegression(),
            LogisticRegression(),
            score=score,
            normalize_ipw=estimand == "ATE",
            n_folds=5,
        )
        peer.fit(
            external_predictions={
                "t": {"ml_m": propensity[:, None], "ml_g0": m0[:, None], "ml_g1": m1[:, None]}
            }
        )
    ours = effect_of(world.continuous, treated, propensity, (m0, m1), estimand)
    if estimand == "ATE":
        assert ours == pytest.approx(peer.coef[0], rel=1e-9)
    else:
        # DoubleML does not scale the weights of an ATTE; unscaled we agree to rounding.
        odds = propensity / (1 - propensity)
        unscaled = (
            (treated * (world.continuous - m0)).sum()
            - (odds * ~treated * (world.continuous - m0)).sum()
        ) / treated.sum()
        assert unscaled == pytest.approx(peer.coef[0], rel=1e-9)
        assert abs(ours - unscaled) < 0.2 * peer.se[0]


def test_it_agrees_with_econml_fitted_by_itself(rng: np.random.Generator) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from econml.dr import LinearDRLearner
        from sklearn.linear_model import LogisticRegression, Ridge

        world = sample_world(rng, rows=3000, rows_per_cluster=1, unknown=0.0)
        peer = LinearDRLearner(
            model_propensity=LogisticRegression(),
            model_regression=Ridge(),
            min_propensity=CLIP,
            cv=5,
            random_state=1,
        )
        peer.fit(
            world.continuous,
            world.sample.treated.astype(int),
            X=None,
            W=np.column_stack([world.sample.covariates, np.abs(world.sample.covariates)]),
        )
        theirs = peer.intercept__inference(T=1)
    ours = estimate_of(
        estimate_aipw(world.sample, {"y": world.continuous}, estimand="ATE", rng=rng)["y"]
    )
    # Other learners and other folds: estimates of one number, a fraction of an error apart.
    assert abs(ours.estimate - float(theirs.point_estimate)) < ours.standard_error
    assert ours.standard_error == pytest.approx(float(theirs.stderr), rel=0.25)


@pytest.mark.parametrize("estimand", ["ATE", "ATT"])
def test_either_prediction_may_be_wrong(estimand: Estimand) -> None:
    """Double robustness: with the propensity or the outcome predicted by nonsense, still right."""
    errors = {"wrong outcome": [], "wrong propensity": []}
    for seed in range(8):
        rng = np.random.default_rng(seed)
        rows = 4000
        x = rng.normal(size=rows)
        propensity = 1 / (1 + np.exp(-0.8 * x))
        treated = rng.random(rows) < propensity
        outcome = 2 * x + 1.0 * treated + rng.normal(size=rows)
        for name, e, m0 in (
            ("wrong outcome", propensity, np.zeros(rows)),
            ("wrong propensity", np.full(rows, 0.5), 2 * x),
        ):
            found = effect_of(outcome, treated, e, (m0, m0 + 1.0), estimand)
            errors[name].append(found - 1.0)
    for name, values in errors.items():
        assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(8) + 0.02, name


def test_weights_of_an_att_make_the_untreated_stand_for_the_treated() -> None:
    treated = np.array([True, True, False, False, False])
    chance = np.array([0.5, 0.995, 0.2, 0.5, 0.001])
    kept = np.array([True, False, True, True, True])
    found = treated_weights(treated, ~treated, chance, kept)
    assert found[:2].tolist() == [1.0, 0.0]
    assert found[~treated].sum() == pytest.approx(1.0)  # for the one treated row that is left
    other = np.array([False, False, True, True, False])  # the last row is of another action
    found = treated_weights(treated, other, chance, kept)
    assert found[4] == 0.0


def test_a_row_needs_counterparts_as_far_out_as_itself() -> None:
    chance = np.array([0.2, 0.6, 0.75, 0.995, 0.005, 0.3, 0.5, 0.7, 0.8, 0.9])
    arm = np.array([1] * 4 + [0] * 6)
    both = np.column_stack([1 - chance, chance])
    # The third highest of the untreated is 0.7; the third lowest of the treated 0.75.
    assert has_counterparts(both, arm, 0).tolist() == [
        True,
        True,
        False,
        False,
        True,
        True,
        True,
        True,
        False,
        False,
    ]
    sure = np.array([0.1, 0.2, 0.3, 0.995, 0.992, 0.993, 0.994, 0.005])
    of_it = np.array([1, 1, 1, 1, 0, 0, 0, 0])
    both = np.column_stack([1 - sure, sure])
    assert has_counterparts(both, of_it, 0).tolist() == [True] * 3 + [False] * 4 + [True]
    assert not has_counterparts(both, of_it, 1)[-1]


def test_accounts_that_were_sure_to_be_treated_are_trimmed_and_counted(
    rng: np.random.Generator,
) -> None:
    world = sample_world(rng, rows=3000, rows_per_cluster=1, unknown=0.0)
    treated = world.sample.treated.copy()
    certain = world.sample.covariates[:, 0] < -1.0
    treated[certain] = True
    sure = replace(world.sample, arm=treated.astype(np.int64))
    fit = estimate_aipw(sure, {"y": world.outcome}, estimand="ATT", rng=rng, repeats=1)["y"]
    assert fit.n_trimmed > 0.5 * certain.sum()
    assert (fit.weight[~fit.kept] == 0).all()


def test_intention_to_treat_needs_a_lottery(rng: np.random.Generator) -> None:
    world = sample_world(rng, rows=100)
    with pytest.raises(SampleError, match="needs a lottery"):
        estimate_aipw(world.sample, {"y": world.outcome}, estimand="ITT", rng=rng)


def test_no_cluster_is_on_both_sides_of_a_fold(rng: np.random.Generator) -> None:
    cluster = rng.integers(0, 60, 400)
    treated = rng.random(400) < 0.2
    folds = Folds.draw(cluster, treated, rng=rng)
    assert all(len(set(folds.fold[cluster == name])) == 1 for name in set(cluster))
    sizes = np.bincount(folds.fold)
    assert sizes.size == 5
    assert sizes.min() > 30
    for fit, predict in folds.splits():
        assert not (fit & predict).any()
        assert not set(cluster[fit]) & set(cluster[predict])


def test_the_design_matrix_says_what_was_unknown() -> None:
    matrix = design_matrix(np.array([[1.0, np.nan, 5.0], [3.0, 2.0, 5.0], [5.0, 4.0, 5.0]]))
    assert matrix.shape == (3, 3)  # a constant says nothing; an unknown value has its own column
    assert matrix[0, 1] == 0.0  # the mean, after standardising
    assert np.isfinite(matrix).all()


def test_nothing_known_gives_no_columns() -> None:
    assert design_matrix(np.full((4, 2), np.nan)).shape == (4, 0)


def test_too_few_of_either_value_predict_the_rate() -> None:
    x = np.arange(40.0)[:, None]
    rare = np.zeros(40, dtype=bool)
    rare[:3] = True
    fit = np.arange(40) < 30
    predicted = predict_binary(x, x, rare, fit=fit, predict=~fit, seed=1)
    assert predicted == pytest.approx(np.full(10, 0.1))
    constant = predict_number(x, x, np.full(40, 7.0), fit=fit, predict=~fit, seed=1)
    assert constant == pytest.approx(np.full(10, 7.0))


def test_an_outcome_of_zeros_and_ones_is_predicted_as_a_probability(
    rng: np.random.Generator,
) -> None:
    x = rng.normal(size=(400, 1))
    outcome = (x[:, 0] + rng.normal(size=400) > 0).astype(float)
    fit = np.arange(400) < 300
    predicted = predict_outcome(x, x, outcome, fit=fit, predict=~fit, seed=1)
    assert ((predicted > 0) & (predicted < 1)).all()
    assert np.corrcoef(predicted, outcome[~fit])[0, 1] > 0.3
