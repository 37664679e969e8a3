from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from features.events.schema import KIND_NAMES, Event, events_frame, properties_text
from serving.ledger.ledger import Decision, Outcome
from serving.timeline.store import (
    QUANTITIES,
    SENTENCES,
    decided_event,
    describe_events,
    group_by_day,
    outcome_event,
    sentence,
    weeks_of_use,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def use(days_ago: float, count: int = 1, name: str = "search", kind: str = "feature.used"):
    at = NOW - timedelta(days=days_ago)
    return Event(
        event_id=f"{days_ago}{name}",
        account_id="a",
        kind=kind,
        occurred_at=at,
        recorded_at=at,
        event_count=count,
        properties=properties_text({"name": name}),
    )


def test_every_kind_has_its_words():
    assert set(SENTENCES) == KIND_NAMES
    assert set(QUANTITIES) <= KIND_NAMES


@pytest.mark.parametrize("kind", sorted(KIND_NAMES))
@pytest.mark.parametrize("quantity", [None, 3.0])
def test_a_sentence_reads_well_without_any_property(kind, quantity):
    text = sentence(kind, {}, quantity, "USD")
    assert text
    assert "{" not in text
    assert "()" not in text
    assert not text.endswith((":", " "))


def test_a_tenants_own_kind_is_said_by_its_name():
    assert sentence("custom.pallet_shipped", {}, None, "USD") == "Pallet shipped"


def test_a_brace_in_a_property_is_only_text():
    assert sentence("feature.used", {"name": "{0.__class__}"}, None, "USD") == "Used {0 class }"


def test_equal_events_of_a_day_are_one_line():
    events = describe_events(
        events_frame([use(0.1, 3), use(0.2, 4), use(0.3, 1, name="export"), use(2.0)]),
        currency="USD",
    )
    days = group_by_day(events, most_days=5)
    assert [day.on.day for day in days] == [1, 27]
    assert [e.text for e in days[0].routine] == ["Used search (7 times)", "Used export"]
    assert group_by_day(events, most_days=1) == days[:1]


def test_what_happens_all_the_time_stands_apart_from_what_does_not():
    events = describe_events(
        events_frame([use(0.1), use(0.2, kind="error.raised")]), currency="USD"
    )
    [day] = group_by_day(events, most_days=5)
    assert [e.text for e in day.notable] == ["Met an error (search)"]
    assert [e.text for e in day.routine] == ["Used search"]


def test_weeks_count_back_from_the_moment():
    frame = events_frame([use(0, 2), use(6.9, 3), use(7.0, 5), use(13, 7), use(100, 11)])
    weeks = weeks_of_use(frame, as_of=NOW, weeks=2, known_since=NOW - timedelta(days=100))
    assert [week.uses for week in weeks] == [12, 5]
    assert weeks[-1].until == NOW.date()


@pytest.mark.parametrize(
    ("days_known", "uses"),
    [(30, [0, 0, 5, 2]), (21, [None, 0, 5, 2]), (10, [None, None, 5, 2]), (None, [None] * 4)],
)
def test_weeks_before_anything_was_known_have_no_number(days_known, uses):
    since = None if days_known is None else NOW - timedelta(days=days_known)
    weeks = weeks_of_use(
        events_frame([use(1, 2), use(8, 5)] if since else []), as_of=NOW, weeks=4, known_since=since
    )
    assert [week.uses for week in weeks] == uses


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
