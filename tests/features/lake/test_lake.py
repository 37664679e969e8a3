"""The lake drops repeats, keeps versions, and is the old one or the new one at any moment."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.events.schema import Event, events_frame
from features.ingest.run import ingest_rows
from features.lake.deduplication.ids import CONTENT
from features.lake.deduplication.versions import NOT_LATER
from features.lake.lake import MOST_SMALL_PARTS, SMALL_PART_BYTES, Lake, _groups
from features.lake.manifest import LakeError, kind_of_file
from features.workspace_files import WorkspaceBusyError

START = datetime(2026, 3, 1, tzinfo=UTC)
NOW = datetime(2026, 6, 1, tzinfo=UTC)


def event(day: int = 0, **other) -> Event:
    moment = START + timedelta(days=day)
    return Event(
        **{
            "account_id": "a",
            "kind": "user.session",
            "occurred_at": START,
            "recorded_at": moment,
            "quantity": 60.0,
        }
        | other
    )


def append(lake: Lake, *events: Event, now: datetime = NOW):
    return lake.append(events_frame(list(events)), source="test", file="made", now=now)


def counts(summary):
    return (
        summary.landed,
        summary.duplicates,
        summary.corrected,
        sum(summary.quarantined.values()),
        sum(summary.left_out.values()),
    )


@pytest.fixture
def lake(tmp_path):
    return Lake(tmp_path / "events")


def test_an_empty_lake_has_the_columns_and_no_rows(lake):
    frame = lake.scan().collect()
    assert frame.columns[-1] == "superseded_at"
    assert frame.height == 0
    assert (lake.first_recorded(), lake.complete_until) == ({}, None)
    assert not lake.folder.exists()


def test_what_is_appended_can_be_read(lake):
    summary = append(lake, event(), event(1, kind="error.raised", quantity=None))
    assert counts(summary) == (2, 0, 0, 0, 0)
    frame = lake.scan().collect().sort("recorded_at")
    assert frame["kind"].to_list() == ["user.session", "error.raised"]
    assert frame["superseded_at"].null_count() == 2
    assert lake.first_recorded() == {
        "user.session": START,
        "error.raised": START + timedelta(days=1),
    }
    assert lake.sources["test.made"].rows == 2


def test_equal_rows_of_one_frame_are_two_events_and_twice_the_frame_is_no_more(lake):
    assert counts(append(lake, event(), event())) == (2, 0, 0, 0, 0)
    before = lake.manifest
    assert counts(append(lake, event(), event())) == (0, 2, 0, 0, 0)
    assert lake.manifest == before


def test_the_same_id_and_content_is_a_repeat_even_when_recorded_later(lake):
    append(lake, event(event_id="x"))
    assert counts(append(lake, event(3, event_id="x"))) == (0, 1, 0, 0, 0)
    assert lake.scan().collect()["recorded_at"].to_list() == [START]


def test_the_same_id_with_other_content_recorded_later_is_a_correction(lake):
    append(lake, event(1, event_id="x"))
    assert counts(append(lake, event(5, event_id="x", quantity=90.0))) == (0, 0, 1, 0, 0)
    for day, known in ((1, []), (2, [60.0]), (5, [60.0]), (6, [90.0])):
        as_of = START + timedelta(days=day)
        assert lake.as_of(as_of).collect()["quantity"].to_list() == known
        before = lake.versions_before(as_of).collect()["quantity"].to_list()
        assert before == [60.0, 90.0][: len(before)]
        assert len(before) == (0 if day == 1 else 1 if day < 6 else 2)


@pytest.mark.parametrize("day", [0, 1])
def test_the_same_id_with_other_content_not_recorded_later_is_quarantined(lake, day):
    append(lake, event(1, event_id="x"))
    summary = append(lake, event(day, event_id="x", quantity=90.0))
    assert summary.quarantined == {NOT_LATER: 1}
    refused = lake.quarantined().collect()
    assert refused.select("reason", "file", "line").row(0) == (NOT_LATER, "made", 1)
    assert '"quantity": 90.0' in refused["raw"][0]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"account_id": ""}, "account_id is missing"),
        ({"kind": "coffee.drunk"}, "kind is not known"),
        (
            {"occurred_at": NOW + timedelta(hours=1), "recorded_at": NOW + timedelta(hours=1)},
            "occurred_at lies in the future",
        ),
    ],
)
def test_a_bad_event_of_a_program_is_quarantined(lake, bad, reason):
    summary = append(lake, event(), event(**bad))
    assert summary.landed == 1
    assert summary.quarantined == {reason: 1}


def test_a_frame_of_other_columns_is_refused(lake):
    with pytest.raises(LakeError, match=r"takes frames of EVENT_SCHEMA, and odd has"):
        lake.append(pl.DataFrame({"a": [1]}), source="test", file="odd", now=NOW)


def test_a_manifest_is_parsed_once_and_again_when_it_is_another(lake):
    append(lake, event())
    same = Lake(lake.folder).manifest
    assert same is lake.manifest
    append(Lake(lake.folder), event(quantity=70.0))
    assert (same.rows, lake.manifest.rows) == (1, 2)


def test_a_damaged_manifest_says_so(lake):
    append(lake, event())
    (lake.folder / "manifest.json").write_text("{")
    with pytest.raises(LakeError, match=r"manifest.json .* is damaged"):
        lake.scan()


def test_a_block_that_fails_leaves_the_old_lake(lake):
    append(lake, event())
    before = lake.manifest
    with pytest.raises(RuntimeError, match="power"), lake.batch() as batch:  # noqa: PT012
        batch.add_file(
            events_frame([event(2)]).with_columns(
                pl.lit(1, pl.Int64).alias("__line"),
                pl.lit(None, pl.String).alias("problem"),
                pl.lit(None, pl.String).alias("left"),
            ),
            raw=pl.DataFrame({"__line": [1]}),
            source="t",
            table="t",
            file="f",
            now=NOW,
            complete_until=None,
        )
        raise RuntimeError("power")
    assert lake.manifest == before
    assert lake.scan().collect().height == 1


def test_what_a_killed_batch_left_behind_is_swept_away_by_the_next(lake):
    append(lake, event())
    left = [
        lake.folder / "000002-1.parquet",
        lake.folder / ".000002-1.parquet.tmp",
        lake.quarantine_folder / "000002-refused.parquet",
    ]
    lake.quarantine_folder.mkdir()
    for path in left:
        path.write_bytes(b"half")
    assert lake.scan().collect().height == 1
    append(lake, event(1))
    assert lake.scan().collect().height == 1  # equal content, so a repeat
    append(lake, event(1, quantity=5.0))
    assert lake.scan().collect().height == 2
    assert not left[1].exists()
    assert not left[2].exists()


def test_two_writers_at_once_one_is_told_to_wait(lake):
    with lake.batch(), pytest.raises(WorkspaceBusyError, match="Another process is writing"):
        append(lake, event())
    assert append(lake, event()).landed == 1


def test_many_writers_that_wait_lose_nothing(lake):
    def send(writer: int) -> None:
        for number in range(5):
            ingest_rows(
                lake,
                [
                    {
                        "event_id": f"{writer}-{number}",
                        "account_id": "a",
                        "kind": "user.session",
                        "occurred_at": "2026-03-01T00:00:00Z",
                    }
                ],
                now=NOW,
                source="api",
                wait_seconds=60,
            )

    threads = [threading.Thread(target=send, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lake.scan().collect().height == 20
    assert lake.manifest.rows == 20


def test_many_small_batches_become_few_files_and_keep_every_event(lake):
    early = None
    for number in range(MOST_SMALL_PARTS + 3):
        append(lake, event(event_id=f"{number}"))
        if number == MOST_SMALL_PARTS - 1:
            early, digest = lake.scan(), lake.digest
    assert len(lake.manifest.parts) <= 4
    assert lake.scan().collect()["event_id"].n_unique() == MOST_SMALL_PARTS + 3
    assert early.collect().height == MOST_SMALL_PARTS  # a reader that began before the merge
    assert lake.digest != digest


def correct(lake: Lake, number: int) -> None:
    """One commit with a part and a list of superseded versions."""
    append(lake, event(number + 1, event_id="corrected", quantity=float(number)))


def readable(lake: Lake, names: tuple[str, ...]) -> bool:
    return all((lake.folder / name).exists() for name in names)


def test_a_merge_of_one_kind_of_file_leaves_what_another_kind_was_merged_of(lake):
    append(lake, event(event_id="corrected"))
    for number in range(MOST_SMALL_PARTS + 1):  # the parts are one more than the lists
        correct(lake, number)
        held = lake.manifest
        if held.retired and not any("superseded" in name for name in held.retired):
            parts = held.retired
    assert "superseded" in held.retired[-1]
    assert set(parts) <= set(held.retired)
    assert {kind_of_file(name) for name in held.retired} == {"parts", "superseded"}
    correct(lake, MOST_SMALL_PARTS + 1)  # sweeps
    assert readable(lake, parts)


def test_a_reader_that_began_before_two_merges_finds_its_files(lake):
    append(lake, event(event_id="first"))
    held = lake.manifest
    early = lake.scan()
    for number in range(2 * MOST_SMALL_PARTS + 2):
        append(lake, event(event_id=f"{number}"))
    assert lake.manifest.retired_earlier[held.parts[0]] > lake.manifest.generation
    assert held.parts[0] not in lake.manifest.retired
    assert early.collect()["event_id"].to_list() == ["first"]


def test_a_file_that_was_merged_long_ago_is_swept_away(lake, monkeypatch):
    monkeypatch.setattr("features.lake.lake.KEPT_GENERATIONS", 3)
    append(lake, event(event_id="first"))
    held = lake.manifest.parts
    for number in range(3 * MOST_SMALL_PARTS + 4):
        append(lake, event(event_id=f"{number}"))
        assert set(lake.manifest.parts).isdisjoint(lake.manifest.retired_earlier)
    assert not readable(lake, held)
    assert held[0] not in {*lake.manifest.retired, *lake.manifest.retired_earlier}
    assert lake.scan().collect().height == 3 * MOST_SMALL_PARTS + 5


def test_a_manifest_of_before_is_read(lake):
    append(lake, event())
    path = lake.folder / "manifest.json"
    older = json.loads(path.read_text())
    for newer in ("retired_earlier", "digests", "checksum"):
        del older[newer]
    path.write_text(json.dumps(older))
    assert lake.manifest.retired_earlier == {}
    append(lake, event(1, event_id="x"))
    assert lake.scan().collect().height == 2


def test_the_digest_does_not_know_batches_or_order(tmp_path):
    events = [event(n, quantity=float(n)) for n in range(5)]
    one, other = Lake(tmp_path / "one"), Lake(tmp_path / "other")
    append(one, *events)
    for each in reversed(events):
        append(other, each)
    assert one.digest == other.digest
    append(other, event(9, quantity=9.0))
    assert one.digest != other.digest


def plainly(batches):
    """The slow, obvious reference: (landed, duplicates, corrected, refused) and the versions."""
    versions: dict[str, list[tuple]] = {}
    tally = [0, 0, 0, 0]
    for batch in batches:
        for e in sorted(batch, key=lambda e: e.recorded_at):
            content = tuple(getattr(e, name) for name in CONTENT)
            held = versions.setdefault(e.event_id, [])
            if not held:
                held.append((e.recorded_at, content))
                tally[0] += 1
            elif content == held[-1][1] or (e.recorded_at, content) in held:
                tally[1] += 1
            elif e.recorded_at > held[-1][0]:
                held.append((e.recorded_at, content))
                tally[2] += 1
            else:
                tally[3] += 1
    return tally, versions


some_events = st.builds(
    event,
    day=st.integers(0, 3),
    event_id=st.sampled_from(["x", "y", "z"]),
    quantity=st.sampled_from([1.0, 2.0]),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(some_events, max_size=6), max_size=3))
def test_versions_are_those_of_the_plain_reference(tmp_path_factory, batches):
    lake = Lake(tmp_path_factory.mktemp("lake") / "events")
    summaries = [append(lake, *batch) for batch in batches]
    tally, versions = plainly(batches)
    assert [sum(column) for column in zip(*(counts(s)[:4] for s in summaries), strict=True)] == (
        tally if batches else []
    )
    frame = lake.scan().collect().sort("event_id", "recorded_at")
    expected = [
        (event_id, held[n][0], held[n][1][6], held[n + 1][0] if n + 1 < len(held) else None)
        for event_id, held in sorted(versions.items())
        for n in range(len(held))
    ]
    assert frame.select("event_id", "recorded_at", "quantity", "superseded_at").rows() == expected


def test_a_corrected_event_with_the_same_moment_and_content_again_is_a_repeat(lake):
    first, second = event(1, event_id="x"), event(2, event_id="x", quantity=5.0)
    append(lake, first, second)
    before = lake.manifest
    assert counts(append(lake, second, first)) == (0, 2, 0, 0, 0)
    assert lake.manifest == before
    assert counts(append(lake, replace(first, recorded_at=START + timedelta(days=9)))) == (
        0,
        0,
        1,
        0,
        0,
    )  # back to the first content is a correction too


def test_merging_many_small_files_stops_where_one_is_large_enough(tmp_path):
    sizes = [SMALL_PART_BYTES // 2] * 5 + [1]
    paths = []
    for number, size in enumerate(sizes):
        paths.append(tmp_path / str(number))
        paths[-1].write_bytes(bytes(size))
    assert [len(group) for group in _groups(paths)] == [2, 2, 2]
    assert list(_groups([])) == []
