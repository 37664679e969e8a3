"""Decisions are judged by what they bring on accounts that they were not learned on."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.sample import SampleError
from experiments.uplift.arms import NO_ACTION, ArmSample
from experiments.uplift.levels import effects_at
from experiments.uplift.scores import cross_fit
from experiments.uplift.whom_to_act_on import LEVELS, decide

COST = np.array([0.0, 0.05])


def lottery(seed, effect, *, rows=900):
    """An even lottery; the action changes the outcome by ``effect`` of the first covariate."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 3))
    arm = rng.integers(0, 2, rows)
    outcome = 0.5 + 0.2 * x[:, 1] + arm * effect(x[:, 0]) + 0.2 * rng.normal(size=rows)
    sample = ArmSample(
        covariates=x, covariate_names=("a", "b", "c"), arm=arm, arms=(NO_ACTION, "call"),
        propensity=np.full((rows, 2), 0.5), cluster=np.arange(rows),
        segment=np.where(x[:, 2] > 0, "large", "small"))
    return cross_fit(sample, outcome, rng=rng, repeats=1), outcome


def decided(seed, effect, **changed):
    scores, outcome = lottery(seed, effect)
    new = np.random.default_rng(99).normal(size=(400, 3))
    given = {"cost": COST, "asked": new, "rng": np.random.default_rng(seed), "splits": 2,
             "asked_segment": np.where(new[:, 2] > 0, "large", "small"), "typical_spread": 0.1,
             **changed}
    return decide(scores, outcome, **given), new


def test_accounts_are_told_apart_where_that_brings_more():
    found, new = decided(1, lambda x: 0.4 * np.sign(x))
    assert found.level == "account"
    assert found.values["account"].gain > found.values["account"].least > 0.05
    assert found.values["account"].gain == pytest.approx(
        found.values["account"].value - found.values["everybody"].value)
    assert np.mean(found.arm == (new[:, 0] > 0)) > 0.9


def test_where_all_gain_alike_all_are_acted_on():
    found, _ = decided(2, lambda x: np.full_like(x, 0.3))
    assert found.arm.min() == 1
    assert found.values["everybody"].gain == 0
    scores, _ = lottery(2, lambda x: np.full_like(x, 0.3))
    assert found.values["everybody"].value == pytest.approx(
        scores.score[0, :, 1].mean() - COST[1])


def test_where_it_costs_more_than_it_brings_nobody_is_acted_on():
    found, _ = decided(3, lambda x: np.full_like(x, 0.1), cost=np.array([0.0, 0.5]))
    assert found.level == "everybody"  # all levels decide alike, and the coarsest speaks
    assert found.arm.max() == 0
    assert len({found.values[level].value for level in LEVELS}) == 1


def test_the_same_question_has_the_same_answer():
    one, again = (decided(4, lambda x: 0.1 * x)[0] for _ in range(2))
    assert np.array_equal(one.arm, again.arm)
    assert one.values == again.values


@pytest.mark.parametrize("cost", [[0.0], [0.1, 0.2], [0.0, np.nan]],
                         ids=["too few", "for nothing", "not known"])
def test_a_cost_for_each_arm_is_needed(cost):
    with pytest.raises(SampleError, match="Give a cost for each of the arms none, call, 0 for"):
        decided(5, lambda x: x, cost=np.array(cost))


def test_with_too_few_trials_everybody_has_the_mean():
    scores, outcome = lottery(6, lambda x: x, rows=120)
    asked = {"asked": np.zeros((2, 3)), "asked_segment": np.array(["large", "small"])}
    by_account = effects_at("account", scores, outcome, "call", rng=np.random.default_rng(1),
                            **asked)
    assert by_account.tolist() == [scores.middle(1).mean()] * 2
