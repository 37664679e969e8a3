from __future__ import annotations

import numpy as np
import pytest
from uplift_worlds import ACTIONS, NULL, segment_shifts, uplift_world

from experiments.causal.estimators.aipw import cross_fit
from experiments.causal.estimators.nuisances import Folds, design_matrix
from experiments.causal.sample import SampleError
from experiments.uplift.learners import LEARNERS, Lesson, Stack, fit_stack, out_of_fold
from experiments.uplift.levels import Comparison, account_effects

CALL = ACTIONS[0]


@pytest.fixture(scope="module")
def personal():
    """Loaded accounts gain much from a call, others nothing: single accounts can be told apart."""
    world = uplift_world(np.random.default_rng(1), rows=4000, personal=1.2, randomised=True)
    return world, cross_fit(world.sample, world.stayed, rng=np.random.default_rng(2), repeats=1)


@pytest.fixture(scope="module")
def asked():
    return uplift_world(np.random.default_rng(5), rows=1000, personal=1.2)


def effects(made, asked, action=CALL):
    world, scores = made
    return account_effects(
        scores,
        world.stayed,
        action,
        asked=asked.sample.covariates,
        asked_segment=asked.sample.segment,
        rng=np.random.default_rng(3),
    )


def test_where_accounts_can_be_told_apart_they_are(personal, asked):
    found, truth = effects(personal, asked), asked.effects()[:, 0]
    assert found.level == "account"
    assert np.corrcoef(found.estimates, truth)[0, 1] > 0.8
    assert np.mean((found.estimates - truth) ** 2) < 0.5 * truth.var()


def test_an_action_that_does_nothing_does_the_same_for_everybody(personal, asked):
    found = effects(personal, asked, ACTIONS[NULL])
    assert found.level == "everybody"
    assert np.ptp(found.estimates) == 0


def test_where_segments_are_all_that_differs_the_segment_speaks():
    shifts = segment_shifts(np.random.default_rng(0))
    shifts[0] = [1.5, 1.5, 1.5, -2.0, -2.0, -2.0]
    world = uplift_world(np.random.default_rng(1), rows=3000, shifts=shifts, randomised=True)
    bare = world.sample.covariates.copy()
    bare[:, 6:] = 0.0  # learners of accounts are not told the segment
    sample = type(world.sample)(**{**vars(world.sample), "covariates": bare})
    scores = cross_fit(sample, world.stayed, rng=np.random.default_rng(2), repeats=1)
    found = account_effects(
        scores,
        world.stayed,
        CALL,
        asked=bare[:4],
        rng=np.random.default_rng(3),
        asked_segment=np.array(["segment 0", "segment 5", "segment 0", "never seen"]),
    )
    assert found.level == "segment"
    first, last, again, unseen = found.estimates
    assert first == again > 0.1
    assert last < -0.05
    assert unseen == pytest.approx(scores.middle(1).mean())


def test_few_trials_tell_no_account_from_another(asked):
    world = uplift_world(np.random.default_rng(1), rows=400, personal=1.2, randomised=True)
    scores = cross_fit(world.sample, world.stayed, rng=np.random.default_rng(2), repeats=1)
    found = effects((world, scores), asked)
    assert found.level != "account"
    assert found.stack.weights == {}


def test_finer_is_better_only_with_confidence():
    close = Comparison(finer="account", coarser="segment", difference=-0.2, upper=0.01)
    clear = Comparison(finer="account", coarser="segment", difference=-0.2, upper=-0.01)
    assert not close.is_better
    assert clear.is_better


@pytest.mark.parametrize("name", LEARNERS)
def test_every_learner_finds_who_gains(name, personal, asked):
    world, scores = personal
    lesson = lesson_of(world, scores)
    fit = np.arange(4000) < 3000
    found = LEARNERS[name](lesson, fit, ~fit, 1)
    truth = world.effects()[3000:, 0]
    assert np.corrcoef(found, truth)[0, 1] > 0.4
    assert found.mean() == pytest.approx(truth.mean(), abs=0.04)  # two errors or so


