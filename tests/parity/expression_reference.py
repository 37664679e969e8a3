"""The slow, obvious way to compute every expression feature: a few lines over a list of events."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from features.feature import Expression
from features.telemetry import Event

Known = tuple[Event, datetime | None]  # an event and the moment a correction superseded it
DAY = timedelta(days=1)


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

    def in_state(self, key: str, state: str, *states: str) -> float:
        return float(sum(self.said(event, state) in states
                         for event in self.newest_of_each(key).values()))


def window(rows: Sequence[Known], feature: Expression, as_of: datetime) -> Window:
    closes = as_of - feature.ends_before
    seen = [event for event, superseded_at in rows
            if event.kind in feature.reads and event.recorded_at < as_of
            and (superseded_at is None or as_of <= superseded_at) and event.occurred_at < closes
            and (feature.lookback is None or event.occurred_at >= closes - feature.lookback)]
    return Window(sorted(seen, key=lambda e: (e.occurred_at, e.recorded_at, e.event_id)), closes)


def errors_p95(seen: Window) -> float:
    days = [0] * 28
    for event in seen.events:
        days[math.ceil((seen.closes - event.occurred_at) / DAY) - 1] += event.event_count
    return float(sorted(days)[math.ceil(0.95 * 28) - 1])  # nearest rank


def negative_tickets(seen: Window) -> float:
    return float(sum(seen.said(e, "change") == "sentiment" and e.quantity is not None
                     and e.quantity < 0 for e in seen.events))


def unanswered_requests(seen: Window) -> float:
    """Names open 30 days ago, less those answered since."""
    old = [e for e in seen.events if seen.closes - e.occurred_at > 30 * DAY]
    then = Window(old, seen.closes).newest_of_each("name")
    answered = {seen.said(e, "name") for e in seen.events
                if e not in old and seen.said(e, "state") == "answered"}
    return float(len({name for name, e in then.items() if seen.said(e, "state") == "open"}
                     - answered))


def renewal_intent(seen: Window) -> float | None:
    words = {"yes": 1.0, "maybe": 0.5, "no": 0.0}
    said = [words[word] for e in seen.events
            if (word := seen.said(e, "renewal_intent")) is not None and word in words]
    return said[-1] if said else None


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


REFERENCES: dict[str, Callable[[Window], float | None]] = {
    "errors_p95_28d": errors_p95,
    "feature_requests_unanswered": unanswered_requests,
    "goal_progress": goal_progress,
    "invoices_unpaid": lambda seen: seen.in_state("invoice_id", "status", "late", "failed"),
    "milestones_overdue_now": lambda seen: seen.in_state("name", "status", "overdue"),
    "negative_tickets_90d": negative_tickets,
    "renewal_intent": renewal_intent,
    "integrations_connected": lambda seen: seen.in_state("name", "state", "connected"),
    "integrations_broken": lambda seen: seen.in_state("name", "state", "error"),
}


def reference(rows: Sequence[Known], feature: Expression, as_of: datetime) -> float | None:
    """The value of an expression feature of one account; None is unknown."""
    seen = window(rows, feature, as_of)
    return REFERENCES[feature.name](seen) if seen.events else feature.when_empty
