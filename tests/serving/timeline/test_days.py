from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from features.events.schema import Event, events_frame, properties_text
from serving.timeline.days import describe_events, group_by_day, weeks_of_use

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
    assert [week.uses for week in weeks] == [7, 8]  # each holds its first moment, not its last
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


def test_a_week_of_use_counts_what_the_fact_of_seven_days_counts() -> None:
    """Feature uses, without sessions, over the same half-open window."""
    moment = datetime(2026, 3, 1, tzinfo=UTC)

    def weeks(*events: tuple[str, timedelta, int]) -> list[tuple[int | None, bool]]:
        frame = pl.DataFrame(
            [
                {"kind": kind, "occurred_at": moment - ago, "event_count": count}
                for kind, ago, count in events
            ]
        )
        found = weeks_of_use(frame, as_of=moment, weeks=2, known_since=moment - timedelta(days=90))
        return [(week.uses, week.are_sessions) for week in found]

    week, second = timedelta(days=7), timedelta(seconds=1)
    used = [
        ("feature.used", week, 4),
        ("feature.used", week + second, 9),
        ("feature.used", second, 3),
    ]
    sessions = [("user.session", second, 50)]
    assert weeks(*used, *sessions) == [(9, False), (7, False)]
    assert weeks(*sessions) == [(0, True), (50, True)]
