from __future__ import annotations

from datetime import UTC, datetime, timedelta

from serving.ledger.ledger import Decision, Outcome
from serving.timeline.ledger_events import decided_event, outcome_event

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_a_decision_and_an_outcome_become_events_with_ids_of_their_own():
    decision = Decision(
        decision_id="d",
        account_id="a",
        decided_at=NOW,
        as_of=NOW,
        action="success_call",
        expected_value=1.0,
        currency="USD",
        eligible=(),
        withheld=(),
        versions={},
        input_digest="x",
    )
    assert decided_event(decision).event_id == "decision-d"
    assert decided_event(decision).quantity == 1.0
    for kind, text in (
        ("executed", '"by":"ann"'),
        ("declined", '"reason":"no"'),
        ("outcome", '"outcome":"renewed"'),
    ):
        outcome = Outcome(
            outcome_id="o",
            decision_id="d",
            account_id="a",
            action="success_call",
            kind=kind,
            occurred_at=NOW - timedelta(days=1),
            received_at=NOW,
            by="ann",
            reason="no",
            result="renewed",
        )
        event = outcome_event(outcome)
        assert event.kind == f"action.{kind}"
        assert (event.occurred_at, event.recorded_at) == (NOW - timedelta(days=1), NOW)
        assert text in event.properties
