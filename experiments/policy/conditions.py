"""Evaluate conditions of the playbook for an account, and put them in words.

A condition holds, does not hold, or is unknown because a value is unknown. Every verdict comes with
words for the customer success manager, with the account's own numbers. Pure: the moment and all
values come in through ``Facts``.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache, partial
from typing import assert_never

from experiments.policy.derived_values import DerivedValues
from registry.playbook.condition_grammar import (
    ActionDone,
    AlertOpen,
    Clause,
    ComparisonClause,
    Condition,
    ConditionError,
)

Value = float | str | None

GROWS_DAILY = frozenset(
    {
        "account_age_days",
        "tenure_days",
        "days_since_login",
        "days_since_sponsor_touch",
        "days_since_champion_touch",
    }
)
"""Figures that grow by one a day while nothing happens."""

SHRINKS_DAILY = frozenset({"days_to_renewal"})
"""Figures that shrink by one a day."""

_LABELS = {
    "annual_revenue": "annual revenue",
    "consent_email": "consent to e-mail",
    "consent_sms": "consent to text messages",
    "contract_status": "contract status",
    "days_since_end": "days since the end",
    "days_since_reason_to_leave": "days since the reason for leaving was given",
    "legal_hold": "legal hold",
    "mrr": "monthly revenue",
    "nps_last": "last recommendation score",
    "price_plan": "price plan",
    "renewal_tier": "risk at the renewal",
    "risk_tier": "churn risk",
    "service_tier": "service tier",
    "stage": "stage",
    "term_months": "months of the term",
}
_PHRASES = {
    "annual_revenue": "annual revenue of {value:,.0f}",
    "churn_probability": "churn probability of {value:.0%}",
    "expansion_probability": "expansion probability of {value:.0%}",
    "days_since_end": "ended {value:.0f} days ago",
    "days_since_reason_to_leave": "reason given {value:.0f} days ago",
    "health_score": "health score of {value:.0f}",
    "renewal_probability": "{value:.0%} leaving at the renewal",
    "term_months": "a term of {value:.0f} months",
}
_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
_OPERATORS = {
    "<": "below",
    "<=": "at most",
    ">": "above",
    ">=": "at least",
    "==": "exactly",
    "!=": "other than",
    "in": "one of",
}


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The known values of an account at a moment, as input of conditions.

    ``values_as_of`` is the moment of the values, ``as_of`` that of the question; ``shows`` names
    the figure that goes with an alert.
    """

    as_of: datetime
    values_as_of: datetime
    values: Mapping[str, Value]
    alerts: frozenset[str]
    last_done: Mapping[str, datetime]
    phrases: Mapping[str, str]
    alert_words: Mapping[str, str]
    shows: Mapping[str, str]
    judged: dict[str, bool | None] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )
    """Which conditions hold, by their text: actions share guards, and each is judged once."""


@dataclass(frozen=True, kw_only=True)
class ConditionVerdict:
    """Whether a condition holds (None: unknown), and why, in words.

    ``bound`` is the required value of the figure; ``ask`` names unknown values that a person has to
    look up first; ``from_when`` is the moment from which a clause that depends on time would hold.
    """

    holds: bool | None
    words: str
    bound: str = ""
    unknown: tuple[str, ...] = ()
    ask: tuple[str, ...] = ()
    from_when: datetime | None = None


CompiledCondition = Callable[[Facts], bool | None]


def holds(condition: Condition, facts: Facts) -> bool | None:
    """Whether all clauses hold, without words; None if that is unknown."""
    known, text = facts.judged, condition.text
    try:
        return known[text]
    except KeyError:
        found = known[text] = compile_condition(condition)(facts)
        return found


def compile_condition(condition: Condition) -> CompiledCondition:
    """A condition as functions, made once, because it is evaluated for every account."""
    return _TESTS.of(condition)[0]


def explain_condition(condition: Condition, facts: Facts) -> ConditionVerdict:
    """Whether all clauses hold, in words; a clause that fails outweighs an unknown one."""
    _, tests = _TESTS.of(condition)
    verdicts = [
        _judge_clause(clause, test(facts), facts)
        for clause, test in zip(condition.clauses, tests, strict=True)
    ]
    failed = [v for v in verdicts if v.holds is False]
    unknown = [v for v in verdicts if v.holds is None]
    if failed:
        times = [v.from_when for v in failed]
        known = [t for t in times if t is not None]
        return ConditionVerdict(
            holds=False,
            words=_joined(v.words for v in failed),
            from_when=max(known) if len(known) == len(times) else None,
        )
    if unknown:
        return ConditionVerdict(
            holds=None,
            words=_joined(v.words for v in unknown),
            unknown=tuple(name for v in unknown for name in v.unknown),
        )
    return ConditionVerdict(
        holds=True,
        words=_with_bounds(verdicts),
        ask=tuple(name for v in verdicts for name in v.ask),
    )


