"""A candidate of another playbook or other limits is asked what every logged decision was asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta

import polars as pl
import pytest
from small_company import AS_OF

from experiments.off_policy.log import ChoicesError, build_logged_choices
from registry.playbook.actions import PlaybookError
from registry.playbook.playbook import ACTIONS_FILE
from serving.decisions.exploration_settings import CHANCE_FILE
from serving.ledger.ledger import Decision, Ledger
from serving.recommendations.candidate_policy import (
    candidate_policy,
    choose_by_candidate,
    read_limits,
)
from serving.recommendations.logged_decisions import (
    load_logged_decisions,
    with_candidate,
    without_chance,
)


@pytest.fixture
def ledger(own_workspace, own_client) -> Iterator[Ledger]:
    """The decisions of a service about its accounts."""
    answer = own_client.post("/v1/next-actions", json={"limit": 8})
    assert answer.status_code == 200
    with closing(Ledger(own_workspace.ledger_db)) as found:
        yield found


@pytest.fixture
def table(ledger, own_workspace) -> pl.DataFrame:
    """The same decisions as if a coin had been thrown for each, and what came of it were known."""
    found = load_logged_decisions(
        ledger.database,
        own_workspace,
        as_of=AS_OF + timedelta(days=1),
        follow_up=timedelta(days=30),
    )
    assert found.height == 8
    return found.with_columns(propensity=0.5, reward=1.0)


def test_the_playbook_and_limits_of_then_say_what_was_said(ledger, table) -> None:
    for actions in (None, ACTIONS_FILE.read_text(encoding="utf-8")):
        found = choose_by_candidate(
            ledger.database, table, candidate_policy(actions=actions, limits=None)
        )
        assert dict(found.iter_rows()) == dict(table.select("decision_id", "action").iter_rows())
    assert table["action"].n_unique() > 1


def test_other_limits_and_another_playbook_say_otherwise(ledger, table) -> None:
    careful = choose_by_candidate(
        ledger.database, table, candidate_policy(actions=None, limits="tolerance = 1e9")
    )
    assert set(careful["candidate"]) == {"do_nothing"}
    dear = ACTIONS_FILE.read_text(encoding="utf-8").replace("hours = 0.5", "hours = 900.0")
    other = choose_by_candidate(ledger.database, table, candidate_policy(actions=dear, limits=None))
    assert dict(other.iter_rows()) != dict(table.select("decision_id", "action").iter_rows())
    choices = build_logged_choices(with_candidate(table, careful))
    assert choices.candidate[:, choices.actions.index("do_nothing")].tolist() == [1.0] * 8


def test_of_who_is_held_out_the_candidate_is_what_they_would_be_offered(
    own_workspace, store, make_client
) -> None:
    """Several actions were held back, and the one that ranks first is not the first by name."""
    (own_workspace.root / CHANCE_FILE).write_text('key_id = "2026"\nholdout_share = 0.5\n')
    client = make_client(own_workspace, store, lottery_key="ab" * 32)
    answer = client.post("/v1/next-actions", json={"limit": 40}).json()
    offered = {
        one["decision_id"]: one["holdout"]["otherwise"]
        for one in answer["items"]
        if one["holdout"] and one["holdout"]["is_held_out"]
    }
    by_name = {
        one["decision_id"]: next(
            (each["action"] for each in one["withheld"] if each["reason"] == "held_out"), None
        )
        for one in answer["items"]
    }
    with closing(Ledger(own_workspace.ledger_db)) as ledger:
        table = load_logged_decisions(
            ledger.database,
            own_workspace,
            as_of=AS_OF + timedelta(days=1),
            follow_up=timedelta(days=30),
        )
        known = without_chance(ledger.database, table.with_columns(reward=1.0))
        later = without_chance(
            ledger.database, table.with_columns(reward=pl.lit(None, dtype=pl.Float64))
        )
    found = dict(known.select("decision_id", "candidate").iter_rows())
    assert {name: found[name] for name in offered} == offered
    assert later["candidate"].null_count() == table["candidate"].null_count() > 0
    assert any(by_name[name] not in (None, first) for name, first in offered.items())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tolerance = ", "The file of limits is not valid TOML"),
        ("tolerence = 1", r"unknown key\(s\) tolerence. Did you mean tolerance\?"),
        ("tolerance = true", "`tolerance` has to be a number, not True. Usual is 0.5"),
        ('workday = ["nine", "five"]', "`workday`: `number 1` has to be a number, not 'nine'"),
        ("caution = -1.0", "The limit caution is -1.0; it has to be a number of at least 0"),
    ],
)
def test_limits_that_are_none_are_refused(text: str, message: str) -> None:
    with pytest.raises(ChoicesError, match=message):
        read_limits(text)


def test_hours_are_read_and_a_playbook_that_is_none_is_refused() -> None:
    assert read_limits("workday = [8, 16]\nquiet_hours = [21, 7]") == {
        "workday": (8, 16),
        "quiet_hours": (21, 7),
    }
    with pytest.raises(PlaybookError, match="not valid TOML"):
        candidate_policy(actions="[[action]", limits=None)


def test_a_decision_without_its_question_can_not_be_asked_again(ledger, table) -> None:
    ledger.append_decisions(
        [
            Decision(
                decision_id="old",
                account_id="acct-01",
                decided_at=AS_OF,
                as_of=AS_OF,
                action="call",
                expected_value=1.0,
                currency="USD",
                eligible=(),
                withheld=(),
                versions={},
                input_digest="x",
            )
        ]
    )
    old = table.head(1).with_columns(decision_id=pl.lit("old"))
    with pytest.raises(ChoicesError, match="Decision old was stored before its question was kept"):
        choose_by_candidate(ledger.database, old, candidate_policy(actions=None, limits=None))
