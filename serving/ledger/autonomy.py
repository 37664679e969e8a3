"""Levels of autonomy: how far Keepwell may act by itself, per action and segment.

A person sets a level, and the kind of action bounds it; where nobody set one, a person approves. A
decision keeps the level it was made at; when it is claimed, the lower of that and of today's level
holds. Reports of harm lower a level by themselves, and only a person raises it again. Pure; levels
are records of the ledger.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from registry.playbook.actions import Action
from serving.ledger.errors import LevelTooHighError
from serving.ledger.kill_switch import Control, Scope, stop_of

LEVELS: Mapping[int, str] = {
    0: "is logged only",
    1: "is for a person to do",
    2: "needs approval",
    3: "goes ahead unless a person vetoes it in time",
    4: "goes ahead by itself",
}

UNSET_LEVEL = 2
"""The level where nobody set one: a person approves."""

APPROVED_ONLY = 2
"""The highest level of discounts, contract changes and what executives say."""

SUGGESTED = 1

VETO_WINDOW = timedelta(hours=4)
"""How long after a decision of level 3 a person can still veto it, before it may be claimed."""


@dataclass(frozen=True, kw_only=True)
class Guardrail:
    """The share of harm at which an action's level in a segment is lowered; our estimate, grade E.

    Of the newest ``window`` things that were reported, harm may be at most ``most_share``; fewer
    than ``least_harms`` harms say nothing yet.
    """

    window: int = 20
    least_harms: int = 3
    most_share: float = 0.2
    results: frozenset[str] = frozenset({"complained", "opted_out", "unsubscribed", "harmed"})

    def breach(self, harms: int, reported: int) -> str | None:
        """A sentence about the breach; None if there is none.

        >>> Guardrail().breach(3, 20) is None, Guardrail().breach(3, 14) is None
        (True, False)
        """
        if harms < self.least_harms or harms <= self.most_share * reported:
            return None
        return (
            f"{harms} of the last {reported} reports say failed or harmed; at most "
            f"{self.most_share:.0%} may"
        )


GUARDRAIL = Guardrail()


def ceiling(action: Action) -> int:
    """The highest level that an action may ever have."""
    costly = action.channel in ("offer", "contract") or action.owner_role == "ceo"
    return min(action.max_autonomy, APPROVED_ONLY) if costly else action.max_autonomy


def check_level(level: int, scope: Scope, actions: Mapping[str, Action]) -> None:
    """See that a level may be set.

    Raises:
        LevelTooHighError: the action, or one of them, may never go that far.
    """
    if scope.action is None:  # it is no promise: each action keeps its own bound
        return
    highest = ceiling(actions[scope.action])
    if level > highest:
        raise LevelTooHighError(
            f"Level {level} for {scope.action}: its highest is {highest}, at "
            f"which it {LEVELS[highest]}."
        )


def level_now(controls: Sequence[Control], scope: Scope) -> int:
    """The level that is set for a decision now; 0 while it is stopped.

    The narrowest setting counts, and of equally narrow ones the newest.
    """
    if stop_of(controls, scope) is not None:
        return 0
    setting = level_setting(controls, scope)
    return UNSET_LEVEL if setting is None or setting.value is None else setting.value


def level_setting(controls: Sequence[Control], scope: Scope) -> Control | None:
    """The setting of a level that counts for a decision; None where nobody set one."""
    found = [
        (
            sum(part is not None for part in (c.scope.action, c.scope.segment, c.scope.csm)),
            number,
        )
        for number, c in enumerate(controls)
        if c.kind == "level" and c.scope.holds(scope) and c.value is not None
    ]
    return controls[max(found)[1]] if found else None


def why_level(level: int, controls: Sequence[Control], scope: Scope) -> str:
    """The level of a decision with what it comes from, as far as that is not plain.

    Somebody who has just set a level for everything has to see why another one counts.
    """
    setting = level_setting(controls, scope)
    if setting is None or setting.value is None or level == 0:
        return f"level {level}"
    if level < setting.value:
        return f"level {level}; {setting.value} is set, and this action has {level} at most"
    if setting.scope == Scope():
        return f"level {level}"
    return f"level {level}, which is set for {setting.scope.words}"


def capacities(controls: Sequence[Control], scope: Scope) -> tuple[tuple[Scope, int], ...]:
    """Each number of claims a week that holds for a decision, and for what it is set."""
    newest = {c.scope: c.value for c in controls if c.kind == "capacity" and c.scope.holds(scope)}
    return tuple((of, value) for of, value in newest.items() if value is not None)