def requirement(condition: Condition) -> str:
    """The requirement of a condition, in words.

    >>> from registry.playbook.condition_grammar import parse_condition
    >>> requirement(parse_condition("severe_tickets_open == 0 and no alert cancel_intent"))
    'severe tickets open: exactly 0; no warning sign “cancel intent”'
    """
    return _joined(_requirement(clause) for clause in condition.clauses)


def label(name: str) -> str:
    """A figure's or attribute's name in words.

    >>> label("severe_tickets_open"), label("tickets_90d"), label("consent_sms")
    ('severe tickets open', 'tickets in 90 days', 'consent to text messages')
    """
    if name in _LABELS:
        return _LABELS[name]
    words = name.split("_")
    window = words[-1]
    if window.endswith("d") and window[:-1].isdigit():
        words[-1:] = ["in", window[:-1], "days"]
    return " ".join(words)


def describe_value(name: str, value: Value, phrases: Mapping[str, str]) -> str:
    """A figure or attribute with its value, as read out.

    >>> describe_value("price_plan", "starter", {}), describe_value("tickets_open", 3.0, {})
    ('price plan starter', 'tickets open: 3')
    >>> describe_value("tickets_open", 3.0, {"tickets_open": "{value:.0f} open tickets"})
    '3 open tickets'
    """
    if value is None:
        return f"{label(name)} not known"
    if isinstance(value, str):
        return f"{label(name)} {value}"
    phrase = _PHRASES.get(name) or phrases.get(name)
    return phrase.format(value=value) if phrase else f"{label(name)}: {value:g}"


def _tests_of(condition: Condition) -> tuple[CompiledCondition, tuple[CompiledCondition, ...]]:
    """The functions of a condition as a whole, and of each of its clauses."""
    tests = tuple(map(_test_of, condition.clauses))
    return tests[0] if len(tests) == 1 else partial(_all_of, tests), tests


def _all_of(tests: tuple[CompiledCondition, ...], facts: Facts) -> bool | None:
    is_known = True
    for test in tests:
        answer = test(facts)
        if answer is False:
            return False
        is_known = is_known and answer is not None
    return True if is_known else None


def _test_of(clause: Clause) -> CompiledCondition:
    match clause:
        case ComparisonClause():
            return (
                _among_words(clause, clause.value)
                if isinstance(clause.value, tuple)
                else (_against_number(clause, clause.value))
            )
        case AlertOpen():
            alert, is_wanted = clause.alert, clause.wanted
            return lambda facts: (alert in facts.alerts) == is_wanted
        case ActionDone():
            return partial(_done_lately, clause)
        case _:
            assert_never(clause)


def _against_number(clause: ComparisonClause, bound: float) -> CompiledCondition:
    name, compare = clause.name, _COMPARE[clause.operator]
    when_unknown = None if clause.when_unknown == "refuse" else True

    def test(facts: Facts) -> bool | None:
        value = facts.values.get(name)
        if type(value) is float:  # most of them
            return compare(value, bound)
        if value is None:
            return when_unknown
        if isinstance(value, str):
            raise ConditionError(
                f"{name!r} is {value!r} and is compared with a number. Compare it with words."
            )
        return compare(value, bound)

    return test


def _among_words(clause: ComparisonClause, words: tuple[str, ...]) -> CompiledCondition:
    name, is_wanted = clause.name, clause.operator != "!="
    among = frozenset(map(_same_word, words))
    when_unknown = None if clause.when_unknown == "refuse" else True

    def test(facts: Facts) -> bool | None:
        value = facts.values.get(name)
        if value is None:
            return when_unknown
        if not isinstance(value, str):
            raise ConditionError(
                f"{name!r} is {value!r} and is compared with the words "
                f"{', '.join(words)}. Compare it with a number."
            )
        return (_same_word(value) in among) == is_wanted

    return test


def _done_lately(clause: ActionDone, facts: Facts) -> bool:
    until = _done_until(clause, facts)
    return (until is not None and facts.as_of < until) == clause.wanted


