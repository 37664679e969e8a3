"""The ledger's decisions as a table: what was drawn, what else could be, what came."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from small_company import event

from experiments.causal.outcomes import DAYS_A_MONTH
from experiments.off_policy.evaluate import evaluate_choices
from experiments.off_policy.log import ChoicesError, build_logged_choices
from features.events.schema import events_frame
from features.lake.lake import Lake
from features.workspace import Workspace
from serving.ledger.ledger import Decision, Ledger
from serving.recommendations.logged_decisions import load_logged_decisions, with_candidate

AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
FOLLOW_UP = timedelta(days=90)


def ranked(name: str, value: float, *, cost: float = 0.0) -> Mapping[str, object]:
    return {
        "action_id": name,
        "cautious_value": value,
        "value_parts": {"cost": cost, "hours_cost": 5.0 if cost else 0.0, "at_stake": 1200.0},
    }


def decision(
    number: int, account: str, days_ago: float, action: str, propensity: float, **changed: object
) -> Decision:
    return Decision(
        **{  # type: ignore[arg-type]
            "decision_id": f"d{number}",
            "account_id": account,
            "decided_at": AS_OF - timedelta(days=days_ago),
            "as_of": AS_OF - timedelta(days=days_ago),
            "action": action,
            "expected_value": 1.0,
            "currency": "USD",
            "propensity": propensity,
            "eligible": (
                ranked("call", 30.0, cost=20.0),
                ranked("mail", 40.0),
                ranked("do_nothing", 0),
            ),
            "withheld": (),
            "versions": {},
            "input_digest": f"{number}",
            **changed,
        }
    )


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    """Three accounts at 100 a month; b leaves 60 days ago, c has no contract."""
    workspace = Workspace(tmp_path / "w", environment={})
    workspace.change_settings(complete_until=AS_OF)
    events = [
        event(account, "contract.started", 300, quantity=100.0, price_plan="starter")
        for account in ("a", "b")
    ]
    events.append(event("b", "contract.cancelled", 60))
    Lake(workspace.events_dir, workspace.quarantine_dir).append(
        events_frame(events), source="hand", file="hand", now=AS_OF
    )
    return workspace


def table(place: Workspace, *decisions: Decision, as_of: datetime = AS_OF) -> pl.DataFrame:
    with closing(Ledger(place.ledger_db)) as ledger:
        ledger.append_decisions(decisions)
        return load_logged_decisions(ledger.database, place, as_of=as_of, follow_up=FOLLOW_UP)


def test_the_reward_is_the_revenue_that_was_not_certain_less_what_the_action_costs(place) -> None:
    found = table(
        place,
        decision(1, "a", 120, "call", 0.5),
        decision(2, "b", 120, "mail", 0.5),
        decision(3, "c", 120, "mail", 0.5),
        decision(4, "a", 20, "mail", 0.5),
    )
    rewards = dict(found.select("decision_id", "reward").iter_rows())
    assert rewards["d1"] == pytest.approx(-25.0)  # it stayed; the call cost 20 and hours for 5
    assert rewards["d2"] == pytest.approx(-100.0 * 30 / DAYS_A_MONTH)  # 30 days of 90 without it
    assert rewards["d3"] is None  # no contract ran
    assert rewards["d4"] is None  # the follow-up is not over
    assert found["mrr"].to_list()[:2] == [100.0, 100.0]


def test_the_candidate_is_the_ranking_without_chance(place) -> None:
    held = decision(
        2,
        "b",
        120,
        "do_nothing",
        0.1,
        eligible=(ranked("do_nothing", 0),),
        withheld=({"action_id": "call", "reason": "held_out"},),
    )
    found = table(place, decision(1, "a", 120, "call", 0.5), held)
    assert dict(found.select("decision_id", "candidate").iter_rows()) == {
        "d1": "mail",
        "d2": "call",
    }


def test_of_an_account_one_drawn_decision_counts_in_each_follow_up(place) -> None:
    days = (300, 250, 200, 150, 119, 118)
    found = table(
        place,
        *(decision(n, "a", ago, "mail", 0.5) for n, ago in enumerate(days)),
        decision(9, "a", 240, "mail", 1.0),
    )
    assert found["decision_id"].to_list() == ["d0", "d9", "d2"]
    assert build_logged_choices(found).without_chance == 1


def test_what_was_decided_or_known_later_is_not_seen(place) -> None:
    earlier = AS_OF - timedelta(days=100)
    found = table(
        place, decision(1, "a", 250, "mail", 0.5), decision(2, "b", 50, "mail", 0.5), as_of=earlier
    )
    assert found["decision_id"].to_list() == ["d1"]
    assert table(place, as_of=AS_OF).height == 2


def test_a_corrected_cancellation_counts_when_it_happened_by_the_correction(place) -> None:
    lake = Lake(place.events_dir, place.quarantine_dir)
    for days_ago in (100, 10):  # said to be 100 days ago at first; then corrected
        lake.append(
            events_frame([replace(event("a", "contract.cancelled", days_ago), event_id="end")]),
            source="hand",
            file=f"end-{days_ago}",
            now=AS_OF,
        )
    wrong = table(place, decision(1, "a", 120, "mail", 0.5), as_of=AS_OF - timedelta(days=15))
    assert wrong["reward"].to_list() == pytest.approx([-100.0 * 70 / DAYS_A_MONTH])
    assert table(place)["reward"].to_list() == [pytest.approx(0.0, abs=1e-9)]


def test_where_nothing_was_left_to_chance_nothing_can_be_learned(place) -> None:
    found = table(place, *(decision(n, "a", 100 + n, "mail", 1.0) for n in range(40)))
    said = evaluate_choices(build_logged_choices(found), unit="USD", rng=np.random.default_rng(1))
    assert "Every decision has propensity 1" in said.verdict
    nothing = evaluate_choices(
        build_logged_choices(found.clear()), unit="USD", rng=np.random.default_rng(1)
    )
    assert "It holds no decision." in nothing.verdict


def test_another_candidate_is_joined_by_decision(place) -> None:
    found = table(place, decision(1, "a", 120, "call", 0.5), decision(2, "b", 120, "mail", 1.0))
    given = with_candidate(found, pl.DataFrame({"decision_id": ["d1"], "candidate": ["call"]}))
    assert build_logged_choices(given).candidate.tolist() == [[1.0]]
    wide = with_candidate(
        found,
        pl.DataFrame({"decision_id": ["d1"], "candidate:call": [0.25], "candidate:mail": [0.75]}),
    )
    assert build_logged_choices(wide).candidate.tolist() == [[0.25, 0.75]]


@pytest.mark.parametrize(
    ("candidate", "message"),
    [
        ({"decision_id": ["d1"]}, "needs the column decision_id, and candidate"),
        ({"candidate": ["call"]}, "needs the column decision_id"),
        ({"decision_id": ["d1", "d1"], "candidate": ["call", "mail"]}, "has decision 'd1' twice"),
        ({"decision_id": ["other"], "candidate": ["call"]}, "lacks 1 of 1 decisions .* 'd1'"),
    ],
    ids=["no choice", "no id", "twice", "missing"],
)
def test_a_candidate_that_does_not_fit_is_refused(place, candidate, message) -> None:
    found = table(place, decision(1, "a", 120, "call", 0.5))
    with pytest.raises(ChoicesError, match=message):
        with_candidate(found, pl.DataFrame(candidate))
