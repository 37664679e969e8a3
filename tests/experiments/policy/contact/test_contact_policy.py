"""How often and when an account is contacted: caps, quiet hours, silence that the law asks for."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from weighed_playbook import weighed_playbook

from experiments.policy.contact.contact_policy import CAPACITY_WEEK
from experiments.policy.recommend import DO_NOTHING, AccountState, Limits, PastAction, recommend
from registry.playbook.condition_grammar import parse_condition

AS_OF = datetime(2026, 3, 2, 10, tzinfo=UTC)
BOOK = weighed_playbook()
TICK = timedelta(microseconds=1)
CRITICAL = AccountState(
    account_id="a1",
    as_of=AS_OF,
    mrr=2000.0,
    score_source="model",
    churn_probability=0.2,
    expansion_probability=0.1,
    expected_amount=600.0,
    health_score=31.0,
    attributes={"contract_status": "active", "region": "EMEA"},
    features={},
)


def ask(state, *, history=(), book=BOOK, as_of=AS_OF, asked_at=None, **limits):
    return recommend(
        state,
        playbook=book,
        limits=Limits(**limits),
        history=history,
        as_of=as_of,
        asked_at=asked_at,
    )


def ids(answer):
    return [candidate.action_id for candidate in answer.ranked]


def held_back(answer, action_id):
    return next(w for w in answer.withheld if w.action_id == action_id)


def only(*action_ids, **changes):
    return replace(BOOK, actions=tuple(replace(BOOK.by_id[i], **changes) for i in action_ids))


def called(days, action="success_call", **more):
    return PastAction(action_id=action, at=AS_OF - timedelta(days=days), **more)


# -- caps ----------------------------------------------------------------------------------------


def test_a_channel_has_a_cap_of_its_own_and_says_from_when_there_is_room():
    history = [called(1, "sponsor_touch"), called(2, "sponsor_touch")]
    answer = ask(CRITICAL, history=history, contacts_per_week=99)
    call = held_back(answer, "success_call")
    assert (call.stage, call.reason) == ("contact_policy", "week_is_full")
    assert call.why.startswith("At most 2 phone calls a week")
    assert call.allowed_from == AS_OF + timedelta(days=5)
    assert "ceo_email" in ids(answer)


def test_a_cap_of_a_week_ago_to_the_instant_is_over():
    history = [called(7, "sponsor_touch"), called(7, "sponsor_touch")]
    assert "success_call" in ids(ask(CRITICAL, history=history))
    history = [replace(past, at=past.at + TICK) for past in history]
    assert "success_call" not in ids(ask(CRITICAL, history=history))


def test_one_person_is_not_reached_more_often_than_the_cap_whoever_does_it():
    known = replace(CRITICAL, contacts={"main": "u1"})
    history = [called(1, "tips_email", contact="u1"), called(2, "tips_email", contact="u1")]
    answer = ask(known, history=history)
    assert held_back(answer, "success_call").why.startswith(
        "At most 2 contacts with the same person a week"
    )
    elsewhere = [replace(past, contact="u2") for past in history]
    assert "success_call" in ids(ask(known, history=elsewhere))


def test_an_action_reaches_the_person_of_its_role():
    book = only("success_call", "sponsor_touch", triggers=(parse_condition("mrr > 0"),))
    people = {"main": "u1", "sponsor": "u2"}
    answer = ask(replace(CRITICAL, contacts=people), book=book, contacts_per_person=1)
    assert set(ids(answer)) == {"success_call", "sponsor_touch", DO_NOTHING}
    same = ask(replace(CRITICAL, contacts={"main": "u1"}), book=book, contacts_per_person=1)
    assert len(ids(same)) == 2
    assert same.withheld[0].stage == "rank"


def test_where_nobody_is_known_the_caps_of_the_account_are_all_there_is():
    assert "success_call" in ids(ask(CRITICAL, contacts_per_person=0))


def test_a_cap_of_zero_waits_for_another_limit():
    call = held_back(ask(CRITICAL, channel_caps={"phone": 0}), "success_call")
    assert call.allowed_from is None
    assert call.until == "until the limit is raised"


# -- quiet hours ---------------------------------------------------------------------------------


NIGHT_IN_NEW_YORK = datetime(2026, 3, 3, 3, 30, tzinfo=UTC)


def test_nobody_is_called_in_the_middle_of_their_night():
    there = replace(CRITICAL, time_zone="America/New_York")
    answer = ask(there, as_of=NIGHT_IN_NEW_YORK)
    call = held_back(answer, "success_call")
    assert (call.stage, call.reason) == ("contact_policy", "quiet_hours")
    assert call.allowed_from == datetime(2026, 3, 3, 13, tzinfo=UTC)
    assert call.why.startswith("It is 22:30 where they are (America/New_York)")
    assert "usage_analysis" in ids(answer)  # nobody there notices


def test_the_hour_is_that_of_the_clock_on_the_wall_where_the_data_stand_still():
    there = replace(CRITICAL, time_zone="America/New_York")
    noon = NIGHT_IN_NEW_YORK + timedelta(days=900, hours=14)
    assert "success_call" in ids(ask(there, as_of=NIGHT_IN_NEW_YORK, asked_at=noon))
    night = held_back(
        ask(
            there,
            as_of=NIGHT_IN_NEW_YORK + timedelta(hours=14),
            asked_at=NIGHT_IN_NEW_YORK + timedelta(days=900),
        ),
        "success_call",
    )
    assert night.reason == "quiet_hours"
    assert night.allowed_from == datetime(2028, 8, 19, 12, tzinfo=UTC)  # summer there


def test_the_first_word_on_an_incident_goes_out_at_night():
    there = replace(CRITICAL, time_zone="America/New_York", alerts=("known_issue",))
    assert "incident_notice" in ids(ask(there, as_of=NIGHT_IN_NEW_YORK))


def test_where_the_zone_is_not_known_the_default_of_the_limits_counts_or_nothing_does():
    assert "success_call" in ids(ask(CRITICAL, as_of=NIGHT_IN_NEW_YORK))
    assert "success_call" not in ids(
        ask(CRITICAL, as_of=NIGHT_IN_NEW_YORK, time_zone="America/New_York")
    )
    assert "success_call" in ids(
        ask(
            replace(CRITICAL, time_zone="Asia/Tokyo"),
            as_of=NIGHT_IN_NEW_YORK,
            time_zone="America/New_York",
        )
    )
    assert "success_call" in ids(
        ask(
            replace(CRITICAL, time_zone="America/New_York"),
            as_of=NIGHT_IN_NEW_YORK,
            quiet_hours=None,
        )
    )


# -- silence that is asked for -------------------------------------------------------------------


def test_nothing_goes_out_under_a_legal_hold():
    answer = ask(replace(CRITICAL, legal_hold=True))
    outward = [c for c in answer.ranked if c.channel != "internal"]
    assert outward == []
    call = held_back(answer, "success_call")
    assert (call.stage, call.reason) == ("eligibility", "not_eligible")
    assert "until the legal team ends that" in call.why


@pytest.mark.parametrize("hold", [None, False])
def test_without_a_legal_hold_all_is_as_before(hold):
    assert ids(ask(replace(CRITICAL, legal_hold=hold))) == ids(ask(CRITICAL))


def test_an_action_can_be_for_one_region_only():
    here, there = (
        only("success_call", eligibility=(parse_condition(f"region in {where}"),))
        for where in ("emea, apac", "amer")
    )
    assert "success_call" in ids(ask(CRITICAL, book=here))
    assert held_back(ask(CRITICAL, book=there), "success_call").until == "until: region: amer"


# -- fatigue -------------------------------------------------------------------------------------


def test_every_contact_of_four_weeks_takes_a_twentieth_off_the_next_one():
    fresh = ask(CRITICAL).ranked[0]
    history = [
        called(27.9, "tips_email"),
        called(8, "reengage_email"),
        called(28, "tips_email"),
        called(8, "usage_analysis"),
    ]
    worn = ask(CRITICAL, history=history).ranked[0]
    assert worn.action_id == fresh.action_id
    assert worn.value.contacts_28d == 2
    assert worn.value.fatigue == pytest.approx(1 - 0.95**2)
    assert worn.value.uplift == pytest.approx(fresh.value.uplift * 0.95**2)
    assert worn.value.expected == pytest.approx(
        fresh.value.benefit * 0.95**2 - fresh.value.total_cost
    )


def test_what_the_account_does_not_notice_wears_nothing_off():
    history = [called(8, "tips_email")]
    analysis = next(
        c for c in ask(CRITICAL, history=history).ranked if c.action_id == "usage_analysis"
    )
    assert (analysis.value.contacts_28d, analysis.value.fatigue) == (0, 0.0)


def test_a_week_later_the_answer_is_the_one_of_a_week_later():
    history = [called(1, "sponsor_touch"), called(2, "sponsor_touch")]
    answer = ask(CRITICAL, history=history)
    free = held_back(answer, "success_call").allowed_from
    assert "success_call" in ids(ask(CRITICAL, history=history, as_of=free))
    assert "success_call" not in ids(ask(CRITICAL, history=history, as_of=free - TICK))
    assert free - AS_OF < CAPACITY_WEEK
