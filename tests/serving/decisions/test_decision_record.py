"""What the policy is told about an account is what its score says."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from experiments.effects.belief import NO_EFFECTS, MeasuredEffects
from experiments.policy.recommend import Limits
from experiments.policy.request import PolicyInputs
from features.catalogue.catalogue import load_catalogue
from features.events.schema import EVENT_SCHEMA
from features.health.formula import FORMULAS
from features.store.feast import WorkspaceFeatures
from registry.playbook.playbook import load_playbook
from registry.playbook.prices import Price, PriceList
from serving.decisions.decision_record import (
    NO_FACTS,
    account_state,
    build_decision,
    policy_facts,
    question,
)
from serving.scoring.models_served import champions
from serving.scoring.score import AccountScore
from serving.scoring.scored_columns import score_accounts


@pytest.fixture(scope="module")
def near_its_limit(shared_workspace, store) -> AccountScore:
    frame = WorkspaceFeatures(shared_workspace).online(["acct-01"])
    (score,) = score_accounts(
        frame,
        champions(store),
        catalogue=load_catalogue(),
        formula=FORMULAS["balanced"],
        now=frame["as_of"][0],
        max_age=timedelta(days=35),
        currency="USD",
    )
    full = {"seat_utilisation_28d": 0.95, "limit_utilisation_28d": 0.95, "severe_tickets_open": 0.0}
    return replace(score, features={**score.features, **full})


PRICES = PriceList(
    plans={"starter": Price(per_seat=19, next="business"), "business": Price(per_seat=99)}
)


def recommended(score: AccountScore) -> set[str]:
    answer = question(score, NO_FACTS, (), limits=Limits(), now=score.as_of, prices=PRICES).answer(
        load_playbook()
    )
    objectives = {action.id: action.objective for action in load_playbook().actions}
    return {objectives.get(candidate.action_id, "none") for candidate in answer.ranked}


def test_the_tier_of_the_score_reaches_the_policy(near_its_limit):
    for tier in ("low", "critical", None):
        state = account_state(replace(near_its_limit, risk_tier=tier), NO_FACTS, ())
        assert state.risk_tier == tier


def test_an_account_about_to_leave_is_not_sold_more(near_its_limit):
    for tier in ("low", "medium", None):
        assert "expand" in recommended(replace(near_its_limit, risk_tier=tier))
    for tier in ("high", "critical"):
        assert "expand" not in recommended(replace(near_its_limit, risk_tier=tier))


# -- what a timeline says ------------------------------------------------------------------------

MOMENT = datetime(2026, 3, 2, tzinfo=UTC)


def told(*events):
    rows = [
        {
            "event_id": f"e{n}",
            "account_id": "a1",
            "user_id": user,
            "kind": kind,
            "occurred_at": MOMENT + timedelta(hours=n),
            "recorded_at": MOMENT + timedelta(hours=n),
            "event_count": 1,
            "user_count": 1,
            "quantity": None,
            "properties": json.dumps(said),
        }
        for n, (kind, user, said) in enumerate(events)
    ]
    return policy_facts(pl.DataFrame(rows, schema=EVENT_SCHEMA))["a1"]


def test_the_newest_time_zone_that_there_is_counts():
    facts = told(
        ("account.updated", None, {"time_zone": "Europe/Zurich"}),
        ("account.updated", None, {"time_zone": "Mars/Olympus"}),
        ("account.updated", None, {"segment": "smb"}),
    )
    assert facts.time_zone == "Europe/Zurich"
    assert NO_FACTS.time_zone is None


@pytest.mark.parametrize(
    ("word", "is_held"), [("yes", True), ("no", False), ("false", False), ("ask legal", True)]
)
def test_a_legal_hold_that_is_not_clearly_over_is_one(word, is_held):
    assert told(("account.updated", None, {"legal_hold": word})).legal_hold is is_held
    assert (
        told(
            ("account.updated", None, {"segment": "smb"}),
            ("consent.updated", None, {"channel": "sms", "state": "given"}),
        ).legal_hold
        is None
    )


def test_who_is_behind_a_role_is_who_joined_and_has_not_left():
    joined = ("contact.changed", "u1", {"role": "sponsor", "state": "joined"})
    other = ("contact.changed", "u2", {"role": "champion", "state": "joined"})
    assert told(joined, other).contacts == {"sponsor": "u1", "champion": "u2"}
    left = ("contact.changed", "u1", {"role": "sponsor", "state": "left"})
    assert told(joined, other, left).contacts == {"champion": "u2"}
    stranger = ("contact.changed", "u9", {"role": "sponsor", "state": "left"})
    assert told(joined, stranger).contacts == {"sponsor": "u1"}


def test_an_action_remembers_whom_it_reached():
    done = ("action.executed", "u1", {"action": "success_call", "decision_id": "d1"})
    result = (
        "action.outcome",
        None,
        {"action": "success_call", "decision_id": "d1", "outcome": "accepted"},
    )
    (past,) = told(done, result).history.values()
    assert (past.contact, past.outcome, past.at) == ("u1", "accepted", MOMENT)


@pytest.mark.parametrize(
    ("first", "later", "kept"),
    [
        ("declined", "usage_moved", "declined"),
        ("accepted", "renewed", "accepted"),
        ("no_answer", "declined", "declined"),
        ("usage_moved", "accepted", "accepted"),
        ("usage_moved", "renewed", "done"),
    ],
)
def test_what_is_measured_later_takes_back_nothing_that_they_said(first, later, kept):
    ids = {"action": "success_call", "decision_id": "d1"}
    (past,) = told(
        ("action.executed", None, ids),
        ("action.outcome", None, {**ids, "outcome": first}),
        ("action.outcome", None, {**ids, "outcome": later}),
    ).history.values()
    assert past.outcome == kept


def test_what_the_timeline_says_reaches_the_policy(near_its_limit):
    facts = replace(NO_FACTS, contacts={"main": "u1"}, time_zone="Asia/Tokyo", legal_hold=True)
    state = account_state(near_its_limit, facts, ())
    assert (state.contacts, state.time_zone, state.legal_hold) == (
        {"main": "u1"},
        "Asia/Tokyo",
        True,
    )


def test_the_digest_is_that_of_all_that_was_asked(near_its_limit):
    def digest(facts=NO_FACTS, evidence=NO_EFFECTS):
        now = near_its_limit.as_of
        asked = question(near_its_limit, facts, (), limits=Limits(), now=now, evidence=evidence)
        return build_decision(
            asked.answer(load_playbook()), asked, near_its_limit, now=now
        ).input_digest

    assert digest() == digest()
    assert digest(replace(NO_FACTS, time_zone="UTC")) != digest()
    assert digest(evidence=MeasuredEffects(problem="It is broken.")) != digest()


def test_a_stored_question_gives_the_same_ranking(near_its_limit):
    asked = question(near_its_limit, NO_FACTS, (), limits=Limits(), now=near_its_limit.as_of)
    again = PolicyInputs.from_dict(json.loads(json.dumps(asked.to_dict(), allow_nan=False)))
    assert again.answer(load_playbook()).to_dict() == asked.answer(load_playbook()).to_dict()


@pytest.mark.parametrize(
    ("reason", "is_known"),
    [("too expensive", True), ("other", False), ("Unknown", False), ("", False), (None, False)],
)
@pytest.mark.parametrize("kind", ["cancellation.intended", "contract.cancelled"])
def test_a_reason_for_leaving_is_known_where_one_is_named(kind, reason, is_known):
    facts = told((kind, None, {} if reason is None else {"reason": reason}))
    assert facts.moments.get("reason_to_leave_given") == (MOMENT if is_known else None)


@pytest.mark.parametrize("kind", ["contract.renewed", "contract.started"])
def test_a_reason_for_leaving_is_settled_by_a_renewal(kind):
    intent = ("cancellation.intended", None, {"reason": "no need"})
    assert "reason_to_leave_given" in told((kind, None, {}), intent).moments
    assert "reason_to_leave_given" not in told(intent, (kind, None, {})).moments


def test_a_contract_term_begins_with_its_start_or_renewal_and_ends_with_the_contract():
    start = ("contract.started", None, {})
    assert told(start).term_started_at == MOMENT
    assert told(start, ("contract.renewed", None, {})).term_started_at == MOMENT + timedelta(
        hours=1
    )
    assert told(start, ("contract.cancelled", None, {})).term_started_at is None


def test_what_another_system_says_of_a_decision_of_ours_is_kept_apart(as_of):
    ours = "2c5ea4c0-4067-5e19-8bad-9b1deb4d3b7d"
    claimed = [
        ("action.decided", f"decision-{ours}", {"action": "success_call", "decision_id": ours}),
        ("action.declined", "their-1", {"action": "discount_offer", "decision_id": ours}),
        ("action.executed", "their-2", {"action": "tips_email", "decision_id": "their"}),
        ("action.outcome", "their-3", {"action": "tips_email", "decision_id": "their"}),
    ]
    frame = pl.DataFrame(
        [
            {
                **dict.fromkeys(EVENT_SCHEMA),
                "account_id": "a",
                "kind": kind,
                "event_id": event_id,
                "occurred_at": as_of + timedelta(minutes=number),
                "recorded_at": as_of + timedelta(minutes=number),
                "properties": json.dumps(properties),
            }
            for number, (kind, event_id, properties) in enumerate(claimed)
        ],
        schema=EVENT_SCHEMA,
    )
    history = policy_facts(frame.with_columns(superseded_at=pl.lit(None)))["a"].history
    assert history[ours].action_id == "success_call"
    assert sorted(past.action_id for past in history.values()) == [
        "discount_offer",
        "success_call",
        "tips_email",
    ]