@pytest.mark.parametrize("name", LEARNERS)
def test_every_learner_finds_a_gain_that_is_the_same_for_all(name):
    rng = np.random.default_rng(0)
    x, arm = rng.normal(size=(600, 2)), np.arange(600) % 2
    outcome = 3.0 * arm + x[:, 0] + 0.1 * rng.normal(size=600)
    lesson = Lesson(
        covariates=x,
        matrix=x,
        arm=arm,
        action=1,
        outcome=outcome,
        score=3.0 + 0.1 * rng.normal(size=600),
        cluster=np.arange(600),
    )
    fit = np.arange(600) < 500
    assert LEARNERS[name](lesson, fit, ~fit, 1).mean() == pytest.approx(3.0, abs=0.2)


@pytest.mark.parametrize("name", LEARNERS)
def test_no_learner_sees_the_outcome_of_whom_it_predicts(name, personal):
    world, scores = personal
    lesson = lesson_of(world, scores)
    fit = np.arange(4000) < 3000
    other = Lesson(
        **{
            **vars(lesson),
            "outcome": np.where(fit, lesson.outcome, 1 - lesson.outcome),
            "score": np.where(fit, lesson.score, -lesson.score),
        }
    )
    assert np.array_equal(LEARNERS[name](lesson, fit, ~fit, 1), LEARNERS[name](other, fit, ~fit, 1))


def test_predictions_out_of_fold_hold_one_value_for_every_trial(personal):
    world, scores = personal
    lesson = lesson_of(world, scores)
    folds = Folds.draw(lesson.cluster, lesson.arm == 1, rng=np.random.default_rng(0))
    known = np.arange(4000) < 3900
    found = out_of_fold(
        lesson,
        folds,
        known,
        rng=np.random.default_rng(0),
        learners={"dr_ridge": LEARNERS["dr_ridge"]},
    )
    assert found["dr_ridge"].shape == (3900,)
    assert (found["dr_ridge"] != 0).all()


def test_a_stack_believes_what_predicts_and_not_what_does_not():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=5000)
    predicted = {"good": 2 * truth, "noise": rng.normal(size=5000)}
    stack = fit_stack(predicted, 1.0 + truth + rng.normal(size=5000))
    assert stack.mean == pytest.approx(1.0, abs=0.1)
    assert stack.weights["good"] == pytest.approx(0.5, abs=0.05)
    assert stack.weights["noise"] < 0.1
    against = fit_stack({"good": truth, "opposite": -truth}, truth)
    assert against.weights["good"] > against.weights["opposite"] >= 0


def test_a_stack_of_few_noisy_scores_stays_near_equal_shares():
    rng = np.random.default_rng(0)
    predicted = {"one": 0.01 * rng.normal(size=100), "two": 0.01 * rng.normal(size=100)}
    stack = fit_stack(predicted, rng.normal(size=100))
    assert list(stack.weights.values()) == pytest.approx([0.5, 0.5], abs=0.02)


def test_an_empty_stack_gives_everybody_the_mean():
    stack = fit_stack({}, np.array([1.0, 3.0]))
    assert stack == Stack(mean=2.0, weights={})
    assert stack.mixed({}, {}, rows=3).tolist() == [2.0, 2.0, 2.0]


def test_what_can_not_be_asked_is_refused(personal, asked):
    world, scores = personal
    with pytest.raises(SampleError, match="'discount' is no action of these trials"):
        effects(personal, asked, "discount")
    with pytest.raises(SampleError, match="11 covariates are needed"):
        account_effects(
            scores,
            world.stayed,
            CALL,
            asked=np.zeros((2, 3)),
            asked_segment=np.array(["a", "b"]),
            rng=np.random.default_rng(0),
        )


def lesson_of(world, scores):
    sample = world.sample
    return Lesson(
        covariates=sample.covariates,
        matrix=design_matrix(sample.covariates),
        arm=sample.arm,
        action=1,
        outcome=world.stayed,
        score=scores.middle(1),
        cluster=sample.cluster,
    )
