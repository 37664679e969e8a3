"""Read a lake by ranges of accounts, however their events are spread over its parts.

The parts are read side by side (``_merge_scan.py``), and each range is computed as soon as it is read.
So time is linear in the number of events, and memory depends on the size of a range and the number of
parts. The superseded versions are in memory as well, because they are found by id.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import accumulate
from pathlib import Path
from typing import TypeVar

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from features.compute._merge_scan import MergeScan
from features.events.schema import UTC_INSTANT
from features.kernel.sweep import UndecidedOrderError
from features.lake.lake import SUPERSEDED_KEY, Lake
from features.lake.manifest import Manifest

Made = TypeVar("Made")

SAMPLES_A_RANGE = 500
"""Events that are sampled for each range, so that the sizes of ranges are right within a tenth."""

PLACES_LOOKED_AT = 16
"""Places of the lake, evenly over its events, from which these events are sampled."""


class AccountRanges:
    """The events of a lake, some accounts at a time.

    Args:
        lake: the events.
        columns: which columns to read, ``account_id`` and ``kind`` among them. Where the events
            cannot be put in order without it, or some were corrected, ``event_id`` and
            ``superseded_at`` are read as well.
        events_at_once: events of one range, about; an account is never split.
        threads: how many ranges are computed at once.
        whole_kinds: kinds whose events are also read with all columns.
        manifest: the files to read; those of the current manifest by default. Later commits are
            not read.
    """

    def __init__(
        self,
        lake: Lake,
        columns: Sequence[str],
        *,
        events_at_once: int,
        threads: int = 1,
        whole_kinds: Collection[str] = (),
        manifest: Manifest | None = None,
    ) -> None:
        self._lake, self._threads = lake, threads
        self._columns = tuple(columns)
        self._whole_kinds = sorted(whole_kinds)
        self._manifest = manifest or lake.manifest
        lake.check_files(self._manifest)
        self._paths = [lake.folder / name for name in self._manifest.parts]
        self._edges = _edges(self._paths, events_at_once)
        self._tied = False  # whether the order of two events depended on their ids

    def __len__(self) -> int:
        return len(self._edges) + 1

    def map_ranges(self, work: Callable[[pl.DataFrame, pl.DataFrame], Made]) -> Iterator[Made]:
        """The result of ``work`` for each range, in the order of accounts.

        ``work`` gets the events of the range, and those of ``whole_kinds`` with all columns.
        """
        if self._threads == 1:
            for number, events, whole in self._read():
                yield self._worked(number, events, whole, work)
            return
        with ThreadPoolExecutor(self._threads) as pool:
            waiting: deque[Future[Made]] = deque()
            for number, events, whole in self._read():
                waiting.append(pool.submit(self._worked, number, events, whole, work))
                del events, whole
                if len(waiting) > self._threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _read(self) -> Iterator[tuple[int, pl.DataFrame, pl.DataFrame]]:
        ceased = self._lake.superseded_rows(self._manifest).collect()
        with_ids = bool(self._manifest.superseded)
        parts = self._parts(with_ids=with_ids)
        for number, edge in enumerate([*self._edges, None]):
            if (
                self._tied and not with_ids
            ):  # where two events tie, others will: read ids from now on
                with_ids = True
                parts = self._parts(with_ids=True)
                if number > 0:
                    parts.until(self._edges[number - 1])
            events, whole = (_with_superseded(frame, ceased) for frame in parts.until(edge))
            yield number, events, whole
            del events, whole  # so that only the work keeps them in memory

    def _parts(self, *, with_ids: bool) -> MergeScan:
        columns = dict.fromkeys([*self._columns, *(["event_id"] if with_ids else [])])
        return MergeScan(self._paths, list(columns), self._whole_kinds)

    def _worked(
        self,
        number: int,
        events: pl.DataFrame,
        whole: pl.DataFrame,
        work: Callable[[pl.DataFrame, pl.DataFrame], Made],
    ) -> Made:
        try:
            return work(events, whole)
        except UndecidedOrderError:  # ids are long, and rarely needed
            self._tied = True
            return work(self._with_ids(number), whole)

    def _with_ids(self, number: int) -> pl.DataFrame:
        events = self._lake.scan(self._manifest)
        if number > 0:
            events = events.filter(pl.col("account_id") >= self._edges[number - 1])
        if number < len(self._edges):
            events = events.filter(pl.col("account_id") < self._edges[number])
        columns = dict.fromkeys([*self._columns, "event_id", "superseded_at"])
        return events.select(*columns).collect()


def _with_superseded(events: pl.DataFrame, ceased: pl.DataFrame) -> pl.DataFrame:
    if "event_id" not in events.columns:
        return events
    if ceased.is_empty():
        return events.with_columns(pl.lit(None, UTC_INSTANT).alias("superseded_at"))
    return events.join(ceased, on=[*SUPERSEDED_KEY], how="left")


def _edges(paths: Sequence[Path], events_at_once: int) -> list[str]:
    """The accounts at which ranges begin, from a sample of events of the whole lake.

    The statistics of row groups would not do: in parts of the same size the row groups begin at the
    same accounts, and a few ranges would hold most events.
    """
    heights = [pq.read_metadata(path).num_rows for path in paths]
    events = sum(heights)
    if events <= events_at_once:
        return []
    n_ranges = -(-events // events_at_once)
    ends = list(accumulate(heights))
    places = Counter(
        bisect_right(ends, events * (2 * number + 1) // (2 * PLACES_LOOKED_AT))
        for number in range(PLACES_LOOKED_AT)
    )
    looked_at = []
    for part, n_places in places.items():
        accounts = pl.read_parquet(paths[part], columns=["account_id"])["account_id"]
        n_samples = -(-n_ranges * SAMPLES_A_RANGE * n_places // PLACES_LOOKED_AT)
        looked_at.append(
            accounts.gather(
                np.linspace(0, len(accounts) - 1, min(n_samples, len(accounts))).astype(np.int64)
            )
        )
    sampled = pl.concat(looked_at).sort()
    a_range = -(-len(sampled) // n_ranges)
    return sampled.gather_every(a_range).slice(1).unique(maintain_order=True).to_list()
