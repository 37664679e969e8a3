"""What the page says of an action: by when it is due, and what it does for an account that has left."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from experiments.policy.recommend import AccountState, Candidate, Limits, recommend
from registry.playbook.playbook import load_playbook
from serving.pages.views.actions_view import action_view

NOW = datetime(2026, 3, 2, 10, tzinfo=UTC)


@pytest.fixture(scope="module")
def call() -> Candidate:
    state = AccountState(
        account_id="a",
        as_of=NOW,
        mrr=2000.0,
        health_score=31.0,
        attributes={"contract_status": "active"},
        features={},
    )
    answer = recommend(state, playbook=load_playbook(), limits=Limits(), history=(), as_of=NOW)
    return next(c for c in answer.ranked if c.value.outcome == "churn")


@pytest.mark.parametrize(
    ("due_in", "words"),
    [(timedelta(hours=7), "by 2 March 2026, 17:00 UTC"),
     (timedelta(0), "by 2 March 2026, 10:00 UTC"),
     (timedelta(days=-29), "overdue since 1 February 2026, 10:00 UTC")],
)  # fmt: skip
def test_a_deadline_that_has_passed_is_overdue(call, due_in, words) -> None:
    due = replace(call, deadline=NOW + due_in)
    assert action_view(due, "USD", as_of=NOW).deadline == words
    assert action_view(replace(call, deadline=None), "USD", as_of=NOW).deadline == ""


def test_only_what_is_weighed_is_ranked_by_its_cautious_estimate(call) -> None:
    weighed, first = (
        action_view(replace(call, basis=basis), "USD", as_of=NOW).how
        for basis in ("value", "urgent")
    )
    assert weighed.endswith(" on the cautious estimate that ranks the list")
    assert first.startswith("It is not weighed: it is done whatever it is worth. It costs")
    assert "is expected" not in first


def test_an_account_that_has_left_comes_back_and_does_not_stay(call) -> None:
    weighed = replace(call, basis="value")
    here, gone = (action_view(weighed, "USD", as_of=NOW, has_left=left) for left in (False, True))
    assert here.how.startswith("The chance to stay rises by")
    assert "of the accounts that would leave, " in here.evidence
    assert gone.how.startswith("The chance to come back rises by")
    assert "of the accounts that would stay away, " in gone.evidence
    assert "come back because of it" in gone.evidence
