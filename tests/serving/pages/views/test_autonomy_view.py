"""What is stopped, and which level holds for an action in a segment and why, in a CSM's words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.playbook.playbook import load_playbook
from serving.ledger.autonomy import LEVELS, UNSET_LEVEL, ceiling, level_now
from serving.ledger.kill_switch import Control, Scope
from serving.pages.views.autonomy_view import (
    Within,
    held_level,
    level_lines,
    level_set_by,
    standing_of,
    stop_lines,
    stop_notices,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NAMES = {"success_call": "Success call"}
CALL_MID = Scope(action="success_call", segment="mid")


EVERYTHING = Scope()


def control(kind, scope=EVERYTHING, *, value=None, by="boss", days=0, reason="because"):
    return Control(
        kind=kind, scope=scope, value=value, by=by, reason=reason, at=NOW + timedelta(days=days)
    )


LOWERED = control(
    "level",
    CALL_MID,
    value=1,
    by="keepwell",
    reason="A guardrail was broken: 3 of the last 9 reports say failed or harmed.",
)


@pytest.mark.parametrize(
    ("controls", "level", "why"),
    [
        ((), 2, ""),
        ((control("level", value=4),), 4, "set by boss on 1 March 2026: because"),
        (
            (control("level", value=4), LOWERED),
            1,
            "lowered on 1 March 2026: A guardrail was broken: "
            "3 of the last 9 reports say failed or harmed.",
        ),
        (
            (control("level", CALL_MID, value=3), control("stop", Scope(csm="ann"))),
            3,
            "set by boss on 1 March 2026: because",
        ),
        (
            (control("level", value=4), control("stop", Scope(segment="mid"), by="eve")),
            0,
            "eve stopped everything in the segment mid on 1 March 2026: because",
        ),
    ],
    ids=["unset", "set", "lowered", "a stop elsewhere", "stopped"],
)
def test_the_level_that_holds_says_why(controls, level, why):
    held = held_level(controls, CALL_MID, NAMES)
    assert (held.level, held.why, held.is_stopped) == (level, why, level == 0)
    assert held.words == ("is stopped" if held.is_stopped else LEVELS[level])


def test_an_action_that_may_go_no_further_says_that():
    held = held_level([control("level", value=4)], CALL_MID, NAMES, highest=2)
    assert held.sentence == ("Needs approval: this action never runs by itself.")


scopes = st.builds(
    Scope,
    action=st.sampled_from([None, "success_call", "tips_email"]),
    segment=st.sampled_from([None, "mid", "small"]),
    csm=st.sampled_from([None, "ann"]),
)
controls_given = st.lists(
    st.builds(control, st.just("level"), scopes, value=st.none() | st.integers(0, 4)), max_size=6
)


@given(controls=controls_given, scope=scopes)
def test_who_set_a_level_set_the_one_that_holds(controls, scope):
    by = level_set_by(controls, scope)
    assert level_now(controls, scope) == (UNSET_LEVEL if by is None else by.value)
    assert held_level(controls, scope, NAMES).level == level_now(controls, scope)


def test_only_what_concerns_the_accounts_that_are_reached_is_told():
    stopped = [
        control("stop", Scope(csm="bob")),
        control("stop", Scope(segment="mid")),
        control("stop", Scope(action="success_call", segment="small")),
    ]
    ann = Within(segments={"mid"}, csms={"ann"})
    assert [line.what for line in stop_lines(stopped, NAMES, ann)] == [
        "Everything in the segment mid"
    ]
    assert [line.what for line in stop_lines(stopped, NAMES, None)] == [
        "“Success call” in the segment small",
        "Everything in the segment mid",
        "Everything for the accounts of bob",
    ]
    [notice] = stop_notices(stopped, NAMES, ann)
    assert notice.title == "Stopped: everything in the segment mid"
    assert notice.text.startswith("because (boss, 1 March 2026, 12:00 UTC).")
    assert stop_notices(None, NAMES, ann) == ()


def test_what_was_let_go_on_is_not_stopped():
    assert stop_lines([control("stop"), control("resume")], NAMES, None) == ()


def test_levels_are_listed_as_they_hold_now_with_the_bound_of_the_action():
    actions = load_playbook().by_id
    offer = next(one for one in actions.values() if ceiling(one) == 2)
    found = level_lines(
        [
            control("level", value=4),
            control("level", Scope(action=offer.id), value=4),
            control("level", Scope(segment="mid"), value=3),
            control("level", Scope(segment="mid"), value=1),
        ],
        actions,
        None,
    )
    assert [(line.action, line.where, line.words) for line in found] == [
        ("Every action", "everywhere", LEVELS[4]),
        ("Every action", "mid", LEVELS[1]),
        (offer.name, "everywhere", LEVELS[2]),
    ]


class Ranked:
    def __init__(self, action_id, autonomy=4):
        self.action_id, self.autonomy = action_id, autonomy


def test_each_recommended_action_says_how_far_it_may_go_here():
    actions = load_playbook().by_id
    most = max(actions.values(), key=lambda one: one.max_autonomy)
    ranked = [Ranked(most.id), Ranked("do_nothing")]
    held = standing_of(ranked, [control("level", value=4)], actions, segment="mid", csm=None)
    assert list(held) == [most.id]
    assert held[most.id].level == most.max_autonomy
    look = standing_of(
        [Ranked(most.id, 2)], [control("level", value=4)], actions, segment=None, csm=None
    )
    assert look[most.id].why == "there is something to look up first"
    unread = standing_of(ranked, None, actions, segment=None, csm=None)
    assert (unread[most.id].level, unread[most.id].why) == (
        1,
        "what is stopped and allowed cannot be read now",
    )
