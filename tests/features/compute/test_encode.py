"""Timelines from event frames: what is needed, what is refused, what changes nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from features.catalogue.catalogue import Catalogue, load_catalogue
from features.catalogue.feature import Aggregate, Feature
from features.compute.encode import columns_read, encode_timelines
from features.events.schema import EVENT_SCHEMA, Event, events_frame
from features.kernel.sweep import UndecidedOrderError, sweep
from features.kernel.windows import microseconds

START = datetime(2024, 1, 1, tzinfo=UTC)
COUNT = Feature(
    name="uses_28d",
    description="Uses.",
    theme="adoption",
    reads=("feature.used",),
    aggregate=Aggregate(operation="count"),
    lookback=timedelta(days=28),
    when_empty=0.0,
    unit="uses",
    phrase="{value}",
)
ONLY_COUNT = Catalogue(features=(COUNT,), attributes=())


def use(number: int, **changes: object) -> Event:
    at = START + timedelta(hours=number)
    fields: dict[str, object] = {
        "event_id": f"e{number}",
        "account_id": f"a{number % 3}",
        "kind": "feature.used",
        "occurred_at": at,
        "recorded_at": at,
    }
    return Event(**{**fields, **changes})  # type: ignore[arg-type]


def test_only_the_columns_that_features_need_are_read() -> None:
    assert columns_read(ONLY_COUNT) == (
        "account_id",
        "kind",
        "occurred_at",
        "recorded_at",
        "event_count",
    )
    assert set(columns_read(load_catalogue())) == {*EVENT_SCHEMA} - {"event_id"}


def test_without_ids_the_values_are_the_same() -> None:
    frame = events_frame([use(number) for number in range(60)])
    cutoffs = np.array([microseconds(START + timedelta(days=days)) for days in (1, 2, 40)])
    with_ids, without = (
        encode_timelines(part, ONLY_COUNT)
        for part in (frame, frame.select(columns_read(ONLY_COUNT)))
    )
    assert with_ids.account_ids == without.account_ids == ("a0", "a1", "a2")
    np.testing.assert_array_equal(
        sweep(with_ids.events, with_ids.items, cutoffs),
        sweep(without.events, without.items, cutoffs),
    )


def test_events_that_nothing_puts_in_order_are_refused() -> None:
    frame = events_frame([use(1), use(1, event_id="other")]).drop("event_id")
    with pytest.raises(UndecidedOrderError, match="Read the events with their event_id"):
        encode_timelines(frame, ONLY_COUNT)


def test_accounts_of_which_nothing_is_read_are_left_out() -> None:
    frame = events_frame([use(1), use(2, kind="error.raised")])
    assert encode_timelines(frame, ONLY_COUNT).account_ids == ("a1",)


def test_no_events_are_no_accounts() -> None:
    timelines = encode_timelines(events_frame([]), ONLY_COUNT)
    assert timelines.account_ids == ()
    assert sweep(timelines.events, timelines.items, np.array([0])).shape == (0, 1, 1)
