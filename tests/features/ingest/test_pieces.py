"""A file that is taken piece by piece becomes what it becomes as a whole."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from content_id import content_id
from hypothesis import given, settings
from hypothesis import strategies as st

from features.events.schema import EVENT_SCHEMA, LINE, Event, events_frame
from features.events.validation import DraftPiece
from features.lake.deduplication.spool import SPOOL
from features.lake.lake import Lake
from features.lake.summary import FileSummary

START = datetime(2026, 3, 1, tzinfo=UTC)
NOW = datetime(2026, 6, 1, tzinfo=UTC)

some_events = st.builds(
    lambda day, **other: Event(occurred_at=START, recorded_at=START + timedelta(days=day), **other),
    day=st.integers(0, 3),
    event_id=st.sampled_from(["", "", "x", "y"]),
    account_id=st.sampled_from(["a", "b", ""]),
    kind=st.just("feature.used"),
    quantity=st.sampled_from([1.0, 2.0]),
)
files = st.lists(st.lists(some_events, max_size=8), min_size=1, max_size=3)


def pieces(events: list[Event], size: int) -> list[DraftPiece]:
    draft = events_frame(events).with_columns(
        pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias(LINE),
        pl.lit(None, pl.String).alias("problem"),
        pl.lit(None, pl.String).alias("left"),
    )
    return [
        DraftPiece(draft=part, raw=part.select(LINE, *EVENT_SCHEMA))
        for part in draft.iter_slices(size)
    ]


def take(lake: Lake, events: list[Event], size: int) -> FileSummary:
    with lake.batch() as batch:
        return batch.add_pieces(
            lambda: iter(pieces(events, size)),
            source="s",
            table="t",
            file="f",
            now=NOW,
            complete_until=None,
            tells_rows=True,
        )


@settings(max_examples=60, deadline=None)
@given(given_files=files, size=st.integers(1, 4), most=st.integers(0, 6))
def test_pieces_on_the_disk_change_nothing(tmp_path_factory, given_files, size, most):
    whole = Lake(tmp_path_factory.mktemp("whole") / "events")
    cut = Lake(tmp_path_factory.mktemp("cut") / "events", most_in_memory=most)
    for events in given_files:
        one, other = take(whole, events, 1_000), take(cut, events, size)
        assert one.is_balanced
        assert {**vars(one), "fates": set(one.fates)} == {**vars(other), "fates": set(other.fates)}
    assert whole.digest == cut.digest
    order = ["event_id", "recorded_at"]
    assert whole.scan().sort(order).collect().equals(cut.scan().sort(order).collect())
    assert (
        whole.quarantined()
        .sort("row_id")
        .collect()
        .equals(cut.quarantined().sort("row_id").collect())
    )
    assert not (cut.folder / SPOOL).exists()


def test_equal_rows_without_ids_are_told_apart_wherever_they_stand(tmp_path):
    row = Event(account_id="a", kind="feature.used", occurred_at=START, recorded_at=START)
    lake = Lake(tmp_path / "events", most_in_memory=0)
    assert take(lake, [row] * 7, 2).landed == 7
    again = take(lake, [row] * 9, 4)
    assert (again.duplicates, again.landed) == (7, 2)
    assert lake.scan().collect()["event_id"].n_unique() == 9


@pytest.mark.parametrize("size", [1, 3])
def test_of_repeats_in_one_file_the_first_that_was_known_stays(tmp_path, size):
    days = [5, 1, 3]
    events = [
        Event(
            event_id="x",
            account_id="a",
            kind="feature.used",
            occurred_at=START,
            recorded_at=START + timedelta(days=day),
        )
        for day in days
    ]
    lake = Lake(tmp_path / "events", most_in_memory=0)
    assert take(lake, events, size).duplicates == 2
    assert lake.scan().collect()["recorded_at"].to_list() == [START + timedelta(days=1)]


def test_an_id_that_looks_like_that_of_a_content_is_an_id_like_any_other(tmp_path):
    row = Event(
        account_id="a",
        kind="feature.used",
        occurred_at=START,
        recorded_at=START + timedelta(days=1),
    )
    taken = Event(
        event_id=content_id(row),
        account_id="b",
        kind="feature.used",
        occurred_at=START,
        recorded_at=START,
    )
    lake = Lake(tmp_path / "events", most_in_memory=0)
    assert take(lake, [taken], 1).landed == 1
    summary = take(lake, [row, row], 1)
    assert (summary.corrected, summary.duplicates, summary.landed) == (1, 1, 0)
    assert set(lake.scan().collect()["event_id"]) == {content_id(row)}
