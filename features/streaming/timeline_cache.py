"""Cache encoded timelines of many accounts, so that a new event is an append.

::

    lake ── blocks of neighbouring accounts ── encode ─► cache (least recently used evicted first)
    new parts ──────────── event by event ─────────────► appended to the blocks

The cache follows the lake from one manifest to a later one. Its arrays are those of ``encode_timelines``
of the same manifest, to the last bit. Blocks that cannot be updated by appending (after a correction,
an import, or two merges) are evicted and read again on demand.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from features.catalogue.catalogue import Catalogue
from features.compute.encode import EncodedTimelines
from features.events.schema import EVENT_SCHEMA
from features.kernel.sweep import read_only
from features.lake.integrity import check_files
from features.lake.lake import LAKE_SCHEMA, Lake
from features.lake.manifest import Manifest
from features.lake.manifest_diff import MOST_ROWS, diff_manifest
from features.streaming._cached_block import GROWING, CachedBlock, ClassKeys

MOST_EVENTS = 5_000_000
"""How many events are cached, at about 130 bytes each."""

EVENTS_A_BLOCK = 400_000
"""Events of one block of neighbouring accounts, which are read together."""

FEW = 4
"""Accounts that have less than this fraction (1 in 4) of a block's events are copied out of it."""

RUN_SHARE = 4
"""Neighbouring blocks are read together, up to this fraction (1 in 4) of ``most_events``."""


@dataclass(frozen=True, kw_only=True)
class CachedAccounts:
    """Encoded accounts, as ``compute_snapshots`` needs them."""

    timelines: tuple[EncodedTimelines, ...]
    events: pl.DataFrame  # the events that expressions read


