"""What the policy recommends, and the laws that no recommendation breaks."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import get_args
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from weighed_playbook import weighed_playbook

from experiments.policy.account_state import PolicyError
from experiments.policy.contact.contact_policy import CAPACITY_WEEK
from experiments.policy.recommend import DO_NOTHING, AccountState, Limits, PastAction, recommend
from experiments.policy.withholding import Stage
from registry.playbook.condition_grammar import ComparisonClause, parse_condition
from registry.playbook.sequences import Step

AS_OF = datetime(2026, 3, 2, 10, tzinfo=UTC)  # a Monday
BOOK = weighed_playbook()
TICK = timedelta(microseconds=1)


def account(*, attributes=None, features=None, **more):
    settings = {
        "account_id": "a1",
        "as_of": AS_OF,
        "mrr": 2000.0,
        "score_source": "model",
        "churn_probability": 0.2,
        "expansion_probability": 0.1,
        "expected_amount": 600.0,
        **more,
    }
    return AccountState(
        attributes={"contract_status": "active", **(attributes or {})},
        features=features or {},
        **settings,
    )


def ask(state, *, history=(), limits=None, book=BOOK, as_of=AS_OF, **more):
    return recommend(
        state, playbook=book, limits=limits or Limits(), history=history, as_of=as_of, **more
    )


def ids(answer):
    return [candidate.action_id for candidate in answer.ranked]


def held_back(answer, action_id):
    return next(w for w in answer.withheld if w.action_id == action_id)


CRITICAL = account(health_score=31.0)
AT_THE_LIMIT = account(
    health_score=75.0,
    churn_probability=0.03,
    attributes={"price_plan": "professional"},
    features={"limit_utilisation_28d": 0.85, "severe_tickets_open": 0.0, "tickets_open": 0.0},
)


# -- what it says --------------------------------------------------------------------------------


def test_a_critical_account_gets_the_high_risk_protocol_in_order_of_value():
    answer = ask(CRITICAL)
    assert ids(answer) == ["success_call", "ceo_email", "value_plan", "usage_analysis", DO_NOTHING]
    assert "health score of 31 (below 40)" in answer.ranked[0].because


def test_the_value_is_uplift_times_money_at_stake_times_margin_less_cost():
    call = ask(CRITICAL).ranked[0]
    prior = BOOK.by_id["success_call"].prior
    assert call.value.uplift == pytest.approx(0.2 * prior.mean)
    assert call.expected_value == pytest.approx(0.2 * prior.mean * 2000 * 12 * 0.8 - 60)
    assert call.cautious_value < call.expected_value
    assert call.value.expected == call.value.benefit - call.value.total_cost


@pytest.mark.parametrize(
    ("days", "counted"),
    [(89.0, 0.01), (90.0, 0.3664), (120.0, 0.3664), (121.0, 0.01), (None, 0.01)],
)
def test_a_renewal_beyond_the_ninety_days_counts_from_a_hundred_and_twenty_on(days, counted):
    """1 - (1 - 0.01) · (1 - 0.36) = 0.3664; within 90 days the chance holds the renewal already."""
    features = {"severe_tickets_open": 0.0} | ({} if days is None else {"days_to_renewal": days})
    state = account(
        churn_probability=0.01, renewal_probability=0.36, features=features, health_score=31.0,
        mrr=50_000.0,
    )  # fmt: skip
    call = next(c for c in ask(state).ranked if c.action_id == "success_call")
    assert call.value.probability == pytest.approx(counted)
    assert call.value.at_stake == 12 * state.mrr
    notes = [note for note in ask(state).notes if "by its renewal of" in note]
    assert len(notes) == (counted != 0.01)


@pytest.mark.parametrize(
    ("sign", "counted"), [("renewal_refused", 0.3664), ("sponsor_silent", 0.01)]
)
def test_a_far_renewal_counts_at_once_while_a_sign_of_today_is_open(sign, counted):
    state = account(
        churn_probability=0.01, renewal_probability=0.36, features={"days_to_renewal": 300.0},
        health_score=31.0, mrr=50_000.0, alerts=(sign,),
    )  # fmt: skip
    call = next(c for c in ask(state).ranked if c.action_id == "success_call")
    assert call.value.probability == pytest.approx(counted)


def test_growth_is_counted_on_the_expected_amount():
    preview = next(c for c in ask(AT_THE_LIMIT).ranked if c.action_id == "next_plan_preview")
    prior = BOOK.by_id["next_plan_preview"].prior
    assert preview.expected_value == pytest.approx(0.1 * prior.mean * 600 * 12 * 0.8 - 0.2)


def growth(state, limits=None):
    answer = ask(
        state,
        book=replace(BOOK, actions=(BOOK.by_id["next_plan_preview"],)),
        limits=limits or Limits(hourly_cost=0.0, caution=0.0),
    )
    return answer.ranked[0].value.probability, answer.notes


def test_a_growth_score_that_counts_only_those_who_stay_is_taken_as_it_is():
    probability, notes = growth(replace(AT_THE_LIMIT, churn_probability=0.2))
    assert probability == 0.1
    assert not any("those who stay" in note for note in notes)


def test_a_growth_score_that_does_not_know_of_churn_is_multiplied_by_the_chance_to_stay():
    state = replace(AT_THE_LIMIT, churn_probability=0.2, is_before_churn=False)
    probability, notes = growth(state)
    assert probability == pytest.approx(0.1 * 0.8)
    assert any("does not know of churn" in note for note in notes)


def test_the_assumed_growth_is_that_of_those_who_stay():
    state = replace(AT_THE_LIMIT, churn_probability=0.2, expansion_probability=None)
    probability, notes = growth(state)
    assert probability == pytest.approx(0.04 * 0.8)
    assert any(
        "3.2% expanding in 90 days" in note and "4.0%, of those who stay" in note for note in notes
    )


def test_a_discount_costs_months_of_revenue_for_those_who_take_it():
    state = account(alerts=("cancel_intent",), churn_probability=0.6)
    pause = ask(state, book=replace(BOOK, actions=(BOOK.by_id["pause_billing"],))).ranked[0]
    assert pause.action_id == "pause_billing"
    assert pause.value.cost == pytest.approx(3.0 * 0.3 * 2000)


def test_a_small_account_is_not_called():
    answer = ask(account(health_score=31.0, mrr=19.0))
    assert "success_call" not in ids(answer)
    why = held_back(answer, "success_call")
    assert why.reason == "does_not_pay"
    assert why.why.startswith("It costs 60.00 and brings")


def test_where_nothing_pays_doing_nothing_comes_first_and_says_why():
    answer = ask(account(health_score=31.0, mrr=0.0))
    assert ids(answer) == [DO_NOTHING]
    assert "nothing is worth its cost" in answer.ranked[0].because


def test_where_nothing_calls_for_an_action_it_says_so():
    answer = ask(account())
    assert ids(answer) == [DO_NOTHING]
    assert answer.ranked[0].because.startswith("Nothing in this account calls for an action. Look")
    assert answer.not_relevant == len(BOOK.actions)


def test_where_nothing_is_allowed_it_says_so():
    state = account(
        attributes={"contract_status": "ended"},
        alerts=("cancel_intent",),
        consents={"email": False},
    )
    answer = ask(state)
    assert ids(answer) == [DO_NOTHING]
    assert answer.ranked[0].because.startswith(
        "Nothing of what could be done is allowed now. Nobody has to look again: the contract has ended."
    )


def test_the_ceo_writes_only_above_a_revenue_floor():
    below, at = (ask(account(health_score=31.0, mrr=mrr)) for mrr in (416.0, 5000 / 12))
    assert held_back(below, "ceo_email").why.startswith("The CEO writes to accounts of at least")
    assert "ceo_email" not in [w.action_id for w in at.withheld if w.reason == "not_eligible"]


def test_no_text_message_without_consent():
    def trial(consents):
        return account(
            attributes={"contract_status": "trial"},
            consents=consents,
            moments={"trial_started": AS_OF - timedelta(hours=3)},
            mrr=None,
        )

    assert held_back(ask(trial({})), "trial_sms").why == ("Not known: consent to text messages.")
    assert held_back(ask(trial({"sms": False})), "trial_sms").reason == "not_eligible"
    assert "trial_sms" in ids(ask(trial({"sms": True})))


def test_an_e_mail_goes_out_unless_it_was_refused():
    assert "reengage_email" in ids(ask(account(alerts=("usage_halved",))))
    refused = ask(account(alerts=("usage_halved",), consents={"email": False}))
    assert held_back(refused, "reengage_email").why.startswith("They do not want e-mail.")


def test_an_unknown_eligibility_withholds_and_names_what_is_not_known():
    answer = ask(account(attributes={"contract_status": None}, health_score=31.0))
    assert held_back(answer, "success_call").why == "Not known: contract status."
    assert held_back(answer, "success_call").reason == "not_known"


def test_an_unknown_guard_that_may_be_looked_up_asks_a_person():
    known = next(c for c in ask(AT_THE_LIMIT).ranked if c.action_id == "next_plan_preview")
    state = replace(AT_THE_LIMIT, features={"limit_utilisation_28d": 0.85})
    unknown = next(c for c in ask(state).ranked if c.action_id == "next_plan_preview")
    assert (known.autonomy, unknown.autonomy) == (3, 2)
    assert unknown.look_first == ("Not known here, look it up first: severe tickets open.",)


def test_unknown_revenue_withholds_what_it_would_have_to_value():
    answer = ask(account(health_score=31.0, mrr=None))
    assert held_back(answer, "success_call").why == "Not known: monthly revenue."
    assert any("monthly revenue is not known" in note for note in answer.notes)


def test_nan_is_unknown():
    state = account(features={"health_score": float("nan"), "mrr": float("nan")}, mrr=None)
    assert ids(ask(state)) == [DO_NOTHING]
    assert state.values()["health_score"] is None


def test_deadlines_run_from_the_alert_and_the_ceos_in_working_hours():
    friday_evening = datetime(2026, 2, 27, 18, tzinfo=UTC)
    state = account(
        health_score=31.0,
        alerts=("health_below_40",),
        alert_raised_at={"health_below_40": friday_evening},
    )
    deadlines = {c.action_id: c.deadline for c in ask(state).ranked}
    assert deadlines["success_call"] == friday_evening + timedelta(hours=24)
    assert deadlines["ceo_email"] == datetime(2026, 3, 2, 11, tzinfo=UTC)


def test_evidence_says_how_much_is_playbook():
    call = ask(CRITICAL).ranked[0]
    assert call.playbook_share == 1.0
    assert call.grade == "E"
    assert call.evidence.startswith("Grade E, expert prior of the playbook: 12.0% of those")


def test_phrases_and_alert_words_are_used():
    answer = ask(
        account(alerts=("usage_halved",), features={"feature_uses_7d": 12.0}),
        phrases={"feature_uses_7d": "{value:.0f} uses in 7 days"},
        alert_words={"usage_halved": "usage fell by half"},
    )
    assert answer.ranked[0].because == "warning sign: usage fell by half (12 uses in 7 days)"


# -- sequences -----------------------------------------------------------------------------------


def in_trial(hours, **more):
    return account(
        attributes={"contract_status": "trial"},
        mrr=None,
        moments={"trial_started": AS_OF - timedelta(hours=hours)},
        **more,
    )


@pytest.mark.parametrize(
    ("hours", "due"),
    [
        (0, "trial_welcome"),
        (1.99, "trial_welcome"),
        (4, "trial_tutorial"),
        (71.9, "trial_tutorial"),
    ],
)
def test_a_step_is_due_until_the_next_one(hours, due):
    steps = [c.action_id for c in ask(in_trial(hours)).ranked if c.sequence == "trial"]
    assert steps == [due]


def test_a_step_that_was_done_is_not_due_again():
    done = PastAction(action_id="trial_tutorial", at=AS_OF - timedelta(hours=1))
    assert "trial_tutorial" not in ids(ask(in_trial(6), history=[done]))
    assert "trial_tutorial" not in [w.action_id for w in ask(in_trial(6), history=[done]).withheld]


def test_a_step_that_nobody_carried_out_stays_due():
    left = PastAction(action_id="trial_tutorial", at=AS_OF - timedelta(hours=1), outcome="not_done")
    assert "trial_tutorial" in ids(ask(in_trial(6), history=[left]))


@pytest.mark.parametrize(
    ("active_days", "due"),
    [(5.0, "trial_tips_high"), (2.0, "trial_tips_medium"), (1.0, "trial_tips_low")],
)
def test_the_third_day_of_a_trial_depends_on_use(active_days, due):
    state = in_trial(72, features={"active_days_7d": active_days})
    assert [c.action_id for c in ask(state).ranked if c.sequence == "trial"] == [due]


def test_a_sequence_ends_at_its_stop():
    state = replace(in_trial(0), attributes={"contract_status": "active"})
    assert not any(c.sequence == "trial" for c in ask(state).ranked)


def test_one_welcome_calendar_per_account():
    state = account(
        attributes={"price_plan": "starter"},
        moments={"contract_started": AS_OF - timedelta(minutes=5)},
    )
    answer = ask(state)
    named = ids(answer) + [w.action_id for w in answer.withheld]
    assert "welcome_starter" in named
    assert "onboarding_email" not in named


def test_a_mail_that_comes_six_times_is_due_each_time():
    def mailed(day, *past):
        state = account(moments={"contract_started": AS_OF - timedelta(days=day, minutes=1)})
        history = [
            PastAction(action_id="onboarding_email", at=AS_OF - timedelta(days=ago)) for ago in past
        ]
        return [
            c.text for c in ask(state, history=history).ranked if c.action_id == "onboarding_email"
        ]

    assert mailed(0) == ["Welcome them, say what to expect, and name the first step."]
    assert mailed(1, 1) == ["Show one feature that is worth it on the first day."]
    assert mailed(1, 0.1) == []
    assert mailed(30) == []


def test_the_first_step_taken_starts_the_clock_where_nothing_else_does():
    state = account(
        health_score=75.0,
        attributes={"price_plan": "starter"},
        features={"active_days_28d": 20.0, "severe_tickets_open": 0.0, "tickets_open": 0.0},
    )
    assert [c.action_id for c in ask(state).ranked if c.sequence] == ["upsell_celebrate"]
    first = PastAction(action_id="upsell_celebrate", at=AS_OF - timedelta(days=2))
    assert [c.action_id for c in ask(state, history=[first]).ranked if c.sequence] == [
        "upsell_compare"
    ]
    declined = replace(first, outcome="declined")
    assert not any(c.sequence for c in ask(state, history=[declined]).ranked)


@pytest.mark.parametrize(
    ("health", "alerts", "is_on"),
    [
        (31.0, ("health_below_40",), True),
        (42.9, ("health_below_40",), True),
        (43.0, ("health_below_40",), False),
        (41.0, (), False),
    ],
)
def test_the_high_risk_protocol_starts_below_forty_and_stops_at_forty_three(health, alerts, is_on):
    answer = ask(account(health_score=health, alerts=alerts))
    assert any(c.sequence == "high_risk" for c in answer.ranked) is is_on


def test_an_alert_that_is_raised_again_does_not_restart_its_sequence():
    state = account(
        health_score=31.0, alerts=("health_below_40",), alert_raised_at={"health_below_40": AS_OF}
    )
    begun = [
        PastAction(action_id=step, at=AS_OF - timedelta(days=3)) for step in HIGH_RISK_FIRST_STEPS
    ]
    limits = Limits(contacts_per_week=99, actions_per_week=99)
    offer = "setup_help"
    assert offer not in ids(ask(state, limits=limits))
    assert (
        next(
            c.sequence
            for c in ask(state, limits=limits, history=begun).ranked
            if c.action_id == offer
        )
        == "high_risk"
    )
    assert "success_call" not in ids(ask(state, limits=limits, history=begun))


HIGH_RISK_FIRST_STEPS = ("ceo_email", "usage_analysis", "success_call", "value_plan")


def two_days_into_high_risk(*done, hours=48.0):
    state = account(
        health_score=31.0,
        alerts=("health_below_40",),
        alert_raised_at={"health_below_40": AS_OF - timedelta(hours=hours)},
    )
    history = [PastAction(action_id=step, at=AS_OF - timedelta(hours=40)) for step in done]
    return ask(state, limits=Limits(contacts_per_week=99, actions_per_week=99), history=history)


def offers_to_stay(answer):
    family = {a.id for a in BOOK.actions if a.family == "retention_offer"}
    return family & set(ids(answer))


def test_offers_to_stay_come_two_days_after_the_first_steps():
    early = two_days_into_high_risk(*HIGH_RISK_FIRST_STEPS, hours=47.9)
    late = two_days_into_high_risk(*HIGH_RISK_FIRST_STEPS)
    in_sequence = {c.action_id for c in late.ranked if c.sequence == "high_risk"}
    assert not {c.action_id for c in early.ranked if c.sequence == "high_risk"}
    assert in_sequence == offers_to_stay(late) == {"setup_help"}


def test_a_later_step_waits_for_an_earlier_one_that_is_to_be_done():
    answer = two_days_into_high_risk("ceo_email", "success_call", "value_plan")
    assert {c.action_id for c in answer.ranked if c.sequence == "high_risk"} == {"usage_analysis"}
    why = held_back(answer, "setup_help")
    assert (why.stage, why.reason) == ("conflicts", "gives_way")
    assert why.why == (
        "It is step 5 of the sequence “High risk”. Step 2, “Look into the account's usage”, comes "
        "first."
    )
    assert why.until == "until “Look into the account's usage” is done"


def test_an_older_playbook_lists_steps_as_it_did():
    book = replace(BOOK, one_next_step=False)
    alert = {"health_below_40": AS_OF - timedelta(hours=48)}
    state = account(health_score=31.0, alerts=("health_below_40",), alert_raised_at=alert)
    limits = Limits(contacts_per_week=99, actions_per_week=99)
    history = [PastAction(action_id="success_call", at=AS_OF - timedelta(hours=40))]
    answer = ask(state, book=book, limits=limits, history=history)
    found = next(c for c in answer.ranked if c.action_id == "setup_help")
    assert found.because.endswith("step 5 of 8 of the sequence “High risk”")
    assert "usage_analysis" in ids(answer)


def test_a_step_says_which_earlier_ones_were_left_out():
    left = account(
        attributes={"contract_status": "ended"},
        moments={"contract_ended": AS_OF - timedelta(days=31)},
    )
    step = "step 4 of 5 of the sequence “Win-back”"

    def because(*done):
        history = [PastAction(action_id=one, at=AS_OF - timedelta(days=20)) for one in done]
        return next(
            c.because for c in ask(left, history=history).ranked if c.action_id == "winback_offer"
        )

    assert because() == f"{step} (nothing is recorded of steps 1 to 3)"
    assert because("winback_7") == f"{step} (nothing is recorded of steps 1 and 3)"
    assert because("winback_1", "winback_7", "winback_founder") == step


def test_a_step_names_the_earlier_ones_that_did_not_apply():
    steps = [
        Step(
            action="tips_email", after_hours=0, only_if=(parse_condition("seats >= 99"),), text=""
        ),
        Step(action="webinar_invite", after_hours=24, only_if=(), text=""),
    ]
    trial, medium = (
        next(one for one in BOOK.sequences if one.id == name) for name in ("trial", "medium_risk")
    )
    sequence = replace(medium, steps=tuple(steps), day_zero=trial.day_zero)
    book = replace(BOOK, sequences=(sequence,))
    state = account(
        health_score=50.0,
        features={"seats": 4.0},
        moments={"trial_started": AS_OF - timedelta(hours=30)},
    )
    answer = ask(state, book=book, limits=Limits(contacts_per_week=99, actions_per_week=99))
    found = next(c for c in answer.ranked if c.action_id == "webinar_invite")
    assert found.because.endswith(
        "step 2 of 2 of the sequence “Medium risk” (step 1 did not apply)"
    )


def test_win_back_starts_thirty_days_after_the_last_login():
    def away(days):
        answer = ask(account(features={"days_since_login": days}))
        return {c.action_id for c in answer.ranked if c.sequence == "winback"}

    assert away(30.5) == set()
    assert away(31.0) == {"winback_1"}
    assert away(37.0) == {"winback_7"}


def test_win_back_counts_from_the_earlier_of_silence_and_end():
    at = AS_OF - timedelta(days=31)
    left = account(
        attributes={"contract_status": "ended"},
        moments={"contract_ended": at},
        features={"days_since_login": 45.0},
    )
    assert [c.action_id for c in ask(left).ranked if c.sequence] == ["winback_offer"]


def test_an_account_that_left_is_offered_a_return_only_after_the_end():
    at = AS_OF - timedelta(days=31)
    left = account(attributes={"contract_status": "ended"}, moments={"contract_ended": at})
    assert "winback_offer" in ids(ask(left))
    silent = account(features={"days_since_login": 61.0})
    assert held_back(ask(silent), "winback_offer").reason == "not_eligible"


# -- rules between actions -----------------------------------------------------------------------


def test_at_the_limit_the_cheapest_incentive_comes_first_and_alone():
    answer = ask(replace(AT_THE_LIMIT, expected_amount=2000.0))
    preview, half = (BOOK.by_id[i].prior for i in ("next_plan_preview", "first_month_half"))
    assert half.mean > preview.mean
    assert "next_plan_preview" in ids(answer)
    assert held_back(answer, "first_month_half").reason == "one_at_a_time"
    shown = PastAction(action_id="next_plan_preview", at=AS_OF - timedelta(days=10))
    later = ask(AT_THE_LIMIT, history=[shown])
    assert held_back(later, "first_month_half").allowed_from == AS_OF + timedelta(days=20)


def test_after_the_days_between_two_of_a_family_the_next_one_is_free():
    state = replace(AT_THE_LIMIT, expected_amount=2000.0)
    shown = PastAction(action_id="next_plan_preview", at=AS_OF - timedelta(days=30))
    assert "first_month_half" in ids(ask(state, history=[shown]))
    just_before = replace(shown, at=shown.at + TICK)
    assert "first_month_half" not in ids(ask(state, history=[just_before]))


def test_what_pays_only_if_all_goes_well_is_withheld():
    call = BOOK.by_id["success_call"]
    hopeful = ask(account(health_score=31.0, mrr=300.0), limits=Limits(caution=0.0))
    assert next(c for c in hopeful.ranked if c.action_id == call.id).expected_value > 0
    assert held_back(ask(account(health_score=31.0, mrr=300.0)), call.id).reason == "does_not_pay"


def test_an_action_has_to_be_worth_more_than_the_tolerance():
    alone = replace(BOOK, actions=(BOOK.by_id["usage_analysis"],))
    value = ask(CRITICAL, book=alone).ranked[0].cautious_value
    exactly = ask(CRITICAL, book=alone, limits=Limits(tolerance=value))
    assert ids(exactly) == [DO_NOTHING]


def test_a_firm_belief_outranks_a_hopeful_one():
    call = BOOK.by_id["success_call"]
    hopeful = replace(call, id="hopeful", prior=replace(call.prior, mean=0.12, strength=5))
    firm = replace(call, id="firm", prior=replace(call.prior, mean=0.11, strength=500))
    answer = ask(CRITICAL, book=replace(BOOK, actions=(hopeful, firm)))
    assert ids(answer) == ["firm", "hopeful", DO_NOTHING]
    assert answer.ranked[0].expected_value < answer.ranked[1].expected_value


def test_of_equals_the_nearer_deadline_comes_first_then_the_name():
    call = BOOK.by_id["success_call"]
    later, none, other = (
        replace(call, id=name, deadline_hours=hours)
        for name, hours in (("c_later", 48.0), ("a_none", None), ("b_none", None))
    )
    answer = ask(
        CRITICAL,
        book=replace(BOOK, actions=(other, none, later, call)),
        limits=Limits(channel_caps={}),
    )
    assert ids(answer)[:3] == ["success_call", "c_later", "a_none"]


def test_growth_never_passes_certainty():
    state = replace(AT_THE_LIMIT, expansion_probability=0.9)
    preview = next(c for c in ask(state).ranked if c.action_id == "next_plan_preview")
    assert preview.value.uplift == pytest.approx(0.1)


def test_costs_in_dollars_are_counted_in_the_reporting_currency():
    def cost(rate):
        answer = ask(CRITICAL, limits=Limits(money_per_usd=rate))
        return next(c for c in answer.ranked if c.action_id == "ceo_email").value.cost

    assert cost(2.0) == 2 * cost(1.0) > 0


@pytest.mark.parametrize(("health", "is_sold_to"), [(39.9, False), (40.0, True)])
def test_selling_starts_where_critical_ends(health, is_sold_to):
    ranked = ids(ask(replace(AT_THE_LIMIT, health_score=health)))
    assert ("next_plan_preview" in ranked) is is_sold_to


def test_what_only_waits_for_time_says_from_when():
    state = account(
        attributes={"contract_status": "active"},
        features={"days_since_sponsor_touch": 10.0, "days_to_renewal": 100.0},
    )
    book = replace(
        BOOK,
        actions=(
            replace(
                BOOK.by_id["sponsor_touch"],
                triggers=(parse_condition("days_to_renewal <= 120"),),
                eligibility=(parse_condition("days_since_sponsor_touch >= 30"),),
            ),
        ),
    )
    answer = ask(state, book=book)
    assert held_back(answer, "sponsor_touch").allowed_from == AS_OF + timedelta(days=20)


def test_the_week_fills_up_and_says_when_there_is_room():
    history = [PastAction(action_id="tips_email", at=AS_OF - timedelta(days=d)) for d in (1, 2, 3)]
    answer = ask(CRITICAL, history=history)
    assert "success_call" not in ids(answer)
    assert held_back(answer, "success_call").reason == "week_is_full"
    assert held_back(answer, "success_call").allowed_from == AS_OF + timedelta(days=4)
    assert "usage_analysis" in ids(answer)


def test_a_week_ago_to_the_instant_is_another_week():
    history = [PastAction(action_id="tips_email", at=AS_OF - CAPACITY_WEEK)] * 3
    assert "success_call" in ids(ask(CRITICAL, history=history))
    history = [PastAction(action_id="tips_email", at=AS_OF - CAPACITY_WEEK + TICK)] * 3
    assert "success_call" not in ids(ask(CRITICAL, history=history))


def test_the_first_word_on_an_incident_is_not_held_up_by_a_full_week():
    history = [PastAction(action_id="tips_email", at=AS_OF - timedelta(days=d)) for d in (1, 2, 3)]
    assert "incident_notice" in ids(ask(account(alerts=("known_issue",)), history=history))


# -- without a model -----------------------------------------------------------------------------


def test_without_a_model_the_answer_has_the_same_shape_and_says_so():
    with_model = ask(CRITICAL).to_dict()
    without = ask(
        replace(
            CRITICAL,
            churn_probability=None,
            expansion_probability=None,
            expected_amount=None,
            score_source="none",
        )
    ).to_dict()
    assert without.keys() == with_model.keys()
    assert without["ranked"][0].keys() == with_model["ranked"][0].keys()
    assert any(note.startswith("No model is in use") for note in without["notes"])
    assert not any(note.startswith("No model is in use") for note in with_model["notes"])


@pytest.mark.parametrize(
    ("health", "probability"),
    [(100.0, 0.03), (80.0, 0.03), (79.9, 0.06), (40.0, 0.12), (39.9, 0.25), (0.0, 0.25)],
)
def test_without_a_model_the_health_score_gives_the_probability(health, probability):
    state = account(
        health_score=health,
        churn_probability=None,
        score_source="none",
        alerts=("ticket_negative",),
    )
    told = next(c for c in ask(state).ranked if c.action_id == "tell_manager")
    assert told.value.probability == probability


def test_a_warning_sign_says_more_than_a_score_that_lags():
    state = account(
        health_score=90.0,
        churn_probability=0.02,
        score_source="health_formula",
        alerts=("cancel_intent",),
    )
    call = next(c for c in ask(state).ranked if c.action_id == "urgent_retention")
    assert call.value.probability == 0.5


def test_a_model_is_not_overruled_by_a_warning_sign():
    state = account(health_score=90.0, churn_probability=0.02, alerts=("cancel_intent",))
    call = [*ask(state).ranked, *ask(state).withheld][0]
    assert call.action_id in ("urgent_retention", "usage_analysis", DO_NOTHING)
    told = ask(state, limits=Limits(hourly_cost=0.0)).ranked[0]
    assert told.value.probability == 0.02


# -- what cannot be used ------------------------------------------------------------------------


def test_a_moment_without_a_zone_is_refused():
    with pytest.raises(PolicyError, match="as_of has no time zone"):
        ask(CRITICAL, as_of=datetime(2026, 3, 2))  # noqa: DTZ001 - the case under test
    with pytest.raises(PolicyError, match="as_of of account 'a1' has no time zone"):
        account(as_of=datetime(2026, 3, 2))  # noqa: DTZ001 - the case under test


def test_a_past_action_without_a_zone_is_refused():
    with pytest.raises(PolicyError, match="past action 'tips_email' has no time zone"):
        PastAction(action_id="tips_email", at=datetime(2026, 3, 2))  # noqa: DTZ001 - the case


def test_a_state_of_the_future_is_refused():
    with pytest.raises(PolicyError, match="Ask about a later moment"):
        ask(CRITICAL, as_of=AS_OF - TICK)


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_a_probability_outside_zero_to_one_is_refused(value):
    with pytest.raises(PolicyError, match="churn_probability of account 'a1'"):
        account(churn_probability=value)


def test_limits_are_checked():
    with pytest.raises(PolicyError, match="margin"):
        Limits(margin=float("nan"))
    with pytest.raises(PolicyError, match="workday"):
        Limits(workday=(17, 9))
    with pytest.raises(PolicyError, match="channel_caps names the channel 'pigeon'"):
        Limits(channel_caps={"pigeon": 1})
    with pytest.raises(PolicyError, match="channel_caps of 'phone' is -1"):
        Limits(channel_caps={"phone": -1})
    with pytest.raises(PolicyError, match="quiet_hours"):
        Limits(quiet_hours=(20, 24))
    with pytest.raises(PolicyError, match=r"fatigue is 1\.5"):
        Limits(fatigue=1.5)
    with pytest.raises(PolicyError, match="limit time_zone is 'Mars'"):
        Limits(time_zone="Mars")


def test_a_time_zone_that_is_none_is_refused():
    with pytest.raises(PolicyError, match="time zone of account 'a1' is 'Mars/Olympus'"):
        account(time_zone="Mars/Olympus")


# -- laws ----------------------------------------------------------------------------------------

NUMBERS = sorted(
    {
        (clause.name, clause.value)
        for holder in (*BOOK.actions,)
        for condition in (*holder.triggers, *holder.eligibility)
        for clause in condition.clauses
        if isinstance(clause, ComparisonClause)
        and isinstance(clause.value, float)
        and clause.name
        not in ("annual_revenue", "churn_probability", "expansion_probability", "health_score")
    }
)
NAMES = sorted(
    {name for name, _ in NUMBERS}
    | {"severe_tickets_open", "active_days_7d", "invoice_days_overdue"}
)
ALERTS = sorted(BOOK.alert_shows)


@st.composite
def near_a_threshold(draw, name):
    bounds = [value for known, value in NUMBERS if known == name] or [0.0, 1.0]
    return draw(st.sampled_from(bounds)) + draw(st.sampled_from([-1.0, -0.01, 0.0, 0.01, 1.0]))


@st.composite
def states(draw):
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=12))
    has_model = draw(st.booleans())
    return AccountState(
        account_id="a1",
        as_of=AS_OF,
        features={name: draw(near_a_threshold(name)) for name in names},
        attributes={
            "contract_status": draw(
                st.sampled_from(["active", "active", "active", "trial", "paused", "ended", None])
            ),
            "price_plan": draw(st.sampled_from(["starter", "professional", "business", None])),
            "service_tier": draw(st.sampled_from(["enterprise", "mid-market", None])),
        },
        churn_probability=draw(st.sampled_from([0.01, 0.2, 0.7])) if has_model else None,
        expansion_probability=draw(st.sampled_from([0.02, 0.3, 0.6])) if has_model else None,
        mrr=draw(st.sampled_from([None, 0.0, 19.0, 2000.0, 50_000.0])),
        alerts=tuple(draw(st.lists(st.sampled_from(ALERTS), unique=True, max_size=4))),
        health_score=draw(st.sampled_from([None, 10.0, 39.9, 40.0, 55.0, 70.0, 80.0, 95.0])),
        risk_tier=draw(st.sampled_from([None, "low", "medium", "high", "critical"])),
        score_source="model" if has_model else "none",
        consents=draw(st.sampled_from([{}, {"sms": True, "email": True}, {"email": False}])),
        moments=draw(
            st.sampled_from(
                [
                    {},
                    {"trial_started": AS_OF - timedelta(days=3)},
                    {"contract_started": AS_OF - timedelta(days=7)},
                    {"contract_ended": AS_OF - timedelta(days=30)},
                ]
            )
        ),
    )


histories = st.lists(
    st.builds(
        PastAction,
        action_id=st.sampled_from([action.id for action in BOOK.actions]),
        at=st.sampled_from([0.0, 0.5, 3.0, 6.9, 7.0, 20.0, 100.0]).map(
            lambda days: AS_OF - timedelta(days=days)
        ),
        outcome=st.sampled_from([None, "done", "declined", "not_done"]),
    ),
    max_size=8,
)

law = settings(max_examples=60, deadline=None)  # a busy machine may be slow; counts are enough


@given(state=states(), history=histories)
@law
def test_every_recommendation_pays_and_doing_nothing_is_always_the_last(state, history):
    answer = ask(state, history=history)
    values = [c.cautious_value for c in answer.ranked]
    assert values == sorted(values, reverse=True)
    assert ids(answer)[-1] == DO_NOTHING
    assert all(value > 0 for value in values[:-1])
    assert all(c.cautious_value <= c.expected_value for c in answer.ranked)


@given(state=states(), history=histories)
@law
def test_every_action_is_ranked_withheld_or_not_relevant_and_only_one_of_them(state, history):
    answer = ask(state, history=history)
    named = ids(answer)[:-1] + [w.action_id for w in answer.withheld]
    assert len(named) == len(set(named))
    assert len(named) + answer.not_relevant == len(BOOK.actions)


def counts(action_id, *, contact):
    action = BOOK.by_id.get(action_id)
    if action is None or action.service_message:
        return False
    return not contact or action.channel in BOOK.contact_channels


@given(state=states(), history=histories, actions=st.integers(0, 6), contacts=st.integers(0, 4))
@law
def test_the_week_is_never_overfilled(state, history, actions, contacts):
    limits = Limits(
        actions_per_week=actions, contacts_per_week=contacts, onboarding_contacts_per_week=contacts
    )
    answer = ask(state, history=history, limits=limits)
    recent = [
        p.action_id for p in history if p.outcome != "not_done" and p.at > AS_OF - CAPACITY_WEEK
    ]
    for contact, cap in ((False, actions), (True, contacts)):
        before = sum(counts(action_id, contact=contact) for action_id in recent)
        added = sum(counts(action_id, contact=contact) for action_id in ids(answer))
        assert added == 0 or before + added <= cap


@given(state=states(), history=histories, cap=st.integers(0, 3), each=st.integers(0, 2))
@law
def test_no_channel_and_no_person_hears_more_often_than_its_cap(state, history, cap, each):
    channels = ["email", "phone", "meeting", "offer"]
    limits = Limits(
        actions_per_week=99,
        contacts_per_week=99,
        onboarding_contacts_per_week=99,
        channel_caps=dict.fromkeys(channels, cap),
        contacts_per_person=each,
    )
    known = replace(state, contacts={"main": "u1", "sponsor": "u2"})
    people = {"main": "u1", "sponsor": "u2", "champion": "u1"}
    reached = [replace(p, contact="u1") for p in history]
    added = [BOOK.by_id[i] for i in ids(ask(known, history=reached, limits=limits))[:-1]]
    recent = [
        BOOK.by_id[p.action_id]
        for p in history
        if p.outcome != "not_done" and p.at > AS_OF - CAPACITY_WEEK
    ]
    for channel in channels:
        new = sum(counts(a.id, contact=True) for a in added if a.channel == channel)
        before = sum(counts(a.id, contact=True) for a in recent if a.channel == channel)
        assert new == 0 or before + new <= cap
    for person in ("u1", "u2"):
        new = sum(counts(a.id, contact=True) for a in added if people[a.addresses] == person)
        before = sum(counts(a.id, contact=True) for a in recent) if person == "u1" else 0
        assert new == 0 or before + new <= each


@given(
    state=states(),
    history=histories,
    hour=st.integers(0, 23),
    zone=st.sampled_from(["America/New_York", "Asia/Kolkata", "Pacific/Auckland", "UTC"]),
)
@law
def test_nobody_is_contacted_in_their_night(state, history, hour, zone):
    there = replace(state, time_zone=zone)
    moment = AS_OF + timedelta(hours=hour)
    local = moment.astimezone(ZoneInfo(zone))
    answer = ask(there, history=history, as_of=moment)
    if local.hour >= 20 or local.hour < 8:
        assert not any(counts(a, contact=True) for a in ids(answer))
    for w in answer.withheld:
        if w.reason == "quiet_hours":
            assert w.allowed_from.astimezone(ZoneInfo(zone)).hour == 8
            assert timedelta() < w.allowed_from - moment <= timedelta(hours=12)


@given(state=states(), history=histories)
@law
def test_what_was_held_back_names_its_stage_and_what_would_change_it(state, history):
    stages = get_args(Stage)
    answer = ask(state, history=history)
    assert sum(answer.dropped.values()) == len(answer.withheld)
    assert list(answer.dropped) == [stage for stage in stages if stage in answer.dropped]
    for w in answer.withheld:
        assert w.stage in stages
        assert w.why.endswith(".")
        assert w.until or w.allowed_from


@given(state=states(), history=histories)
@law
def test_two_of_one_family_are_never_recommended_together(state, history):
    families = [BOOK.by_id[a].family for a in ids(ask(state, history=history))[:-1]]
    named = [family for family in families if family is not None]
    assert len(named) == len(set(named))


@given(state=states(), history=histories, tickets=st.integers(1, 5))
@law
def test_nothing_is_sold_while_a_severe_ticket_is_open(state, history, tickets):
    troubled = replace(state, features={**state.features, "severe_tickets_open": float(tickets)})
    ranked = ask(troubled, history=history).ranked
    assert not any(c.objective in ("expand", "advocate") for c in ranked)


@given(state=states(), history=histories, health=st.floats(0, 39.99))
@law
def test_nothing_is_sold_to_a_critical_account(state, history, health):
    ranked = ask(replace(state, health_score=health), history=history).ranked
    assert not any(c.objective in ("expand", "advocate") for c in ranked)


@given(state=states(), history=histories, order=st.randoms(use_true_random=False))
@law
def test_the_order_of_what_comes_in_is_irrelevant(state, history, order):
    def shuffled(items):
        items = list(items)
        order.shuffle(items)
        return items

    other = replace(
        state, features=dict(shuffled(state.features.items())), alerts=tuple(shuffled(state.alerts))
    )
    book = replace(BOOK, actions=tuple(shuffled(BOOK.actions)))
    same = ask(other, history=shuffled(history), book=book)
    assert same.ranked == ask(state, history=history).ranked
    assert same.withheld == ask(state, history=history).withheld


@given(state=states(), history=histories, pick=st.integers(0, 50))
@law
def test_a_cool_down_is_kept_to_the_instant(state, history, pick):
    ranked = ids(ask(state, history=history))[:-1]
    if not ranked:
        return
    action = BOOK.by_id[ranked[pick % len(ranked)]]
    wait = timedelta(days=action.cool_down_days)
    early = PastAction(action_id=action.id, at=AS_OF - wait + TICK)
    answer = ask(state, history=[*history, early])
    assert action.id not in ids(answer)
    refusals = {w.action_id: w for w in answer.withheld}
    if action.id in refusals:  # a step of a sequence that was done is not brought up at all
        assert refusals[action.id].reason == "cool_down"
        assert refusals[action.id].allowed_from == AS_OF + TICK
    in_time = ask(state, history=[*history, replace(early, at=AS_OF - wait)])
    assert not any(w.action_id == action.id and w.reason == "cool_down" for w in in_time.withheld)


@given(state=states(), history=histories)
@law
def test_an_unrelated_action_that_is_withheld_changes_nothing_else(state, history):
    vetoed = replace(
        BOOK.by_id["success_call"],
        id="vetoed",
        triggers=(parse_condition("no alert never_raised"),),
        eligibility=(parse_condition("tickets_90d == -1"),),
    )
    before = ask(state, history=history)
    after = ask(state, history=history, book=replace(BOOK, actions=(*BOOK.actions, vetoed)))
    assert after.ranked[:-1] == before.ranked[:-1]
    assert [w for w in after.withheld if w.action_id != "vetoed"] == list(before.withheld)
    assert held_back(after, "vetoed").why


@given(state=states(), history=histories)
@law
def test_what_happens_later_changes_nothing(state, history):
    later = [PastAction(action_id=action.id, at=AS_OF + TICK) for action in BOOK.actions]
    assert ask(state, history=[*history, *later]) == ask(state, history=history)


@given(state=states(), history=histories)
@law
def test_the_answer_is_plain_json_and_the_same_twice(state, history):
    first = ask(state, history=history).to_dict()
    assert json.dumps(first, allow_nan=False) == json.dumps(
        ask(state, history=history).to_dict(), allow_nan=False
    )


@given(state=states(), history=histories)
@law
def test_with_more_at_stake_no_action_is_worth_less(state, history):
    known = {c.action_id: c.cautious_value + c.value.cost for c in ask(state).ranked}
    if state.mrr is None:
        return
    roomy = Limits(actions_per_week=1000, contacts_per_week=1000)
    richer = ask(replace(state, mrr=state.mrr + 1000), limits=roomy).ranked
    for candidate in richer:
        if candidate.action_id in known and candidate.value.outcome == "churn":
            assert candidate.cautious_value + candidate.value.cost >= known[candidate.action_id]
