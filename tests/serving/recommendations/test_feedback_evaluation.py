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
from experiments.policy.account_state import AccountState, Limits, PolicyError
from experiments.policy.request import PolicyInputs
from features.events.schema import events_frame
from features.lake.lake import Lake
from features.workspace import Workspace
from serving.ledger.feedback import FeedbackRecords, NewFeedback, Verdict
from serving.ledger.ledger import Decision, Ledger, NewOutcome
from serving.recommendations.feedback_evaluation import (
    JudgedAdvice,
    at_most,
    evaluate_feedback,
    load_judged_advice,
)

AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def said(
    number: int,
    *,
    verdict: Verdict = "disagree",
    chance: float | None = 0.5,
    left: bool | None = False,
    days_ago: float = 120,
    **changed: object,
) -> JudgedAdvice:
    return JudgedAdvice(
        **{  # type: ignore[arg-type]
            "decision_id": f"d{number:03d}",
            "account_id": f"a{number}",
            "action": "success_call",
            "verdict": verdict,
            "as_of": AS_OF - days_ago * DAY,
            "churn_probability": chance,
            "has_left": left,
            **changed,
        }
    )


@pytest.mark.parametrize("seed", range(5))
def test_the_chance_of_a_count_is_that_of_every_way_it_can_come_about(seed):
    chances = np.random.default_rng(seed).random(7)
    for count in range(-1, 8):
        ways = (
            np.prod([p if gone else 1 - p for p, gone in zip(chances, way, strict=True)])
            for way in itertools.product((0, 1), repeat=7)
            if sum(way) <= count
        )
        assert at_most(count, chances.tolist()) == pytest.approx(sum(ways), abs=1e-12)


def test_who_left_is_set_beside_whom_the_model_expected_to_leave():
    [one] = evaluate_feedback([said(n, left=n == 0) for n in range(12)])
    assert (one.verdict, one.said, one.accounts, one.left, one.expected) == (
        "disagree",
        12,
        12,
        1,
        6.0,
    )
    assert one.probability == pytest.approx(2 * 13 / 2**12)
    assert one.words == (
        "1 of 12 accounts left within 90 days, where the model expected 6.0: "
        "fewer than expected (p = 0.006); the model expected too many"
    )
    [more] = evaluate_feedback(
        [said(n, left=True, chance=0.2, was_carried_out=n == 1) for n in range(6)]
    )
    assert more.comparison == "more than expected"
    assert more.words.endswith("(p < 0.001); the model expected too few, or what was done harmed")
    [same] = evaluate_feedback([said(n, left=n < 5) for n in range(12)])
    assert (same.comparison, "no more off than by chance" in same.words) == ("as expected", True)


def test_what_was_done_helps_only_accounts_that_are_judged():
    judgeable = [said(n, left=False) for n in range(12)]
    [one] = evaluate_feedback([*judgeable, said(20, left=None, was_carried_out=True)])
    assert (one.said, one.carried_out, one.accounts, one.acted_on) == (13, 1, 12, 0)
    assert one.words.endswith("the model expected too many")


def test_what_is_not_known_is_no_number():
    [one] = evaluate_feedback([said(1, left=None), said(2, chance=None, left=True)])
    assert (one.said, one.accounts) == (2, 0)
    assert (one.left, one.expected, one.probability) == (None, None, None)
    assert (one.comparison, one.words.startswith("not known yet")) == ("not known", True)
    assert evaluate_feedback([]) == ()


def test_an_account_counts_once_in_a_horizon_with_the_first_saying_that_can_be_judged():
    again = [
        said(n, account_id="a", days_ago=ago, left=False)
        for n, ago in enumerate((300, 290, 211, 210, 150, 120))
    ]
    [one] = evaluate_feedback(again)
    assert (one.said, one.accounts) == (6, 3)  # 300, 210 and 120 days ago: 90 days apart
    assert evaluate_feedback(reversed(again)) == (one,)
    unscored = said(9, account_id="a", days_ago=301, chance=None, left=False)
    [same] = evaluate_feedback([unscored, *again])
    assert (same.said, same.accounts) == (7, 3)


