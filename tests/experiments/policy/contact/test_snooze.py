"""What a person put off waits until the date they gave, in their words, and not a moment longer."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from weighed_playbook import weighed_playbook

from experiments.policy.account_state import AccountState, Limits, PolicyError
from experiments.policy.contact.snooze import BY_LOT, MOST_AHEAD, Snooze, refuse_snoozed
from experiments.policy.recommend import DO_NOTHING, recommend

AS_OF = datetime(2026, 3, 2, 10, tzinfo=UTC)
UNTIL = datetime(2026, 3, 16, 9, 30, tzinfo=UTC)
TICK = timedelta(microseconds=1)
CRITICAL = AccountState(
    account_id="a1",
    as_of=AS_OF,
    mrr=2000.0,
    score_source="model",
    churn_probability=0.2,
    health_score=31.0,
    attributes={"contract_status": "active"},
    features={},
)


def later(action="success_call", *, until=UNTIL, at=AS_OF, reason="They are on leave"):
    return Snooze(action_id=action, until=until, at=at, by="ann", reason=reason)


def ask(*put_off, as_of=AS_OF, asked_at=None):
    return recommend(
        CRITICAL,
        playbook=weighed_playbook(),
        limits=Limits(),
        history=(),
        as_of=as_of,
        put_off=put_off,
        asked_at=asked_at,
    )


def ids(answer):
    return [candidate.action_id for candidate in answer.ranked]


def held_back(answer, action_id="success_call"):
    return next(w for w in answer.withheld if w.action_id == action_id)


def test_it_is_held_back_in_the_words_of_who_said_so_and_says_from_when():
    first = ids(ask())[0]
    answer = ask(later(first))
    assert first not in ids(answer)
    assert ids(answer)[-1] == DO_NOTHING
    held = held_back(answer, first)
    assert (held.stage, held.reason, held.allowed_from) == ("put_off", "put_off", UNTIL)
    assert held.why == "ann put this off on 2 March 2026: “They are on leave”."
    assert held.until == "until 16 March 2026 09:30"
    assert answer.dropped["put_off"] == 1


def test_nothing_else_of_the_account_changes():
    assert ids(ask(later("tips_email"))) == [i for i in ids(ask()) if i != "tips_email"]


@pytest.mark.parametrize(
    ("as_of", "waits"), [(AS_OF, True), (UNTIL - TICK, True), (UNTIL, False), (UNTIL + TICK, False)]
)
def test_it_waits_until_the_date_and_not_a_moment_longer(as_of, waits):
    assert ("success_call" not in ids(ask(later(), as_of=as_of))) is waits


@pytest.mark.parametrize(
    ("asked_at", "waits"),
    [
        (UNTIL - TICK, True),
        (UNTIL, False),
        (AS_OF, True),
        (AS_OF - MOST_AHEAD, True),
        (AS_OF - MOST_AHEAD - TICK, False),
    ],
)
def test_the_date_comes_by_the_clock_on_the_wall_also_where_the_data_stand_still(asked_at, waits):
    years_back = AS_OF - timedelta(days=900)
    state = replace(CRITICAL, as_of=years_back)
    answer = recommend(
        state,
        playbook=weighed_playbook(),
        limits=Limits(),
        history=(),
        as_of=years_back,
        put_off=[later()],
        asked_at=asked_at,
    )
    assert ("success_call" not in ids(answer)) is waits


def test_a_clock_without_a_zone_is_refused():
    with pytest.raises(PolicyError, match="asked_at has no time zone"):
        ask(asked_at=datetime(2026, 3, 9))  # noqa: DTZ001


def test_what_is_said_later_than_clocks_can_differ_holds_nothing_back():
    assert "success_call" not in ids(ask(later(at=AS_OF + MOST_AHEAD)))
    assert "success_call" in ids(ask(later(at=AS_OF + MOST_AHEAD + TICK)))


def test_of_two_the_longer_one_is_told_and_without_a_reason_none_is():
    shorter = later(until=UNTIL - timedelta(days=3))
    for order in ([shorter, later(reason=None)], [later(reason=None), shorter]):
        held = held_back(ask(*order))
        assert held.allowed_from == UNTIL
        assert held.why == "ann put this off on 2 March 2026."


def test_what_may_not_be_done_at_all_says_so_first():
    ended = recommend(
        AccountState(
            account_id="a1",
            as_of=AS_OF,
            mrr=2000.0,
            health_score=31.0,
            legal_hold=True,
            attributes={"contract_status": "active"},
            features={},
        ),
        playbook=weighed_playbook(),
        limits=Limits(),
        history=(),
        as_of=AS_OF,
        put_off=[later()],
    )
    assert held_back(ended).stage == "eligibility"


@pytest.mark.parametrize("field", ["until", "at"])
def test_a_time_without_a_zone_is_refused(field):
    with pytest.raises(PolicyError, match="'success_call' is put off at a time without a time"):
        later(**{field: datetime(2026, 3, 9)})  # noqa: DTZ001


def test_a_lottery_waits_by_the_time_of_the_data_and_gives_way_to_what_is_urgent() -> None:
    by_lot = replace(later(), by=BY_LOT)
    years_later = AS_OF + timedelta(days=900)
    found = refuse_snoozed("success_call", [by_lot], years_later, as_of=UNTIL - TICK)
    assert found is not None
    assert refuse_snoozed("success_call", [by_lot], AS_OF, as_of=UNTIL) is None
    assert refuse_snoozed("success_call", [by_lot], AS_OF, as_of=AS_OF, is_owed=True) is None
    by_a_person = [later()]
    assert refuse_snoozed("success_call", by_a_person, AS_OF, as_of=AS_OF, is_owed=True) is not None
