"""What people said to recommendations is judged by what became of the accounts."""

from __future__ import annotations

import itertools
import json
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from small_company import event
from typer.testing import CliRunner

import keepwell
from features.lake import Lake
from features.telemetry import events_frame
from features.workspace import Workspace
from serving.feedback import FeedbackRecords, NewFeedback, Verdict
from serving.judged_feedback import FOLLOW_UP, Said, at_most, judged, said_in
from serving.ledger.ledger import Decision, Ledger, NewOutcome

AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def said(number: int, *, verdict: Verdict = "disagree", chance: float | None = 0.5,
         left: bool | None = False, days_ago: float = 120, **changed: object) -> Said:
    return Said(**{  # type: ignore[arg-type]
        "decision_id": f"d{number:03d}", "account_id": f"a{number}", "action": "success_call",
        "verdict": verdict, "decided_at": AS_OF - days_ago * DAY, "churn_probability": chance,
        "has_left": left, "was_carried_out": False, **changed})


@pytest.mark.parametrize("seed", range(5))
def test_the_chance_of_a_count_is_that_of_every_way_it_can_come_about(seed):
    chances = np.random.default_rng(seed).random(7)
    for count in range(-1, 8):
        ways = (np.prod([p if gone else 1 - p for p, gone in zip(chances, way, strict=True)])
                for way in itertools.product((0, 1), repeat=7) if sum(way) <= count)
        assert at_most(count, chances.tolist()) == pytest.approx(sum(ways), abs=1e-12)


def test_who_left_is_set_beside_whom_the_model_expected_to_leave():
    [one] = judged([said(n, left=n == 0) for n in range(12)])
    assert (one.verdict, one.said, one.over, one.left, one.expected) == ("disagree", 12, 12, 1, 6.0)
    assert one.probability == pytest.approx(2 * 13 / 2**12)
    assert one.words == ("1 of 12 accounts left within 90 days, where the model expected 6.0: "
                         "fewer than expected (p = 0.006); the model expected too many")
    [more] = judged([said(n, left=True, chance=0.2, was_carried_out=n == 1) for n in range(6)])
    assert more.comparison == "more than expected"
    assert more.words.endswith("the model expected too few, or what was done harmed")
    [same] = judged([said(n, left=n < 5) for n in range(12)])
    assert (same.comparison, "as many as chance allows" in same.words) == ("as expected", True)


def test_what_is_not_known_is_no_number():
    [one] = judged([said(1, left=None), said(2, chance=None, left=True)])
    assert (one.said, one.over, one.expected, one.probability) == (2, 0, None, None)
    assert (one.comparison, "over yet" in one.words) == ("not known", True)
    assert judged([]) == ()


def test_an_account_counts_once_in_a_follow_up():
    again = [said(n, account_id="a", days_ago=ago, left=False)
             for n, ago in enumerate((300, 290, 211, 210, 150, 120))]
    [one] = judged(again)
    assert one.said == 3  # 300, 210 and 120 days ago: 90 days apart
    assert judged(reversed(again)) == (one,)


def test_verdicts_and_actions_stand_apart():
    all_said = [said(1, verdict="snooze"), said(2, verdict="agree"),
                said(3, verdict="agree", action="save_play", results=frozenset({"renewed"}))]
    assert [(one.verdict, one.action, one.said) for one in judged(all_said)] == [
        ("agree", None, 2), ("snooze", None, 1)]
    assert [(one.action, one.verdict, dict(one.results)) for one in judged(
        all_said, by_action=True)] == [
        ("save_play", "agree", {"renewed": 1}), ("success_call", "agree", {}),
        ("success_call", "snooze", {})]


@pytest.mark.parametrize("seed", range(3))
def test_where_the_model_is_right_one_in_twenty_is_called_otherwise_at_most(seed):
    rng = np.random.default_rng(seed)
    wrong = 0
    for _ in range(300):
        chances = rng.beta(1, 4, 30)
        [one] = judged([said(n, chance=p, left=bool(rng.random() < p))
                        for n, p in enumerate(chances)])
        wrong += one.comparison != "as expected"
    assert 0 < wrong <= 24  # an exact test of whole numbers stays below 15 on average


# -- from a ledger and a timeline ----------------------------------------------------------------


