"""The last hours go by lot among near-equals: exact, fair, and within every limit."""

from __future__ import annotations

from collections import Counter
from math import sqrt
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from experiments.planning.options import OFFER_SCHEMA
from experiments.planning.plan import Plan, make_plan
from experiments.planning.team import Budget, Care, Csm, Pool, Team
from experiments.planning.ties_by_lot import CapacityLottery
from experiments.randomisation.keyed_draw import LotteryKey

Offer = dict[str, Any]


def offer(account: str, **changed: Any) -> Offer:
    return {
        "account_id": account,
        "action_id": "call",
        "family": None,
        "role": "csm",
        "channel": "phone",
        "value": 100.0,
        "hours": 1.0,
        "cost": 0.0,
        "csm": "ann",
        "territory": "north",
        "tier": None,
        **changed,
    }


def offers_of(*rows: Offer) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=OFFER_SCHEMA)


def lottery(
    number: int = 1, closeness: float = 0.1, accounts: Any = "abcdefghij", **own: float
) -> CapacityLottery:
    return CapacityLottery(
        key=LotteryKey(key_id="2026", secret=number.to_bytes(32, "big")),
        week="2026-W10",
        closeness={**dict.fromkeys(accounts, closeness), **own},
    )


def ann(hours: float, **changed: Any) -> Team:
    return Team(csms=(Csm(id="ann", hours=hours),), **changed)


def planned(plan: Plan) -> set[str]:
    return set(plan.actions["account_id"])


FIVE = offers_of(
    *(
        offer(name, value=value)
        for name, value in [("a", 200.0), ("b", 104.0), ("c", 102.0), ("d", 101.0), ("e", 80.0)]
    )
)


def test_without_a_lottery_the_more_valuable_ones_get_the_hours():
    plan = make_plan(FIVE, ann(2.0))
    assert planned(plan) == {"a", "b"}
    assert plan.lots == ()
    assert plan.actions["propensity"].to_list() == [1.0, 1.0]
    assert plan.actions["lottery"].to_list() == [None, None]


def test_near_equals_are_drawn_for_the_last_hour_and_nobody_else_is():
    plan = make_plan(FIVE, ann(2.0), lottery=lottery())
    (lot,) = plan.lots
    assert lot.draw.of == ("b", "c", "d")  # a is worth far more, e far less
    assert (lot.action_id, lot.by, lot.hours) == ("call", "ann", 1.0)
    assert planned(plan) == {"a", *lot.draw.drawn}
    said = {row["account_id"]: row for row in plan.actions.to_dicts()}
    assert said["a"]["propensity"] == 1.0
    assert said[lot.draw.drawn[0]]["propensity"] == 1 / 3
    assert said[lot.draw.drawn[0]]["lottery"] == lot.draw.lottery_id
    assert plan.value == pytest.approx(plan.actions["value"].sum())


def test_who_was_not_drawn_is_told_so():
    plan = make_plan(FIVE, ann(2.0), lottery=lottery())
    (lot,) = plan.lots
    why = dict(plan.waiting.select("account_id", "why").iter_rows())
    for name in set(lot.draw.of) - set(lot.draw.drawn):
        assert why[name] == (
            "By lot: 1 of 3 nearly equal accounts were drawn for the last hours of ann."
        )
    assert why["e"].startswith("The hours of ann are taken by more valuable work")


def test_over_keys_each_is_drawn_equally_often():
    wanted = Counter(
        name
        for number in range(200)
        for name in make_plan(FIVE, ann(3.0), lottery=lottery(number)).lots[0].draw.drawn
    )
    room = 4 * sqrt((2 / 3) * (1 / 3) / 200)
    assert set(wanted) == {"b", "c", "d"}
    assert all(abs(count / 200 - 2 / 3) < room for count in wanted.values())


def test_the_same_key_draws_the_same_whatever_the_order_of_the_offers():
    first = make_plan(FIVE, ann(2.0), lottery=lottery(7))
    again = make_plan(FIVE.sample(fraction=1.0, shuffle=True, seed=1), ann(2.0), lottery=lottery(7))
    assert first.lots == again.lots
    assert_frame_equal(first.actions, again.actions)


@pytest.mark.parametrize("spared", [{"c": 0.0}, {"c": 0.001}])
def test_an_account_that_takes_no_part_stays_where_it_is(spared):
    plan = make_plan(FIVE, ann(2.0), lottery=lottery(**spared))
    assert plan.lots[0].draw.of == ("b", "d")
    strict = make_plan(FIVE, ann(2.0), lottery=lottery(b=0.0))
    assert strict.lots == ()
    assert planned(strict) == {"a", "b"}


