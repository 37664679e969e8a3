"""Chance in the ranking of one account: between near-equals, after every filter, and recorded."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import sqrt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from weighed_playbook import weighed_playbook

from experiments.policy.exploration import chance_for
from experiments.policy.recommend import DO_NOTHING, AccountState, Limits, recommend
from experiments.randomisation.assignment import LotteryError
from experiments.randomisation.holdout import HoldoutRule, HoldoutStatus, holdout_status
from experiments.randomisation.keyed_draw import Exploration, LotteryKey

AS_OF = datetime(2026, 3, 2, 10, tzinfo=UTC)
TERM = datetime(2026, 1, 1, tzinfo=UTC)
END = datetime(2027, 1, 1, tzinfo=UTC)
BOOK = weighed_playbook()
WIDE = Exploration(closeness=0.9, whole_up_to_mrr=5_000.0)
STATE = AccountState(
    account_id="a1",
    as_of=AS_OF,
    mrr=2000.0,
    score_source="model",
    churn_probability=0.2,
    expansion_probability=0.1,
    expected_amount=600.0,
    health_score=31.0,
    attributes={"contract_status": "active", "segment": "smb"},
    features={},
)


def key(number=1):
    return LotteryKey(key_id="2026", secret=number.to_bytes(32, "big"))


def ask(state=STATE, *, number=1, exploration=None, book=BOOK, held=None, limits=None):
    chance = (
        None
        if exploration is None
        else chance_for(exploration, key(number), state.account_id, period="2026-W10")
    )
    return recommend(
        state,
        playbook=book,
        limits=limits or Limits(),
        history=(),
        as_of=AS_OF,
        chance=chance,
        standing=held,
    )


def ids(answer):
    return [c.action_id for c in answer.ranked]


# -- a lot among nearly equal actions ------------------------------------------------------------


def test_without_a_key_nothing_is_drawn():
    answer = ask()
    assert (answer.lot, answer.propensity, answer.standing) == (None, 1.0, None)


def test_a_lot_changes_the_order_of_what_is_recommended_and_nothing_else():
    plain = ask()
    for number in range(1, 20):
        drawn = ask(number=number, exploration=WIDE)
        assert sorted(ids(drawn)) == sorted(ids(plain))
        assert drawn.withheld == plain.withheld
        assert drawn.ranked[0].action_id == drawn.lot.drawn[0]
        assert drawn.propensity == drawn.lot.propensity == 1 / len(drawn.lot.of)
        assert ids(drawn)[-1] == DO_NOTHING
        rest = [i for i in ids(plain) if i != ids(drawn)[0]]
        assert ids(drawn)[1:] == rest


def test_over_keys_each_near_equal_comes_first_equally_often():
    first = Counter(
        ask(number=number, exploration=WIDE).ranked[0].action_id for number in range(1, 601)
    )
    n = len(ask(exploration=WIDE).lot.of)
    assert len(first) == n > 1
    room = 4 * sqrt((1 / n) * (1 - 1 / n) / 600)
    assert all(abs(count / 600 - 1 / n) < room for count in first.values())


def test_only_what_is_nearly_as_good_takes_part():
    best = ask().ranked[0].cautious_value
    for closeness in (0.0, 0.05, 0.3, 0.6):
        exploration = Exploration(closeness=closeness, whole_up_to_mrr=5_000.0)
        drawn = ask(exploration=exploration)
        taking_part = drawn.lot.of if drawn.lot else ()
        values = {c.action_id: c.cautious_value for c in drawn.ranked}
        assert all(values[i] >= best * (1 - closeness) for i in taking_part)
        assert len(taking_part) != 1


@pytest.mark.parametrize(
    "state",
    [
        replace(STATE, mrr=11_000.0),
        replace(STATE, attributes={**STATE.attributes, "segment": "public"}),
    ],
    ids=["large", "excepted segment"],
)
def test_large_accounts_and_excepted_segments_are_not_drawn(state):
    exploration = replace(WIDE, off=("public",))
    assert ask(state, exploration=exploration).lot is None
    assert ask(exploration=exploration).lot is not None


def test_what_can_not_be_taken_back_and_what_is_owed_is_never_drawn():
    final = replace(BOOK, actions=tuple(replace(a, reversible=False) for a in BOOK.actions))
    assert ask(book=final, exploration=WIDE).lot is None
    owed = replace(BOOK, actions=tuple(replace(a, service_message=True) for a in BOOK.actions))
    assert ask(book=owed, exploration=WIDE).lot is None


@settings(max_examples=40, deadline=None)
@given(
    number=st.integers(1, 2**64),
    health=st.floats(0, 100),
    mrr=st.floats(0, 12_000),
    tickets=st.integers(0, 2),
    consent=st.sampled_from([True, False]),
)
def test_nothing_outside_the_safe_set_is_ever_drawn(number, health, mrr, tickets, consent):
    state = replace(
        STATE,
        health_score=health,
        mrr=mrr,
        consents={"email": consent},
        features={"severe_tickets_open": float(tickets)},
    )
    plain, drawn = ask(state), ask(state, number=number, exploration=WIDE)
    assert set(ids(drawn)) == set(ids(plain))
    assert [c.cautious_value > 0 for c in drawn.ranked[:-1]] == [True] * (len(drawn.ranked) - 1)
    assert 0 < drawn.propensity <= 1
    json.dumps(drawn.to_dict(), allow_nan=False)


# -- the standing holdout ------------------------------------------------------------------------

RULE = HoldoutRule(share=0.1, off=("public",))


def where(
    account_id, *, rule=RULE, number=1, mrr=100.0, segment="smb", start=TERM, end=END, as_of=AS_OF
):
    return holdout_status(
        rule,
        key(number),
        account_id,
        mrr=mrr,
        attributes={"segment": segment},
        term_started_at=start,
        term_ends_at=end,
        as_of=as_of,
    )


def test_the_share_that_is_held_out_is_the_one_that_was_asked_for():
    held = sum(where(f"account {n}").is_held_out for n in range(4_000))
    assert abs(held / 4_000 - 0.1) < 4 * sqrt(0.09 / 4_000)


@pytest.mark.parametrize("as_of", [TERM, AS_OF, END - timedelta(microseconds=1)])
def test_where_an_account_stands_does_not_change_within_its_term(as_of):
    assert where("acme", as_of=as_of) == where("acme")


@pytest.mark.parametrize("as_of", [TERM - timedelta(microseconds=1), END])
def test_outside_its_term_an_account_has_no_standing(as_of):
    assert where("acme", as_of=as_of) is None


def test_the_next_term_draws_anew():
    later = [
        where(f"account {n}", start=END, end=None, as_of=END).is_held_out
        == where(f"account {n}").is_held_out
        for n in range(500)
    ]
    assert 0.7 < sum(later) / 500 < 0.95  # 0.82 by chance


@pytest.mark.parametrize(
    "changes",
    [
        {"mrr": None},
        {"mrr": 5_000.01},
        {"mrr": float("nan")},
        {"segment": "public"},
        {"start": None},
    ],
    ids=str,
)
def test_large_unknown_and_excepted_accounts_are_never_held_out(changes):
    assert where("acme", **changes) is None


@pytest.mark.parametrize("share", [0.0, 0.51, -1.0, float("nan")])
def test_a_holdout_of_nobody_or_of_most_is_refused(share):
    with pytest.raises(LotteryError, match=r"give one above 0 and at most 0\.5"):
        HoldoutRule(share=share)


def held(is_held_out=True):
    return HoldoutStatus(
        is_held_out=is_held_out,
        until=END,
        key_id="2026",
        lottery_id="holdout",
        propensity=0.1 if is_held_out else 0.9,
    )


def test_an_account_that_is_held_out_is_left_alone_and_told_until_when():
    answer, plain = ask(held=held()), ask()
    assert ids(answer) == [DO_NOTHING]
    assert answer.ranked[0].because == (
        "Drawn by lot to be left alone until the contract term ends. Look again on "
        "1 January 2027, when the time that was drawn by lot is over."
    )
    assert answer.look_again_on == END
    call = next(w for w in answer.withheld if w.action_id == "success_call")
    assert (call.stage, call.reason, call.allowed_from) == ("chance", "held_out", END)
    assert call.until == "until the contract term ends, 01 January 2027"
    assert answer.otherwise == plain.ranked[0].action_id
    assert answer.propensity == 0.1
    assert len(answer.withheld) == len(plain.withheld) + len(plain.ranked) - 1


def test_an_account_that_is_not_held_out_says_how_probable_that_was():
    answer = ask(held=held(is_held_out=False))
    assert ids(answer) == ids(ask())
    assert (answer.propensity, answer.otherwise) == (0.9, DO_NOTHING)
    drawn = ask(held=held(is_held_out=False), exploration=WIDE)
    assert drawn.propensity == pytest.approx(0.9 / len(drawn.lot.of))


@pytest.mark.parametrize("is_held_out", [True, False])
def test_where_the_holdout_changes_nothing_its_propensity_is_one(is_held_out):
    calm = replace(STATE, health_score=None)
    answer = ask(calm, held=held(is_held_out=is_held_out))
    assert ids(answer)[0] == DO_NOTHING == answer.otherwise
    assert answer.propensity == 1.0


def test_the_first_word_on_an_incident_reaches_those_held_out():
    answer = ask(replace(STATE, alerts=("known_issue",)), held=held())
    owed = {i for i in ids(answer) if i != DO_NOTHING}
    assert owed
    assert all(BOOK.by_id[i].service_message for i in owed)
