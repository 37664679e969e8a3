"""A timeline that takes events one by one gives what the backfill gives of all of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from features.catalogue import catalogue
from features.live_timeline import LiveTimeline
from features.sweep import sweep
from features.telemetry import KINDS, Event, events_frame, properties_text
from features.timeline import prepare
from features.windows import microseconds

START = datetime(2024, 1, 1, tzinfo=UTC)
CUTOFFS = np.array([microseconds(START + timedelta(days=days)) for days in (30, 90, 200)])
CATALOGUE = catalogue(("search", "export"))


def event(rng: np.random.Generator, number: int) -> Event:
    """Some event of the account; few moments, so that many tie, and some kinds nobody reads."""
    kind = KINDS[int(rng.integers(len(KINDS)))]
    words = {"name": ("search", "export"), "status": ("paid", "late"), "severity": ("1", "2"),
             "seats": ("5", "9"), "renewal_on": ("2024-08-01", "2025-01-01")}
    properties = {key: str(rng.choice(words[key])) for key in kind.properties if key in words}
    occurred = START + timedelta(hours=12 * int(rng.integers(300)))
    return Event(
        event_id=f"e{number:04d}", account_id="one", kind=kind.name, occurred_at=occurred,
        recorded_at=occurred + timedelta(days=int(rng.choice([0, 0, 3]))),
        user_id=(None, "u1", "u2", "u3")[int(rng.integers(4))],
        event_count=int(rng.integers(1, 4)), user_count=int(rng.integers(1, 4)),
        quantity=(None, 1.0, 2.5)[int(rng.integers(3))], properties=properties_text(properties))


def backfilled(versions: list[tuple[Event, datetime | None]]) -> np.ndarray:
    frame = events_frame([event for event, _ in versions]).with_columns(
        pl.Series("superseded_at", [gone for _, gone in versions], pl.Datetime("us", "UTC")))
    timelines = prepare(frame, CATALOGUE)
    return sweep(timelines.events, timelines.items, CUTOFFS)[0]


@pytest.mark.parametrize("seed", range(4))
def test_events_one_by_one_give_what_all_at_once_give(seed: int) -> None:
    rng = np.random.default_rng(seed)
    events = [event(rng, number) for number in range(400)]
    live = LiveTimeline(events_frame(events[:100]), CATALOGUE)
    for fresh in events[100:]:
        live.add(fresh)
    n_primitives = len(CATALOGUE.primitives)  # words of attributes are numbered as they come
    expected = backfilled([(event, None) for event in events])
    np.testing.assert_array_equal(live.values(CUTOFFS)[:, :n_primitives],
                                  expected[:, :n_primitives])


@pytest.mark.parametrize("more", [0, 300], ids=["at once", "after many more events"])
def test_a_correction_replaces_the_event_from_its_knowledge_time_on(more: int) -> None:
    first = Event(event_id="x", account_id="one", kind="feature.used", quantity=5.0,
                  occurred_at=START + timedelta(days=1), recorded_at=START + timedelta(days=1))
    late = Event(**{**vars(first), "quantity": 9.0, "recorded_at": START + timedelta(days=80)})
    rest = [Event(event_id=f"e{n:04d}", account_id="one", kind="feature.used",
                  occurred_at=START + timedelta(hours=n), recorded_at=START + timedelta(hours=n))
            for n in range(more)]
    live = LiveTimeline(events_frame([first]), CATALOGUE)
    for fresh in (late, *rest):
        live.add(fresh)
    expected = backfilled([(first, late.recorded_at), (late, None), *((e, None) for e in rest)])
    n_primitives = len(CATALOGUE.primitives)
    np.testing.assert_array_equal(live.values(CUTOFFS)[:, :n_primitives],
                                  expected[:, :n_primitives])


def test_an_account_can_begin_without_events() -> None:
    live = LiveTimeline(events_frame([]), CATALOGUE)
    use = Event(event_id="x", account_id="one", kind="feature.used",
                occurred_at=START + timedelta(days=20), recorded_at=START + timedelta(days=20))
    live.add(use)
    n_primitives = len(CATALOGUE.primitives)
    np.testing.assert_array_equal(live.values(CUTOFFS)[:, :n_primitives],
                                  backfilled([(use, None)])[:, :n_primitives])