def decision(number: int, account: str, days_ago: float, chance: float | None = 0.3) -> Decision:
    at = AS_OF - days_ago * DAY
    return Decision(
        decision_id=f"d{number}", account_id=account, decided_at=at, as_of=at,
        action="success_call", expected_value=1.0, currency="USD",
        eligible=({"action_id": "success_call"},), withheld=(), versions={}, input_digest="x",
        inputs=json.dumps({"question": {"state": {"churn_probability": chance}}, "shared": "s"}))


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    """a and b are customers, b leaves 60 days ago; c never was one."""
    workspace = Workspace(tmp_path / "w", environment={})
    workspace.change_settings(complete_until=AS_OF)
    events = [event(account, "contract.started", 300, quantity=100.0, price_plan="starter")
              for account in ("a", "b")]
    events.append(event("b", "contract.cancelled", 60))
    Lake(workspace.events_dir, workspace.quarantine_dir).append(
        events_frame(events), source="hand", file="hand", now=AS_OF)
    decisions = [decision(1, "a", 120), decision(2, "b", 120), decision(3, "c", 120),
                 decision(4, "a", 20), decision(5, "a", 210, None)]
    with closing(Ledger(workspace.ledger_db)) as ledger:
        ledger.append_decisions(decisions)
        records = FeedbackRecords(ledger.database)
        for one in decisions:
            for verdict in ("agree", "disagree"):
                records.record(one.decision_id, NewFeedback(verdict=verdict, reason="they told me"),
                               by="ann", key=None, now=one.decided_at + DAY)
        ledger.append_outcome("d2", NewOutcome(kind="executed", occurred_at=AS_OF - 115 * DAY),
                              key="k1", received_at=AS_OF - 115 * DAY)
        ledger.append_outcome("d2", NewOutcome(kind="outcome", result="left",
                                               occurred_at=AS_OF - 60 * DAY),
                              key="k2", received_at=AS_OF)
    return workspace


def test_the_newest_word_counts_with_what_the_timeline_tells(place):
    with closing(Ledger(place.ledger_db)) as ledger:
        found = {one.decision_id: one for one in said_in(ledger.database, place, as_of=AS_OF)}
        assert {one.verdict for one in found.values()} == {"disagree"}
        assert {name: one.has_left for name, one in found.items()} == {
            "d1": False, "d2": True, "d3": None, "d4": None, "d5": False}
        assert (found["d2"].was_carried_out, found["d2"].results) == (True, frozenset({"left"}))
        assert (found["d1"].churn_probability, found["d5"].churn_probability) == (0.3, None)
        earlier = said_in(ledger.database, place, as_of=AS_OF - 119 * DAY + FOLLOW_UP / 2)
        assert {one.has_left for one in earlier if one.decision_id == "d1"} == {None}
        assert "d4" not in {one.decision_id for one in earlier}
        just_then = said_in(ledger.database, place, as_of=AS_OF - 20 * DAY)  # data that stand still
        assert "d4" in {one.decision_id for one in just_then}


def test_the_command_says_it_and_writes_it(place, tmp_path):
    file = tmp_path / "judged.json"
    words = ["feedback", "--workspace", str(place.root), "--by-action", "--out", str(file)]
    ran = CliRunner().invoke(keepwell.app, words, env={"COLUMNS": "200"})
    assert ran.exit_code == 0, ran.output
    assert "success_call" in ran.output
    assert "1 of 2 accounts left within 90 days, where the model expected 0.6" in " ".join(
        ran.output.split())
    [row] = json.loads(file.read_text(encoding="utf-8"))["judged"]
    assert (row["said"], row["carried_out"], row["over"], row["results"]) == (5, 1, 2, {"left": 1})


def test_where_nobody_said_anything_the_command_says_how(tmp_path):
    workspace = Workspace(tmp_path / "new", environment={})
    workspace.change_settings(complete_until=AS_OF)
    Ledger(workspace.ledger_db).close()
    ran = CliRunner().invoke(keepwell.app, ["feedback", "--workspace", str(workspace.root)])
    assert ran.exit_code == 0
    assert "Nobody has said anything to a recommendation up to 2026-03-01" in " ".join(
        ran.output.split())


def test_what_was_said_is_judged_the_same_in_any_order():
    some = [said(n, left=n % 3 == 0, chance=0.1 * (n % 7)) for n in range(20)]
    assert judged(some) == judged([replace(one) for one in reversed(some)])
