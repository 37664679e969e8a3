"""Read the parts of a lake side by side, a few accounts of each in memory at a time.

::

    part 1 (by account)  a a b c │ c d f f │ g ...
    part 2 (by account)  a b b d │ e f ...            until(d) ──► a a b c c, a b b, b c
    part 3 (by account)  b c d d │ d ...              until(f) ──► d, d e, d d d

Every row is decoded once, some thousands of a part at a time. Rows beyond the requested account wait
in memory for the next call. With many parts, fewer rows of each are decoded at a time, and their row
groups are unpacked more often, so that up to 488 parts need no more memory.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from features.events.schema import EVENT_SCHEMA
from features.lake.parts import ROW_GROUP

MOST_ROWS_WAITING = 2_000_000
"""Rows of all parts that may wait in memory, about 80 bytes each."""

LEAST_ROWS_AT_ONCE = 4096
"""Rows of one part that are decoded at a time, at least, because each time unpacks a row group."""


NO_EVENTS = pl.DataFrame(schema=EVENT_SCHEMA)


class MergeScan:
    """Parts of a lake, read from the first account to the last.

    Args:
        paths: the parts, each ordered by account.
        columns: the columns to read, ``account_id`` and ``kind`` among them.
        whole_kinds: kinds whose events are also returned with all columns.
        rows_at_once: how many rows of a part are decoded at a time; by default a row group, or fewer
            where more than ``MOST_ROWS_WAITING`` rows of all parts would wait.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        columns: Sequence[str],
        whole_kinds: Collection[str] = (),
        *,
        rows_at_once: int | None = None,
    ) -> None:
        at_once = rows_at_once or min(
            ROW_GROUP, max(LEAST_ROWS_AT_ONCE, MOST_ROWS_WAITING // max(1, len(paths)))
        )
        self._columns, self._whole_kinds = list(columns), list(whole_kinds)
        self._rows = [_Rows(path, self._columns, at_once) for path in paths]

    def until(self, account: str | None) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The next events, of all accounts before this one; with ``None``, of all that are left.

        Returns:
            Part by part, in the order of accounts within each: the events with ``columns``, and those of
            ``whole_kinds`` with all columns.
        """
        waiting = self._rows
        while waiting:
            for rows in waiting:
                rows.take(account)
            waiting = [rows for rows in waiting if rows.has_more]
            self._decode(waiting)
        taken = [frame for rows in self._rows for frame in rows.taken]
        whole = [frame for rows in self._rows for frame in rows.taken_whole]
        for rows in self._rows:
            rows.taken, rows.taken_whole = [], []
        return (
            pl.concat([NO_EVENTS.select(self._columns), *taken], rechunk=True),
            pl.concat([NO_EVENTS, *whole]),
        )

    def _decode(self, parts: Sequence[_Rows]) -> None:
        """Decode the next rows of these parts in parallel."""
        for rows, decoded in zip(parts, pl.collect_all([one.next() for one in parts]), strict=True):
            rows.decoded = decoded
        if not self._whole_kinds:
            return
        is_whole = pl.col("kind").is_in(self._whole_kinds)
        some = [rows for rows in parts if rows.decoded.select(is_whole.any()).item()]
        for rows, decoded in zip(
            some, pl.collect_all([one.whole().filter(is_whole) for one in some]), strict=True
        ):
            rows.decoded_whole = decoded


class _Rows:
    """The rows of one part: how many are decoded, and which of these wait."""

    def __init__(self, path: Path, columns: Sequence[str], at_once: int) -> None:
        self._part = pl.scan_parquet(path, parallel="none")
        self._columns, self._at_once = columns, at_once
        self._read, self._height = 0, pq.read_metadata(path).num_rows
        self.decoded = self.decoded_whole = pl.DataFrame()
        self.taken: list[pl.DataFrame] = []
        self.taken_whole: list[pl.DataFrame] = []

    @property
    def has_more(self) -> bool:
        """Whether no row waits and the part has more."""
        return self.decoded.is_empty() and self._read < self._height

    def next(self) -> pl.LazyFrame:
        """The next rows, with ``columns``."""
        start, self._read = self._read, self._read + self._at_once
        return self._part.slice(start, self._at_once).select(self._columns)

    def whole(self) -> pl.LazyFrame:
        """The rows that ``next`` returned last, with all columns."""
        return self._part.slice(self._read - self._at_once, self._at_once).select(*EVENT_SCHEMA)

    def take(self, account: str | None) -> None:
        """Take the waiting rows of the accounts before this one."""
        self.decoded = _moved(self.decoded, account, self.taken)
        self.decoded_whole = _moved(self.decoded_whole, account, self.taken_whole)


def _moved(rows: pl.DataFrame, account: str | None, taken: list[pl.DataFrame]) -> pl.DataFrame:
    if rows.is_empty():
        return rows
    accounts: Any = rows["account_id"]  # is a sequence of strings, whatever its type says
    end = rows.height if account is None else bisect_left(accounts, account)
    if end > 0:
        taken.append(rows[:end])
    return rows[end:] if end < rows.height else pl.DataFrame()
