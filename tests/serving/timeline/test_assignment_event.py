"""What the holdout or a lot decided is on the timeline, with its odds."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from experiments.causal.interventions import ALL_ACTIONS, assignments, propose_designs
from experiments.policy.exploration import chance_for
from experiments.policy.recommend import AccountState, Limits
from experiments.policy.request import PolicyInputs
from experiments.randomisation.holdout import HoldoutRule, HoldoutStatus, holdout_status
from experiments.randomisation.keyed_draw import Exploration, LotteryKey
from features.workspace import Workspace
from registry.playbook.playbook import load_playbook
from serving.ledger.ledger import Decision, Ledger
from serving.timeline.assignment_event import drawn_arm
from serving.timeline.ledger_events import decided_event
from serving.timeline.store import TimelineStore

NOW = datetime(2026, 3, 2, 10, tzinfo=UTC)
KEY = LotteryKey(key_id="2026", secret=bytes(range(32)))
RULE = HoldoutRule(share=0.3)


def stands(account_id: str) -> HoldoutStatus:
    found = holdout_status(
        RULE,
        KEY,
        account_id,
        mrr=2000.0,
        attributes={},
        as_of=NOW,
        term_started_at=NOW - timedelta(days=20),
        term_ends_at=None,
    )
    assert found is not None
    return found


def decided(
    account_id: str, *, held: HoldoutStatus | None = None, explores: bool = False, **state: object
) -> Decision:
    """What the policy says of an account, as the ledger keeps it."""
    known = {
        "account_id": account_id,
        "as_of": NOW,
        "mrr": 800.0,
        "health_score": 55.0,
        "attributes": {"contract_status": "active"},
        "features": {},
        **state,
    }
    asked = PolicyInputs(
        state=AccountState(**known),  # type: ignore[arg-type]
        limits=Limits(quiet_hours=None),
        history=(),
        as_of=NOW,
        standing=held,
        chance=chance_for(Exploration(closeness=0.9), KEY, account_id, period="2026-W10")
        if explores
        else None,
    )
    answer = asked.answer(load_playbook())
    return Decision(
        decision_id=f"d-{account_id}",
        account_id=account_id,
        decided_at=NOW,
        as_of=NOW,
        action=answer.ranked[0].action_id,
        expected_value=1.0,
        currency="USD",
        eligible=(),
        withheld=(),
        versions={},
        input_digest="x",
        propensity=answer.propensity,
        inputs=json.dumps({"question": asked.to_dict(), "shared": "s"}),
    )


def test_the_holdout_has_two_arms_with_the_odds_of_being_offered() -> None:
    found = {}
    for number in range(20):
        drawn = drawn_arm(decided(f"a{number}", held=stands(f"a{number}")))
        assert drawn is not None
        assert (drawn.chance, drawn.draw_id) == ("holdout", "holdout-standing-2026-02-10")
        found[drawn.arm] = drawn.probability
    assert found == {"offered": pytest.approx(0.7), "held_out": pytest.approx(0.7)}


def test_who_would_be_left_alone_anyway_is_in_no_arm() -> None:
    quiet = decided(
        "a1",
        held=stands("a1"),
        attributes={"contract_status": "churned"},
        health_score=90.0,
        mrr=0.0,
    )
    assert (quiet.action, drawn_arm(quiet)) == ("do_nothing", None)


def test_a_lot_between_actions_has_odds_and_no_arm() -> None:
    drawn = drawn_arm(decided("a1", explores=True))
    assert drawn is not None
    assert (drawn.chance, drawn.draw_id, drawn.arm) == ("between_actions", "actions-2026-W10", None)
    assert drawn.probability in (1 / 2, 1 / 3)


def test_with_both_draws_the_odds_are_the_holdouts() -> None:
    name = next(f"a{n}" for n in range(20) if not stands(f"a{n}").is_held_out)
    decision = decided(name, held=stands(name), explores=True)
    assert decision.propensity < 0.7
    drawn = drawn_arm(decision)
    assert drawn is not None
    assert (drawn.chance, drawn.arm, drawn.probability) == ("holdout", "offered", 0.7)


def test_without_what_was_asked_nothing_is_said_of_chance() -> None:
    decision = replace(decided("a1", held=stands("a1")), inputs=None)
    assert drawn_arm(decision) is None
    assert json.loads(decided_event(decision).properties)["chance"] == "none"


def test_what_the_service_drew_is_read_as_a_lottery(tmp_path: Path) -> None:
    workspace, ledger = Workspace(tmp_path), Ledger(tmp_path / "ledger.sqlite")
    drawn = [decided(f"a{n:02d}", held=stands(f"a{n:02d}")) for n in range(20)]
    plain = [decided(f"b{n:02d}") for n in range(5)]
    between = [decided("c", explores=True)]
    timelines = TimelineStore(workspace)
    try:
        ledger.append_decisions([*drawn, *plain, *between])
        assert timelines.deliver(ledger, now=NOW) == 26
    finally:
        ledger.close()
        timelines.close()
    events = timelines.of_kinds(
        ("action.decided",),
        as_of=NOW + timedelta(days=1),
        account_ids=[decision.account_id for decision in (*drawn, *plain, *between)],
    )
    rows = assignments(events)
    assert set(rows["account_id"]) == {decision.account_id for decision in drawn}
    assert set(rows["action"]) == {ALL_ACTIONS}
    assert rows["propensity"].to_list() == pytest.approx([0.7] * 20)
    held = rows.filter(~pl.col("is_treated"))["account_id"]
    assert set(held) == {d.account_id for d in drawn if stands(d.account_id).is_held_out}
    [design] = propose_designs(events, as_of=NOW + timedelta(days=1), snapshots=[])
    assert (design.mechanism, design.estimand) == ("lottery", "ITT")
