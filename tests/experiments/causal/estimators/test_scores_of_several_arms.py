from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from uplift_worlds import ACTIONS, NULL, uplift_world

from experiments.causal.estimates import estimate_of, mean_and_error, mean_effect, mean_effects
from experiments.causal.estimators.aipw import arm_weights, cross_fit, estimate_aipw
from experiments.causal.estimators.nuisances import design_matrix, predict_arms, predict_under_arms
from experiments.causal.sample import Sample, SampleError


@pytest.fixture(scope="module")
def world():
    return uplift_world(np.random.default_rng(3), rows=4000)


@pytest.fixture(scope="module")
def scores(world):
    return cross_fit(world.sample, world.stayed, rng=np.random.default_rng(4))


def test_effects_are_within_three_errors_of_the_truth(world, scores):
    for found, truth in zip(mean_effects(scores), world.effects().mean(axis=0), strict=True):
        assert abs(found.estimate - truth) < 3 * found.standard_error


def test_the_plain_difference_would_have_been_wrong(world):
    """Else the world is too kind, and the test before this one says nothing."""
    arm, stayed = world.sample.arm, world.stayed
    plain = np.array(
        [
            stayed[arm == action].mean() - stayed[arm == 0].mean()
            for action in range(1, len(ACTIONS) + 1)
        ]
    )
    error = 0.02
    assert np.abs(plain - world.effects().mean(axis=0)).max() > 4 * error


def test_it_names_the_counts_behind_each_effect(world, scores):
    found = mean_effects(scores)[0]
    assert found.n_clusters == 4000
    assert found.n == found.n_treated + found.n_control
    assert found.n_treated == int((world.sample.arm == 1).sum())
    assert found.n_control == int((world.sample.arm == 0).sum())
    assert 300 < scores.effective_n(1) < found.n_treated + found.n_control


def test_logged_propensities_are_used_as_they_are():
    world = uplift_world(np.random.default_rng(5), rows=600, randomised=True)
    scores = cross_fit(world.sample, world.stayed, rng=np.random.default_rng(1), repeats=1)
    assert np.array_equal(scores.propensity, world.sample.propensity)


def test_where_only_a_part_was_logged_the_rest_is_predicted():
    world = uplift_world(np.random.default_rng(5), rows=600, randomised=True)
    chances = world.sample.propensity.copy()
    chances[300:] = np.nan
    scores = cross_fit(
        replace(world.sample, propensity=chances),
        world.stayed,
        rng=np.random.default_rng(1),
        repeats=1,
    )
    assert np.array_equal(scores.propensity[:300], chances[:300])
    assert scores.propensity[300:].sum(axis=1) == pytest.approx(1.0)
    assert scores.propensity[300:].std() > 0


def test_a_score_is_made_of_other_accounts_only():
    """Changing the outcome of one account leaves the predictions for itself alone."""
    world = uplift_world(np.random.default_rng(6), rows=500, randomised=True, rows_per_account=5)
    other = world.stayed.copy()
    own = world.sample.cluster == 7
    other[own] = 1 - other[own]
    one, two = (
        cross_fit(world.sample, stayed, rng=np.random.default_rng(2), repeats=1)
        for stayed in (world.stayed, other)
    )
    elsewhere = np.ones(one.score.shape[1:], dtype=bool)
    elsewhere[np.arange(500), world.sample.arm] = False  # arms that the row was not in: m alone
    assert np.array_equal(
        one.score[0][own[:, None] & elsewhere], two.score[0][own[:, None] & elsewhere]
    )
    assert not np.array_equal(
        one.score[0][~own[:, None] & elsewhere], two.score[0][~own[:, None] & elsewhere]
    )


def test_repeated_rows_of_one_account_are_one_account():
    world = uplift_world(np.random.default_rng(7), rows=800)
    twice = np.repeat(np.arange(800), 2)
    once = cross_fit(world.sample, world.stayed, rng=np.random.default_rng(2), repeats=1)
    doubled = replace(
        once,
        score=once.score[:, twice],
        weight=once.weight[twice],
        propensity=once.propensity[twice],
        sample=world.sample.keep(np.ones(800, dtype=bool)),
    )
    sample = Sample(
        **{
            name: getattr(world.sample, name)[twice]
            for name in ("covariates", "arm", "propensity", "segment", "cluster")
        },
        covariate_names=world.sample.covariate_names,
        arms=world.sample.arms,
    )
    doubled = replace(doubled, sample=sample)
    single, double = mean_effects(once)[0], mean_effects(doubled)[0]
    assert double.standard_error == pytest.approx(single.standard_error)
    assert doubled.effective_n(1) == pytest.approx(once.effective_n(1))


