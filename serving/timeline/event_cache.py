"""Keep the events of a few kinds in memory, beside the lake, and what is derived of an account's.

Whoever decides needs a handful of kinds of one account at once, and reading every part of the lake
for them takes longer than deciding. A part never changes, so what was read of it is cached as long
as the manifest names it; an answer is always that of the manifest as it is now. Where an account's
events stand in each part is a dictionary beside it: to look up few accounts in a frame takes longer
than to read their events.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, NamedTuple, TypeVar

import polars as pl

from features.events.schema import EVENT_SCHEMA, UTC_INSTANT
from features.events.visibility import is_visible, unchanged_between
from features.lake.integrity import check_files, reading
from features.lake.lake import LAKE_SCHEMA, SUPERSEDED_KEY, Lake
from features.lake.manifest import MANIFEST, Manifest
from features.reloaded_file import Stamp, stamp_of

T = TypeVar("T")

FEW = 64
"""So many accounts are looked up one by one in the ordered parts."""

MOST_ACCOUNTS = 50_000
"""Most accounts whose derived values are cached; those read first are dropped first."""


class CachedEvent(NamedTuple):
    """What is cached of an event, and when its version ceased to hold."""

    account_id: str
    kind: str
    occurred_at: datetime
    recorded_at: datetime
    event_id: str
    user_id: str | None
    properties: str
    superseded_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class CachedPart:
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


class EventCache:
    """The events of some kinds of one lake, as ``Lake.scan`` has them."""

    def __init__(self, lake: Lake, kinds: Sequence[str]) -> None:
        self._lake = lake
        self._kinds = tuple(kinds)
        self._parts: dict[str, CachedPart] = {}
        self._now: tuple[CachedPart, ...] = ()  # those that hold any events
        self._ceased: tuple[tuple[str, ...], pl.DataFrame] = (), pl.DataFrame()
        self._stamp: Stamp | None = None
        self._numbers = itertools.count()
        self._catching_up = threading.Lock()

    def events(self, account_ids: Sequence[str]) -> pl.DataFrame:
        """Every version of every event of these accounts, with ``superseded_at``."""
        return pl.concat(
            [pl.DataFrame(schema=LAKE_SCHEMA), *_of_accounts(self.parts(), account_ids)]
        )

    def parts(self) -> tuple[CachedPart, ...]:
        """The parts that hold any of these kinds, as the manifest has them now."""
        with self._catching_up:
            stamp = stamp_of(self._lake.folder / MANIFEST)
            if stamp is None or stamp != self._stamp:
                with reading(self._lake.folder):
                    self._catch_up(self._lake.last_good_manifest)
                self._stamp = stamp
            return self._now

    def _catch_up(self, manifest: Manifest) -> None:
        names, ceased = self._ceased
        is_corrected = names != manifest.superseded
        if is_corrected:
            ceased = self._lake.superseded_rows(manifest).collect()
        parts = {}
        for name in manifest.parts:
            part = self._parts.get(name)
            if part is None:
                part = self._cached(self._read(name, ceased))
            elif is_corrected:
                events = _ceased_now(part.events, ceased)
                part = part if events.equals(part.events) else self._cached(events)
            parts[name] = part
        self._parts, self._ceased = parts, (manifest.superseded, ceased)
        self._now = tuple(part for part in parts.values() if part.places)

    def _read(self, name: str, ceased: pl.DataFrame) -> pl.DataFrame:
        check_files(self._lake.folder, [name], self._lake.last_good_manifest.digests)
        events = (
            pl.scan_parquet(self._lake.folder / name)
            .filter(pl.col("kind").is_in(list(self._kinds)))
            .select(*EVENT_SCHEMA)
            .sort("account_id")
            .collect()
        )
        return _ceased_now(events, ceased)

    def _cached(self, events: pl.DataFrame) -> CachedPart:
        runs = (
            events["account_id"].rle().struct.unnest()
            if len(events)
            else pl.DataFrame(schema={"len": pl.UInt32, "value": pl.String})
        )
        many = runs["len"].to_list()
        first = itertools.accumulate(many, initial=0)
        return CachedPart(
            number=next(self._numbers),
            events=events,
            places=dict(zip(runs["value"].to_list(), zip(first, many, strict=False), strict=True)),
        )


def _of_accounts(parts: Sequence[CachedPart], account_ids: Sequence[str]) -> list[pl.DataFrame]:
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
    return plain.join(ceased, on=[*SUPERSEDED_KEY], how="left", maintain_order="left").select(
        *LAKE_SCHEMA
    )


def cached_events(parts: Sequence[CachedPart], account_ids: Sequence[str]) -> Iterator[CachedEvent]:
    """Every version of every event of these accounts, one by one."""
    for events in _of_accounts(parts, account_ids):
        yield from map(CachedEvent._make, events.select(CachedEvent._fields).iter_rows())


@dataclass(frozen=True, slots=True)
class _Derived(Generic[T]):
    """What was derived, of which parts, and at which moments it holds: after ``after``, up to
    ``until``."""

    parts: tuple[int, ...]
    after: datetime | None  # None: from the first moment on
    until: datetime | None  # None: for good
    value: T

    def holds_at(self, as_of: datetime) -> bool:
        return (self.after is None or self.after < as_of) and (
            self.until is None or as_of <= self.until
        )


class AccountCache(Generic[T]):
    """What is derived of each account's events; equal to deriving it of its events anew.

    It stays the same until one of the events becomes known, ceases to hold, or another part of the
    lake names the account. So it is cached with the parts it was derived of and the moments between
    which it holds, and derived again where that is no longer the case.

    Args:
        events: the cache of the events.
        derive: makes it of the events that are known, in whatever order they come.
        most: accounts that are cached.
    """

    def __init__(
        self,
        events: EventCache,
        derive: Callable[[Iterable[CachedEvent]], T],
        *,
        most: int = MOST_ACCOUNTS,
    ) -> None:
        self._events = events
        self._derive = derive
        self._most = most
        self._cached: dict[str, _Derived[T]] = {}
        self._letting_go = threading.Lock()

    def of(self, account_ids: Sequence[str], *, as_of: datetime) -> dict[str, T]:
        """What holds for each account at ``as_of``; accounts without events are absent."""
        parts = self._events.parts()
        found: dict[str, T] = {}
        anew: dict[str, tuple[int, ...]] = {}
        for account_id in account_ids:
            numbers = tuple([part.number for part in parts if account_id in part.places])
            if not numbers:
                continue
            cached = self._cached.get(account_id)
            if cached is not None and cached.parts == numbers and cached.holds_at(as_of):
                found[account_id] = cached.value
            else:
                anew[account_id] = numbers
        events: dict[str, list[CachedEvent]] = {}
        for event in cached_events(parts, list(anew)):
            events.setdefault(event.account_id, []).append(event)
        for account_id, numbers in anew.items():
            derived = self._derived(events[account_id], as_of, numbers)
            self._keep(account_id, derived)
            found[account_id] = derived.value
        return found

    def _derived(
        self, events: Sequence[CachedEvent], as_of: datetime, parts: tuple[int, ...]
    ) -> _Derived[T]:
        after, until = unchanged_between(events, as_of)
        return _Derived(
            parts=parts,
            after=after,
            until=until,
            value=self._derive(event for event in events if is_visible(event, as_of)),
        )

    def _keep(self, account_id: str, derived: _Derived[T]) -> None:
        with self._letting_go:
            self._cached.pop(account_id, None)
            self._cached[account_id] = derived
            if len(self._cached) > self._most:
                del self._cached[next(iter(self._cached))]
