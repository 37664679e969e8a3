"""Laws on random timelines: the unknown, the order and the company of events change nothing."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_timelines import (
    ACCOUNTS,
    ALWAYS,
    AS_OFS,
    DAY,
    NUDGE,
    Row,
    edges,
    frame_of,
    swept,
    timelines,
)

from features.catalogue.catalogue import load_catalogue
from features.compute.backfill import backfill
from features.compute.snapshots import build_snapshots
from features.events.schema import EVENT_SCHEMA
from features.lake.lake import Lake
from features.workspace import Workspace

CATALOGUE = swept()
companies = timelines(accounts=ACCOUNTS, most=14)
laws = settings(max_examples=30, deadline=None)  # compiling the kernel takes seconds at first


def snapshots(events: pl.DataFrame, as_ofs: tuple[datetime, ...] = AS_OFS) -> pl.DataFrame:
    return build_snapshots(events, as_ofs, CATALOGUE, first_recorded=ALWAYS)


def bits(frame: pl.DataFrame) -> list[tuple[object, ...]]:
    """Every value by its own bits: unlike ``==``, tells 0.0 from -0.0 and equals NaN to NaN."""
    return [
        tuple(value.hex() if isinstance(value, float) else value for value in row)
        for row in frame.sort("account_id", "as_of").iter_rows()
    ]


@laws
@given(rows=companies, unseen=timelines(accounts=ACCOUNTS, most=8), as_of=st.sampled_from(AS_OFS))
def test_events_that_are_not_known_yet_change_nothing(
    rows: list[Row],
    unseen: list[Row],
    as_of: datetime,
) -> None:
    known = frame_of([row for row in rows if row[0].recorded_at < as_of])
    later = frame_of(unseen).with_columns(
        event_id=pl.col("event_id") + "x",
        recorded_at=pl.max_horizontal("recorded_at", pl.lit(as_of)),
        superseded_at=pl.lit(None, pl.Datetime("us", "UTC")),
    )
    assert bits(snapshots(known, (as_of,))) == bits(snapshots(pl.concat([known, later]), (as_of,)))


@laws
@given(rows=companies, as_of=st.sampled_from(AS_OFS))
def test_a_correction_that_is_not_known_yet_changes_nothing(
    rows: list[Row],
    as_of: datetime,
) -> None:
    standing = [(event, None) for event, _ in rows if event.recorded_at < as_of]
    corrected = frame_of([(event, as_of) for event, _ in standing])
    instead = corrected.with_columns(
        recorded_at=pl.lit(as_of),
        quantity=pl.lit(99.0),
        event_count=pl.lit(50, pl.Int64),
        superseded_at=pl.lit(None, pl.Datetime("us", "UTC")),
    )
    assert bits(snapshots(frame_of(standing), (as_of,))) == bits(
        snapshots(pl.concat([corrected, instead]), (as_of,))
    )


@laws
@given(rows=companies, as_of=st.sampled_from(AS_OFS))
def test_from_its_knowledge_on_a_correction_is_as_if_it_had_always_been(
    rows: list[Row],
    as_of: datetime,
) -> None:
    # read just after its superseding, nothing of the old version is left
    old = [(event, as_of) for event, _ in rows if event.recorded_at < as_of]
    new = frame_of(old).with_columns(
        quantity=pl.lit(3.0),
        recorded_at=pl.lit(as_of),
        superseded_at=pl.lit(None, pl.Datetime("us", "UTC")),
    )
    after = (as_of + NUDGE,)
    both = snapshots(pl.concat([frame_of(old), new]), after)
    only = snapshots(new, after)
    assert bits(both) == bits(only)


@laws
@given(rows=companies, data=st.data())
def test_the_order_of_the_input_changes_nothing(rows: list[Row], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(rows))
    assert bits(snapshots(frame_of(rows))) == bits(snapshots(frame_of(shuffled)))


@laws
@given(rows=companies, extra=edges)
def test_other_moments_asked_about_at_once_change_nothing(
    rows: list[Row],
    extra: datetime,
) -> None:
    together = snapshots(frame_of(rows), (extra, *AS_OFS))
    for as_of in {extra, *AS_OFS}:
        alone = snapshots(frame_of(rows), (as_of,))
        assert bits(alone) == bits(together.filter(pl.col("as_of") == as_of))


@laws
@given(rows=companies)
def test_partitions_by_account_change_nothing(rows: list[Row]) -> None:
    frame = frame_of(rows)
    parts = [snapshots(frame.filter(pl.col("account_id") == name)) for name in ACCOUNTS]
    assert bits(snapshots(frame)) == bits(pl.concat(parts))


@laws
@given(rows=companies, days=st.integers(-1500, 1500))
def test_the_calendar_changes_nothing_but_dates(rows: list[Row], days: int) -> None:
    """All moved by whole days, over leap days or not: only what counts to a date differs."""
    shift = timedelta(days=days)
    moved = frame_of(rows).with_columns(
        pl.col("occurred_at", "recorded_at", "superseded_at") + shift
    )
    there = snapshots(moved, tuple(at + shift for at in AS_OFS)).with_columns(
        pl.col("as_of") - shift
    )
    dated = ["days_to_renewal", "term_days", "term_months"]  # of dates that events state
    first = {kind: at + shift for kind, at in ALWAYS.items()}
    assert first.keys() == ALWAYS.keys()
    assert bits(snapshots(frame_of(rows)).drop(dated)) == bits(there.drop(dated))


@settings(
    max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=timelines(accounts=ACCOUNTS, most=20), data=st.data())
def test_files_and_ranges_change_nothing_and_a_backfill_is_each_account_alone(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[Row],
    data: st.DataObject,
) -> None:
    """Through the lake in one file or in several, in ranges of one account or all: one answer."""
    rows = [(event, None) for event, _ in rows]  # corrections are the lake's own to make
    frame = frame_of(rows).select(*EVENT_SCHEMA)
    if frame.is_empty():
        return
    end = AS_OFS[-1] + 60 * DAY
    files = [data.draw(st.integers(0, 3)) for _ in rows]
    answers = []
    for split, at_once in ((files, 1), ([0] * len(rows), 10**6)):
        place = Workspace(tmp_path_factory.mktemp("lake"))
        lake = Lake(place.events_dir, place.quarantine_dir)
        for number in sorted(set(split)):
            here = pl.Series([one == number for one in split])
            lake.append(frame.filter(here), source="test", file=f"file {number}", now=end)
        if all(event.recorded_at >= AS_OFS[-1] for event, _ in rows):
            return
        answers.append(backfill(place, AS_OFS, events_at_once=at_once))
        events, first = lake.scan().collect(), lake.first_recorded()
        for name in events["account_id"].unique():
            mine = events.filter(pl.col("account_id") == name)
            for as_of in AS_OFS[1::2]:  # as the service asks: one account, one moment
                alone = build_snapshots(mine, [as_of], load_catalogue(), first_recorded=first)
                assert bits(alone) == bits(
                    answers[-1].filter(pl.col("account_id") == name, pl.col("as_of") == as_of)
                )
    assert bits(answers[0]) == bits(answers[1])
