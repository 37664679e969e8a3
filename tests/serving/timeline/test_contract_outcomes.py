"""What the contract said after an action comes to its decision, once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from features.events.schema import Event, events_frame, properties_text
from features.lake.lake import Lake
from features.workspace import Workspace
from serving.ledger.ledger import Decision, Ledger, NewOutcome
from serving.ledger.reported_outcomes import ExecutedDecision
from serving.timeline.contract_outcomes import ContractEvent, join_slow_outcomes, slow_outcome
from serving.timeline.store import TimelineStore

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
DONE = ExecutedDecision(decision_id="d-1", account_id="acme", at=NOW)


def word(kind: str, days: float, mrr: float | None = None) -> ContractEvent:
    return ContractEvent(kind=f"contract.{kind}", occurred_at=NOW + days * DAY, mrr=mrr)


@pytest.mark.parametrize(
    ("words", "result"),
    [
        ((), None),
        ((word("started", -300, 100),), None),
        ((word("started", -300, 100), word("renewed", 20, 100)), "renewed"),
        ((word("started", -300, 100), word("renewed", 20, 130)), "grew"),
        ((word("started", -300, 100), word("changed", 20, 130)), "grew"),
        ((word("started", -300, 100), word("changed", 20, 70)), "shrank"),
        ((word("started", -300, 100), word("changed", 20, 100)), None),
        ((word("started", -300, 100), word("changed", 20, None), word("cancelled", 30)), "left"),
        (
            (word("started", -300, None), word("renewed", 20, 130)),
            "renewed",
        ),  # risen or not: unknown
        ((word("started", -300, 100), word("cancelled", 0)), None),  # at the same moment: before
        ((word("started", -300, 100), word("cancelled", 365)), "left"),
        ((word("started", -300, 100), word("cancelled", 365.1)), None),
        ((word("started", -300, 100), word("renewed", 5, 100), word("cancelled", 9)), "renewed"),
    ],
    ids=str,
)
def test_the_first_word_after_an_action_counts(
    words: tuple[ContractEvent, ...], result: str | None
) -> None:
    found = slow_outcome(DONE, words)
    assert (found.result if found else None) == result


@pytest.fixture
def ledger(ledger_place: Path | str) -> Iterator[Ledger]:
    opened = Ledger(ledger_place)
    yield opened
    opened.close()


def test_it_is_joined_once_when_it_is_known_and_told_to_the_timeline(
    ledger: Ledger,
    tmp_path: Path,
) -> None:
    workspace = Workspace(tmp_path / "w", environment={})
    for name, account in (("d-1", "acme"), ("d-2", "zeta")):
        ledger.append_decisions(
            [
                Decision(
                    decision_id=name,
                    account_id=account,
                    decided_at=NOW,
                    as_of=NOW,
                    action="success_call",
                    expected_value=1.5,
                    currency="USD",
                    eligible=(),
                    withheld=(),
                    versions={},
                    input_digest="ab",
                )
            ]
        )
        ledger.append_outcome(name, NewOutcome(kind="executed"), key=name, received_at=NOW)
    lake = Lake(workspace.events_dir, workspace.quarantine_dir)
    left = Event(
        event_id="e",
        account_id="acme",
        kind="contract.cancelled",
        occurred_at=NOW + 40 * DAY,
        recorded_at=NOW + 50 * DAY,
        properties=properties_text({"reason": "price"}),
    )
    lake.append(events_frame([left]), source="crm", file="crm", now=NOW + 50 * DAY)
    timelines = TimelineStore(workspace)
    assert join_slow_outcomes(ledger, timelines, now=NOW + 45 * DAY) == 0  # not known yet
    assert join_slow_outcomes(ledger, timelines, now=NOW + 51 * DAY) == 1
    assert join_slow_outcomes(ledger, timelines, now=NOW + 52 * DAY) == 0
    assert join_slow_outcomes(ledger, timelines, now=NOW - DAY) == 0
    quick, slow = ledger.outcomes_of(["acme"])["acme"]
    assert (quick.clock, slow.clock) == ("quick", "slow")
    assert (slow.decision_id, slow.result, slow.by) == ("d-1", "left", "keepwell")
    assert (slow.occurred_at, slow.received_at) == (NOW + 40 * DAY, NOW + 51 * DAY)
    timelines.deliver(ledger, now=NOW + 52 * DAY)
    told = timelines.events("acme", as_of=NOW + 53 * DAY)
    [row] = told.filter(told["kind"] == "action.outcome").iter_rows(named=True)
    assert '"clock": "slow"' in row["properties"].replace('":"', '": "')
    timelines.close()
