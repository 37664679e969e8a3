"""A block of neighbouring accounts with encoded events, to which new events are appended.

A new event is inserted in the order of its account and gets the class of equal events. Where an event
is of a new class (a new plan, a new feature name), one event of each class is encoded again.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from features.catalogue.catalogue import Catalogue
from features.compute.encode import (
    EncodedTimelines,
    encode_timelines,
    kinds_with_properties,
    kinds_with_quantity,
    properties_read,
)
from features.events.schema import LARGEST_READ, UTC_INSTANT
from features.kernel.numba_cache import compiled
from features.kernel.sweep import NO_CODES, Codes, SweepEvents, read_only
from features.kernel.windows import FOREVER, microseconds

GROWING = (
    "occurred",
    "recorded",
    "superseded",
    "row_class",
    "event_count",
    "user_count",
    "quantity",
    "user",
)

ClassKey = tuple[str, tuple[str | None, ...] | None, str | None]


class _Row(NamedTuple):
    """An event as the block appends it."""

    event_id: str
    account_id: str
    user_id: str | None
    kind: str
    occurred: int
    recorded: int
    event_count: int
    user_count: int
    quantity: float | None
    properties: str


@dataclass(frozen=True, kw_only=True)
class ClassKeys:
    """Keys of classes of events. They distinguish at least the classes of ``encode_timelines``."""

    properties: tuple[str, ...]
    with_properties: frozenset[str]  # kinds
    with_quantity: frozenset[str]

    @staticmethod
    def of(catalogue: Catalogue) -> ClassKeys:
        """The keys for the features and attributes of a catalogue."""
        return ClassKeys(
            properties=properties_read(catalogue),
            with_properties=kinds_with_properties(catalogue),
            with_quantity=kinds_with_quantity(catalogue),
        )

    def key(self, kind: str, properties: str, quantity: float | None) -> ClassKey:
        """The key of an event; equal keys mean that events differ for no feature but by their counts."""
        said = None
        if kind in self.with_properties:
            found = json.loads(properties)
            said = tuple(repr(found[name]) if name in found else None for name in self.properties)
        return kind, said, repr(quantity) if kind in self.with_quantity else None


class CachedBlock:
    """Neighbouring accounts with encoded events, and room for more."""

    def __init__(self, events: pl.DataFrame, catalogue: Catalogue, keying: ClassKeys) -> None:
        self._catalogue, self._keying = catalogue, keying
        self._kinds_expressed = sorted(
            {kind for feature in catalogue.expressions for kind in feature.reads}
        )
        self._timelines = encode_timelines(events, catalogue)
        swept = self._timelines.events
        self.n = events.height
        self._place = {name: place for place, name in enumerate(self._timelines.account_ids)}
        self._orders: list[Codes] = [
            swept.order[first:end]
            for first, end in zip(
                swept.account_starts[:-1].tolist(), swept.account_starts[1:].tolist(), strict=True
            )
        ]
        self._columns: dict[str, npt.NDArray[Any]] = {
            name: getattr(swept, name) for name in GROWING
        }
        self._known_since = np.array(self._timelines.known_since, dtype=np.int64)
        self._n_users = np.array(swept.n_users, dtype=np.int64)
        users = (
            events.select("account_id", "user_id")
            .with_columns(pl.Series("code", swept.user))
            .unique()
            .drop_nulls("user_id")
        )
        self._users = {(account, user): code for account, user, code in users.rows()}
        self._ids = events["event_id"]
        self._later_ids: list[str] = []
        self._store_examples(events, swept.row_class)
        self._read = [self._for_expressions(events)]

    def _store_examples(self, events: pl.DataFrame, row_class: Codes) -> None:
        """Store one event of each class as an example."""
        _, rows = np.unique(row_class, return_index=True)
        self._examples = events[rows]
        self._classes: dict[ClassKey, int] = {
            self._keying.key(*row): number
            for number, row in enumerate(
                self._examples.select("kind", "properties", "quantity").rows()
            )
        }

    def _for_expressions(self, events: pl.DataFrame) -> pl.DataFrame:
        return events.filter(pl.col("kind").is_in(self._kinds_expressed))

    def expression_events(self) -> pl.DataFrame:
        """The events that expressions read."""
        if len(self._read) > 1:
            self._read = [pl.concat(self._read)]
        return self._read[0]

    def add(self, events: pl.DataFrame) -> bool:
        """Append events of kinds that are read; False where the account of one is not in the block."""
        rows = [
            _Row(
                event_id,
                account_id,
                user_id,
                kind,
                microseconds(occurred),
                microseconds(recorded),
                *rest,
            )
            for event_id, account_id, user_id, kind, occurred, recorded, *rest in events.rows()
        ]
        if any(row.account_id not in self._place for row in rows):
            return False
        keys = [self._keying.key(row.kind, row.properties, row.quantity) for row in rows]
        new = {key: place for place, key in enumerate(keys) if key not in self._classes}
        if new:
            self._encode_new_classes(events[[*new.values()]])
        first, end = self.n, self.n + len(rows)
        self._make_room(end)
        columns = {name: self._columns[name] for name in GROWING if len(self._columns[name])}
        fresh: dict[str, Any] = {
            "occurred": [row.occurred for row in rows],
            "recorded": [row.recorded for row in rows],
            "superseded": FOREVER,
            "row_class": [self._classes[key] for key in keys],
            "event_count": [row.event_count for row in rows],
            "user_count": [row.user_count for row in rows],
            "quantity": [
                np.nan if row.quantity is None or abs(row.quantity) > LARGEST_READ else row.quantity
                for row in rows
            ],
            "user": [self._user(row) for row in rows],
        }
        for name, column in columns.items():
            column[first:end] = fresh[name]
        self._later_ids += [row.event_id for row in rows]
        self.n = end
        for number, row in enumerate(rows, start=first):
            place = self._place[row.account_id]
            self._orders[place] = self._insert_event(self._orders[place], number, row)
            self._known_since[place] = min(self._known_since[place], row.recorded)
        if any(row.kind in self._kinds_expressed for row in rows):
            self._read.append(self._for_expressions(_as_current_versions(events)))
        return True

    def _encode_new_classes(self, fresh: pl.DataFrame) -> None:
        """Encode one event of each class again, including the new classes."""
        examples = pl.concat([self._examples, _as_current_versions(fresh)])
        prepared = encode_timelines(examples, self._catalogue)
        now = prepared.events.row_class
        self._columns["row_class"] = now[: self._examples.height][self._columns["row_class"]]
        self._timelines = replace(self._timelines, items=prepared.items, words=prepared.words)
        self._store_examples(examples, now)
        for key, number in zip(
            (
                self._keying.key(*row)
                for row in examples.select("kind", "properties", "quantity").rows()
            ),
            now.tolist(),
            strict=True,
        ):
            self._classes[key] = number

    def _make_room(self, end: int) -> None:
        for name, column in self._columns.items():
            if len(column) and (end > len(column) or not column.flags.writeable):
                larger = np.zeros(end + end // 8, dtype=column.dtype)
                larger[: self.n] = column[: self.n]
                self._columns[name] = larger

    def _user(self, row: _Row) -> int:
        if row.user_id is None:
            return -1
        place = self._place[row.account_id]
        code: int = self._users.setdefault((row.account_id, row.user_id), int(self._n_users[place]))
        self._n_users[place] = max(self._n_users[place], code + 1)
        return code

    def _insert_event(self, order: Codes, number: int, row: _Row) -> Codes:
        """The order of an account with one more event, by ``occurred_at``, ``recorded_at`` and id."""
        first, end = _same_moments(
            order, self._columns["occurred"], self._columns["recorded"], row.occurred, row.recorded
        )
        place = bisect_left(order, row.event_id, lo=first, hi=end, key=self._id)
        longer = np.empty(len(order) + 1, dtype=order.dtype)
        longer[:place], longer[place], longer[place + 1 :] = order[:place], number, order[place:]
        return longer

    def _id(self, row: int) -> str:
        known = len(self._ids)
        return str(self._ids[int(row)]) if row < known else self._later_ids[row - known]

    def timelines(self, accounts: Sequence[str]) -> EncodedTimelines:
        """Some of the accounts, in order; accounts without events are left out."""
        names = [name for name in accounts if name in self._place]
        places = [self._place[name] for name in names]
        orders = [self._orders[place] for place in places]
        order = np.concatenate([*orders, NO_CODES])
        columns = {
            name: _read_only_view(column[: self.n]) for name, column in self._columns.items()
        }
        events: SweepEvents = replace(
            self._timelines.events,
            **columns,
            order=read_only(order),
            account_starts=np.cumsum([0, *(len(order) for order in orders)]).astype(np.int64),
            n_users=self._n_users[places],
        )
        return replace(
            self._timelines,
            account_ids=tuple(names),
            events=events,
            known_since=self._known_since[places],
        )


@compiled
def _same_moments(order, occurred, recorded, happened, known):  # type: ignore[no-untyped-def]
    """The range of the order with events of the same ``occurred_at`` and ``recorded_at``."""
    first, end = 0, len(order)
    while first < end:
        middle = (first + end) // 2
        row = order[middle]
        if occurred[row] < happened or (occurred[row] == happened and recorded[row] < known):
            first = middle + 1
        else:
            end = middle
    while end < len(order) and occurred[order[end]] == happened and recorded[order[end]] == known:
        end += 1
    return first, end


def _as_current_versions(events: pl.DataFrame) -> pl.DataFrame:
    """New events in the form of the lake: no correction supersedes them."""
    return events.with_columns(pl.lit(None, UTC_INSTANT).alias("superseded_at"))


def _read_only_view(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A read-only view of a column; the column itself stays writable."""
    view = column.view()
    view.flags.writeable = False
    return view