def test_weights_of_each_arm_stand_for_everybody_and_none_is_larger_than_the_clip_allows(world):
    chances = np.full((4000, 5), 1e-9)
    chances[np.arange(4000), world.sample.arm] = 1e-9
    chances[0] = 0.5
    weight = arm_weights(world.sample, chances)
    for arm in range(5):
        assert weight[world.sample.arm == arm].sum() == pytest.approx(4000)
    others = (world.sample.arm == world.sample.arm[0]) & (np.arange(4000) > 0)
    assert weight[others].max() / weight[0] == pytest.approx(0.5 / 0.01)


def test_the_error_holds_the_spread_between_repeats():
    cluster = np.arange(4)
    calm = np.array([[1.0, 2.0, 3.0, 4.0]] * 3)
    apart = calm + np.array([[-1.0], [0.0], [1.0]])
    middle, error, clusters = mean_and_error(calm, cluster)
    assert (middle, clusters) == (2.5, 4)
    assert mean_and_error(apart, cluster)[1] == pytest.approx(np.sqrt(error**2 + 1.0))


def test_what_can_not_be_scored_is_refused(world):
    unknown = world.stayed.copy()
    unknown[5] = np.nan
    with pytest.raises(SampleError, match="known for each of the 4000 trials"):
        cross_fit(world.sample, unknown, rng=np.random.default_rng(0))
    one = replace(world.sample, cluster=np.zeros(4000, dtype=np.int64))
    with pytest.raises(SampleError, match="belong to one cluster"):
        cross_fit(one, world.stayed, rng=np.random.default_rng(0))


def test_an_effect_without_an_error_is_refused(scores):
    flat = replace(scores, score=np.zeros_like(scores.score))
    with pytest.raises(SampleError, match="says the same"):
        mean_effect(flat, 1)


def test_a_contrast_has_the_odds_of_its_pair():
    world = uplift_world(np.random.default_rng(5), rows=600, randomised=True)
    found = cross_fit(world.sample, world.stayed, rng=np.random.default_rng(1), repeats=1)
    first = world.sample.propensity[0]
    assert found.contrast(2).chance == pytest.approx(first[2] / (first[0] + first[2]))


def test_an_att_of_one_of_several_actions_is_over_those_that_received_it(world):
    fit = estimate_aipw(
        world.sample,
        {"stayed": world.stayed},
        estimand="ATT",
        rng=np.random.default_rng(1),
        action=1,
        repeats=1,
    )["stayed"]
    found = estimate_of(fit)
    treated = world.sample.arm == 1
    truth = world.effects()[treated & fit.kept, 0].mean()
    assert abs(found.estimate - truth) < 3 * found.standard_error
    assert found.n_treated + fit.n_trimmed >= int(treated.sum())
    assert (fit.weight[world.sample.arm > 1] == 0).all()


def test_an_arm_too_rare_to_model_is_given_its_share(world):
    arm = np.minimum(world.sample.arm, 1)
    arm[:3] = 2
    matrix = design_matrix(world.sample.covariates)
    everybody = np.ones(4000, dtype=bool)
    chances = predict_arms(
        world.sample.covariates, matrix, arm, 3, fit=everybody, predict=everybody, seed=1
    )
    assert np.unique(chances[:, 2]) == pytest.approx([3 / 4000])
    assert chances.sum(axis=1) == pytest.approx(1.0)


def test_predictions_under_arms_find_who_helps(world):
    matrix = design_matrix(world.sample.covariates)
    everybody = np.ones(4000, dtype=bool)
    found = predict_under_arms(
        world.sample.covariates,
        matrix,
        world.sample.arm,
        5,
        world.stayed,
        fit=everybody,
        predict=everybody,
        seed=1,
    )
    gain = (found[:, 1:] - found[:, :1]).mean(axis=0)
    assert gain[0] > gain[1] > gain[NULL] > gain[3]
