"""What brings an action up: the same as asking every trigger of every action."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest

from experiments.policy.candidates.triggers import triggers_of
from experiments.policy.conditions import Facts, holds
from registry.playbook.condition_grammar import ComparisonClause
from registry.playbook.playbook import load_playbook

AS_OF = datetime(2026, 3, 2, 10, tzinfo=UTC)
BOOK = load_playbook()
CLAUSES = [
    clause
    for action in BOOK.actions
    for condition in action.triggers
    for clause in condition.clauses
]
COMPARISONS = [clause for clause in CLAUSES if isinstance(clause, ComparisonClause)]
ALERTS = sorted(
    {
        alert
        for action in BOOK.actions
        for condition in action.triggers
        for alert in condition.alerts
    }
)


def facts_at_random(seed: int) -> Facts:
    """Figures on either side of the playbook's own bounds, some of them unknown."""
    rng = random.Random(seed)
    values: dict[str, float | str | None] = {}
    for clause in COMPARISONS:
        if isinstance(clause.value, tuple):
            values[clause.name] = rng.choice([*clause.value, "another", None])
        elif rng.random() < 0.9:
            values[clause.name] = clause.value + rng.choice([-1.0, 0.0, 1.0])
    return Facts(
        as_of=AS_OF,
        values_as_of=AS_OF,
        values=values,
        phrases={},
        alert_words={},
        shows={},
        alerts=frozenset(rng.sample(ALERTS, rng.randint(0, len(ALERTS)))),
        last_done={
            action.id: AS_OF - timedelta(days=rng.randint(0, 100))
            for action in rng.sample(BOOK.actions, 20)
        },
    )


@pytest.mark.parametrize("seed", range(30))
def test_the_actions_brought_up_are_those_of_which_a_trigger_holds_or_a_step_is_due(seed):
    facts = facts_at_random(seed)
    due = set(random.Random(seed).sample([action.id for action in BOOK.actions], seed % 4))
    expected = [
        action
        for action in BOOK.actions
        if action.id in due or any(holds(condition, facts) is True for condition in action.triggers)
    ]
    assert 3 < len(expected) < len(BOOK.actions)
    assert triggers_of(BOOK).find_triggered_actions(facts, due) == expected


def test_each_distinct_trigger_is_asked_once():
    asked = triggers_of(BOOK).tests
    assert (
        len(asked)
        == len({text for text, _ in asked})
        == len({condition.text for action in BOOK.actions for condition in action.triggers})
    )
    assert triggers_of(BOOK) is triggers_of(BOOK)
