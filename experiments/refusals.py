"""This module is about why an action that was brought up is held back, in words and with a date.

Each question is asked of one action alone: is what it needs known, is it allowed, was it done too
recently, is it worth it. Rules between actions are in ``policy.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from experiments.account_state import Limits, PastAction
from experiments.action_value import ActionValue
from experiments.conditions import Facts, holds, judge, label, requirement
from registry.actions import Action
from registry.playbook import Playbook

Reason = Literal["not_known", "not_eligible", "cool_down", "does_not_pay", "one_at_a_time",
                 "week_is_full"]


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why not, until when (in words), and from when where that can be told."""

    reason: Reason
    why: str
    until: str
    allowed_from: datetime | None = None


def not_allowed(action: Action, playbook: Playbook, facts: Facts) -> Refusal | None:
    """A guard or a condition of the action that fails or can not be told."""
    for guard in playbook.guards:
        if not guard.concerns(action):
            continue
        if guard.only_if is not None and holds(guard.only_if, facts) is not True:
            continue
        verdict = judge(guard.condition, facts)
        if verdict.holds is None:
            return _unknown(verdict.unknown)
        if not verdict.holds:
            return Refusal(reason="not_eligible", why=f"{guard.why} Now: {verdict.words}.",
                           until=f"until: {requirement(guard.condition)}",
                           allowed_from=verdict.from_when)
    for condition in action.eligibility:
        verdict = judge(condition, facts)
        if verdict.holds is None:
            return _unknown(verdict.unknown)
        if not verdict.holds:
            return Refusal(reason="not_eligible", why=f"Not for this account now: "
                                                      f"{verdict.words}.",
                           until=f"until: {requirement(condition)}",
                           allowed_from=verdict.from_when)
    return None


def to_look_at(action: Action, playbook: Playbook, facts: Facts) -> tuple[str, ...]:
    """Unknown values that a person has to look at before the action is carried out."""
    conditions = [guard.condition for guard in playbook.guards if guard.concerns(action)
                  and (guard.only_if is None or holds(guard.only_if, facts) is True)]
    names = [name for condition in (*conditions, *action.eligibility)
             for name in judge(condition, facts).ask]
    return tuple(dict.fromkeys(names))


def too_soon(action: Action, playbook: Playbook, past: Sequence[PastAction], as_of: datetime
             ) -> Refusal | None:
    """The action's own cool-down, or the days its family keeps between two of its actions."""
    own = _last(past, {action.id})
    wait = timedelta(days=action.cool_down_days)
    if own is not None and as_of < own.at + wait:
        return Refusal(reason="cool_down", allowed_from=own.at + wait,
                       why=f"Done on {own.at:%d %B %Y}; at most once in "
                           f"{action.cool_down_days:g} days.",
                       until=f"until {own.at + wait:%d %B %Y %H:%M}")
    if action.family is None:
        return None
    family = playbook.families[action.family]
    siblings = {a.id: a for a in playbook.actions if a.family == family.id and a.id != action.id}
    other = _last(past, siblings)
    wait = timedelta(days=family.apart_days)
    if other is not None and as_of < other.at + wait:
        return Refusal(reason="one_at_a_time", allowed_from=other.at + wait,
                       why=f"“{siblings[other.action_id].name}” was done on "
                           f"{other.at:%d %B %Y}; {family.name} are {family.apart_days:g} days "
                           f"apart.",
                       until=f"until {other.at + wait:%d %B %Y %H:%M}")
    return None


def not_worth_it(value: ActionValue | None, limits: Limits) -> Refusal | None:
    """Doing nothing is better, or what the action is worth can not be told."""
    if value is None:
        return _unknown(("mrr",))
    if value.cautious > limits.tolerance:
        return None
    gain = value.cautious + value.total_cost
    return Refusal(reason="does_not_pay",
                   why=f"It costs {value.total_cost:,.2f} and brings {gain:,.2f} on a cautious "
                       f"count: too little for this account's revenue and risk.",
                   until="until the risk, the chance or the revenue is higher")


def _unknown(names: Iterable[str]) -> Refusal:
    words = ", ".join(label(name) for name in dict.fromkeys(names))
    return Refusal(reason="not_known", why=f"Not known: {words}.",
                   until=f"until this is known: {words}")


def _last(past: Sequence[PastAction], ids: Iterable[str]) -> PastAction | None:
    wanted = frozenset(ids)
    return max((p for p in past if p.action_id in wanted),
               key=lambda p: (p.at, p.action_id), default=None)