def test_other_hours_another_action_and_other_money_are_another_draw():
    for changed in ({"hours": 1.5, "value": 150.0}, {"action_id": "mail"}, {"cost": 5.0}):
        rows = [offer("a", value=101.0), offer("b", **changed)]
        plan = make_plan(offers_of(*rows), ann(1.0), lottery=lottery())
        assert plan.lots == ()


def test_care_is_owed_and_not_drawn_for():
    rows = [offer(name, value=100.0, tier="enterprise") for name in "abc"]
    team = ann(2.0, care=(Care(tier="enterprise", accounts=2),))
    assert make_plan(offers_of(*rows), team, lottery=lottery()).lots == ()


def test_an_account_that_has_its_action_is_not_drawn_for_another():
    rows = [
        offer("a", value=100.0),
        offer("b", value=99.0),
        offer("b", action_id="mail", hours=0.0, value=150.0, role="automation"),
    ]
    plan = make_plan(offers_of(*rows), ann(1.0), lottery=lottery())
    assert plan.lots == ()
    two = make_plan(offers_of(*rows), ann(1.0, actions_per_account=2), lottery=lottery())
    assert two.lots[0].draw.of == ("a", "b")


def test_an_account_takes_part_in_one_draw():
    rows = [
        offer(name, action_id=action, value=100.0) for name in "abc" for action in ("call", "visit")
    ]
    plan = make_plan(offers_of(*rows), ann(3.0, actions_per_account=2), lottery=lottery())
    names = [name for lot in plan.lots for name in lot.draw.of]
    assert plan.lots
    assert len(names) == len(set(names))


@given(seed=st.integers(0, 2**32 - 1), number=st.integers(0, 2**64))
def test_a_draw_breaks_no_limit_and_costs_little(seed, number):
    rng = np.random.default_rng(seed)
    names = [f"a{n}" for n in range(int(rng.integers(2, 25)))]
    rows = [
        offer(
            name,
            action_id=action,
            value=float(rng.choice([90, 95, 100, 101, 180])),
            hours=float(rng.choice([1.0, 2.0])),
            cost=float(rng.choice([0.0, 10.0])),
            role=str(rng.choice(["csm", "support"])),
            family="calls" if rng.random() < 0.3 else None,
            tier=str(rng.choice(["enterprise", "growth"])),
        )
        for name in names
        for action in ("call", "visit")
        if rng.random() < 0.8
    ]
    team = Team(
        csms=(Csm(id="ann", hours=float(rng.integers(0, 9))),),
        pools=(Pool(id="service", hours=float(rng.integers(0, 9)), skills=("support",)),),
        budgets=(Budget(id="gifts", amount=float(rng.integers(0, 60))),),
        care=(Care(tier="enterprise", accounts=0),),
        actions_per_account=int(rng.integers(1, 3)),
    )
    plain = make_plan(offers_of(*rows), team)
    plan = make_plan(offers_of(*rows), team, lottery=lottery(number, 0.1, names))
    for each in (*plan.hours, *plan.budgets):
        assert each.planned <= each.available + 1e-6
    assert plan.actions.group_by("account_id").len()["len"].max() in (
        None,
        *range(1, team.actions_per_account + 1),
    )
    families = plan.actions.join(
        offers_of(*rows).select("account_id", "action_id", "family"), on=["account_id", "action_id"]
    ).drop_nulls("family")
    assert not families.select("account_id", "family").is_duplicated().any()
    assert plan.actions.height == plain.actions.height
    assert plain.value * 0.9 - 1e-9 <= plan.value <= plan.bound + 1e-6
    drawn = {(name, lot.action_id) for lot in plan.lots for name in lot.draw.of}
    stays = {row[:2] for row in plain.actions.select("account_id", "action_id").iter_rows()}
    now = {row[:2] for row in plan.actions.select("account_id", "action_id").iter_rows()}
    assert stays - drawn == now - drawn  # nothing outside a lot moves
    for lot in plan.lots:
        k, n = len(lot.draw.drawn), len(lot.draw.of)
        assert 0 < k < n
        assert sum((name, lot.action_id) in stays for name in lot.draw.of) == k
        assert abs(sum([lot.draw.propensity] * n) - k) < 1e-9
    said = plan.actions.filter(pl.col("lottery").is_not_null())
    assert said.height == sum(len(lot.draw.drawn) for lot in plan.lots)
    assert (plan.actions.filter(pl.col("lottery").is_null())["propensity"] == 1.0).all()


def test_the_lots_are_plain_values():
    plain = make_plan(FIVE, ann(2.0), lottery=lottery()).to_dict()["lots"]
    assert plain == [
        {
            "action_id": "call",
            "by": "ann",
            "hours": 1.0,
            "key_id": "2026",
            "k": 1,
            "n": 3,
            "lottery_id": "capacity-2026-W10-ann-call-1h-0",
            "of": ["b", "c", "d"],
            "drawn": plain[0]["drawn"],
            "propensity": 1 / 3,
        }
    ]
