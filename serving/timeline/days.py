"""An account's timeline as a person reads it: by day in words, and by week of use."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import polars as pl

from features.events.provenance import is_own
from serving.text_format import plural
from serving.timeline.sentences import sentence

ROUTINE = frozenset({"user.session", "feature.used", "usage.metered", "job.retry"})
"""Kinds that happen all the time: a page adds them up per day."""


@dataclass(frozen=True, kw_only=True)
class TimelineEvent:
    """One event of a timeline, or several equal ones of one day."""

    kind: str
    occurred_at: datetime
    recorded_at: datetime
    text: str
    count: int = 1
    quantity: float | None = None
    event_id: str | None = None
    properties: Mapping[str, str | float | bool] | None = None


@dataclass(frozen=True, kw_only=True)
class TimelineDay:
    """The events of one day, in words."""

    on: date
    notable: tuple[TimelineEvent, ...]
    routine: tuple[TimelineEvent, ...]


@dataclass(frozen=True, kw_only=True)
class WeekOfUse:
    """An account's use of the product in one week that ends on a day.

    ``uses`` are those of features, as the facts of reasons count them; sessions where no use of a
    feature is known. None: the account was not known yet.
    """

    until: date
    uses: int | None
    are_sessions: bool = False


def describe_events(events: pl.DataFrame, *, currency: str) -> tuple[TimelineEvent, ...]:
    """Every event with its sentence, in the order given."""
    return tuple(
        TimelineEvent(
            kind=row["kind"],
            occurred_at=row["occurred_at"],
            recorded_at=row["recorded_at"],
            text=sentence(
                row["kind"],
                json.loads(row["properties"]),
                row["quantity"],
                currency,
                is_own=is_own(row["event_id"]),
            ),
            count=row["event_count"],
            quantity=row["quantity"],
            event_id=row["event_id"],
            properties=json.loads(row["properties"]),
        )
        for row in events.iter_rows(named=True)
    )


def group_by_day(events: Sequence[TimelineEvent], *, most_days: int) -> tuple[TimelineDay, ...]:
    """The newest days; equal events of a day are one line with a count."""
    days: dict[date, list[TimelineEvent]] = defaultdict(list)
    for event in events:
        days[event.occurred_at.astimezone(UTC).date()].append(event)
    return tuple(_day(on, days[on]) for on in sorted(days, reverse=True)[:most_days])


def weeks_of_use(
    events: pl.DataFrame, *, as_of: datetime, weeks: int, known_since: datetime | None
) -> tuple[WeekOfUse, ...]:
    """Feature uses, else sessions, in each of the last weeks, oldest first.

    A week is half-open, as the windows of features are: it holds its first moment and not its last.
    One that ended before anything was known of the account has no number, not zero.
    """
    used = events.filter(pl.col("kind") == "feature.used")
    sessions = events.filter(pl.col("kind") == "user.session")
    are_sessions = used.is_empty() and not sessions.is_empty()
    counts: Counter[int] = Counter()
    counted = (sessions if are_sessions else used).select("occurred_at", "event_count")
    for at, count in counted.iter_rows():
        counts[-((at - as_of) // timedelta(days=7)) - 1] += count
    ends = [(week, as_of - timedelta(days=7 * week)) for week in range(weeks - 1, -1, -1)]
    return tuple(
        WeekOfUse(
            until=end.date(),
            uses=counts[week] if known_since is not None and known_since < end else None,
            are_sessions=are_sessions,
        )
        for week, end in ends
    )


def _day(on: date, events: Sequence[TimelineEvent]) -> TimelineDay:
    lines: dict[str, list[TimelineEvent]] = defaultdict(list)
    for event in events:
        lines[event.text].append(event)
    summed = []
    for text, same in lines.items():
        count = sum(event.count for event in same)
        summed.append(
            TimelineEvent(
                kind=same[0].kind,
                occurred_at=same[0].occurred_at,
                recorded_at=same[0].recorded_at,
                text=text if count == 1 else f"{text} ({plural(count, 'time')})",
                count=count,
            )
        )
    notable = tuple(e for e in summed if e.kind not in ROUTINE)
    routine = tuple(sorted((e for e in summed if e.kind in ROUTINE), key=lambda e: -e.count))
    return TimelineDay(on=on, notable=notable, routine=routine)
