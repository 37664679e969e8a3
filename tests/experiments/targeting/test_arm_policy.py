"""Decisions bring more than the best arm for everybody, where they can, and say what they bring."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.causal.estimators.aipw import cross_fit
from experiments.causal.sample import NO_ACTION, Sample, SampleError
from experiments.targeting.arm_policy import (
    ArmDecisions,
    HeldOutValue,
    decide_arms,
    held_out_gains,
    held_out_value,
)
from experiments.targeting.outcome_model import expected_outcomes

COST = np.array([0.0, 0.05])


def lottery(seed, effect, *, rows=900):
    """An even lottery; the action changes the outcome by ``effect`` of the first covariate."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 3))
    arm = rng.integers(0, 2, rows)
    outcome = 0.5 + 0.2 * x[:, 1] + arm * effect(x[:, 0]) + 0.2 * rng.normal(size=rows)
    sample = Sample(
        covariates=x,
        covariate_names=("a", "b", "c"),
        arm=arm,
        arms=(NO_ACTION, "call"),
        propensity=np.full((rows, 2), 0.5),
        cluster=np.arange(rows),
        segment=np.where(x[:, 2] > 0, "large", "small"),
    )
    return cross_fit(sample, outcome, rng=rng, repeats=1), outcome


def decided(seed, effect, **changed):
    scores, outcome = lottery(seed, effect)
    new = np.random.default_rng(99).normal(size=(400, 3))
    given = {"cost": COST, "asked": new, "rng": np.random.default_rng(seed), **changed}
    return decide_arms(scores, outcome, **given), new


def test_where_accounts_differ_each_has_its_own_arm():
    found, new = decided(1, lambda x: 0.4 * np.sign(x))
    assert np.mean(found.arm == (new[:, 0] > 0)) > 0.9
    assert found.held_out.low > 0.05
    assert found.held_out.low < found.held_out.gain < found.held_out.high
    assert found.held_out.gain == pytest.approx(found.held_out.value - found.held_out.alike)


def test_what_is_decided_is_what_gains_most():
    found, _ = decided(1, lambda x: 0.4 * x)
    assert (found.gain[:, 0] == 0).all()
    assert np.array_equal(found.arm, (found.gain[:, 1] > 0).astype(int))
    dearer, _ = decided(1, lambda x: 0.4 * x, cost=np.array([0.0, 0.25]))
    assert dearer.gain[:, 1] == pytest.approx(found.gain[:, 1] - 0.2)
    assert dearer.arm.mean() < found.arm.mean()


def test_where_all_gain_alike_all_are_acted_on():
    found, _ = decided(2, lambda x: np.full_like(x, 0.3))
    scores, _ = lottery(2, lambda x: np.full_like(x, 0.3))
    assert found.arm.min() == 1
    assert found.held_out.value == pytest.approx(scores.score[0, :, 1].mean() - COST[1])
    assert (found.held_out.gain, found.held_out.low, found.held_out.high) == (0, 0, 0)


def test_where_it_costs_more_than_it_brings_nobody_is_acted_on():
    found, _ = decided(3, lambda x: np.full_like(x, 0.1), cost=np.array([0.0, 0.5]))
    assert found.arm.max() == 0
    assert found.held_out.value == found.held_out.alike


def test_the_value_is_of_accounts_that_the_policy_did_not_see():
    """One account of 20 trials loses by a call, and nobody else could tell."""
    rng = np.random.default_rng(4)
    arm, is_odd = np.arange(320) % 2, np.arange(320) < 20
    sample = Sample(
        covariates=is_odd[:, None].astype(float),
        covariate_names=("odd",),
        arm=arm,
        arms=(NO_ACTION, "call"),
        propensity=np.full((320, 2), 0.5),
        segment=np.full(320, "all"),
        cluster=np.where(is_odd, 0, np.arange(320)),
    )
    outcome = 9 + arm * np.where(is_odd, -5.0, 1.0) + 0.3 * rng.normal(size=320)
    found = decide_arms(
        cross_fit(sample, outcome, rng=rng, repeats=1),
        outcome,
        rng=rng,
        asked=sample.covariates,
        cost=np.array([0.0, 0.0]),
    )
    assert np.array_equal(found.told_apart, 1 - is_odd)
    assert found.held_out.gain == 0  # 0.3 if it had seen that account
    assert not found.tells_apart
    assert found.arm.min() == 1


