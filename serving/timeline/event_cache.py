"""This module is about the events of a few kinds, kept in memory beside the lake.

Whoever decides needs a handful of kinds of one account at once, and reading every part of the lake
for them takes longer than deciding. A part never changes, so what was read of it is kept as long
as the manifest names it; an answer is always that of the manifest as it is now. Where an account's
events stand in each part is a dictionary beside it, for looking up few accounts in a frame takes
longer than reading their events.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import polars as pl

from features.events.schema import EVENT_SCHEMA, UTC_INSTANT
from features.lake.lake import CEASED_BY, LAKE_SCHEMA, Lake
from features.lake.manifest import MANIFEST, Manifest
from features.reloaded_file import Stamp, stamp_of

FEW = 64
"""So many accounts are looked up one by one in the ordered parts."""


class KeptEvent(NamedTuple):
    """What is read of an event, and when its version ceased to hold."""

    account_id: str
    kind: str
    occurred_at: datetime
    recorded_at: datetime
    event_id: str
    user_id: str | None
    properties: str
    superseded_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class KeptPart:
    """The events of one part as ``Lake.scan`` has them, and where those of an account stand.

    ``number`` is another one as soon as anything of it is.
    """

    number: int
    events: pl.DataFrame
    places: Mapping[str, tuple[int, int]]  # account to its first row and how many there are

    def of(self, account_id: str) -> pl.DataFrame:
        """The events of an account."""
        first, many = self.places.get(account_id, (0, 0))
        return self.events.slice(first, many)


class KeptKinds:
    """The events of some kinds of one lake, as ``Lake.scan`` has them."""

    def __init__(self, lake: Lake, kinds: Sequence[str]) -> None:
        self._lake = lake
        self._kinds = tuple(kinds)
        self._parts: dict[str, KeptPart] = {}
        self._now: tuple[KeptPart, ...] = ()  # those that hold any events
        self._ceased: tuple[tuple[str, ...], pl.DataFrame] = (), pl.DataFrame()
        self._stamp: Stamp | None = None
        self._numbers = itertools.count()
        self._catching_up = threading.Lock()

    def events(self, account_ids: Sequence[str]) -> pl.DataFrame:
        """Every version of every event of these accounts, with ``superseded_at``."""
        return pl.concat(
            [pl.DataFrame(schema=LAKE_SCHEMA), *_of_accounts(self.parts(), account_ids)]
        )

    def parts(self) -> tuple[KeptPart, ...]:
        """The parts that hold any of these kinds, as the manifest has them now."""
        with self._catching_up:
            stamp = stamp_of(self._lake.folder / MANIFEST)
            if stamp is None or stamp != self._stamp:
                self._catch_up(self._lake.manifest)
                self._stamp = stamp
            return self._now

    def _catch_up(self, manifest: Manifest) -> None:
        names, ceased = self._ceased
        is_corrected = names != manifest.superseded
        if is_corrected:
            ceased = self._lake.ceased(manifest).collect()
        parts = {}
        for name in manifest.parts:
            part = self._parts.get(name)
            if part is None:
                part = self._kept(self._read(name, ceased))
            elif is_corrected:
                events = _ceased_now(part.events, ceased)
                part = part if events.equals(part.events) else self._kept(events)
            parts[name] = part
        self._parts, self._ceased = parts, (manifest.superseded, ceased)
        self._now = tuple(part for part in parts.values() if part.places)

    def _read(self, name: str, ceased: pl.DataFrame) -> pl.DataFrame:
        events = (
            pl.scan_parquet(self._lake.folder / name)
            .filter(pl.col("kind").is_in(list(self._kinds)))
            .select(*EVENT_SCHEMA)
            .sort("account_id")
            .collect()
        )
        return _ceased_now(events, ceased)

    def _kept(self, events: pl.DataFrame) -> KeptPart:
        runs = (
            events["account_id"].rle().struct.unnest()
            if len(events)
            else pl.DataFrame(schema={"len": pl.UInt32, "value": pl.String})
        )
        many = runs["len"].to_list()
        first = itertools.accumulate(many, initial=0)
        return KeptPart(
            number=next(self._numbers),
            events=events,
            places=dict(zip(runs["value"].to_list(), zip(first, many, strict=False), strict=True)),
        )


def kept_events(parts: Sequence[KeptPart], account_ids: Sequence[str]) -> Iterator[KeptEvent]:
    """Every version of every event of these accounts, one by one."""
    for events in _of_accounts(parts, account_ids):
        yield from map(KeptEvent._make, events.select(KeptEvent._fields).iter_rows())


def _of_accounts(parts: Sequence[KeptPart], account_ids: Sequence[str]) -> list[pl.DataFrame]:
    wanted = list(dict.fromkeys(account_ids))
    if len(wanted) > FEW:
        return [part.events.filter(pl.col("account_id").is_in(wanted)) for part in parts]
    return [
        part.of(account_id) for part in parts for account_id in wanted if account_id in part.places
    ]


def _ceased_now(events: pl.DataFrame, ceased: pl.DataFrame) -> pl.DataFrame:
    """The events with ``superseded_at``, in the order they have."""
    plain = events.select(*EVENT_SCHEMA)
    if ceased.is_empty() or plain.is_empty():
        return plain.with_columns(pl.lit(None, UTC_INSTANT).alias("superseded_at"))
    return plain.join(ceased, on=[*CEASED_BY], how="left", maintain_order="left").select(
        *LAKE_SCHEMA
    )
