"""Kept timelines, whatever the lake gets meanwhile, are those of all its events prepared anew."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import features.lake.lake
import features.streaming.timeline_cache
from features.catalogue.catalogue import load_catalogue
from features.catalogue.feature import Aggregate, Feature
from features.compute.snapshots import build_snapshots, compute_snapshots
from features.events.schema import KINDS, Event, events_frame, properties_text
from features.health.formula import FORMULAS
from features.lake.lake import Lake
from features.lake.manifest import Manifest
from features.streaming._cached_block import CachedBlock, ClassKeys
from features.streaming.timeline_cache import TimelineCache

START = datetime(2024, 1, 1, tzinfo=UTC)
NOW = START + timedelta(days=200)
CATALOGUE = load_catalogue(("search", "export"))
WORDS = {
    "name": ("search", "export"),
    "status": ("paid", "late", "overdue"),
    "state": ("error", "connected"),
    "seats": ("5", "9"),
    "renewal_on": ("2024-08-01", "2025-01-01"),
    "invoice_id": ("i1", "i2", "i3"),
    "change": ("sentiment", "status"),
    "kpi": ("time",),
}
KINDS_NOW = [kind for kind in KINDS if kind.name in CATALOGUE.kinds_read]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "events")


def event(rng: np.random.Generator, number: int, accounts: int = 9) -> Event:
    """Some event; few moments, so that many tie, and ids in no order of time."""
    kind = KINDS_NOW[int(rng.integers(len(KINDS_NOW)))]
    said = {key: str(rng.choice(WORDS[key])) for key in kind.properties if key in WORDS}
    said |= dict.fromkeys(kind.needed, "x")
    occurred = START + timedelta(hours=24 * int(rng.integers(190)))
    return Event(
        event_id=f"e{int(rng.integers(100)):02d}-{number}",
        kind=kind.name,
        account_id=f"account {int(rng.integers(accounts))}",
        occurred_at=occurred,
        recorded_at=occurred + timedelta(days=int(rng.choice([0, 0, 3]))),
        user_id=(None, "u1", "u2", "a user with a long name")[int(rng.integers(4))],
        event_count=int(rng.integers(1, 4)),
        user_count=int(rng.integers(1, 4)),
        quantity=(None, 1.0, 2.5)[int(rng.integers(3))],
        properties=properties_text(said),
    )


def append(lake: Lake, *events: Event) -> None:
    lake.append(events_frame(list(events)), source="test", file="made", now=NOW)


def corrected(rng: np.random.Generator, old: Event) -> Event:
    """A later version of an event, perhaps of another account."""
    other = event(rng, 0)
    return Event(
        **{
            **vars(other),
            "event_id": old.event_id,
            "kind": old.kind,
            "occurred_at": old.occurred_at,
            "properties": old.properties,
            "recorded_at": old.recorded_at + timedelta(days=int(rng.integers(1, 9))),
        }
    )


def snapshots(
    lake: Lake,
    kept: TimelineCache,
    accounts: list[str],
    as_of: datetime,
) -> pl.DataFrame:
    manifest = lake.manifest
    kept.follow(manifest)
    found = kept.load(accounts, as_of=as_of)
    return compute_snapshots(
        found.timelines,
        found.events,
        [as_of],
        kept.catalogue,
        first_recorded=manifest.first_recorded,
        formula=FORMULAS["balanced"],
    )


def anew(lake: Lake, accounts: list[str], as_of: datetime) -> pl.DataFrame:
    events = lake.scan().filter(pl.col("account_id").is_in(accounts)).collect()
    return build_snapshots(
        events,
        [as_of],
        CATALOGUE,
        first_recorded=lake.first_recorded(),
        formula=FORMULAS["balanced"],
    )


def assert_same(lake: Lake, kept: TimelineCache, accounts: list[str], as_of: datetime) -> None:
    assert_frame_equal(
        snapshots(lake, kept, accounts, as_of), anew(lake, accounts, as_of), check_exact=True
    )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("most_events", [160, 5_000], ids=["few kept", "all kept"])
def test_whatever_the_lake_gets_kept_timelines_give_what_all_events_give(
    lake, monkeypatch, most_events, seed
):
    monkeypatch.setattr(features.lake.lake, "MOST_SMALL_PARTS", 5)  # merges happen all the time
    rng = np.random.default_rng(seed)
    kept = TimelineCache(lake, CATALOGUE, most_events=most_events, events_a_block=50)
    sent = [event(rng, number) for number in range(150)]
    append(lake, *sent)
    for turn in range(12):
        for _ in range(int(rng.integers(1, 4))):
            new = [
                event(rng, 1000 * turn + int(rng.integers(1000)), accounts=9 + turn // 6)
                for _ in range(int(rng.integers(1, 12)))
            ]
            if rng.integers(5) == 0:
                new.append(corrected(rng, sent[int(rng.integers(len(sent)))]))
            append(lake, *new)
            sent += new
        names = sorted({e.account_id for e in sent})
        some = sorted(rng.choice(names, size=int(rng.integers(1, len(names))), replace=False))
        as_of = START + timedelta(days=int(rng.integers(60, 200)), microseconds=1)
        assert_same(lake, kept, some, as_of)
    assert kept.events <= most_events + 150  # what was asked for last is kept, however much


class WatchedLake(Lake):
    """Notes how many events are kept whenever more are read."""

    kept: TimelineCache
    seen: tuple[int, ...] = ()

    def scan(self, manifest: Manifest | None = None) -> pl.LazyFrame:
        self.seen += (self.kept.events,)
        return super().scan(manifest)


def test_what_is_kept_while_more_is_read_stays_within_the_limit(tmp_path):
    lake = WatchedLake(tmp_path / "events")
    rng = np.random.default_rng(9)
    append(lake, *(event(rng, number, accounts=60) for number in range(2_000)))
    lake.kept = TimelineCache(lake, CATALOGUE, most_events=600, events_a_block=50)
    everyone = [f"account {n}" for n in range(60)]
    found = snapshots(lake, lake.kept, everyone, NOW)
    reads = lake.seen[1:]  # the first one tells where blocks begin
    assert len(reads) > 8  # neighbours at once, but not all of them
    assert max(reads) <= 600
    assert 400 < lake.kept.events <= 600
    expected = anew(lake, everyone, NOW)
    assert_frame_equal(found, expected, check_exact=True)
    assert_same(lake, lake.kept, everyone[::-7], NOW)


def test_what_was_given_stays_as_it_was_whatever_is_followed_later(lake):
    rng = np.random.default_rng(11)
    append(lake, *(event(rng, number) for number in range(300)))
    everyone = [f"account {n}" for n in range(9)]
    kept = TimelineCache(lake, CATALOGUE)
    kept.follow(lake.manifest)
    kept.load(everyone, as_of=NOW)
    append(lake, *(event(rng, 500 + number) for number in range(30)))
    kept.follow(lake.manifest)  # from here on the columns have room, and are written to
    first_recorded = lake.first_recorded()
    expected = anew(lake, everyone, NOW)
    given = kept.load(everyone, as_of=NOW)
    for turn in range(1, 6):
        append(lake, *(event(rng, 1000 * turn + number) for number in range(60)))
        kept.follow(lake.manifest)
        kept.load(everyone[turn:], as_of=NOW)
    found = compute_snapshots(
        given.timelines,
        given.events,
        [NOW],
        CATALOGUE,
        first_recorded=first_recorded,
        formula=FORMULAS["balanced"],
    )
    assert_frame_equal(found, expected, check_exact=True)
    assert not anew(lake, everyone, NOW).equals(expected)


def test_what_is_given_holds_no_more_than_the_events_of_who_was_asked_for(lake):
    rng = np.random.default_rng(10)
    sent = [event(rng, number) for number in range(300)]
    append(lake, *sent)
    kept = TimelineCache(lake, CATALOGUE, most_events=1)
    kept.follow(lake.manifest)
    [one] = kept.load(["account 3", "account 7"], as_of=NOW).timelines
    asked = sum(e.account_id in ("account 3", "account 7") for e in sent)
    assert 0 < asked < 200
    columns = [one.events.order, one.events.occurred, one.events.row_class, one.events.user]
    assert [len(column) for column in columns] == [asked] * 4
    assert [column.base for column in columns] == [None] * 4
    assert not any(column.flags.writeable for column in columns)


def test_an_event_is_appended_and_nothing_is_read_again(lake):
    rng = np.random.default_rng(4)
    sent = [event(rng, number) for number in range(400)]
    append(lake, *sent[:200])
    kept = TimelineCache(lake, CATALOGUE)
    kept.follow(lake.manifest)
    kept.load(["account 1"], as_of=NOW)
    append(lake, *sent[200:])
    expected = anew(lake, ["account 1"], NOW)
    (lake.folder / lake.manifest.parts[0]).unlink()
    assert_frame_equal(snapshots(lake, kept, ["account 1"], NOW), expected, check_exact=True)


def test_an_event_like_earlier_ones_prepares_nothing(lake):
    first = event(np.random.default_rng(5), 1)
    append(lake, first)
    kept = TimelineCache(lake, CATALOGUE)
    kept.follow(lake.manifest)
    [before] = kept.load([first.account_id], as_of=NOW).timelines
    append(lake, Event(**{**vars(first), "event_id": "another", "user_id": "new"}))
    assert_same(lake, kept, [first.account_id], NOW)
    [after] = kept.load([first.account_id], as_of=NOW).timelines
    assert after.items is before.items


def test_ties_are_decided_by_id_and_new_people_are_told_apart(lake):
    at = START + timedelta(days=190)
    kept = TimelineCache(lake, CATALOGUE)
    for number, name in enumerate(("e5", "e7", "e1", "e6", "e9", "e0")):
        append(
            lake,
            *(
                Event(
                    event_id=f"{name} {kind}",
                    account_id="one",
                    kind=kind,
                    occurred_at=at,
                    recorded_at=at,
                    user_id=f"u{name}",
                    quantity=float(number),
                )
                for kind in ("contract.changed", "user.session")
            ),
        )
        assert_same(lake, kept, ["one"], NOW)


def test_an_import_is_read_again_instead_of_appended(lake, monkeypatch):
    monkeypatch.setattr(features.streaming.timeline_cache, "MOST_ROWS", 5)
    rng = np.random.default_rng(6)
    kept = TimelineCache(lake, CATALOGUE)
    append(lake, event(rng, 1))
    kept.follow(lake.manifest)
    append(lake, *(event(rng, number) for number in range(2, 12)))
    assert_same(lake, kept, [f"account {n}" for n in range(9)], NOW)


def test_a_new_account_in_an_empty_lake_is_found(lake):
    kept = TimelineCache(lake, CATALOGUE)
    kept.follow(lake.manifest)
    rng = np.random.default_rng(7)
    append(lake, event(rng, 1, accounts=1))
    assert_same(lake, kept, ["account 0"], NOW)
    append(lake, event(rng, 2, accounts=1))
    assert_same(lake, kept, ["account 0"], NOW)


def test_a_follower_that_broke_off_starts_anew(lake):
    rng = np.random.default_rng(8)
    kept = TimelineCache(lake, CATALOGUE)
    append(lake, *(event(rng, number) for number in range(50)))
    accounts = [f"account {n}" for n in range(9)]
    assert_same(lake, kept, accounts, NOW)
    append(lake, *(event(rng, number) for number in range(50, 60)))
    newest = lake.folder / lake.manifest.parts[-1]
    content = newest.read_bytes()
    newest.unlink()
    with pytest.raises(FileNotFoundError):
        kept.follow(lake.manifest)
    newest.write_bytes(content)
    assert_same(lake, kept, accounts, NOW)


def test_a_state_that_only_one_feature_reads_tells_events_apart(lake):
    stuck = Feature(
        name="boards_stuck",
        description="Boards that are stuck.",
        theme="adoption",
        reads=("custom.board",),
        when_empty=0.0,
        unit="boards",
        phrase="{value} boards are stuck",
        aggregate=Aggregate(operation="in_state", of="board", state={"mood": "stuck"}),
    )
    kept = TimelineCache(lake, replace(CATALOGUE, features=(*CATALOGUE.features, stuck)))
    known = Event(
        account_id="one",
        kind="custom.board",
        occurred_at=START,
        recorded_at=START,
        properties=properties_text({"board": "b", "mood": "fine"}),
    )
    append(lake, known)
    as_of = START + timedelta(days=9)
    assert snapshots(lake, kept, ["one"], as_of)["boards_stuck"].to_list() == [0.0]
    later = START + timedelta(days=1)
    append(
        lake,
        replace(
            known,
            event_id="",
            occurred_at=later,
            recorded_at=later,
            properties=properties_text({"board": "b", "mood": "stuck"}),
        ),
    )
    assert snapshots(lake, kept, ["one"], as_of)["boards_stuck"].to_list() == [1.0]


def test_an_absurd_quantity_that_is_appended_is_unknown():
    """Only an older version writes one; it is read as ``encode_timelines`` reads it."""
    first, second = (
        Event(
            account_id="a",
            event_id=f"e{number}",
            kind="contract.started",
            occurred_at=START + timedelta(days=number),
            recorded_at=START + timedelta(days=number),
            quantity=quantity,
        )
        for number, quantity in enumerate((100.0, 1e308))
    )
    block = CachedBlock(events_frame([first]), CATALOGUE, ClassKeys.of(CATALOGUE))
    assert block.add(events_frame([second]))
    np.testing.assert_array_equal(block.timelines(["a"]).events.quantity, [100.0, np.nan])
