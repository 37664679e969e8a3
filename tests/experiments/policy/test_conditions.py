"""Whether a condition holds has three answers, and each can be read out."""

from __future__ import annotations

import operator
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from experiments.policy.conditions import Facts, explain_condition, holds, requirement
from registry.playbook.condition_grammar import (
    ActionDone,
    AlertOpen,
    ConditionError,
    parse_condition,
)
from registry.playbook.playbook import load_playbook

AS_OF = datetime(2026, 3, 2, 10, tzinfo=UTC)
FACTS = Facts(
    as_of=AS_OF,
    values_as_of=AS_OF - timedelta(hours=4),
    values={
        "health_score": 31.0,
        "days_to_renewal": 130.0,
        "tenure_days": 20.0,
        "price_plan": "Starter",
        "tickets_open": None,
        "service_tier": "Mid_Market",
    },
    alerts=frozenset({"usage_halved"}),
    last_done={"save_play": AS_OF - timedelta(days=10)},
    phrases={"days_to_renewal": "{value:.0f} days to the renewal"},
    alert_words={"usage_halved": "usage fell by half"},
    shows={},
)


def verdict(text):
    return explain_condition(parse_condition(text), FACTS)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("health_score < 31", False),
        ("health_score <= 31", True),
        ("health_score > 31", False),
        ("health_score >= 31", True),
        ("health_score == 31", True),
        ("health_score != 31", False),
        ("price_plan == starter", True),
        ("price_plan != starter", False),
        ("price_plan in starter, business", True),
        ("price_plan in business", False),
        ("service_tier in enterprise, mid-market", True),
        ("service_tier != mid market", False),
        ("tickets_open == 0", None),
        ("tickets_open == 0 or unknown", True),
        ("tickets_open == 0 or ask", True),
        ("nothing_like_it > 1", None),
        ("alert usage_halved", True),
        ("no alert usage_halved", False),
        ("alert known_issue", False),
        ("done save_play within 10d", False),
        ("done save_play within 10.1d", True),
        ("not done save_play within 10d", True),
        ("done tips_email within 900d", False),
        ("health_score < 40 and tickets_open == 0", None),
        ("health_score > 40 and tickets_open == 0", False),
    ],
)
def test_a_condition_holds_or_not_or_can_not_be_told(text, holds):
    assert verdict(text).holds is holds


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("health_score < 40", "health score of 31 (below 40)"),
        ("health_score >= 40", "health score of 31, at least 40 is needed"),
        ("tickets_open == 0", "not known: tickets open"),
        (
            "days_to_renewal <= 150 and days_to_renewal > 0",
            "130 days to the renewal (at most 150, above 0)",
        ),
        ("price_plan == business", "price plan Starter, business is needed"),
        ("alert usage_halved", "warning sign: usage fell by half"),
        ("alert known_issue", "no warning sign: known issue"),
        ("done save_play within 30d", "save play was done on 20 February 2026"),
        ("done tips_email within 30d", "tips email was not done in the last 30 days"),
    ],
)
def test_every_answer_can_be_read_out(text, words):
    assert verdict(text).words == words


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("days_to_renewal <= 120", AS_OF - timedelta(hours=4) + timedelta(days=10)),
        ("tenure_days >= 30", AS_OF - timedelta(hours=4) + timedelta(days=10)),
        ("not done save_play within 30d", AS_OF + timedelta(days=20)),
        ("health_score > 40", None),
        ("tenure_days < 10", None),
        ("days_to_renewal <= 120 and health_score > 40", None),
        (
            "days_to_renewal <= 120 and tenure_days >= 35",
            AS_OF - timedelta(hours=4) + timedelta(days=15),
        ),
    ],
)
def test_what_only_waits_for_time_says_until_when(text, when):
    assert verdict(text).from_when == when


def test_what_is_asked_for_can_be_read_out():
    text = "no alert usage_halved and not done save_play within 9d and price_plan != starter"
    assert requirement(parse_condition(text)) == (
        "no warning sign “usage halved”; save play not done in the last 9 days; "
        "price plan: other than starter"
    )


def test_a_word_is_not_compared_with_a_number():
    with pytest.raises(ConditionError, match="Compare it with words"):
        verdict("price_plan > 3")
    with pytest.raises(ConditionError, match="Compare it with a number"):
        verdict("health_score == good")


# -- the plain way, clause by clause, for every condition of the playbook ------------------------

COMPARE = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


def plain(word):
    return word.casefold().replace("_", " ").replace("-", " ")


def plainly(clause, facts):
    if isinstance(clause, AlertOpen):
        return (clause.alert in facts.alerts) == clause.wanted
    if isinstance(clause, ActionDone):
        last = facts.last_done.get(clause.action)
        lately = last is not None and facts.as_of < last + timedelta(days=clause.within_days)
        return lately == clause.wanted
    value = facts.values.get(clause.name)
    if value is None:
        return None if clause.when_unknown == "refuse" else True
    if isinstance(clause.value, tuple):
        return (plain(value) in map(plain, clause.value)) == (clause.operator != "!=")
    return COMPARE[clause.operator](value, clause.value)


@pytest.mark.parametrize("seed", range(20))
def test_every_condition_holds_where_all_its_clauses_plainly_do(seed):
    chance = random.Random(seed)
    conditions = [condition for _, condition in load_playbook().conditions]
    values: dict[str, float | str | None] = {}
    for clause in (clause for condition in conditions for clause in condition.clauses):
        if not isinstance(clause, AlertOpen | ActionDone):
            known = (
                [*clause.value, "none_of_them"]
                if isinstance(clause.value, tuple)
                else [clause.value, clause.value - 1, clause.value + 1]
            )
            values[clause.name] = chance.choice([None, *known, *known])
    facts = replace(
        FACTS,
        values=values,
        alerts=frozenset(
            alert for condition in conditions for alert in condition.alerts if chance.random() < 0.5
        ),
        last_done={
            action: AS_OF - timedelta(days=chance.choice([0, 1, 7, 30, 60, 90, 400]))
            for condition in conditions
            for action in condition.actions
            if chance.random() < 0.7
        },
    )
    answers = set()
    for condition in conditions:
        found = [plainly(clause, facts) for clause in condition.clauses]
        expected = False if False in found else None if None in found else True
        assert holds(condition, facts) is expected, condition.text
        assert explain_condition(condition, facts).holds is expected, condition.text
        answers.add(expected)
    assert answers == {True, False, None}


def test_a_condition_is_judged_once_for_the_same_facts_and_anew_for_others() -> None:
    few = parse_condition("health_score < 40")
    facts = replace(FACTS, values={"health_score": 31.0})
    assert holds(few, facts) is holds(parse_condition("health_score < 40"), facts) is True
    assert facts.judged == {"health_score < 40": True}
    assert holds(few, replace(facts, values={"health_score": 50.0})) is False
    assert holds(few, replace(facts, values={"health_score": None})) is None
