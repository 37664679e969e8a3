"""Which of several allowed actions gives way to which."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from weighed_playbook import weighed_playbook

from experiments.policy.recommend import DO_NOTHING, AccountState, Limits, PastAction, recommend
from registry.playbook.condition_grammar import parse_condition
from registry.playbook.conflicts import Conflict

AS_OF = datetime(2026, 3, 2, 10, tzinfo=UTC)
BOOK = weighed_playbook()
CALL, PLAN, MAIL = "success_call", "value_plan", "ceo_email"
STATE = AccountState(
    account_id="a1",
    as_of=AS_OF,
    mrr=2000.0,
    score_source="model",
    churn_probability=0.2,
    expansion_probability=0.1,
    expected_amount=600.0,
    health_score=31.0,
    attributes={"contract_status": "active"},
    features={},
)


def conflict(actions, to_actions, days=0.0):
    return Conflict(
        actions=actions,
        objectives=(),
        to_actions=to_actions,
        to_objectives=(),
        days=days,
        why="One at a time.",
    )


def ask(*conflicts, history=(), state=STATE, ids=(CALL, PLAN, MAIL)):
    book = replace(BOOK, actions=tuple(BOOK.by_id[i] for i in ids), conflicts=conflicts)
    answer = recommend(state, playbook=book, limits=Limits(), history=history, as_of=AS_OF)
    return [c.action_id for c in answer.ranked], {w.action_id: w for w in answer.withheld}


def test_without_a_conflict_all_are_recommended():
    assert set(ask()[0]) == {CALL, PLAN, MAIL, DO_NOTHING}


def test_an_action_gives_way_to_one_that_is_recommended():
    ranked, withheld = ask(conflict((CALL,), (PLAN,)))
    assert CALL not in ranked
    assert (withheld[CALL].stage, withheld[CALL].reason) == ("conflicts", "gives_way")
    assert withheld[CALL].why == (
        "One at a time. It gives way to “Plan to get to the value they bought”."
    )


def test_an_action_gives_way_only_to_what_does_not_give_way_itself():
    ranked, withheld = ask(conflict((CALL,), (PLAN,)), conflict((PLAN,), (MAIL,)))
    assert set(ranked) == {CALL, MAIL, DO_NOTHING}
    assert set(withheld) == {PLAN}


def test_an_action_does_not_give_way_to_one_that_is_not_allowed():
    ranked, _ = ask(conflict((CALL,), (MAIL,)), state=replace(STATE, consents={"email": False}))
    assert CALL in ranked


@pytest.mark.parametrize(("hours", "is_kept"), [(47.99, False), (48.0, True)])
def test_an_action_keeps_its_distance_from_what_was_done(hours, is_kept):
    done = PastAction(action_id=PLAN, at=AS_OF - timedelta(hours=hours))
    ranked, withheld = ask(conflict((CALL,), (PLAN,), days=2), history=[done])
    assert (CALL in ranked) is is_kept
    if not is_kept:
        assert withheld[CALL].allowed_from == done.at + timedelta(days=2)
        assert "was done on" in withheld[CALL].why


def test_nothing_is_sold_while_an_incident_is_made_good():
    state = replace(
        STATE,
        health_score=75.0,
        churn_probability=0.03,
        alerts=("known_issue",),
        attributes={"contract_status": "active", "price_plan": "professional"},
        features={"limit_utilisation_28d": 0.85, "severe_tickets_open": 0.0, "tickets_open": 0.0},
    )
    answer = recommend(state, playbook=BOOK, limits=Limits(), history=(), as_of=AS_OF)
    assert "incident_notice" in [c.action_id for c in answer.ranked]
    held = next(w for w in answer.withheld if w.action_id == "next_plan_preview")
    assert held.why.startswith("An incident is being made good.")
    calm = recommend(
        replace(state, alerts=()), playbook=BOOK, limits=Limits(), history=(), as_of=AS_OF
    )
    assert "next_plan_preview" in [c.action_id for c in calm.ranked]


def test_the_first_of_a_family_is_chosen_among_those_that_do_not_give_way():
    family = replace(BOOK.by_id[CALL], family="upgrade", triggers=(parse_condition("mrr > 0"),))
    other = replace(BOOK.by_id[PLAN], family="upgrade")
    book = replace(
        BOOK, actions=(family, other, BOOK.by_id[MAIL]), conflicts=(conflict((CALL,), (MAIL,)),)
    )
    answer = recommend(STATE, playbook=book, limits=Limits(), history=(), as_of=AS_OF)
    assert {c.action_id for c in answer.ranked} == {PLAN, MAIL, DO_NOTHING}
