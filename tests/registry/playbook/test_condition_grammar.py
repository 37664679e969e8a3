"""Conditions are read by a small grammar, and what is outside of it is refused."""

from __future__ import annotations

import pytest

from registry.playbook.condition_grammar import (
    ActionDone,
    AlertOpen,
    ComparisonClause,
    ConditionError,
    parse_condition,
)


@pytest.mark.parametrize(
    ("text", "clauses"),
    [
        ("health_score < 40", [ComparisonClause(name="health_score", operator="<", value=40.0)]),
        (
            "use_trend_28d >= -0.5",
            [ComparisonClause(name="use_trend_28d", operator=">=", value=-0.5)],
        ),
        (
            "price_plan == starter",
            [ComparisonClause(name="price_plan", operator="==", value=("starter",))],
        ),
        (
            "service_tier in enterprise, mid-market",
            [
                ComparisonClause(
                    name="service_tier", operator="in", value=("enterprise", "mid-market")
                )
            ],
        ),
        (
            "tickets_open == 0 or ask",
            [ComparisonClause(name="tickets_open", operator="==", value=0.0, when_unknown="ask")],
        ),
        (
            "consent_email != no or unknown",
            [
                ComparisonClause(
                    name="consent_email", operator="!=", value=("no",), when_unknown="pass"
                )
            ],
        ),
        ("alert cancel_intent", [AlertOpen(alert="cancel_intent")]),
        ("no alert cancel_intent", [AlertOpen(alert="cancel_intent", wanted=False)]),
        ("done save_play within 45d", [ActionDone(action="save_play", within_days=45.0)]),
        (
            "not done save_play within 0.5d",
            [ActionDone(action="save_play", within_days=0.5, wanted=False)],
        ),
        (
            "alert known_issue and days_to_renewal <= 90",
            [
                AlertOpen(alert="known_issue"),
                ComparisonClause(name="days_to_renewal", operator="<=", value=90.0),
            ],
        ),
    ],
)
def test_a_condition_reads_as(text, clauses):
    assert list(parse_condition(text).clauses) == clauses


def test_a_condition_knows_what_it_reads():
    condition = parse_condition("alert a and done b within 1d and c > 2")
    assert (condition.names, condition.alerts, condition.actions) == ({"c"}, {"a"}, {"b"})


@pytest.mark.parametrize(
    "text",
    ["", "health_score", "__import__('os')", "a < 1 or b < 2", "done x", "1 < a", "a < 1; b"],
)
def test_what_is_outside_of_the_grammar_is_refused(text):
    with pytest.raises(ConditionError, match=r"cannot be read|a number was expected"):
        parse_condition(text)


def test_words_have_no_order():
    with pytest.raises(ConditionError, match="orders words"):
        parse_condition("price_plan > starter")


@pytest.mark.parametrize("text", ["a == Starter", "a == x, y", "a in x,, y"])
def test_words_are_lower_case_and_several_only_after_in(text):
    with pytest.raises(ConditionError, match="where a word was expected"):
        parse_condition(text)


@pytest.mark.parametrize("text", ["a < 1.2.3", "a == 1x"])
def test_numbers_are_numbers(text):
    with pytest.raises(ConditionError, match="a number was expected"):
        parse_condition(text)
