"""Parse the conditions of the playbook.

A condition is one line of text in ``actions.toml`` or ``sequences.toml``: clauses joined by
``and``. It is read by a small grammar; nothing is ever evaluated as code. Whether a condition
holds for an account is decided in ``experiments/policy/conditions.py``.

::

    health_score < 40                      a feature, attribute or figure against a number
    price_plan in starter, professional    ... against words
    severe_tickets_open == 0 or ask        unknown passes, and a person has to look first
    consent_email != no or unknown         unknown passes
    alert cancel_intent                    the alert is open (no alert ...: it is not)
    done feature_trial_7d within 60d       the action was carried out (not done ...: it was not)

A clause about an unknown value is refused unless it says otherwise.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

Operator = Literal["<", "<=", ">", ">=", "==", "!=", "in"]
WhenUnknown = Literal["refuse", "ask", "pass"]

_NAME = r"[a-z][a-z0-9_]*"
_COMPARISON = re.compile(
    rf"(?P<name>{_NAME})\s*(?P<operator><=|>=|==|!=|<|>|\bin\b)\s*(?P<value>.+?)"
    r"(?P<unknown>\s+or\s+(?:unknown|ask))?"
)
_ALERT = re.compile(rf"(?P<no>no\s+)?alert\s+(?P<alert>{_NAME})")
_DONE = re.compile(rf"(?P<no>not\s+)?done\s+(?P<action>{_NAME})\s+within\s+(?P<days>[0-9.]+)d")
_WORD = re.compile(r"[a-z][a-z0-9_ -]*")


class ConditionError(ValueError):
    """A condition is not written in the grammar, or compares a word with a number."""


@dataclass(frozen=True, kw_only=True)
class ComparisonClause:
    """A figure against a number, or an attribute against words (always a tuple of them)."""

    name: str
    operator: Operator
    value: float | tuple[str, ...]
    when_unknown: WhenUnknown = "refuse"


@dataclass(frozen=True, kw_only=True)
class AlertOpen:
    """An alert is open, or is not."""

    alert: str
    wanted: bool = True


@dataclass(frozen=True, kw_only=True)
class ActionDone:
    """An action was carried out in the last so many days, or was not."""

    action: str
    within_days: float
    wanted: bool = True


Clause = ComparisonClause | AlertOpen | ActionDone


@dataclass(frozen=True, kw_only=True)
class Condition:
    """Clauses that all have to hold, with the text they were read from."""

    text: str
    clauses: tuple[Clause, ...]

    @property
    def names(self) -> frozenset[str]:
        """Features, attributes and figures that are read."""
        return frozenset(c.name for c in self.clauses if isinstance(c, ComparisonClause))

    @property
    def alerts(self) -> frozenset[str]:
        """Alerts that are read."""
        return frozenset(c.alert for c in self.clauses if isinstance(c, AlertOpen))

    @cached_property
    def may_ask(self) -> bool:
        """Whether a person has to look first where a value is not known."""
        return any(
            isinstance(c, ComparisonClause) and c.when_unknown == "ask" for c in self.clauses
        )

    @property
    def actions(self) -> frozenset[str]:
        """Actions whose history is read."""
        return frozenset(c.action for c in self.clauses if isinstance(c, ActionDone))


def parse_condition(text: str) -> Condition:
    """Read one condition.

    >>> parse_condition("health_score < 40").clauses
    (ComparisonClause(name='health_score', operator='<', value=40.0, when_unknown='refuse'),)
    >>> parse_condition("alert cancel_intent and price_plan == starter").alerts
    frozenset({'cancel_intent'})
    """
    parts = re.split(r"\s+and\s+", text.strip())
    return Condition(text=text, clauses=tuple(_clause(part, text) for part in parts))


def _clause(part: str, text: str) -> Clause:
    if found := _ALERT.fullmatch(part):
        return AlertOpen(alert=found["alert"], wanted=found["no"] is None)
    if found := _DONE.fullmatch(part):
        return ActionDone(
            action=found["action"],
            within_days=_number(found["days"], text),
            wanted=found["no"] is None,
        )
    if found := _COMPARISON.fullmatch(part):
        return _comparison(found, text)
    raise ConditionError(
        f"The condition {text!r} cannot be read at {part!r}. Write `name < number`, "
        f"`name in word, word`, `alert id` or `done action within 30d`, joined by `and`."
    )


def _comparison(found: re.Match[str], text: str) -> ComparisonClause:
    operator = next(o for o in get_args(Operator) if o == found["operator"])
    unknown = (found["unknown"] or "").split()
    when_unknown: WhenUnknown = "refuse"
    if unknown:
        when_unknown = "ask" if unknown[-1] == "ask" else "pass"
    raw = found["value"].strip()
    words = tuple(word.strip() for word in raw.split(","))
    value: float | tuple[str, ...]
    if operator != "in" and re.match(r"[-+.0-9]", raw):
        value = _number(raw, text)
    elif operator in ("<", "<=", ">", ">="):
        raise ConditionError(
            f"The condition {text!r} orders words ({raw!r}). Only numbers have an order; "
            f"use ==, != or in."
        )
    elif not all(_WORD.fullmatch(word) for word in words) or (operator != "in" and len(words) > 1):
        raise ConditionError(
            f"The condition {text!r} has {raw!r} where a word was expected (lower case; several "
            f"words only after `in`, separated by commas)."
        )
    else:
        value = words
    return ComparisonClause(
        name=found["name"], operator=operator, value=value, when_unknown=when_unknown
    )


def _number(raw: str, text: str) -> float:
    try:
        return float(raw)
    except ValueError as exc:
        raise ConditionError(
            f"The condition {text!r} has {raw!r} where a number was expected."
        ) from exc
