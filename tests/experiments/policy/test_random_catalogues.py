"""Random playbooks, accounts, limits and teams: no rule is broken, whatever they are."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from random_catalogues import KEY, ROLES, breaches, random_playbook, random_question

from experiments.planning.options import OFFER_SCHEMA
from experiments.planning.plan import make_plan
from experiments.planning.team import Budget, Csm, Pool, Team
from experiments.planning.ties_by_lot import CapacityLottery
from registry.playbook.condition_grammar import parse_condition

seeds = st.integers(0, 2**63 - 1)


def nothing_is_broken(seed: int) -> Counter[str]:
    """Ask the policy about some accounts and plan their week; what was there to be seen."""
    rng = np.random.default_rng(seed)
    book = random_playbook(rng)
    seen: Counter[str] = Counter()
    rows = []
    for number in range(int(rng.integers(1, 4))):
        question = random_question(rng, book, f"account {number}")
        answer = question.answer()
        assert breaches(question, answer) == []
        seen.update(w.stage for w in answer.withheld)
        seen["ranked"] += len(answer.ranked) - 1
        seen["lots"] += answer.lot is not None
        rows += [
            {
                "account_id": answer.account_id,
                "action_id": c.action_id,
                "family": book.by_id[c.action_id].family,
                "role": c.owner_role,
                "channel": c.channel,
                "value": c.cautious_value,
                "hours": c.value.hours,
                "cost": c.value.cost,
                "csm": "ann",
                "territory": None,
                "tier": None,
            }
            for c in answer.ranked[:-1]
        ]
    team = Team(
        csms=(Csm(id="ann", hours=float(rng.integers(0, 5))),),
        pools=(Pool(id="service", hours=float(rng.integers(0, 4)), skills=ROLES),),
        budgets=(Budget(id="money", amount=float(rng.choice([0, 60, 5_000]))),),
        actions_per_account=int(rng.integers(1, 4)),
    )
    if rows and rng.random() < 0.3:
        seen["planned"] += week_keeps_its_limits(rows, team)
    return seen


def week_keeps_its_limits(rows: list[dict[str, object]], team: Team) -> int:
    lottery = CapacityLottery(
        key=KEY, week="w", closeness=dict.fromkeys((str(row["account_id"]) for row in rows), 0.9)
    )
    offers = pl.DataFrame(rows, schema=OFFER_SCHEMA)
    plan = make_plan(offers, team, lottery=lottery)
    hours = {"ann": team.csms[0].hours, "service": team.pools[0].hours}
    used: Counter[str] = Counter()
    for row in plan.actions.iter_rows(named=True):
        used[row["by"]] += row["hours"]
        assert row["by"] is not None or row["hours"] == 0
    assert all(used[name] <= most + 1e-6 for name, most in hours.items())
    assert plan.actions["cost"].sum() <= team.budgets[0].amount + 1e-6
    assert (
        plan.actions.is_empty()
        or plan.actions.group_by("account_id").len()["len"].max() <= team.actions_per_account
    )
    planned = plan.actions.select("account_id", "action_id")
    assert planned.join(offers, on=planned.columns).height == planned.height
    for lot in plan.lots:
        assert abs(sum(lot.draw.propensity for _ in lot.draw.of) - len(lot.draw.drawn)) < 1e-9
    return plan.actions.height


@settings(max_examples=150, deadline=None)
@given(seed=seeds)
@example(seed=7113)  # held out, with two promises that are one conversation
def test_no_answer_and_no_plan_breaks_a_rule(seed):
    nothing_is_broken(seed)


@pytest.mark.slow
@settings(max_examples=100_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=seeds)
def test_no_answer_and_no_plan_of_a_hundred_thousand_breaks_a_rule(seed):
    nothing_is_broken(seed)


def test_the_random_questions_reach_every_stage():
    seen = sum((nothing_is_broken(seed) for seed in range(250)), Counter())
    assert {
        "eligibility",
        "suitability",
        "put_off",
        "contact_policy",
        "value",
        "conflicts",
        "rank",
        "chance",
        "ranked",
        "lots",
        "planned",
    } <= {w for w, n in seen.items() if n}


# -- the checks see what they are for ------------------------------------------------------------


def says(change, said):
    """Whether the checks say this where the policy is asked another question than they are told."""
    for seed in range(1_000):
        rng = np.random.default_rng(seed)
        question = random_question(rng, random_playbook(rng), "a")
        if any(said in words for words in breaches(question, change(question).answer())):
            return True
    return False


def asked(question, **changes):
    return replace(question, inputs=replace(question.inputs, **changes))


def limited(question, **changes):
    return asked(question, limits=replace(question.inputs.limits, **changes))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda q: asked(q, history=()), "in its cool-down"),
        (lambda q: asked(q, history=()), "too near to one of its family"),
        (lambda q: asked(q, put_off=()), "was put off"),
        (lambda q: limited(q, quiet_hours=None), "disturbs their rest"),
        (lambda q: asked(q, asked_at=None), "was put off"),
        (lambda q: asked(q, asked_at=None), "disturbs their rest"),
        (lambda q: limited(q, actions_per_week=9), "more actions than the cap"),
        (lambda q: limited(q, tolerance=0.0), "does not pay"),
        (lambda q: replace(q, book=replace(q.book, guards=())), "is not eligible"),
        (lambda q: replace(q, book=replace(q.book, conflicts=())), "does not give way"),
        (lambda q: asked(q, state=replace(q.inputs.state, legal_hold=False)), "is not eligible"),
        (
            lambda q: replace(
                q,
                book=replace(
                    q.book,
                    actions=tuple(
                        replace(a, triggers=(parse_condition("no alert never"),))
                        for a in q.book.actions
                    ),
                ),
            ),
            "was not brought up",
        ),
    ],
    ids=[
        "cool-down",
        "family",
        "put off",
        "quiet hours",
        "date",
        "hour",
        "cap",
        "tolerance",
        "guards",
        "conflicts",
        "hold",
        "triggers",
    ],
)
def test_the_checks_notice_a_rule_that_is_not_kept(change, said):
    assert says(change, said)
