"""A lake read range by range holds what it holds as a whole, however its events lie in parts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from features.catalogue.catalogue import Catalogue
from features.catalogue.feature import Aggregate, Feature
from features.compute.account_ranges import AccountRanges
from features.compute.encode import columns_read, encode_timelines
from features.events.schema import EVENT_SCHEMA, Event, events_frame
from features.kernel.sweep import sweep
from features.kernel.windows import microseconds
from features.lake.lake import Lake

START = datetime(2024, 1, 1, tzinfo=UTC)
SPENT = Feature(
    name="spent_28d",
    description="Spent.",
    theme="adoption",
    reads=("feature.used",),
    aggregate=Aggregate(operation="sum"),
    lookback=timedelta(days=28),
    when_empty=None,
    unit="",
    phrase="{value}",
)
PEOPLE = Feature(
    name="people_28d",
    description="People.",
    theme="adoption",
    reads=("feature.used", "user.session"),
    aggregate=Aggregate(operation="users"),
    lookback=timedelta(days=28),
    when_empty=0.0,
    unit="",
    phrase="{value}",
)
CATALOGUE = Catalogue(features=(SPENT, PEOPLE), attributes=())
COLUMNS = ("account_id", "kind", "user_id", "occurred_at", "recorded_at", "quantity")


def events(n: int, *, first: int = 0, ties: bool = False) -> list[Event]:
    rng = np.random.default_rng(first)
    return [
        Event(
            event_id=f"e{first + number:05d}",
            account_id=f"account-{rng.integers(30):02d}",
            kind=("feature.used", "user.session")[int(rng.integers(2))],
            user_id=(None, "somebody with a long name", "u")[int(rng.integers(3))],
            occurred_at=START + timedelta(hours=number // 40 if ties else number),
            recorded_at=START + timedelta(hours=number // 40 if ties else number),
            quantity=float(rng.normal()),
        )
        for number in range(n)
    ]


def lake_of(folder: Path, *loads: list[Event]) -> Lake:
    lake = Lake(folder / "events", folder / "quarantine")
    for load in loads:
        lake.append(events_frame(load), source="hand", file="hand", now=START + timedelta(400))
    return lake


def corrected(load: list[Event]) -> list[Event]:
    return [
        Event(
            **{**vars(event), "quantity": 7.5, "recorded_at": event.recorded_at + timedelta(days=2)}
        )
        for event in load
    ]


def values(frame: pl.DataFrame, _: pl.DataFrame | None = None) -> dict[str, list[list[float]]]:
    timelines = encode_timelines(frame, CATALOGUE)
    cutoffs = np.array([microseconds(START + timedelta(days=days)) for days in (3, 9, 20)])
    made = sweep(timelines.events, timelines.items, cutoffs)
    return dict(zip(timelines.account_ids, made.tolist(), strict=True))


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("events_at_once", [1, 90, 10_000])
def test_the_ranges_hold_every_event_once_and_no_account_twice(
    tmp_path: Path, threads: int, events_at_once: int
) -> None:
    lake = lake_of(tmp_path, *(events(60, first=60 * number) for number in range(8)))
    ranges = AccountRanges(lake, COLUMNS, events_at_once=events_at_once, threads=threads)
    found = list(ranges.map_ranges(lambda frame, _: frame))
    assert (len(found) > 1) == (events_at_once < 480)
    accounts = [set(frame["account_id"]) for frame in found]
    assert sum(map(len, accounts)) == len(set().union(*accounts)) == 30
    assert sorted(map(min, filter(None, accounts))) == list(map(min, filter(None, accounts)))
    assert_frame_equal(
        pl.concat(found), lake.scan().select(COLUMNS).collect(), check_row_order=False
    )
    assert len(found) == len(ranges)


@pytest.mark.parametrize("ties", [False, True], ids=["no ties", "ties"])
@pytest.mark.parametrize("events_at_once", [90, 10_000])
def test_what_is_made_of_ranges_is_what_is_made_of_the_whole(
    tmp_path: Path, events_at_once: int, ties: bool
) -> None:
    lake = lake_of(tmp_path, *(events(150, first=150 * number, ties=ties) for number in range(4)))
    whole = values(lake.scan().collect())
    ranges = AccountRanges(lake, columns_read(CATALOGUE), events_at_once=events_at_once)
    found = list(ranges.map_ranges(values))
    together = {account: row for part in found for account, row in part.items()}
    np.testing.assert_equal(together, whole)


def test_events_that_tie_are_read_once_more_with_ids_and_not_range_by_range(tmp_path: Path) -> None:
    lake = lake_of(tmp_path, *(events(150, first=150 * number, ties=True) for number in range(4)))
    asked: list[bool] = []

    def work(frame: pl.DataFrame, _: pl.DataFrame) -> int:
        asked.append("event_id" in frame.columns)
        return len(values(frame))

    assert (
        sum(AccountRanges(lake, columns_read(CATALOGUE), events_at_once=90).map_ranges(work)) == 30
    )
    assert asked[:2] == [False, True]  # the first range, and again with ids
    assert all(asked[1:])
    assert len(asked) > 5


def test_corrections_reach_the_ranges(tmp_path: Path) -> None:
    load = events(100)
    lake = lake_of(tmp_path, load, corrected(load[:50]))
    assert lake.manifest.superseded
    found = list(AccountRanges(lake, columns_read(CATALOGUE), events_at_once=20).map_ranges(values))
    assert len(found) > 1
    together = {account: row for part in found for account, row in part.items()}
    np.testing.assert_equal(together, values(lake.scan().collect()))


@pytest.mark.parametrize("ties", [False, True], ids=["no ties", "ties"])
@pytest.mark.parametrize("was_corrected", [False, True], ids=["as they came", "corrected"])
@pytest.mark.parametrize("events_at_once", [50, 10_000])
def test_what_lands_meanwhile_is_not_read(
    tmp_path: Path, events_at_once: int, was_corrected: bool, ties: bool
) -> None:
    load = events(200, ties=ties)
    lake = lake_of(tmp_path, load, *([corrected(load[:20])] if was_corrected else []))
    manifest, before = lake.manifest, values(lake.scan().collect())
    opened = AccountRanges(lake, columns_read(CATALOGUE), events_at_once=events_at_once)
    lake_of(tmp_path, corrected(load[50:]))
    named = AccountRanges(
        lake, columns_read(CATALOGUE), events_at_once=events_at_once, manifest=manifest
    )
    for ranges in (opened, named):
        found = list(ranges.map_ranges(values))
        together = {account: row for part in found for account, row in part.items()}
        np.testing.assert_equal(together, before)


@pytest.mark.parametrize("was_corrected", [False, True], ids=["as they came", "corrected"])
@pytest.mark.parametrize("events_at_once", [90, 10_000])
def test_the_events_of_some_kinds_are_handed_out_whole(
    tmp_path: Path, events_at_once: int, was_corrected: bool
) -> None:
    loads = [events(60, first=60 * number) for number in range(8)]
    lake = lake_of(tmp_path, *loads, *([corrected(loads[0])] if was_corrected else []))
    ranges = AccountRanges(
        lake, COLUMNS, events_at_once=events_at_once, threads=2, whole_kinds=("user.session",)
    )
    found = list(ranges.map_ranges(lambda some, whole: (set(some["account_id"]), whole)))
    assert all(set(whole["account_id"]) <= accounts for accounts, whole in found)
    wanted = lake.scan().filter(kind="user.session").select(*EVENT_SCHEMA).collect()
    assert 100 < wanted.height < 480
    assert_frame_equal(
        pl.concat([whole.select(*EVENT_SCHEMA) for _, whole in found]),
        wanted,
        check_row_order=False,
    )


def test_an_error_of_the_work_reaches_its_caller(tmp_path: Path) -> None:
    lake = lake_of(tmp_path, *(events(60, first=60 * number) for number in range(8)))

    def fail(_: pl.DataFrame, __: pl.DataFrame) -> None:
        raise ZeroDivisionError("of the test")

    with pytest.raises(ZeroDivisionError, match="of the test"):
        list(AccountRanges(lake, COLUMNS, events_at_once=50, threads=2).map_ranges(fail))


def test_ranges_have_about_the_size_asked_for_whatever_the_sizes_of_parts(tmp_path: Path) -> None:
    """Accounts of a large old part, and others that came with many small parts since."""
    old = [
        Event(
            event_id=f"o{number}",
            account_id=f"account-{number % 200:03d}",
            kind="feature.used",
            occurred_at=START,
            recorded_at=START,
        )
        for number in range(20_000)
    ]
    new = [
        [
            Event(
                event_id=f"n{load}-{number}",
                account_id=f"new-{number % 50:03d}",
                kind="feature.used",
                occurred_at=START,
                recorded_at=START,
            )
            for number in range(500)
        ]
        for load in range(40)
    ]
    lake = lake_of(tmp_path, old, *new)
    assert len(lake.manifest.parts) == 41
    ranges = AccountRanges(lake, COLUMNS, events_at_once=4000)
    sizes = list(ranges.map_ranges(lambda frame, _: frame.height))
    assert len(sizes) == 10
    assert max(sizes) < 6000
