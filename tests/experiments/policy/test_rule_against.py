"""A rule holds an action back that was decided on before, whether or not anything brings it up."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from weighed_playbook import weighed_playbook

from experiments.effects.action_effect import ActionEffect
from experiments.effects.belief import MeasuredEffects
from experiments.policy.account_state import PastAction, PolicyError
from experiments.policy.recommend import AccountState, Limits, recommend, rule_against
from experiments.randomisation.holdout import HoldoutStatus

AS_OF = datetime(2026, 3, 2, 10, tzinfo=UTC)
DAY = timedelta(days=1)
BOOK = weighed_playbook()
STATE = AccountState(
    account_id="a1",
    as_of=AS_OF,
    mrr=20_000.0,
    score_source="model",
    churn_probability=0.2,
    health_score=31.0,
    attributes={"contract_status": "active", "segment": "smb"},
    features={},
)
LIMITS = Limits(quiet_hours=None)
CALL = BOOK.by_id["success_call"]
HELD_OUT = HoldoutStatus(is_held_out=True, propensity=0.1, lottery_id="l", until=None, key_id="k")


def rule(action: str = CALL.id, state: AccountState = STATE, **more: Any):
    given = {"playbook": BOOK, "limits": LIMITS, "history": (), "as_of": AS_OF} | more
    return rule_against(action, state, **given)


def done(action: str, *, days_ago: float) -> PastAction:
    return PastAction(action_id=action, at=AS_OF - days_ago * DAY, outcome="done")


def harmful(action: str) -> MeasuredEffects:
    return MeasuredEffects(
        effects=(
            ActionEffect(
                action_id=action,
                segment=None,
                estimate=-0.1,
                standard_error=0.01,
                n=8000,
                effective_n=4000.0,
                grade="A",
                measured_from=AS_OF,
                measured_to=AS_OF,
                source="A lottery.",
                outcome="retention",
                horizon_days=90,
                low=-0.12,
                high=-0.08,
                why="Drawn by lot.",
                untouched_risk=0.2,
            ),
        )
    )


def test_where_no_rule_is_in_the_way_nothing_is_said() -> None:
    assert rule() is None


def test_an_action_that_nothing_brings_up_is_still_asked_about() -> None:
    by_sequence = next(a for a in BOOK.actions if not a.triggers and a.cool_down_days >= 1)
    answer = recommend(STATE, playbook=BOOK, limits=LIMITS, history=(), as_of=AS_OF)
    assert by_sequence.id not in {c.action_id for c in (*answer.ranked, *answer.withheld)}
    found = rule(by_sequence.id, replace(STATE, legal_hold=True))
    assert found is not None
    assert found.reason == "not_eligible"
    twice = rule(by_sequence.id, history=(done(by_sequence.id, days_ago=0.5),))
    assert twice is not None
    assert twice.reason in ("cool_down", "not_eligible", "not_known")


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"state": replace(STATE, legal_hold=True)}, "not_eligible"),
        ({"evidence": harmful(CALL.id)}, "may_harm"),
        ({"history": (done(CALL.id, days_ago=1),)}, "cool_down"),
        ({"limits": replace(LIMITS, contacts_per_week=0)}, "week_is_full"),
        ({"standing": HELD_OUT}, "held_out"),
        (
            {
                "state": replace(STATE, time_zone="Asia/Tokyo"),
                "limits": replace(LIMITS, quiet_hours=(18, 9)),
            },
            "quiet_hours",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_rule_is_kept_whatever_the_action_is_worth(more: dict[str, Any], reason: str) -> None:
    poor = replace(more.pop("state", STATE), mrr=0.01)
    found = rule(state=poor, **more)
    assert found is not None
    assert found.reason == reason


def test_it_gives_way_to_what_was_done_lately() -> None:
    healthy = replace(STATE, health_score=90.0, churn_probability=0.02)
    assert rule("referral_program", healthy) is None
    for days_ago, reason in ((1, "gives_way"), (13.9, "gives_way"), (14.1, None)):
        found = rule(
            "referral_program", healthy, history=(done("recovery_call", days_ago=days_ago),)
        )
        assert (found and found.reason) == reason


def test_what_a_holdout_owes_still_goes_out() -> None:
    owed = next(a for a in BOOK.actions if a.service_message)
    found, plain = rule(owed.id, standing=HELD_OUT), rule(owed.id)
    assert (found and found.reason) == (plain and plain.reason)


def test_an_action_of_an_older_playbook_and_moments_that_can_not_be() -> None:
    assert rule("no_longer_there") is None
    with pytest.raises(PolicyError, match="as_of has no time zone"):
        rule(as_of=AS_OF.replace(tzinfo=None))
    with pytest.raises(PolicyError, match="asked_at has no time zone"):
        rule(asked_at=AS_OF.replace(tzinfo=None))
    with pytest.raises(PolicyError, match="Ask about a later moment"):
        rule(as_of=AS_OF - DAY)


@given(
    st.lists(
        st.tuples(st.sampled_from([a.id for a in BOOK.actions]), st.floats(0, 30)), max_size=6
    ),
    st.integers(0, 3),
    st.booleans(),
)
def test_what_is_recommended_no_rule_holds_back(past, per_week, is_held) -> None:
    """The same rules as in the ranking: what it lets through goes through here as well."""
    state = replace(STATE, legal_hold=is_held)
    asked = {
        "playbook": BOOK,
        "limits": replace(LIMITS, contacts_per_week=per_week),
        "history": tuple(done(name, days_ago=days) for name, days in past),
        "as_of": AS_OF,
    }
    answer = recommend(state, **asked)
    for candidate in answer.ranked[:-1]:
        assert rule_against(candidate.action_id, state, **asked) is None
    alone = {"eligibility", "suitability", "contact_policy"}
    for held in answer.withheld:
        if held.stage in alone:
            found = rule_against(held.action_id, state, **asked)
            assert found is not None
            assert (found.reason, found.why) == (held.reason, held.why)