class TimelineCache:
    """A cache of encoded accounts of a lake.

    Args:
        lake: the source of events.
        catalogue: the features that will be computed.
        most_events: with more, the least recently used block is evicted. A block with more events
            is cached alone.
        events_a_block: about how many events the accounts of a block have together.
    """

    def __init__(
        self,
        lake: Lake,
        catalogue: Catalogue,
        *,
        most_events: int = MOST_EVENTS,
        events_a_block: int = EVENTS_A_BLOCK,
    ) -> None:
        self.catalogue = catalogue
        self._lake = lake
        self._most_events = most_events
        self._events_a_block = events_a_block
        self._manifest: Manifest | None = None
        self._firsts: list[str] = []  # the first account of each block but the first
        self._blocks: OrderedDict[int, CachedBlock] = OrderedDict()
        self._keying = ClassKeys.of(catalogue)
        self._reaches = _reaches(catalogue)

    @property
    def events(self) -> int:
        """How many events are cached."""
        return sum(block.n for block in self._blocks.values())

    def follow(self, manifest: Manifest) -> None:
        """Update the cache to a newer manifest.

        Raises:
            FileNotFoundError: the manifest is so old that its files are gone.
        """
        before, self._manifest = self._manifest, None  # whatever breaks off starts anew
        if before is None or not self._take_in(before, manifest):
            self._blocks.clear()
            self._firsts = self._first_accounts(manifest)
        self._manifest = manifest

    def load(self, accounts: Iterable[str], *, as_of: datetime) -> CachedAccounts:
        """These accounts as of the manifest that was followed; accounts without events are left out.

        ``as_of`` is the earliest moment that will be asked about: events of expressions that are
        before any window of that moment are left out. The result does not change with later calls
        of ``follow``. It is a view of the blocks. It is a copy where it is a small part of a block,
        or where more than half of ``most_events`` would have to stay in memory for it.
        """
        beyond = [
            (pl.col("kind") == kind) & (pl.col("occurred_at") < as_of - reach)
            for kind, reach in self._reaches.items()
        ]
        asked: dict[int, list[str]] = defaultdict(list)
        for account in sorted(set(accounts)):
            asked[self._number(account)].append(account)
        held = 0  # events of blocks of which the result is a view
        taken: dict[int, tuple[EncodedTimelines, pl.DataFrame]] = {}
        for run in [
            *([number] for number in asked if number in self._blocks),
            *self._runs([number for number in asked if number not in self._blocks]),
        ]:
            if run[0] not in self._blocks:
                self._load(run)
            for number in run:
                self._blocks.move_to_end(number)
                block, names = self._blocks[number], asked[number]
                timelines = block.timelines(names)
                if (
                    held + block.n > self._most_events // 2
                    or FEW * len(timelines.events.order) < block.n
                ):
                    timelines = _compact(timelines)
                else:
                    held += block.n
                taken[number] = (
                    timelines,
                    block.expression_events().filter(
                        pl.col("account_id").is_in(names), ~pl.any_horizontal(False, *beyond)
                    ),
                )
        self._evict()
        found = [taken[number] for number in asked]
        return CachedAccounts(
            timelines=tuple(timelines for timelines, _ in found),
            events=pl.concat([events for _, events in found]),
        )

    def _number(self, account: str) -> int:
        return bisect_right(self._firsts, account)

    def _take_in(self, before: Manifest, manifest: Manifest) -> bool:
        """Append new events; return whether that was possible."""
        followed = {*before.parts, *before.superseded}
        if not followed <= {*manifest.parts, *manifest.superseded, *manifest.retired}:
            return False  # files were merged more than once since
        news = diff_manifest(manifest, followed)
        corrected = news.corrected_accounts(self._lake, manifest, self.catalogue.kinds_read)
        if corrected is None:
            return False
        for account in corrected:
            self._blocks.pop(self._number(account), None)
        if not news.parts:
            return True
        check_files(self._lake.folder, news.parts, manifest.digests)
        parts = pl.scan_parquet([self._lake.folder / name for name in news.parts])
        if parts.select(pl.len()).collect().item() > MOST_ROWS:
            return False
        fresh = (
            parts.filter(pl.col("kind").is_in([*self.catalogue.kinds_read]))
            .select(*EVENT_SCHEMA)
            .collect()
        )
        for number, frame in self._by_block(fresh):
            block = self._blocks.get(number)
            if block is not None and not block.add(frame):
                del self._blocks[number]
        return True

    def _by_block(self, events: pl.DataFrame) -> Iterator[tuple[int, pl.DataFrame]]:
        """Events by the number of their block, in their order."""
        if events.is_empty():
            return
        names = events["account_id"].unique()
        numbers = pl.DataFrame({"account_id": names, "block": [self._number(n) for n in names]})
        joined = events.join(numbers, on="account_id", how="left", maintain_order="left")
        for frame in joined.partition_by("block", maintain_order=True):
            yield frame[0, "block"], frame.drop("block")

    def _first_accounts(self, manifest: Manifest) -> list[str]:
        sizes = self._lake.scan(manifest).group_by("account_id").len().sort("account_id")
        table = (
            sizes.with_columns(
                ((pl.col("len").cum_sum() - pl.col("len")) // self._events_a_block).alias("block"),
            )
            .group_by("block", maintain_order=True)
            .first()
            .collect()
        )
        return table["account_id"].to_list()[1:]

    def _runs(self, numbers: Iterable[int]) -> list[list[int]]:
        """Groups of neighbouring blocks that are read together."""
        most = max(1, self._most_events // self._events_a_block // RUN_SHARE)
        runs: list[list[int]] = []
        for number in sorted(numbers):
            if runs and runs[-1][-1] == number - 1 and len(runs[-1]) < most:
                runs[-1].append(number)
            else:
                runs.append([number])
        return runs

    def _load(self, run: Sequence[int]) -> None:
        """Read neighbouring blocks from the lake, and evict others for them."""
        assert self._manifest is not None
        events = self._lake.scan(self._manifest).filter(
            pl.col("kind").is_in([*self.catalogue.kinds_read])
        )
        if run[0] > 0:
            events = events.filter(pl.col("account_id") >= self._firsts[run[0] - 1])
        if run[-1] < len(self._firsts):
            events = events.filter(pl.col("account_id") < self._firsts[run[-1]])
        frame = events.select(*LAKE_SCHEMA).collect()
        self._evict(coming=frame.height)
        found = dict(self._by_block(frame))
        for number in run:
            self._blocks[number] = CachedBlock(
                found.pop(number, frame.clear()), self.catalogue, self._keying
            )

    def _evict(self, coming: int = 0) -> None:
        """Evict the least recently used blocks until there is room; the last only for new blocks."""
        kept = self.events + coming
        while kept > self._most_events and len(self._blocks) > (0 if coming else 1):
            kept -= self._blocks.popitem(last=False)[1].n


def _compact(timelines: EncodedTimelines) -> EncodedTimelines:
    """A copy of the accounts whose columns hold no events of other accounts."""
    events = timelines.events
    columns = {
        name: read_only(column[events.order])
        for name in GROWING
        if len(column := getattr(events, name))
    }
    order = read_only(np.arange(len(events.order), dtype=events.order.dtype))
    return replace(timelines, events=replace(events, order=order, **columns))


def _reaches(catalogue: Catalogue) -> dict[str, timedelta]:
    """Kind to how far back expressions look; kinds without a limit are left out."""
    reaches: dict[str, timedelta] = {}
    for feature in catalogue.expressions:
        reach = (
            timedelta.max if feature.lookback is None else feature.ends_before + feature.lookback
        )
        for kind in feature.reads:
            reaches[kind] = max(reach, reaches.get(kind, reach))
    return {kind: reach for kind, reach in reaches.items() if reach < timedelta.max}
