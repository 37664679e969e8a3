"""Off-policy values are right on average, their intervals cover, and no worse policy gets by."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from logged_choices import world
from scipy.stats import binom

from experiments.off_policy.estimators import (
    Floats,
    LoggedChoices,
    OffPolicyError,
    compare,
    evaluate,
    predict_rewards,
)

REPEATS = 400


def by_hand(log: LoggedChoices, target: Floats) -> dict[str, float]:
    """The estimators row by row, as their papers write them."""
    ips = weights = direct = corrected = 0.0
    for i, action in enumerate(log.chosen):
        weight = target[i, action] / log.propensity[i]
        ips += weight * log.reward[i]
        weights += weight
        expected = sum(target[i, a] * log.predicted[i, a] for a in range(target.shape[1]))
        direct += expected
        corrected += expected + weight * (log.reward[i] - log.predicted[i, action])
    n = len(log.chosen)
    return {"ips": ips / n, "snips": ips / weights, "direct": direct / n, "dr": corrected / n}


@given(st.integers(0, 2**32 - 1))
def test_each_estimator_is_what_its_paper_writes(seed: int) -> None:
    one = world(seed, n=40)
    values = evaluate(one.log, one.target)
    for name, value in by_hand(one.log, one.target).items():
        assert values[name].mean == pytest.approx(value, rel=1e-10)  # type: ignore[index]
    between = sorted((values["direct"].mean, values["dr"].mean))
    slack = 0.5 * (between[1] - between[0]) + 1.0
    assert between[0] - slack <= values["dr_shrunk"].mean <= between[1] + slack


@given(st.integers(0, 2**32 - 1))
def test_the_policy_that_chose_has_earned_what_the_log_says(seed: int) -> None:
    one = world(seed, n=60)
    values = evaluate(one.log, one.policy)
    assert values["ips"].mean == pytest.approx(one.log.reward.mean())
    assert values["snips"].mean == pytest.approx(one.log.reward.mean())
    assert values["ips"].effective == pytest.approx(60.0)
    assert values["ips"].largest_weight == pytest.approx(1 / 60)
    nothing = compare(one.log, one.policy, one.policy)
    assert (nothing.difference, nothing.error, nothing.passes) == (0.0, 0.0, False)


def test_ips_and_dr_are_right_on_average_whatever_was_predicted() -> None:
    for wrong in (0.0, 2.0):
        off = {name: [] for name in ("ips", "dr")}  # type: dict[str, list[float]]
        for seed in range(REPEATS):
            one = world(seed, wrong=wrong)
            values = evaluate(one.log, one.target)
            for name, errors in off.items():
                errors.append(values[name].mean - one.earns(one.target))  # type: ignore[index]
        for name, errors in off.items():
            error = np.std(errors) / np.sqrt(REPEATS)
            assert abs(np.mean(errors)) < 3.5 * error, name


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    held = dict.fromkeys(("ips", "snips", "dr", "dr_shrunk"), 0)
    for seed in range(REPEATS):
        one = world(seed)
        values, truth = evaluate(one.log, one.target), one.earns(one.target)
        for name in held:
            value = values[name]  # type: ignore[index]
            held[name] += value.low <= truth <= value.high
    least, most = binom.ppf([0.0005, 0.9995], REPEATS, 0.95)
    for name in ("ips", "snips", "dr"):
        assert least <= held[name] <= most, (name, held[name])
    assert held["dr_shrunk"] >= least  # its interval is dr's, which may be too wide


def test_a_slightly_worse_policy_seldom_passes_though_its_estimate_is_often_higher() -> None:
    passed = seems_better = 0
    for seed in range(REPEATS):
        one = world(seed)
        assert one.earns(one.worse) < one.earns(one.policy)
        found = compare(one.log, one.worse, one.policy)
        passed += found.passes
        seems_better += found.difference > 0
    assert passed <= binom.ppf(0.999, REPEATS, 0.05)
    assert seems_better > 0.25 * REPEATS


def test_a_better_policy_passes_given_enough_decisions() -> None:
    one = world(4, n=6000)
    best = np.eye(3)[one.means.argmax(axis=1)]
    found = compare(one.log, best, one.policy)
    assert found.passes
    assert found.low < one.earns(best) - one.earns(one.policy) < found.high


def test_few_effective_decisions_never_pass() -> None:
    n = 500
    log = LoggedChoices(
        chosen=np.array([1] * 20 + [0] * (n - 20)),
        propensity=np.full(n, 0.5),
        reward=np.array([9.0] * 20 + [0.0] * (n - 20)),
        cluster=np.arange(n),
        predicted=np.zeros((n, 2)),
    )
    new, present = np.tile([0.0, 1.0], (n, 1)), np.tile([1.0, 0.0], (n, 1))
    found = compare(log, new, present)
    assert found.bound > 0
    assert found.effective == 20
    assert not found.passes


def test_rows_of_one_account_count_as_one() -> None:
    one = world(1, n=200)
    again = LoggedChoices(
        **{
            name: np.concatenate([getattr(one.log, name)] * 4)
            for name in ("chosen", "propensity", "reward", "cluster", "predicted")
        }
    )
    once = evaluate(one.log, one.target)["dr"]
    four_times = evaluate(again, np.tile(one.target, (4, 1)))["dr"]
    assert four_times.error == pytest.approx(once.error)


def test_a_prediction_never_saw_its_own_account() -> None:
    rng = np.random.default_rng(2)
    n = 240
    fact, cluster = rng.normal(size=(n, 2)), np.repeat(np.arange(n // 2), 2)
    chosen = rng.integers(0, 2, n)
    reward = 10.0 * chosen + fact[:, 0] + rng.normal(size=n)

    def predicted(rewards: Floats) -> Floats:
        return predict_rewards(
            fact, chosen, rewards, cluster, actions=2, rng=np.random.default_rng(5)
        )

    before = predicted(reward)
    changed = reward.copy()
    changed[:2] += 1000.0
    after = predicted(changed)
    np.testing.assert_array_equal(after[:2], before[:2])
    assert not np.array_equal(after[2:], before[2:])
    assert (before[:, 1] - before[:, 0]).mean() == pytest.approx(10.0, abs=1.5)


def test_an_action_works_for_some_only_and_the_prediction_knows_whom() -> None:
    rng = np.random.default_rng(3)
    fact, chosen = rng.normal(size=(800, 1)), rng.integers(0, 2, 800)
    reward = chosen * fact[:, 0] + 0.1 * rng.normal(size=800)
    found = predict_rewards(fact, chosen, reward, np.arange(800), actions=2, rng=rng)
    assert np.corrcoef(found[:, 1] - found[:, 0], fact[:, 0])[0, 1] > 0.95


def logged(**changed: Any) -> LoggedChoices:
    values: dict[str, Any] = {
        "chosen": np.array([0, 1]),
        "propensity": np.array([0.5, 0.5]),
        "reward": np.array([1.0, 2.0]),
        "cluster": np.array([0, 1]),
        "predicted": np.zeros((2, 2)),
    }
    return LoggedChoices(**{**values, **changed})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"reward": np.array([1.0])}, "2 choices and 1 rows of reward"),
        (
            {
                name: np.zeros((0, 2)) if name == "predicted" else np.array([])
                for name in ("chosen", "propensity", "reward", "cluster", "predicted")
            },
            "no decision in which chance",
        ),
        ({"propensity": np.array([0.0, 0.5])}, "not above 0 and at most 1"),
        ({"reward": np.array([np.nan, 1.0])}, "not a number"),
        ({"chosen": np.array([0, 2])}, "not one of the 2 actions"),
    ],
    ids=["length", "empty", "propensity", "nan", "action"],
)
def test_a_log_that_can_not_be_judged_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(OffPolicyError, match=message):
        logged(**changed)


def test_probabilities_that_are_none_are_refused() -> None:
    with pytest.raises(OffPolicyError, match="do not sum to 1"):
        evaluate(logged(), np.full((2, 2), 0.4))
    with pytest.raises(OffPolicyError, match="do not sum to 1"):
        evaluate(logged(), np.array([[1.5, -0.5], [1.0, 0.0]]))
    with pytest.raises(OffPolicyError, match="1 rows of 2 actions, the log has 2 of 2"):
        evaluate(logged(), np.array([[1.0, 0.0]]))
