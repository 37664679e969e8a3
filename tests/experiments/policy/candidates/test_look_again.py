"""When an account is looked at again that is left alone now."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from experiments.policy.contact.snooze import Snooze
from experiments.policy.recommend import AccountState, Limits, PastAction, recommend
from experiments.randomisation.holdout import HoldoutStatus
from registry.playbook.playbook import load_playbook

AS_OF = datetime(2026, 3, 6, 10, tzinfo=UTC)
BOOK = load_playbook()


def ask(days: float | None, book=BOOK, status="active", tier="low", alerts=(), **more):
    """The answer for a quiet account whose term ends in so many days."""
    features = {"seats": 5.0, "tenure_days": 400.0, "severe_tickets_open": 0.0}
    state = AccountState(
        account_id="quiet", as_of=AS_OF, mrr=500.0, churn_probability=0.001,
        expansion_probability=0.0, expected_amount=0.0, score_source="model", risk_tier=tier,
        health_score=80.0, attributes={"contract_status": status}, alerts=alerts,
        features=features if days is None else {**features, "days_to_renewal": days},
    )  # fmt: skip
    return recommend(
        state, playbook=book, limits=Limits(), **({"history": (), "as_of": AS_OF} | more)
    )


@pytest.mark.parametrize(
    ("days", "on", "why"),
    [
        (200.0, "2026-05-25", "120 days before its renewal of 22 September 2026, when"),
        (126.0, "2026-03-12", "120 days before its renewal of 10 July 2026, when"),
        (120.5, "2026-04-05", "90 days before its renewal of 4 July 2026, when its chance"),
        (40.0, "2026-03-16", "30 days before its renewal of 15 April 2026, to see"),
        (12.0, "2026-03-11", "7 days before its renewal of 18 March 2026, when"),
        (300.0, "2026-06-04", "when the 90 days that its chance to leave looks ahead are over"),
        (None, "2026-06-04", "when the 90 days that its chance to leave looks ahead are over"),
    ],
)
def test_the_day_is_the_next_one_on_which_its_renewal_asks_for_something(days, on, why):
    answer = ask(days)
    assert answer.ranked[0].action_id == "do_nothing"
    assert f"{answer.look_again_on:%Y-%m-%d}" == on
    assert answer.look_again_why.startswith(why)
    told = f"{answer.look_again_on:%-d %B %Y}, {answer.look_again_why}."
    assert answer.ranked[0].because.endswith(f"Look again on {told}")
    plain = answer.to_dict()
    assert (plain["look_again_on"], plain["look_again_why"]) == (
        answer.look_again_on.isoformat(),
        answer.look_again_why,
    )


def test_what_a_person_may_do_again_sooner_comes_before_the_renewal():
    called = PastAction(action_id="one_to_one_call", at=AS_OF - timedelta(days=50), outcome="done")
    answer = ask(300.0, history=[called], alerts=("sign_negative_feedback",))
    assert answer.look_again_on == called.at + timedelta(days=90)
    assert answer.look_again_why == "when “One-to-one call after bad feedback” is possible"


def test_a_snooze_ends_by_the_clock_on_the_wall_and_is_told_on_the_time_of_the_data():
    now = AS_OF + timedelta(days=400)
    snooze = Snooze(action_id="one_to_one_call", until=now + timedelta(days=5), at=now, by="ann")
    answer = ask(300.0, put_off=[snooze], asked_at=now, alerts=("sign_negative_feedback",))
    assert answer.look_again_on == AS_OF + timedelta(days=5)


def test_whoever_was_drawn_to_be_left_alone_is_looked_at_when_that_ends():
    until = AS_OF + timedelta(days=33)
    standing = HoldoutStatus(
        is_held_out=True, until=until, lottery_id="l", key_id="k", propensity=0.1
    )
    answer = ask(200.0, standing=standing)
    assert answer.look_again_on == until
    assert answer.look_again_why == "when the time that was drawn by lot is over"


@pytest.mark.parametrize("status", ["ended", "none"])
def test_without_a_contract_there_is_nothing_to_look_at(status):
    answer = ask(200.0, status=status)
    assert (answer.look_again_on, answer.look_again_why) == (None, "")


def test_there_is_no_day_where_a_person_has_something_to_do_now():
    answer = ask(5.0, tier="critical")
    assert any(c.owner_role not in ("automation",) for c in answer.ranked)
    assert answer.look_again_on is None


def test_an_older_playbook_says_what_it_said():
    answer = ask(126.0, book=replace(BOOK, look_again=None))
    assert answer.look_again_on is None
    assert answer.ranked[0].because.endswith("nothing is worth its cost or allowed now.")
