"""The slow, obvious way to compute every expression feature: a few lines over a list of events."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from features.catalogue.feature import Expression
from features.events.schema import Event

Known = tuple[Event, datetime | None]  # an event and the moment a correction superseded it


@dataclass(frozen=True)
class Window:
    """What one account's window holds: events oldest first, and the moment at which it closes."""

    events: list[Event]
    closes: datetime

    def said(self, event: Event, key: str) -> str | None:
        value = json.loads(event.properties).get(key)
        return None if value is None else str(value)

    def newest_of_each(self, key: str) -> dict[str, Event]:
        """Value of the property to the newest event that has it."""
        found = {self.said(event, key): event for event in self.events}
        return {name: event for name, event in found.items() if name is not None}


def window(rows: Sequence[Known], feature: Expression, as_of: datetime) -> Window:
    closes = as_of - feature.ends_before
    seen = [
        event
        for event, superseded_at in rows
        if event.kind in feature.reads
        and event.recorded_at < as_of
        and (superseded_at is None or as_of <= superseded_at)
        and event.occurred_at < closes
        and (feature.lookback is None or event.occurred_at >= closes - feature.lookback)
    ]
    return Window(sorted(seen, key=lambda e: (e.occurred_at, e.recorded_at, e.event_id)), closes)


def goal_progress(seen: Window) -> float | None:
    shares = []
    for event in seen.newest_of_each("kpi").values():
        try:
            baseline = float(seen.said(event, "baseline") or "")
            target = float(seen.said(event, "target") or "")
        except ValueError:
            continue
        if event.quantity is not None and target != baseline:
            shares.append(min(max((event.quantity - baseline) / (target - baseline), 0.0), 1.0))
    return sum(shares) / len(shares) if shares else None


REFERENCES: dict[str, Callable[[Window], float | None]] = {"goal_progress": goal_progress}


def reference(rows: Sequence[Known], feature: Expression, as_of: datetime) -> float | None:
    """The value of an expression feature of one account; None is unknown."""
    seen = window(rows, feature, as_of)
    return REFERENCES[feature.name](seen) if seen.events else feature.when_empty
