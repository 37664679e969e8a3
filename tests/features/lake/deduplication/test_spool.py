"""What goes into the spool comes out again, and all keys of one id come out together."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from features.events.schema import Event, events_frame
from features.lake.deduplication.ids import with_first_ids
from features.lake.deduplication.row_keys import CONTENT_KEY, ID_KEY, with_keys
from features.lake.deduplication.spool import OWN, ROW, SPOOL, Spool, clear_spool, open_spool

MAPS = Path("/proc/self/maps")
START = datetime(2026, 3, 1, tzinfo=UTC)


def piece(*numbers):
    return with_keys(
        with_first_ids(
            events_frame(
                [
                    Event(
                        event_id=f"e{n}" if n % 2 else "",
                        account_id="a",
                        kind="feature.used",
                        occurred_at=START,
                        recorded_at=START + timedelta(seconds=n),
                        event_count=n,
                    )
                    for n in numbers
                ]
            )
        )
    )


@pytest.mark.parametrize("most", [0, 5, 1_000], ids=["on disk", "some of each", "in memory"])
@pytest.mark.parametrize("bucket_events", [1, 4, 1_000])
def test_events_and_keys_come_out_as_they_went_in(tmp_path, most, bucket_events):
    spool = Spool(tmp_path / "spool", most_in_memory=most, bucket_events=bucket_events)
    pieces = [piece(1, 2, 3), piece(), piece(3, 2, 7, 8, 1), piece(9)]
    for events in pieces:
        spool.add(events)
    whole = pl.concat(pieces).with_row_index(ROW).cast({ROW: pl.Int64})
    assert_frame_equal(pl.concat(spool.pieces()), whole, check_column_order=False)
    found, seen = [], set()
    for keys in spool.buckets():
        ids = keys.ids.tolist()
        assert ids == sorted(ids)
        assert not seen & set(ids)
        seen |= set(ids)
        found += zip(
            keys.rows.tolist(),
            ids,
            keys.contents.tolist(),
            keys.recorded.tolist(),
            keys.own.tolist(),
            strict=True,
        )
    assert (
        sorted(found)
        == whole.select(ROW, ID_KEY, CONTENT_KEY, pl.col("recorded_at").to_physical(), OWN).rows()
    )


def test_an_empty_spool_has_no_keys(tmp_path):
    assert [len(keys.ids) for keys in Spool(tmp_path).buckets()] == [0]


@pytest.mark.skipif(not MAPS.exists(), reason="only Linux tells what is mapped")
def test_no_file_of_keys_stays_in_memory(tmp_path):
    spool = Spool(tmp_path / "spool", most_in_memory=0, bucket_events=1)
    spool.add(piece(1, 2, 3, 4, 5))
    for _ in spool.buckets():
        assert str(tmp_path) not in MAPS.read_text(encoding="utf-8")


def test_a_spool_is_gone_afterwards_and_after_a_kill_with_the_next(tmp_path):
    with open_spool(tmp_path, most_in_memory=0) as spool:
        spool.add(piece(1, 2))
        assert list((tmp_path / SPOOL).iterdir())
    assert not (tmp_path / SPOOL).exists()
    (tmp_path / SPOOL).mkdir()
    clear_spool(tmp_path)
    clear_spool(tmp_path)
    assert not (tmp_path / SPOOL).exists()