def _done_until(clause: ActionDone, facts: Facts) -> datetime | None:
    """Until when the action counts as recent; None if it was never done."""
    last = facts.last_done.get(clause.action)
    return None if last is None else last + timedelta(days=clause.within_days)


def _judge_clause(clause: Clause, holds: bool | None, facts: Facts) -> ConditionVerdict:
    match clause:
        case ComparisonClause():
            return _comparison_in_words(clause, holds, facts)
        case AlertOpen():
            figure = facts.shows.get(clause.alert, "")
            value = facts.values.get(figure)
            words = facts.alert_words.get(clause.alert, _spaced(clause.alert))
            number = "" if value is None else f" ({describe_value(figure, value, facts.phrases)})"
            return ConditionVerdict(
                holds=holds,
                words=f"warning sign: {words}{number}"
                if clause.alert in facts.alerts
                else f"no warning sign: {words}",
            )
        case ActionDone():
            return _done_in_words(clause, holds, facts)
        case _:
            assert_never(clause)


def _comparison_in_words(
    clause: ComparisonClause, holds: bool | None, facts: Facts
) -> ConditionVerdict:
    value = facts.values.get(clause.name)
    if value is None:
        if holds is None:
            return ConditionVerdict(
                holds=None, words=f"not known: {label(clause.name)}", unknown=(clause.name,)
            )
        return ConditionVerdict(
            holds=True, words="", ask=(clause.name,) if clause.when_unknown == "ask" else ()
        )
    described = describe_value(clause.name, value, facts.phrases)
    if not holds:
        return ConditionVerdict(
            holds=False,
            words=f"{described}, {_asked(clause)} is needed",
            from_when=_waits_until(clause, value, facts.values_as_of),
        )
    return ConditionVerdict(
        holds=True, words=described, bound="" if isinstance(clause.value, tuple) else _asked(clause)
    )


def _done_in_words(clause: ActionDone, holds: bool | None, facts: Facts) -> ConditionVerdict:
    name, until = _spaced(clause.action), _done_until(clause, facts)
    words = f"{name} was not done in the last {clause.within_days:g} days"
    if until is not None and holds == clause.wanted:
        words = f"{name} was done on {facts.last_done[clause.action]:%d %B %Y}"
    return ConditionVerdict(
        holds=holds, words=words, from_when=None if holds or clause.wanted else until
    )


def _waits_until(clause: ComparisonClause, value: Value, values_as_of: datetime) -> datetime | None:
    """When a failed clause will hold by the passing of days alone; None if never."""
    if isinstance(clause.value, tuple) or not isinstance(value, float):
        return None
    if clause.name in GROWS_DAILY and clause.operator in (">", ">="):
        return values_as_of + timedelta(days=clause.value - value)
    if clause.name in SHRINKS_DAILY and clause.operator in ("<", "<="):
        return values_as_of + timedelta(days=value - clause.value)
    return None


def _asked(clause: ComparisonClause) -> str:
    if isinstance(clause.value, tuple):
        words = " or ".join(clause.value)
        return f"other than {words}" if clause.operator == "!=" else words
    share = clause.name.endswith("probability")
    number = f"{clause.value:.0%}" if share else f"{clause.value:,g}"
    return f"{_OPERATORS[clause.operator]} {number}"


def _requirement(clause: Clause) -> str:
    match clause:
        case ComparisonClause():
            return f"{label(clause.name)}: {_asked(clause)}"
        case AlertOpen():
            return f"{'' if clause.wanted else 'no '}warning sign “{_spaced(clause.alert)}”"
        case ActionDone():
            return (
                f"{_spaced(clause.action)} {'' if clause.wanted else 'not '}done in the last "
                f"{clause.within_days:g} days"
            )
        case _:
            assert_never(clause)


def _with_bounds(verdicts: Iterable[ConditionVerdict]) -> str:
    """Each figure once, with all of its requirements."""
    bounds: dict[str, list[str]] = {}
    for verdict in verdicts:
        bounds.setdefault(verdict.words, []).extend([verdict.bound] if verdict.bound else [])
    return _joined(
        f"{words} ({', '.join(asked)})" if asked else words for words, asked in bounds.items()
    )


@lru_cache(maxsize=4096)
def _same_word(word: str) -> str:
    """Case and the sign between two words make no difference: Mid-Market, mid_market."""
    return word.casefold().replace("_", " ").replace("-", " ")


def _spaced(identifier: str) -> str:
    return identifier.replace("_", " ")


def _joined(words: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(word for word in words if word))


_TESTS = DerivedValues(_tests_of, most=8_192)
"""A playbook has some hundred conditions."""