def test_sayings_of_one_moment_count_in_the_order_in_which_they_were_said():
    first, second = (
        said(n, account_id="a", chance=chance, decision_id=name)
        for n, (name, chance) in enumerate((("z", 0.1), ("a", 0.4)))
    )
    assert [
        evaluate_feedback(order)[0].expected for order in ((first, second), (second, first))
    ] == [0.1, 0.4]


def test_verdicts_and_actions_stand_apart():
    all_said = [
        said(1, verdict="snooze"),
        said(2, verdict="agree"),
        said(3, verdict="agree", action="save_play", results=frozenset({"renewed"})),
    ]
    assert [(one.verdict, one.action, one.said) for one in evaluate_feedback(all_said)] == [
        ("agree", None, 2),
        ("snooze", None, 1),
    ]
    assert [
        (one.action, one.verdict, dict(one.results))
        for one in evaluate_feedback(all_said, by_action=True)
    ] == [
        ("save_play", "agree", {"renewed": 1}),
        ("success_call", "agree", {}),
        ("success_call", "snooze", {}),
    ]
    of_one = [
        said(1, account_id="a", action="save_play", verdict="agree", days_ago=150),
        said(2, account_id="a", action="success_call", days_ago=140),
    ]
    assert [one.accounts for one in evaluate_feedback(of_one, by_action=True)] == [1, 1]


@pytest.mark.parametrize("by_action", [False, True])
def test_where_the_model_is_right_one_table_in_twenty_speaks_up_at_most(by_action):
    rng = np.random.default_rng(7)
    speaking = 0
    for _ in range(200):
        table = [
            said(
                n,
                verdict=("agree", "disagree", "snooze")[n % 3],
                action=("call", "mail")[n % 2],
                chance=p,
                left=bool(rng.random() < p),
            )
            for n, p in enumerate(rng.beta(1, 4, 120))
        ]
        speaking += any(
            one.comparison != "as expected" for one in evaluate_feedback(table, by_action=by_action)
        )
    assert speaking <= 17  # of 200 at 5 %: more in fewer than 2 of 100 such tests


# -- from a ledger and a timeline ----------------------------------------------------------------


def question(chance: float | None, *, source: str, as_of: datetime) -> str:
    state = AccountState(
        account_id="x",
        as_of=as_of,
        attributes={},
        features={},
        churn_probability=chance,
        score_source=source,
    )  # type: ignore[arg-type]
    asked = PolicyInputs(state=state, limits=Limits(), history=(), as_of=as_of)
    return json.dumps({"question": asked.to_dict(), "shared": "s"})


def decision(
    number: int, account: str, days_ago: float, chance: float | None = 0.3, source: str = "model"
) -> Decision:
    at = AS_OF - days_ago * DAY
    return Decision(
        decision_id=f"d{number}",
        account_id=account,
        decided_at=at,
        as_of=at,
        action="success_call",
        expected_value=1.0,
        currency="USD",
        withheld=(),
        versions={},
        eligible=({"action_id": "success_call"}, {"action_id": "tips_email"}),
        input_digest="x",
        inputs=question(chance, source=source, as_of=at),
    )


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    """a and b are customers, b leaves 60 days ago; c goes 50 days ago and is back 15 days later."""
    workspace = Workspace(tmp_path / "w", environment={})
    workspace.change_settings(complete_until=AS_OF)
    events = [
        event(account, "contract.started", 300, quantity=100.0, price_plan="starter")
        for account in ("a", "b", "c")
    ]
    events += [
        event("b", "contract.cancelled", 60),
        event("c", "contract.cancelled", 50),
        event("c", "contract.started", 35, quantity=100.0, price_plan="starter"),
    ]
    Lake(workspace.events_dir, workspace.quarantine_dir).append(
        events_frame(events), source="hand", file="hand", now=AS_OF
    )
    decisions = [
        decision(1, "a", 120),
        decision(2, "b", 120),
        decision(3, "c", 120),
        decision(4, "a", 20),
        decision(5, "a", 220, source="health_formula"),
    ]
    with closing(Ledger(workspace.ledger_db)) as ledger:
        ledger.append_decisions(decisions)
        records = FeedbackRecords(ledger.database)
        for one in decisions:
            for verdict in ("agree", "disagree"):
                records.record(
                    one.decision_id,
                    NewFeedback(verdict=verdict, reason="they told me"),
                    by="ann",
                    key=None,
                    now=one.decided_at + DAY,
                )
        records.record(
            "d2",
            NewFeedback(verdict="agree", action="tips_email"),
            by="bob",
            key=None,
            now=AS_OF - 119 * DAY,
        )
        for key, new, ago in (
            ("k1", NewOutcome(kind="executed", occurred_at=AS_OF - 115 * DAY), 115),
            ("k2", NewOutcome(kind="outcome", result="declined"), 110),
            ("k3", NewOutcome(kind="outcome", result="left"), 60),
        ):
            ledger.append_outcome("d2", new, key=key, received_at=AS_OF - ago * DAY)
    return workspace


