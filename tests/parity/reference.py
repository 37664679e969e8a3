"""The slow, obvious way to compute every primitive: a few lines over a list of events."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from features.catalogue.feature import Attribute, Feature
from features.events.schema import Event

Row = tuple[Event, datetime | None]  # an event and the moment a correction superseded it


@dataclass(frozen=True)
class Seen:
    """An event with its properties read."""

    event: Event
    properties: dict[str, str | float]


def visible(rows: Sequence[Row], feature: Feature, as_of: datetime) -> list[Seen]:
    """The events that the feature sees as of the moment, oldest first."""
    closes = as_of - feature.ends_before
    opens = None if feature.lookback is None else closes - feature.lookback
    found = []
    for event, superseded_at in rows:
        properties = json.loads(event.properties)
        wanted = event.kind in feature.reads and all(
            str(properties.get(key)) in ((value,) if isinstance(value, str) else value)
            for key, value in feature.where.items()
        )
        wanted = wanted and (not feature.quantities or event.quantity in feature.quantities)
        known = event.recorded_at < as_of
        current = superseded_at is None or as_of <= superseded_at
        inside = event.occurred_at < closes and (opens is None or event.occurred_at >= opens)
        if wanted and known and current and inside:
            found.append(Seen(event, properties))
    return sorted(found, key=lambda s: (s.event.occurred_at, s.event.recorded_at, s.event.event_id))


def reference(rows: Sequence[Row], feature: Feature, as_of: datetime) -> float | None:
    """The value of a primitive feature of one account; None is unknown."""
    seen = visible(rows, feature, as_of)
    of = feature.aggregate.of
    words = feature.aggregate.words
    numbers = [n for n in (_number(s, of, words) for s in seen) if n is not None]
    users = [
        (s.event.user_id, s.event.occurred_at.astimezone(UTC).date())
        for s in seen
        if s.event.user_id is not None
    ]
    match feature.aggregate.operation:
        case "count":
            return float(sum(s.event.event_count for s in seen)) if seen else feature.when_empty
        case "sum":
            return sum(numbers) if numbers else feature.when_empty
        case "mean":
            return sum(numbers) / len(numbers) if numbers else feature.when_empty
        case "max":
            return max(numbers) if numbers else feature.when_empty
        case "min":
            return min(numbers) if numbers else feature.when_empty
        case "last":
            return numbers[-1] if numbers else feature.when_empty
        case "users":
            return _distinct([user for user, _ in users], seen, feature)
        case "user_days":
            return _distinct(users, seen, feature)
        case "peak_users":
            return float(max(s.event.user_count for s in seen)) if seen else feature.when_empty
        case "values":
            assert of is not None
            found = {str(s.properties[of]) for s in seen if of in s.properties}
            return float(len(found)) if seen else feature.when_empty
        case "active_days":
            days = {s.event.occurred_at.astimezone(UTC).date() for s in seen}
            return float(len(days)) if seen else feature.when_empty
        case "days_since_last":
            return _days(as_of - seen[-1].event.occurred_at) if seen else feature.when_empty
        case "days_since_first":
            return _days(as_of - seen[0].event.occurred_at) if seen else feature.when_empty
        case "last_gap":
            ordered = sorted({s.event.occurred_at.astimezone(UTC).date() for s in seen})
            return float((ordered[-1] - ordered[-2]).days) if ordered[1:] else feature.when_empty
        case "in_state":
            return _in_state(seen, feature, as_of)
        case "below_zero":
            return float(sum(n < 0 for n in numbers)) if seen else feature.when_empty
        case "second_busiest_day":
            counts = Counter[int]()
            for s in seen:
                back = as_of - feature.ends_before - s.event.occurred_at
                counts[math.ceil(back / timedelta(days=1))] += s.event.event_count
            return float(sorted([0, 0, *counts.values()])[-2]) if seen else feature.when_empty
        case "days_until":
            assert of is not None
            dates = [day for day in (_date(s, of) for s in seen) if day is not None]
            if not dates:
                return feature.when_empty
            midnight = datetime(dates[-1].year, dates[-1].month, dates[-1].day, tzinfo=UTC)
            return _days(midnight - as_of)
        case "days_spanned":
            return _days_spanned(seen, feature)
        case unknown:
            raise AssertionError(f"no reference for the operation {unknown!r}")


def _days_spanned(seen: list[Seen], feature: Feature) -> float | None:
    """From the oldest event of the last run of dates that differ by less than 28 days, each from
    the one before, to the newest date."""
    dated = [(s.event, day) for s in seen if (day := _date(s, str(feature.aggregate.of)))]
    if not dated:
        return feature.when_empty
    first = len(dated) - 1
    while first and abs(dated[first][1] - dated[first - 1][1]) < timedelta(days=28):
        first -= 1
    newest = dated[-1][1]
    midnight = datetime(newest.year, newest.month, newest.day, tzinfo=UTC)
    return _days(midnight - dated[first][0].occurred_at)


def _in_state(seen: list[Seen], feature: Feature, as_of: datetime) -> float | None:
    """How many values are in the state; an event of the state is seen once it is old enough."""
    aggregate = feature.aggregate
    ripe = as_of - feature.ends_before - aggregate.after
    found: dict[str | float | None, bool] = {}
    for s in seen:
        name = s.properties.get(str(aggregate.of))
        is_in = name is not None and all(
            str(s.properties.get(key)) in ((value,) if isinstance(value, str) else value)
            for key, value in aggregate.state.items()
        )
        if not is_in or s.event.occurred_at < ripe:
            found[name] = is_in
    return float(sum(found.values())) if found else feature.when_empty


def _distinct(found: Sequence[object], seen: list[Seen], feature: Feature) -> float | None:
    if not seen:
        return feature.when_empty
    return float(len(set(found))) if found else None  # somebody was there, nobody said who


def attribute_reference(rows: Sequence[Row], attribute: Attribute, as_of: datetime) -> str | None:
    """The word of the newest known event that has one; None is unknown."""
    known = [
        event
        for event, gone in rows
        if event.kind in attribute.reads
        and event.recorded_at < as_of
        and event.occurred_at < as_of
        and (gone is None or as_of <= gone)
    ]
    word = None
    for event in sorted(known, key=lambda e: (e.occurred_at, e.recorded_at, e.event_id)):
        found = (
            attribute.words.get(event.kind)
            if attribute.of is None
            else json.loads(event.properties).get(attribute.of)
        )
        word = word if found is None else str(found)
    return word


def known_since(rows: Sequence[Row]) -> datetime:
    """When anything of an account was first known; the far future where nothing ever was."""
    return min((event.recorded_at for event, _ in rows), default=datetime.max.replace(tzinfo=UTC))


def _number(seen: Seen, of: str | None, words: Mapping[str, float]) -> float | None:
    if of is None:
        return seen.event.quantity
    if words:
        return words.get(str(seen.properties.get(of)))
    try:
        number = float(seen.properties[of])
    except (KeyError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _date(seen: Seen, of: str) -> date | None:
    try:
        return date.fromisoformat(str(seen.properties[of]))
    except (KeyError, ValueError):
        return None


def _days(span: timedelta) -> float:
    return span / timedelta(days=1)
