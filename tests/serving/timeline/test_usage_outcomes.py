"""Whether use moved after an action is measured once its windows are over and known, not sooner."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from features.events.schema import Event, events_frame
from features.lake.lake import Lake
from features.workspace import Workspace
from serving.ledger.ledger import Decision, Ledger, NewOutcome
from serving.ledger.reported_outcomes import ExecutedDecision, Measure
from serving.timeline.days import describe_events
from serving.timeline.store import KnownUse, TimelineStore
from serving.timeline.usage_outcomes import (
    LONGEST_WAIT,
    USE,
    WINDOW,
    measure_usage,
    result_of,
    uses_around,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY, TICK = timedelta(days=1), timedelta(microseconds=1)
DONE = ExecutedDecision(decision_id="d-1", account_id="acme", at=NOW)
LONG_AGO = NOW - 300 * DAY


def known(*uses, account_since=LONG_AGO, first=LONG_AGO, recorded_until=NOW + WINDOW):
    return KnownUse(
        of_account={"acme": uses} if uses else {},
        first=first,
        account_since={"acme": account_since} if account_since else {},
        recorded_until=recorded_until,
    )


def counts(*uses, **what):
    measure = uses_around(known(*uses, **what), [DONE]).get("d-1")
    return None if measure is None else (measure.before, measure.after)


def test_each_use_counts_in_its_window_to_the_instant():
    edges = {
        NOW - WINDOW - TICK: 1,
        NOW - WINDOW: 2,
        NOW - TICK: 4,
        NOW: 8,
        NOW + WINDOW - TICK: 16,
        NOW + WINDOW: 32,
    }
    assert counts(*edges.items()) == (2 + 4, 8 + 16)


def test_an_account_that_fell_silent_has_used_it_zero_times():
    assert counts() == (0, 0)
    assert counts((NOW - DAY, 7)) == (7, 0)


@pytest.mark.parametrize(
    "what",
    [
        {"account_since": None},
        {"account_since": NOW - WINDOW + TICK},
        {"first": None},
        {"first": NOW - WINDOW + TICK},
        {"recorded_until": None},
        {"recorded_until": NOW + WINDOW - TICK},
    ],
    ids=[
        "account unknown",
        "account too young",
        "no telemetry",
        "telemetry too young",
        "nothing recorded",
        "not all recorded",
    ],
)
def test_what_is_not_known_is_not_zero(what):
    assert counts((NOW - DAY, 7), (NOW + DAY, 70), **what) is None
    assert counts(
        (NOW - DAY, 7),
        (NOW + DAY, 70),
        account_since=NOW - WINDOW,
        first=NOW - WINDOW,
        recorded_until=NOW + WINDOW,
    ) == (7, 70)


@pytest.mark.parametrize(
    ("before", "after", "result"),
    [
        (10_000, 12_000, "usage_moved"),
        (10_000, 11_999, "usage_steady"),
        (10_000, 8_000, "usage_fell"),
        (10_000, 8_001, "usage_steady"),
        (0, 4, "usage_steady"),
        (0, 5, "usage_moved"),
        (5, 0, "usage_fell"),
        (4, 0, "usage_steady"),
    ],
)
def test_a_change_is_a_fifth_and_more_than_chance(before, after, result):
    assert (
        result_of(Measure(before=before, after=after, unit="x", window_days=14, source=USE))
        == result
    )


# -- from the ledger to the timeline -------------------------------------------------------------


@pytest.fixture
def ledger(ledger_place: Path | str) -> Iterator[Ledger]:
    opened = Ledger(ledger_place)
    for name, account in (("d-1", "acme"), ("d-2", "young"), ("d-3", "acme")):
        opened.append_decisions(
            [
                Decision(
                    decision_id=name,
                    account_id=account,
                    decided_at=NOW,
                    as_of=NOW,
                    action="tips_email",
                    expected_value=1.5,
                    currency="USD",
                    eligible=(),
                    withheld=(),
                    versions={},
                    input_digest="ab",
                )
            ]
        )
    for name in ("d-1", "d-2"):
        opened.append_outcome(name, NewOutcome(kind="executed"), key=name, received_at=NOW)
    yield opened
    opened.close()


def used(number, account, days, count, *, kind=USE):
    at = NOW + days * DAY
    return Event(
        event_id=f"u{number}",
        account_id=account,
        kind=kind,
        occurred_at=at,
        recorded_at=at + DAY / 2,
        event_count=count,
    )


@pytest.fixture
def timelines(tmp_path: Path) -> TimelineStore:
    workspace = Workspace(tmp_path / "w", environment={})
    lake = Lake(workspace.events_dir, workspace.quarantine_dir)
    events = [
        used(1, "acme", -100, 9),
        used(2, "acme", -3, 40),
        used(3, "acme", 2, 50),
        used(4, "acme", 13, 30),
        used(5, "acme", 5, 500, kind="user.session"),
        used(6, "young", -2, 10),
        used(7, "young", 3, 99),
        used(8, "other", 14, 1),
    ]
    lake.append(events_frame(events), source="crm", file="crm", now=NOW + 60 * DAY)
    return TimelineStore(workspace)


def test_it_is_written_once_when_it_is_known_and_told_to_the_timeline(ledger, timelines):
    for too_early in (NOW, NOW + 13.9 * DAY, NOW + WINDOW + DAY / 4):  # half a day late
        assert measure_usage(ledger, timelines, now=too_early) == 0
    assert measure_usage(ledger, timelines, now=NOW + WINDOW + DAY) == 1
    assert measure_usage(ledger, timelines, now=NOW + WINDOW + 2 * DAY) == 0
    [_, measured] = ledger.outcomes_of(["acme"])["acme"]
    assert (measured.decision_id, measured.kind, measured.result, measured.clock, measured.by) == (
        "d-1",
        "outcome",
        "usage_moved",
        "quick",
        "keepwell",
    )
    assert measured.measure == Measure(
        before=40, after=80, unit="uses of features", window_days=14, source="feature.used"
    )
    assert (measured.occurred_at, measured.received_at) == (NOW + WINDOW, NOW + WINDOW + DAY)
    assert [o.kind for o in ledger.outcomes_of(["young"])["young"]] == ["executed"]
    assert ledger.verify().finding is None
    timelines.deliver(ledger, now=NOW + 20 * DAY)
    told = timelines.events("acme", as_of=NOW + 21 * DAY)
    [row] = told.filter(told["kind"] == "action.outcome").iter_rows(named=True)
    said = json.loads(row["properties"])
    assert (
        said["decision_id"],
        said["before"],
        said["after"],
        said["window_days"],
        said["unit"],
        said["source"],
        row["quantity"],
    ) == ("d-1", 40, 80, 14, "uses of features", "feature.used", 40.0)
    texts = [event.text for event in describe_events(told, currency="USD")]
    assert (
        "After tips email use rose: 80 uses of features in the 14 days after, 40 in the 14 "
        "days before"
    ) in texts


def test_what_could_not_be_measured_for_long_stays_unknown(ledger, timelines):
    assert measure_usage(ledger, timelines, now=NOW + WINDOW + LONGEST_WAIT) == 0
    assert measure_usage(ledger, timelines, now=NOW + WINDOW + LONGEST_WAIT - TICK) == 1


def test_a_key_of_before_anything_was_measured_is_still_known(ledger):
    again, is_new = ledger.append_outcome(
        "d-1", NewOutcome(kind="executed"), key="d-1", received_at=NOW + DAY
    )
    assert (again.measure, is_new) == (None, False)
