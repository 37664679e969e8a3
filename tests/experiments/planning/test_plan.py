"""A plan breaks no limit, comes near the best that whole actions can reach, and says why not."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from scipy.optimize import Bounds, LinearConstraint, milp

from experiments.planning.infeasibility import ConflictingLimitsError, LimitConflict
from experiments.planning.lp_relaxation import limit_resources
from experiments.planning.options import OFFER_SCHEMA, build_options
from experiments.planning.plan import Plan, make_plan
from experiments.planning.team import Budget, Care, Csm, PlanningError, Pool, Team

ROLES = ("csm", "support", "billing", "automation")
TERRITORIES = ("north", "south", None)

Offer = dict[str, Any]


def offer(account: str, action: str, **changed: Any) -> Offer:
    """A call by the account's csm that takes an hour and brings 100."""
    return {
        "account_id": account,
        "action_id": action,
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


def ann(hours: float = 1.0, **changed: Any) -> Team:
    return Team(csms=(Csm(id="ann", hours=hours),), **changed)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[pl.DataFrame, Team]:
    """A handful of accounts with offers of every kind, and a team that is too small for them."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    people = tuple(
        Csm(
            id=f"m{n}",
            hours=float(rng.integers(0, 5)),
            territories=("north", "south")[n : n + 1] if rng.random() < 0.5 else (),
        )
        for n in range(draw(st.integers(1, 3)))
    )
    pools = tuple(
        Pool(
            id=f"p{n}",
            hours=float(rng.integers(0, 6)),
            skills=tuple(rng.choice(ROLES[:3], size=2, replace=False).tolist()),
            territories=("north",) if rng.random() < 0.3 else (),
        )
        for n in range(draw(st.integers(0, 2)))
    )
    rows = []
    for number in range(draw(st.integers(1, 12))):
        csm = None if rng.random() < 0.3 else f"m{rng.integers(len(people) + 1)}"
        territory = TERRITORIES[rng.integers(3)]
        tier = "enterprise" if rng.random() < 0.4 else "growth"
        for action in range(int(rng.integers(1, 5))):
            role = ROLES[rng.integers(4)]
            rows.append(
                offer(
                    f"a{number}",
                    f"x{action}",
                    role=role,
                    csm=csm,
                    territory=territory,
                    tier=tier,
                    family="calls" if rng.random() < 0.3 else None,
                    value=float(np.round(rng.normal(60, 60), 2)),
                    hours=0.0 if role == "automation" else float(rng.choice([0.25, 1.0, 2.0])),
                    cost=float(rng.choice([0.0, 30.0])),
                    channel=str(rng.choice(["offer", "phone"])),
                )
            )
    budgets = (
        (Budget(id="offers", amount=float(rng.choice([0.0, 50.0, 100.0])), channels=("offer",)),)
        if rng.random() < 0.7
        else ()
    )
    return offers_of(*rows), Team(
        csms=people, pools=pools, budgets=budgets, actions_per_account=int(rng.integers(1, 3))
    )


def best_whole_plan(offers: pl.DataFrame, team: Team) -> float:
    """The value of the best plan of whole actions, by HiGHS on every option at once."""
    options = build_options(offers, team)
    n = len(options.offer)
    if n == 0:
        return 0.0
    limits = limit_resources(options, team)
    rows, most = [limits.matrix.toarray()], [limits.most]
    for of, cap in ((options.account, team.actions_per_account), (options.group, 1)):
        for name in np.unique(of):
            rows.append((of == name)[None, :].astype(float))
            most.append(np.array([float(cap)]))
    answer = milp(
        -options.value,
        integrality=np.ones(n),
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(np.vstack(rows), ub=np.concatenate(most)),
    )
    assert answer.status == 0
    return float(-answer.fun)


def broken_limits(plan: Plan, offers: pl.DataFrame, team: Team) -> list[str]:
    """Every limit that the plan breaks, counted again from its rows alone."""
    broken = []
    rows = plan.actions.join(
        offers.drop("csm", "hours", "cost", "value"), on=["account_id", "action_id"], how="left"
    )
    own = dict(offers.select("account_id", "csm").unique().iter_rows())
    csms = {m.id: m for m in team.csms}
    pools = {p.id: p for p in team.pools}
    everybody: dict[str, Csm | Pool] = {**csms, **pools}
    for name, limit in everybody.items():
        if rows.filter(pl.col("by") == name)["hours"].sum() > limit.hours + 1e-9:
            broken.append(f"hours of {name}")
    taken_over: dict[str, set[str]] = {}
    for row in rows.iter_rows(named=True):
        by, role = row["by"], row["role"]
        if by is None:
            if row["hours"] > 0:
                broken.append("hours of nobody")
            continue
        who: Csm | Pool = csms.get(by) or pools[by]
        if role not in who.skills:
            broken.append(f"skill {role} of {by}")
        outside = bool(who.territories) and row["territory"] not in who.territories
        if by in pools and outside:
            broken.append(f"territory of {by}")
        if by in csms:
            if own[row["account_id"]] not in (by, None):
                broken.append(f"csm of {row['account_id']}")
            if own[row["account_id"]] is None:
                taken_over.setdefault(row["account_id"], set()).add(by)
                if outside:
                    broken.append(f"territory of {by}")
    broken += [f"two csms of {a}" for a, names in taken_over.items() if len(names) > 1]
    for budget in team.budgets:
        drawn = rows.filter(pl.col("channel").is_in(budget.channels))
        if drawn["cost"].sum() > budget.amount + 1e-9:
            broken.append(f"budget {budget.id}")
    per_account = rows.group_by("account_id").len()["len"]
    if (per_account > team.actions_per_account).any():
        broken.append("actions per account")
    families = rows.drop_nulls("family").select("account_id", "family")
    if families.is_duplicated().any():
        broken.append("family")
    return broken


@given(worlds())
def test_no_limit_is_ever_broken_and_the_bound_holds(world: tuple[pl.DataFrame, Team]) -> None:
    offers, team = world
    plan = make_plan(offers, team)
    assert broken_limits(plan, offers, team) == []
    best = best_whole_plan(offers, team)
    slack = 1e-6 * (1 + abs(plan.bound))
    assert plan.value <= best + slack
    assert best <= plan.bound * (1 + 1e-9) + slack
    # what is lost is at most what the actions that the bound splits between limits bring
    limits = len(team.csms) + len(team.pools) + len(team.budgets)
    most = float(offers["value"].max() or 0)  # type: ignore[arg-type]
    assert plan.value >= plan.bound - 2 * limits * max(most, 0) - slack


@given(worlds(), st.randoms(use_true_random=False))
def test_the_order_of_the_offers_changes_nothing(
    world: tuple[pl.DataFrame, Team],
    random: Any,
) -> None:
    offers, team = world
    order = list(range(offers.height))
    random.shuffle(order)
    again = make_plan(offers[order], team)
    plan = make_plan(offers, team)
    assert_frame_equal(plan.actions, again.actions)
    assert_frame_equal(plan.waiting, again.waiting)
    assert plan.hours == again.hours


@given(worlds())
def test_every_offer_that_pays_is_planned_or_says_why_not(
    world: tuple[pl.DataFrame, Team],
) -> None:
    offers, team = world
    plan = make_plan(offers, team)
    key = ["account_id", "action_id"]
    paying = offers.filter(pl.col("value") > 0).select(key).sort(key)
    assert_frame_equal(
        pl.concat([plan.actions.select(key), plan.waiting.select(key)]).sort(key), paying
    )
    assert plan.waiting["why"].null_count() == 0


def test_the_price_of_an_hour_is_what_one_more_hour_would_add() -> None:
    rows = [offer(f"a{n}", "call", value=100.0 - n) for n in range(20)]
    plan = make_plan(offers_of(*rows), ann(5.0))
    assert plan.actions["account_id"].to_list() == ["a0", "a1", "a2", "a3", "a4"]
    assert plan.value == 490.0
    more = make_plan(offers_of(*rows), ann(6.0))
    assert plan.hours[0].price == pytest.approx(95.0)
    assert more.value - plan.value == pytest.approx(plan.hours[0].price)
    assert make_plan(offers_of(*rows), ann(30.0)).hours[0].price == 0.0


def test_hours_that_bring_more_elsewhere_are_said_with_their_price() -> None:
    rows = [
        offer("a", "call", value=300.0),
        offer("b", "call", value=80.0),
        offer("c", "call", value=60.0, hours=2.0),
    ]
    plan = make_plan(offers_of(*rows), ann(1.0))
    assert plan.actions["account_id"].to_list() == ["a"]
    assert plan.waiting["why"][1] == (
        "The hours of ann are taken by more valuable work: 2.0 h here bring 30 an hour, elsewhere "
        "the last hour brings 80."
    )


def test_a_better_action_than_the_planned_one_waits_for_hours() -> None:
    rows = [
        offer("a", "call", value=90.0),
        offer("b", "call", value=80.0),
        offer("b", "mail", role="automation", hours=0.0, value=5.0),
        offer("b", "letter", role="automation", hours=0.0, value=3.0),
    ]
    plan = make_plan(offers_of(*rows), ann(1.0))
    assert plan.actions.select("account_id", "action_id").rows() == [("a", "call"), ("b", "mail")]
    call, letter = plan.waiting["why"]
    assert call.startswith("The hours of ann are taken by more valuable work")
    assert letter.startswith("At most 1 action(s) a week for one account")


def test_a_role_that_nobody_has_is_named() -> None:
    rows = [offer("a", "fix", role="support", territory="south"), offer("a", "call")]
    pool = Pool(id="service", hours=9, skills=("support",), territories=("north",))
    plan = make_plan(offers_of(*rows), ann(pools=(pool,)))
    assert plan.actions["action_id"].to_list() == ["call"]
    assert plan.waiting["why"].to_list() == [
        "Nobody in the team does what “support” does in south."
    ]


def test_a_csm_who_is_not_in_the_team_is_named() -> None:
    plan = make_plan(offers_of(offer("a", "call", csm="zoe")), ann())
    assert plan.waiting["why"].to_list() == [
        "Its CSM zoe is not in the team, and no pool steps in."
    ]


def test_a_team_without_hours_plans_only_what_takes_none() -> None:
    rows = [offer("a", "call", hours=2.0), offer("b", "mail", role="automation", hours=0.0)]
    plan = make_plan(offers_of(*rows), ann(0.0))
    assert plan.actions["action_id"].to_list() == ["mail"]
    assert plan.waiting["why"].to_list() == [
        "ann has no hours this week; here an hour would bring 50."
    ]
    assert plan.hours[0].price == pytest.approx(50.0)


def test_a_pool_steps_in_where_the_csm_has_no_hours() -> None:
    pool = Pool(id="shared", hours=1, skills=("csm",))
    plan = make_plan(offers_of(offer("a", "call"), offer("b", "call")), ann(1.0, pools=(pool,)))
    assert sorted(plan.actions["by"].to_list()) == ["ann", "shared"]


def test_an_account_without_a_csm_gets_the_one_with_most_hours_left_in_its_territory() -> None:
    team = Team(
        csms=(
            Csm(id="ann", hours=9, territories=("north",)),
            Csm(id="ben", hours=5, territories=("south",)),
            Csm(id="cem", hours=4, territories=("south",)),
        )
    )
    rows = [
        offer("a", "call", csm="ben", territory="south", hours=2.0),
        offer("b", "call", csm=None, territory="south"),
        offer("b", "visit", csm=None, territory="south", value=20.0),
    ]
    plan = make_plan(offers_of(*rows), team)
    taken = plan.actions.filter(pl.col("account_id") == "b")
    assert taken["by"].to_list() == ["cem"]
    assert taken["is_new_csm"].to_list() == [True]


def test_actions_of_a_family_stand_in_for_each_other() -> None:
    rows = [
        offer("a", "call", family="talks"),
        offer("a", "visit", family="talks", value=90.0),
        offer("a", "mail", role="automation", hours=0.0, value=5.0),
    ]
    plan = make_plan(offers_of(*rows), ann(9.0, actions_per_account=3))
    assert plan.actions["action_id"].to_list() == ["call", "mail"]
    assert plan.waiting["why"].to_list() == [
        "One of its kind at a time, and another comes first for this account."
    ]


def test_care_is_given_even_where_it_does_not_pay() -> None:
    rows = [offer("small", "call", value=-5.0, tier="enterprise"), offer("big", "call", value=90.0)]
    assert make_plan(offers_of(*rows), ann(1.0)).actions["account_id"].to_list() == ["big"]
    cared = make_plan(offers_of(*rows), ann(1.0, care=(Care(tier="enterprise", accounts=1),)))
    assert cared.actions["account_id"].to_list() == ["small"]
    assert cared.care[0].tended == 1
    assert cared.care[0].price == pytest.approx(95.0)


def test_more_care_than_hours_names_the_limits_in_its_way() -> None:
    rows = [offer(f"a{n}", "call", tier="enterprise") for n in range(4)]
    team = Team(
        csms=(Csm(id="ann", hours=2.0), Csm(id="ben", hours=9.0)),
        care=(Care(tier="enterprise", accounts=3),),
    )
    with pytest.raises(
        ConflictingLimitsError,
        match=r"'enterprise' asks for 3 accounts, and only 2 fit\. In the way: "
        r"the 2 hours of ann\. Lower",
    ) as refused:
        make_plan(offers_of(*rows), team)
    assert refused.value.conflicts == (
        LimitConflict(
            limit="care",
            id="enterprise",
            words="Care of tier 'enterprise' asks for 3 accounts, and only 2 fit.",
        ),
        LimitConflict(limit="hours", id="ann", words="the 2 hours of ann"),
    )


def test_a_budget_in_the_way_of_care_is_named() -> None:
    rows = [offer(f"a{n}", "gift", tier="enterprise", channel="offer", cost=30.0) for n in range(3)]
    team = ann(
        9.0,
        budgets=(Budget(id="gifts", amount=50.0, channels=("offer",)),),
        care=(Care(tier="enterprise", accounts=2),),
    )
    with pytest.raises(ConflictingLimitsError, match="the 50 of budget 'gifts'") as refused:
        make_plan(offers_of(*rows), team)
    assert [each.limit for each in refused.value.conflicts] == ["care", "budget"]


def test_of_many_full_limits_a_few_are_said_and_all_are_listed() -> None:
    rows = [
        offer(f"a{n}-{k}", "call", tier="enterprise", csm=f"m{n}")
        for n in range(9)
        for k in range(2)
    ]
    team = Team(
        csms=tuple(Csm(id=f"m{n}", hours=1.0) for n in range(9)),
        care=(Care(tier="enterprise", accounts=10),),
    )
    with pytest.raises(ConflictingLimitsError, match=r"hours of m5 and 3 more\.") as refused:
        make_plan(offers_of(*rows), team)
    assert [each.id for each in refused.value.conflicts if each.limit == "hours"] == [
        f"m{n}" for n in range(9)
    ]


def test_more_care_than_allowed_actions_says_so() -> None:
    team = ann(care=(Care(tier="enterprise", accounts=3),))
    with pytest.raises(ConflictingLimitsError, match="only 1 have an action that is allowed"):
        make_plan(offers_of(offer("a", "call", tier="enterprise")), team)


def test_care_that_only_parts_of_actions_reach_is_a_conflict() -> None:
    rows = [
        offer("a", "call", tier="enterprise", hours=2.0),
        offer("b", "call", tier="enterprise", hours=2.0),
    ]
    with pytest.raises(ConflictingLimitsError, match=r"Whole actions within .* reach 1"):
        make_plan(
            offers_of(*rows),
            Team(
                csms=(Csm(id="ann", hours=3.0),),
                pools=(Pool(id="pool", hours=1.0, skills=("csm",)),),
                care=(Care(tier="enterprise", accounts=2),),
            ),
        )


def test_no_hours_and_no_offers_are_an_empty_plan() -> None:
    assert make_plan(offers_of(offer("a", "call")), ann(0.0)).actions.is_empty()
    nothing = make_plan(offers_of(), ann())
    assert (nothing.value, nothing.bound, nothing.share_of_bound) == (0.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"value": float("nan")}, "value is not a number"),
        ({"hours": -1.0}, "negative hours"),
    ],
    ids=["nan", "negative"],
)
def test_offers_that_can_not_be_planned_are_refused(
    change: dict[str, float],
    message: str,
) -> None:
    with pytest.raises(PlanningError, match=message):
        make_plan(offers_of(offer("a", "call", **change)), ann())


def test_more_ways_than_a_plan_can_choose_among_are_refused(monkeypatch) -> None:
    monkeypatch.setattr("experiments.planning.options.MOST_OPTIONS", 1)
    with pytest.raises(PlanningError, match="2 ways to carry the offers out, and a plan chooses"):
        make_plan(offers_of(offer("a", "call"), offer("b", "call")), ann())


def test_a_solver_that_takes_too_long_is_refused(monkeypatch) -> None:
    monkeypatch.setattr("experiments.planning.lp_relaxation.MOST_SECONDS", 0.0)
    rows = [
        offer(f"a{n}", f"x{k}", value=float((7 * n + 3 * k) % 50), hours=1.0 + (n + k) % 3)
        for n in range(60)
        for k in range(4)
    ]
    with pytest.raises(PlanningError, match="The solver found no plan"):
        make_plan(offers_of(*rows), ann(9.0, actions_per_account=2))


def test_an_offer_made_twice_and_a_missing_column_are_refused() -> None:
    twice = offers_of(offer("a", "call"), offer("a", "call"))
    with pytest.raises(PlanningError, match="'call' is offered twice to account 'a'"):
        make_plan(twice, ann())
    with pytest.raises(PlanningError, match=r"lack the column\(s\) hours"):
        make_plan(twice.drop("hours"), ann())
