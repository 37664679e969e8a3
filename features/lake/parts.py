"""Write the parts of a lake: files that are written once and never changed.

The events of a part are sorted by account and, to the second, by time. Its row groups are small, so
that one account is read without most others. The key index of the part is a file beside it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import cast

import polars as pl
import pyarrow.parquet as pq

from features.events.schema import EVENT_SCHEMA
from features.lake.deduplication.key_index import write_keys
from features.lake.deduplication.row_keys import CONTENT_KEY, ID_KEY, with_keys

PART_EVENTS = 1_000_000
"""A part is closed when it holds this many."""

ROW_GROUP = 16_384
REPEATED = ("account_id", "user_id", "kind", "properties", "event_count", "user_count", "quantity")
"""Columns in which few values come many times."""

SECONDS_BITS = 33  # seconds since the first event of a part: 272 years


def write_part(events: pl.DataFrame, path: Path) -> None:
    """Write events, with or without their keys, as a part. The manifest does not list it yet."""
    keyed = events if ID_KEY in events.columns else with_keys(events)
    write_frame(sort_by_account(keyed.select(*EVENT_SCHEMA)), path)
    write_keys(path, keyed.select(ID_KEY, CONTENT_KEY))


def write_part_in_groups(groups: Iterable[pl.DataFrame], path: Path) -> int:
    """Write a part a row group at a time, in the order in which the events come; their number.

    Only one group and 16 bytes an event are in memory. Without events no file is written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    writer: pq.ParquetWriter | None = None
    waiting: list[pl.DataFrame] = []
    keys = [pl.DataFrame(schema={ID_KEY: pl.UInt64, CONTENT_KEY: pl.UInt64})]
    try:
        for group in groups:
            if group.is_empty():
                continue
            keys.append(with_keys(group).select(ID_KEY, CONTENT_KEY))
            waiting.append(group)
            if writer is None:
                schema = group.to_arrow().schema
                writer = pq.ParquetWriter(
                    temporary,
                    schema,
                    compression="zstd",
                    compression_level=1,
                    use_dictionary=list(REPEATED),  # of others it would take a fifth more room
                )
            if sum(one.height for one in waiting) >= ROW_GROUP:
                writer.write_table(pl.concat(waiting).to_arrow())
                waiting = []
        if writer is None:
            return 0
        if waiting:
            writer.write_table(pl.concat(waiting).to_arrow())
    finally:
        if writer is not None:
            writer.close()
    _move_in_place(temporary, path)
    found = pl.concat(keys)
    write_keys(path, found)
    return found.height


def row_groups(path: Path) -> Iterator[pl.DataFrame]:
    """The events of a part a row group at a time, in their order."""
    file = pq.ParquetFile(path)
    # one row group at a time: asked for all at once, Arrow keeps each in memory to the end
    for number in range(file.num_row_groups):
        table = file.read_row_group(number, columns=list(EVENT_SCHEMA), use_threads=False)
        yield cast(pl.DataFrame, pl.from_arrow(table)).select(*EVENT_SCHEMA)


def sort_by_account(events: pl.DataFrame) -> pl.DataFrame:
    """The events sorted by account and, within one, by time."""
    accounts = events["account_id"].unique().sort()
    codes = events["account_id"].cast(pl.Enum(accounts)).to_physical()
    time = pl.col("time")
    order = (
        pl.DataFrame({"code": codes, "time": events["occurred_at"].to_physical()})
        .select(
            pl.col("code").cast(pl.UInt64) * 2**SECONDS_BITS
            + ((time - time.min()) // 1_000_000).cast(pl.UInt64)
        )
        .to_series()
        .arg_sort()
    )
    sorted_accounts = accounts.gather(codes.gather(order)).alias("account_id")
    # in one chunk first: to gather rows from several chunks costs ten times as much
    return events.select(
        sorted_accounts if name == "account_id" else events[name].rechunk().gather(order)
        for name in events.columns
    )


class PartBuilder:
    """Collects new events into parts of ``PART_EVENTS`` and calls ``add_part`` with each."""

    def __init__(self, add_part: Callable[[pl.DataFrame], None]) -> None:
        self._add_part = add_part
        self._waiting: list[pl.DataFrame] = []
        self.last_recorded: datetime | None = None

    def add(self, events: pl.DataFrame) -> None:
        """Add more events."""
        if events.is_empty():
            return
        self._waiting.append(events)
        last = events["recorded_at"].max()
        if isinstance(last, datetime):
            self.last_recorded = max(last, self.last_recorded or last)
        if sum(frame.height for frame in self._waiting) >= PART_EVENTS:
            self.close()

    def close(self) -> None:
        """Make a part of the rest."""
        if self._waiting:
            self._add_part(pl.concat(self._waiting))
            self._waiting = []


def write_frame(frame: pl.DataFrame, path: Path) -> None:
    """Write a frame and wait until it is on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    frame.write_parquet(
        temporary, compression="zstd", compression_level=1, row_group_size=ROW_GROUP
    )
    _move_in_place(temporary, path)


def _move_in_place(temporary: Path, path: Path) -> None:
    """Let a file that was written take its name, once it is on disk."""
    with temporary.open("rb") as handle:
        os.fsync(handle.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Wait until the names of the files of a folder are on disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
