"""A part holds all its events by account and time, with an index of their keys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pyarrow.parquet as pq
from polars.testing import assert_frame_equal

from features.events.schema import Event, events_frame
from features.lake.deduplication.key_index import keys_path
from features.lake.parts import (
    PART_EVENTS,
    PartBuilder,
    sort_by_account,
    write_part,
    write_part_in_groups,
)

START = datetime(2026, 3, 1, tzinfo=UTC)


def some(*accounts: str) -> pl.DataFrame:
    return events_frame(
        [
            Event(
                event_id=f"e{n}",
                account_id=account,
                kind="feature.used",
                quantity=float(n),
                occurred_at=START - timedelta(hours=n),
                recorded_at=START,
            )
            for n, account in enumerate(accounts)
        ]
    )


def test_events_are_ordered_by_account_and_time_and_stay_whole():
    events = some("b", "ü", "a", "b", "a")
    ordered = sort_by_account(events)
    assert ordered.select("account_id", "event_id").rows() == [
        ("a", "e4"),
        ("a", "e2"),
        ("b", "e3"),
        ("b", "e0"),
        ("ü", "e1"),
    ]
    assert_frame_equal(ordered.sort("event_id"), events)


def test_a_part_holds_events_and_an_index_of_them(tmp_path):
    write_part(some("b", "a"), tmp_path / "part.parquet")
    assert_frame_equal(pl.read_parquet(tmp_path / "part.parquet"), sort_by_account(some("b", "a")))
    assert keys_path(tmp_path / "part.parquet").stat().st_size == 32


def test_events_are_collected_until_a_part_is_full():
    parts: list[pl.DataFrame] = []
    fresh = PartBuilder(parts.append)
    fresh.close()
    assert parts == []
    assert fresh.last_recorded is None
    fresh.add(some("a").clear())
    half = pl.concat([some(*["a"] * (PART_EVENTS // 200))] * 100)
    for _ in range(3):
        fresh.add(half)
    fresh.close()
    assert [part.height for part in parts] == [PART_EVENTS, PART_EVENTS // 2]
    assert fresh.last_recorded == START


def test_a_part_that_is_written_in_groups_is_the_same_part(tmp_path, monkeypatch):
    monkeypatch.setattr("features.lake.parts.ROW_GROUP", 4)
    events = sort_by_account(some(*"bacdbacdbacd"))
    write_part(events, tmp_path / "whole.parquet")
    groups = [events[:1], events[1:1], events[1:7], events[7:9], events[9:]]
    assert write_part_in_groups(iter(groups), tmp_path / "groups.parquet") == events.height
    whole, written = (pl.read_parquet(tmp_path / f"{one}.parquet") for one in ("whole", "groups"))
    assert_frame_equal(written, whole)
    assert written.schema == whole.schema
    keys = [keys_path(tmp_path / f"{one}.parquet").read_bytes() for one in ("whole", "groups")]
    assert keys[0] == keys[1]
    assert pq.ParquetFile(tmp_path / "groups.parquet").num_row_groups == 2


def test_a_part_without_events_is_no_file(tmp_path):
    assert write_part_in_groups(iter([some()]), tmp_path / "none.parquet") == 0
    assert list(tmp_path.iterdir()) == []
