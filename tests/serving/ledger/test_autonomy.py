"""No level goes further than the action may."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from registry.playbook.playbook import load_playbook
from serving.ledger.autonomy import (
    APPROVED_ONLY,
    LEVELS,
    UNSET_LEVEL,
    Guardrail,
    ceiling,
    check_level,
    level_now,
)
from serving.ledger.errors import LevelTooHighError
from serving.ledger.kill_switch import Control, ControlKind, Scope

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ACTIONS = load_playbook().by_id


def control(kind: ControlKind = "level", value: int | None = 4, **scope: str) -> Control:
    return Control(kind=kind, scope=Scope(**scope), value=value, by="boss", at=NOW, reason="why")


@pytest.mark.parametrize("action", load_playbook().actions, ids=lambda action: action.id)
def test_discounts_contracts_and_executives_always_wait_for_a_person(action):
    if action.channel in ("offer", "contract") or action.owner_role == "ceo":
        assert ceiling(replace(action, max_autonomy=4)) == APPROVED_ONLY
    else:
        assert ceiling(action) == action.max_autonomy


def test_a_level_beyond_the_action_is_refused():
    costly = next(a for a in ACTIONS.values() if a.channel == "offer")
    with pytest.raises(
        LevelTooHighError,
        match=f"Level 3 for {costly.id}: its highest is 2, at which it needs approval",
    ):
        check_level(3, Scope(action=costly.id), ACTIONS)
    check_level(2, Scope(action=costly.id), ACTIONS)
    check_level(4, Scope(segment="small"), ACTIONS)  # each action keeps its own bound


@pytest.mark.parametrize(
    ("controls", "level"),
    [
        ((), UNSET_LEVEL),
        ((control(value=3),), 3),
        ((control(value=3), control(value=1)), 1),
        ((control(value=1, action="call"), control(value=4)), 1),
        ((control(value=4, action="call", segment="small"), control(value=1, action="call")), 4),
        ((control(value=1, action="other"), control(value=0, segment="large")), UNSET_LEVEL),
        ((control(), control("stop", None)), 0),
        ((control(), control("stop", None), control("resume", None)), 4),
    ],
    ids=["unset", "set", "newest", "narrower", "narrowest", "others", "stopped", "resumed"],
)
def test_the_narrowest_and_newest_setting_counts(controls, level):
    assert level_now(controls, Scope(action="call", segment="small", csm="ann")) == level


@pytest.mark.parametrize(
    ("harms", "reported", "broken"), [(2, 2, False), (3, 3, True), (4, 20, False), (5, 20, True)]
)
def test_a_guardrail_needs_some_harm_and_a_share_of_it(harms, reported, broken):
    assert (Guardrail().breach(harms, reported) is not None) == broken


def test_every_level_is_in_words():
    assert list(LEVELS) == [0, 1, 2, 3, 4]