def heard(place: Workspace, as_of: datetime) -> dict[tuple[str, str], JudgedAdvice]:
    with closing(Ledger(place.ledger_db)) as ledger:
        return {
            (one.decision_id, one.action): one
            for one in load_judged_advice(ledger.database, as_of=as_of)
        }


def test_the_newest_word_on_each_action_counts_and_what_was_done_is_of_that_action(place):
    found = heard(place, AS_OF)
    assert {
        name: one.verdict for (name, action), one in found.items() if action == "success_call"
    } == dict.fromkeys(("d1", "d2", "d3", "d4", "d5"), "disagree")
    own, other = found["d2", "success_call"], found["d2", "tips_email"]
    assert (own.was_carried_out, own.results) == (True, frozenset({"declined", "left"}))
    assert (other.verdict, other.was_carried_out, other.results) == ("agree", False, frozenset())


def test_the_formula_is_no_model(place):
    found = heard(place, AS_OF)
    assert found["d1", "success_call"].churn_probability == 0.3
    assert found["d5", "success_call"].churn_probability is None


def test_what_was_said_or_reported_later_is_not_seen(place):
    assert set(heard(place, AS_OF - 120 * DAY)) == {("d5", "success_call")}
    then = heard(place, AS_OF - 119 * DAY)  # also where the data stand still at that moment
    assert then["d2", "success_call"].verdict == "disagree"
    assert not then["d2", "success_call"].was_carried_out
    assert heard(place, AS_OF - 110 * DAY)["d2", "success_call"].results == {"declined"}


def test_a_question_that_can_not_be_read_is_named(place):
    with closing(Ledger(place.ledger_db)) as ledger:
        broken = json.loads(decision(7, "a", 10).inputs or "")
        broken["question"]["state"].pop("mrr")
        ledger.append_decisions([replace(decision(7, "a", 10), inputs=json.dumps(broken))])
        FeedbackRecords(ledger.database).record(
            "d7", NewFeedback(verdict="agree"), by="ann", key=None, now=AS_OF
        )
    with pytest.raises(PolicyError, match=r"Decision 'd7': .* AccountState lacks"):
        heard(place, AS_OF)


def test_the_command_asks_for_the_event_that_was_promised(place, tmp_path):
    file = tmp_path / "judged.json"
    words = ["feedback", "--workspace", str(place.root), "--by-action", "--out", str(file)]
    ran = CliRunner().invoke(keepwell.app, words)
    assert ran.exit_code == 0, ran.output
    assert "who left, " in ran.output
    own, other = json.loads(file.read_text(encoding="utf-8"))["judged"]
    assert (own["action"], own["said"], own["carried_out"], own["acted_on"]) == (
        "success_call",
        5,
        1,
        1,
    )
    assert own["results"] == {"declined": 1, "left": 1}
    assert own["words"].startswith(  # c is back
        "1 of 3 accounts left within 90 days, where the model expected 0.9"
    )
    assert (other["action"], other["accounts"], other["left"]) == ("tips_email", 1, 1)


def test_where_nobody_said_anything_the_command_says_how(tmp_path):
    workspace = Workspace(tmp_path / "new", environment={})
    workspace.change_settings(complete_until=AS_OF)
    Ledger(workspace.ledger_db).close()
    ran = CliRunner().invoke(keepwell.app, ["feedback", "--workspace", str(workspace.root)])
    assert ran.exit_code == 0, ran.output
    assert "Nobody has said anything to a recommendation up to 2026-03-01" in " ".join(
        ran.output.split()
    )