@pytest.mark.parametrize(
    ("gain", "arms"),
    [(0.01, [0, 1, 2]), (0.0, [2, 2, 2]), (-0.01, [2, 2, 2])],
    ids=["more", "as much", "less"],
)
def test_accounts_are_told_apart_where_that_brought_more_where_it_was_held_out(gain, arms):
    found = ArmDecisions(
        told_apart=np.array([0, 1, 2]),
        alike=2,
        gain=np.zeros((3, 3)),
        held_out=HeldOutValue(value=1.0, alike=1.0 - gain, gain=gain, low=gain - 1, high=gain + 1),
    )
    assert found.arm.tolist() == arms


def test_the_simplest_policy_is_what_is_expected_to_bring_most_on_average():
    scores, outcome = lottery(1, lambda x: 0.4 * np.sign(x) + 0.02)
    trials = scores.sample.covariates
    poor = trials[trials[:, 0] < 0]
    for asked in (trials, poor, poor[:1]):  # whoever is asked about
        found = decide_arms(
            scores, outcome, cost=np.zeros(2), asked=asked, rng=np.random.default_rng(1)
        )
        assert found.alike == 1
    assert found.told_apart.tolist() == [0]
    dear, _ = decided(1, lambda x: 0.4 * np.sign(x) + 0.02, cost=np.array([0.0, 0.2]))
    assert dear.alike == 0
    cheap, _ = decided(1, lambda x: 0.4 * np.sign(x) + 0.02, cost=np.array([0.0, 0.0]))
    assert cheap.alike == 1


def test_what_a_cost_changes_is_told_without_learning_again():
    scores, outcome = lottery(7, lambda x: 0.3 * x)
    expected = held_out_gains(scores, outcome, np.random.default_rng(7))
    for cost in (0.0, 0.05, 0.3):
        charged = np.array([0.0, cost])
        whole = decide_arms(
            scores, outcome, cost=charged, asked=np.zeros((2, 3)), rng=np.random.default_rng(7)
        )
        assert held_out_value(scores, expected, charged) == whole.held_out


def test_the_same_question_has_the_same_answer():
    one, again = (decided(4, lambda x: 0.1 * x)[0] for _ in range(2))
    assert np.array_equal(one.arm, again.arm)
    assert one.held_out == again.held_out


def test_stages_are_used_in_what_is_decided_and_in_what_it_is_worth():
    scores, outcome = lottery(6, lambda x: 0.3 * x)
    came = outcome > np.median(outcome)
    scores = cross_fit(scores.sample, outcome * came, rng=np.random.default_rng(6), repeats=1)
    new = np.random.default_rng(99).normal(size=(400, 3))
    given = {"cost": COST, "asked": new}
    seen, plain = (
        decide_arms(scores, outcome * came, rng=np.random.default_rng(6), **given, **stages)
        for stages in ({"reached": came[:, None]}, {})
    )
    assert np.array_equal(seen.gain, plain.gain)  # the stage is whether there is an outcome
    assert seen.held_out == plain.held_out
    further = came | (np.arange(900) % 4 == 0)
    other = decide_arms(
        scores, outcome * came, rng=np.random.default_rng(6), **given, reached=further[:, None]
    )
    assert not np.array_equal(other.gain, plain.gain)
    expected = expected_outcomes(scores.sample, outcome * came, asked=new, reached=further[:, None])
    assert np.array_equal(other.gain, expected - expected[:, [0]] - COST)
    assert other.held_out != plain.held_out


@pytest.mark.parametrize(
    "cost", [[0.0], [0.1, 0.2], [0.0, np.nan]], ids=["too few", "for nothing", "not known"]
)
def test_a_cost_for_each_arm_is_needed(cost):
    with pytest.raises(SampleError, match="Give a cost for each of the arms none, call, 0 for"):
        decided(5, lambda x: x, cost=np.array(cost))
