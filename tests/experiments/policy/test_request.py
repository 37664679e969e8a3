"""A stored question asks the same: through JSON and back the ranking is the same to the bit."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from weighed_playbook import weighed_playbook

from experiments.effects.action_effect import ActionEffect
from experiments.effects.belief import MeasuredEffects
from experiments.policy.account_state import AccountState, Limits, PastAction, PolicyError
from experiments.policy.contact.snooze import Snooze
from experiments.policy.exploration import chance_for
from experiments.policy.request import PolicyInputs
from experiments.randomisation.holdout import HoldoutStatus
from experiments.randomisation.keyed_draw import Exploration, LotteryKey

AS_OF = datetime(2026, 3, 2, 10, tzinfo=UTC)
BOOK = weighed_playbook()
KEY = LotteryKey(key_id="2026", secret=b"0" * 32)
ALERTS = sorted(BOOK.alert_shows)


def effect(action, segment, estimate):
    return ActionEffect(
        action_id=action,
        segment=segment,
        estimate=estimate,
        standard_error=0.013,
        n=700,
        effective_n=311.5,
        grade="B",
        measured_from=AS_OF - timedelta(days=400),
        measured_to=AS_OF - timedelta(days=100),
        source="A roll-out.",
        outcome="retention",
        horizon_days=90,
        low=estimate - 0.03,
        high=estimate + 0.03,
        why="A roll-out.",
    )


FULL = PolicyInputs(
    state=AccountState(
        account_id="a1",
        as_of=AS_OF,
        mrr=2000.1,
        score_source="model",
        churn_probability=0.2,
        expansion_probability=0.1,
        expected_amount=600.0,
        health_score=31.7,
        risk_tier="high",
        attributes={"contract_status": "active", "segment": "smb", "region": None},
        features={"tickets_90d": 3.0, "nps_last": float("nan"), "days_to_renewal": None},
        alerts=("usage_halved",),
        alert_raised_at={"usage_halved": AS_OF - timedelta(hours=3)},
        moments={"contract_started": AS_OF - timedelta(days=200)},
        consents={"email": True},
        contacts={"main": "u1"},
        time_zone="Europe/Zurich",
        legal_hold=False,
    ),
    limits=Limits(quiet_hours=(21, 7), caution=0.4, time_zone="UTC"),
    history=(
        PastAction(
            action_id="tips_email", at=AS_OF - timedelta(days=9), outcome="done", contact="u1"
        ),
    ),
    as_of=AS_OF + timedelta(seconds=7, microseconds=123),
    asked_at=AS_OF + timedelta(days=2, microseconds=456),
    evidence=MeasuredEffects(
        effects=(
            effect("success_call", "smb", 0.0321),
            effect("success_call", "enterprise", 0.05),
            effect("value_plan", None, 0.011),
        )
    ),
    chance=chance_for(Exploration(closeness=0.5, off=("public",)), KEY, "a1", period="2026-W10"),
    standing=HoldoutStatus(
        is_held_out=False,
        until=AS_OF + timedelta(days=99),
        propensity=0.9,
        lottery_id="holdout",
        key_id="2026",
    ),
    put_off=(
        Snooze(
            action_id="success_call",
            until=AS_OF + timedelta(days=14),
            at=AS_OF,
            by="ann",
            reason="They are on leave",
        ),
    ),
)


def through_json(inputs):
    return PolicyInputs.from_dict(
        json.loads(json.dumps(inputs.to_dict(), allow_nan=False, sort_keys=True))
    )


def said(inputs):
    return json.dumps(inputs.answer(BOOK).to_dict(), allow_nan=False)


def test_a_question_with_all_there_is_comes_back_and_asks_the_same():
    back = through_json(FULL)
    assert said(back) == said(FULL)
    assert through_json(back) == back
    assert back.limits == FULL.limits
    assert (back.history, back.chance, back.standing, back.put_off) == (
        FULL.history,
        FULL.chance,
        FULL.standing,
        FULL.put_off,
    )
    assert "They are on leave" in said(back)


def test_a_question_of_before_anything_could_be_put_off_asks_what_it_asked():
    stored = {**FULL.to_dict(), "version": 1}
    del stored["put_off"], stored["asked_at"]
    assert said(PolicyInputs.from_dict(stored)) == said(replace(FULL, put_off=(), asked_at=None))


def test_a_question_of_before_renewals_had_a_chance_asks_what_it_asked():
    stored = {**FULL.to_dict(), "version": 4}
    lacking = ("renewal_probability", "renewal_tier")
    stored["state"] = {k: v for k, v in FULL.to_dict()["state"].items() if k not in lacking}
    then = PolicyInputs.from_dict(stored)
    assert (then.state.renewal_probability, then.state.renewal_tier) == (None, None)
    assert said(then) == said(replace(FULL, state=then.state))
    with pytest.raises(PolicyError, match="renewal_probability"):
        PolicyInputs.from_dict({**stored, "version": 5})


def test_a_question_of_before_it_was_asked_how_accounts_leave_is_one_of_contracts():
    stored = {**FULL.to_dict(), "version": 5}
    stored["state"] = {k: v for k, v in FULL.to_dict()["state"].items() if k != "leaves_by"}
    then = PolicyInputs.from_dict(stored)
    assert then.state.leaves_by is None
    with pytest.raises(PolicyError, match="leaves_by"):
        PolicyInputs.from_dict({**stored, "version": 6})


@pytest.mark.parametrize(("hour", "is_put_off", "is_quiet"), [(8, True, False), (22, False, True)])
def test_a_question_without_the_clock_is_judged_on_the_time_of_the_data(hour, is_put_off, is_quiet):
    data = AS_OF.replace(hour=hour)
    later = replace(
        FULL.put_off[0],
        at=AS_OF - timedelta(days=9),
        until=AS_OF.replace(hour=9) if is_put_off else AS_OF - timedelta(days=1),
    )
    inputs = replace(
        FULL,
        put_off=(later,),
        as_of=data,
        standing=None,
        chance=None,
        history=(),
        state=replace(FULL.state, as_of=data, alerts=()),
        asked_at=data.replace(hour=12) + timedelta(days=900),
    )
    stored = json.loads(json.dumps({**inputs.to_dict(), "version": 2}))
    del stored["asked_at"]
    then = PolicyInputs.from_dict(stored)
    assert then.asked_at is None
    reasons = {w.action_id: w.reason for w in then.answer(BOOK).withheld}
    assert reasons["success_call"] == ("put_off" if is_put_off else "quiet_hours")
    assert (then.quiet_until_of is not None) is is_quiet
    now = through_json(inputs)
    assert now.quiet_until_of is None
    assert "success_call" in {c.action_id for c in now.answer(BOOK).ranked}


def test_only_the_evidence_of_the_account_is_stored():
    for segment, kept in (
        ("smb", ["smb", None]),
        ("enterprise", ["enterprise", None]),
        (None, [None]),
        ("public", [None]),
        ("smb", ["smb", None]),
    ):
        state = replace(FULL.state, attributes={**FULL.state.attributes, "segment": segment})
        back = through_json(replace(FULL, state=state)).evidence  # one evidence for all of them
        assert [effect.segment for effect in back.effects] == kept
        assert back == FULL.evidence.for_account({"segment": segment})


def test_what_is_no_number_is_stored_as_unknown():
    state = replace(
        FULL.state,
        features={
            "a": float("nan"),
            "b": np.float64("nan"),
            "c": 1.5,
            "d": np.float64(2.5),
            "e": None,
        },
    )
    stored = replace(FULL, state=state).to_dict()["state"]["features"]
    assert stored == {"a": None, "b": None, "c": 1.5, "d": 2.5, "e": None}


def test_the_secret_of_the_lottery_is_not_stored():
    assert KEY.secret.hex() not in json.dumps(FULL.to_dict())
    assert FULL.chance.seed in json.dumps(FULL.to_dict())


numbers = st.floats(0, 1e9) | st.floats(0, 1)


@settings(max_examples=60, deadline=None)
@given(
    mrr=st.none() | numbers,
    churn=st.none() | st.floats(0, 1),
    health=st.none() | st.floats(0, 100),
    alerts=st.lists(st.sampled_from(ALERTS), unique=True, max_size=5),
    seconds=st.integers(0, 10**7),
    source=st.sampled_from(["model", "none"]),
    estimate=st.floats(-0.3, 0.3),
    is_held_out=st.booleans(),
    tickets=st.none() | st.floats(0, 5),
)
def test_any_question_comes_back_and_asks_the_same(
    mrr, churn, health, alerts, seconds, source, estimate, is_held_out, tickets
):
    inputs = replace(
        FULL,
        as_of=AS_OF + timedelta(microseconds=seconds),
        state=replace(
            FULL.state,
            mrr=mrr,
            churn_probability=churn,
            health_score=health,
            alerts=tuple(alerts),
            score_source=source,
            features={"severe_tickets_open": tickets},
        ),
        evidence=MeasuredEffects(effects=(effect("success_call", "smb", estimate),)),
        standing=replace(FULL.standing, is_held_out=is_held_out),
    )
    assert said(through_json(inputs)) == said(inputs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(version=7), "has version 7; this Keepwell reads 1, 2, 3, 4, 5, 6"),
        (lambda d: d.pop("put_off"), "cannot be read .KeyError: 'put_off'"),
        (lambda d: d["put_off"][0].update(until="soon"), "cannot be read .ValueError"),
        (lambda d: d.pop("limits"), "cannot be read .KeyError: 'limits'"),
        (lambda d: d["state"].pop("mrr"), "AccountState lacks or does not know: mrr"),
        (lambda d: d["limits"].update(luck=1), "Limits lacks or does not know: luck"),
        (lambda d: d["state"].update(score_source="guess"), "score source 'guess' is none of"),
        (lambda d: d["history"][0].update(outcome="joy"), "outcome 'joy' of a past action is none"),
        (lambda d: d.update(as_of="soon"), "cannot be read .ValueError"),
        (lambda d: d.update(asked_at="soon"), "cannot be read .ValueError"),
        (lambda d: d.pop("asked_at"), "cannot be read .KeyError: 'asked_at'"),
        (lambda d: d["limits"].update(margin=-1.0), "margin is -1"),
        (lambda d: d["evidence"]["effects"][0].update(n=0), "counts are positive"),
        (lambda d: d["limits"].update(workday=7), "cannot be read .TypeError"),
    ],
)
def test_a_stored_question_that_was_changed_is_refused(change, message):
    stored = json.loads(json.dumps(FULL.to_dict()))
    change(stored)
    with pytest.raises(PolicyError, match=message):
        PolicyInputs.from_dict(stored)


def test_the_playbook_has_a_fingerprint_of_its_texts():
    assert len(BOOK.fingerprint) == 32
