from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from causal_worlds import event, frame

from experiments.causal.power import (
    ExperimentCandidate,
    PowerError,
    cheapest_experiment,
    churn_base_rate,
    lottery_plan,
    needed_per_arm,
    smallest_detectable,
)

CALL = ExperimentCandidate(
    action="success_call",
    name="Success call",
    eligible="all customers",
    n_eligible=4000,
    cost_per_account=60.0,
    prior_effect=0.03,
    base_rate=0.08,
)
DAY = timedelta(days=1)


def test_an_effect_of_the_smallest_size_is_found_as_often_as_promised() -> None:
    """The formula against lotteries drawn and tested outright."""
    rng = np.random.default_rng(0)
    n_treated, n_control, base = 700, 1300, 0.10
    effect = smallest_detectable(base_rate=base, n_treated=n_treated, n_control=n_control)
    found = 0
    for _ in range(4000):
        left = (
            rng.binomial(n_treated, base - effect) / n_treated,
            rng.binomial(n_control, base) / n_control,
        )
        error = np.sqrt(left[0] * (1 - left[0]) / n_treated + left[1] * (1 - left[1]) / n_control)
        found += abs(left[0] - left[1]) > 1.96 * error
    # The variance shrinks with the rate, so the promise is kept with a little to spare.
    assert 0.78 < found / 4000 < 0.92


def test_needed_accounts_turn_the_formula_round() -> None:
    needed = needed_per_arm(base_rate=0.08, effect=0.02)
    assert smallest_detectable(base_rate=0.08, n_treated=needed, n_control=needed) <= 0.02
    assert smallest_detectable(base_rate=0.08, n_treated=needed - 1, n_control=needed - 1) > 0.02


def test_the_plan_is_the_smallest_that_is_enough() -> None:
    plan = lottery_plan(CALL, horizon_days=90)
    assert plan.is_sufficient
    assert plan.smallest_effect <= CALL.prior_effect
    smaller = smallest_detectable(
        base_rate=0.08,
        n_treated=plan.n_treated * (plan.k - 1) / plan.k,
        n_control=plan.n_control + plan.n_treated / plan.k,
    )
    assert smaller > CALL.prior_effect or plan.draws > 1
    assert plan.cost == pytest.approx(plan.n_treated * 60, rel=0.01)
    assert plan.weeks == -(-plan.draws * 90 // 7)


def test_too_few_accounts_get_the_largest_lottery_and_hear_what_it_can_not_show() -> None:
    plan = lottery_plan(replace(CALL, n_eligible=200), horizon_days=90)
    assert not plan.is_sufficient
    assert (plan.k, plan.draws) == (100, 4)
    assert "not enough for the 3.0 points" in plan.sentence
    needed = needed_per_arm(base_rate=0.08, effect=0.03)
    assert plan.sentence.endswith(f"which would take about {needed:,} accounts in each group.")
    assert plan.smallest_effect > CALL.prior_effect


def test_the_cheapest_sufficient_lottery_wins() -> None:
    dear = replace(CALL, action="visit", cost_per_account=900.0)
    feeble = replace(CALL, action="email", cost_per_account=0.1, prior_effect=0.0005)
    assert cheapest_experiment([dear, feeble, CALL], horizon_days=90).candidate is CALL  # type: ignore[union-attr]


def test_without_a_sufficient_one_the_nearest_to_its_belief_is_proposed() -> None:
    few = replace(CALL, n_eligible=150)
    fewer = replace(CALL, action="visit", n_eligible=100, cost_per_account=1.0)
    assert cheapest_experiment([fewer, few], horizon_days=90).candidate is few  # type: ignore[union-attr]


def test_nothing_that_could_be_drawn_gives_no_plan() -> None:
    assert cheapest_experiment([], horizon_days=90) is None
    assert cheapest_experiment([replace(CALL, n_eligible=1)], horizon_days=90) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [({"n_eligible": 1}, "a lottery needs two"), ({"prior_effect": 0.0}, "not believed to lower")],
)
def test_a_lottery_needs_accounts_and_a_belief(change: dict[str, float], words: str) -> None:
    with pytest.raises(PowerError, match=words):
        lottery_plan(replace(CALL, **change), horizon_days=90)


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_a_rate_lies_between_0_and_1(rate: float) -> None:
    with pytest.raises(PowerError, match="strictly between 0 and 1"):
        smallest_detectable(base_rate=rate, n_treated=10, n_control=10)


def test_arms_and_effects_are_positive() -> None:
    with pytest.raises(PowerError, match="both must be positive"):
        smallest_detectable(base_rate=0.1, n_treated=0, n_control=10)
    with pytest.raises(PowerError, match="must be positive"):
        needed_per_arm(base_rate=0.1, effect=0.0)


def test_the_base_rate_counts_running_contracts_at_mature_cutoffs() -> None:
    as_of = datetime(2025, 7, 1, tzinfo=UTC)
    began = datetime(2024, 1, 1, tzinfo=UTC)
    rows = [event(name, "contract.started", began, 100.0) for name in "abcd"]
    rows.append(event("a", "contract.cancelled", as_of - 60 * DAY))
    rows.append(event("b", "contract.cancelled", as_of - 85 * DAY))
    found = churn_base_rate(frame(rows), as_of=as_of, horizon_days=90, cutoffs=2)
    assert found.cutoffs == (as_of - 90 * DAY, as_of - 120 * DAY)
    # At the later cutoff a and b leave in time; at the earlier only b would, 35 days after it,
    # and a 60 days after it: both again.
    assert (found.n_accounts, found.n_left) == (8, 4)
    assert found.rate == 0.5
    assert found.running_now == ("c", "d")


def test_without_contracts_there_is_no_base_rate() -> None:
    with pytest.raises(PowerError, match="No contract ran at any of the 6 cutoffs"):
        churn_base_rate(frame([]), as_of=datetime(2025, 7, 1, tzinfo=UTC), horizon_days=90)
