"""This module is about a live timeline: one account kept coded, so that an event is an append.

Preparing a timeline looks at every string of it. Kept prepared, it takes a new event in
microseconds and gives the values as of any moment by the same sweep as the backfill. An event
unlike any before (a new plan, a new feature name) has the whole timeline prepared again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from features.catalogue import Catalogue
from features.sweep import Floats, SweepEvents, sweep
from features.telemetry import Event, events_frame
from features.timeline import Timelines, prepare, sealed
from features.windows import FOREVER, microseconds

SPARE = 64  # rows that fit before the columns are moved
GROWING = ("occurred", "recorded", "superseded", "row_class", "event_count", "user_count",
           "quantity", "user", "order")


class LiveTimeline:
    """The events of one account, ready for the sweep, and for one more event.

    Args:
        events: all events of the account (``EVENT_SCHEMA``, with ``superseded_at`` if known).
        catalogue: what will be computed.
    """

    def __init__(self, events: pl.DataFrame, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        if "superseded_at" not in events.columns:
            events = events.with_columns(
                pl.lit(None, pl.Datetime("us", "UTC")).alias("superseded_at"))
        self._frame = events.filter(pl.col("kind").is_in([*catalogue.kinds_read]))
        self._added: list[Event] = []
        self._prepare()

    def _prepare(self) -> None:
        if self._added:
            fresh = events_frame(self._added).with_columns(
                pl.lit(None, pl.Datetime("us", "UTC")).alias("superseded_at"))
            self._frame = _with_corrections(pl.concat([self._frame, fresh]))
            self._added = []
        self._timelines: Timelines = prepare(self._frame, self._catalogue)
        events = self._timelines.events
        self._n = len(events.order)
        superseded = events.superseded if len(events.superseded) else np.full(
            self._n, FOREVER, dtype=np.int64)
        columns = {**vars(events), "superseded": superseded}
        self._columns: dict[str, npt.NDArray[Any]] = {
            name: np.concatenate([columns[name], np.zeros(SPARE + self._n // 8,
                                                          columns[name].dtype)])
            for name in GROWING}
        ids = self._frame["event_id"].to_list()
        self._ids = {name: row for row, name in enumerate(ids)} | {
            ids[row]: row for row in events.order.tolist() if superseded[row] == FOREVER}
        self._id_of = ids
        users = self._frame["user_id"].to_list()
        self._users = {name: int(code) for name, code in zip(users, events.user, strict=False)
                       if name is not None}
        classes = zip(self._frame["kind"], self._frame["properties"], self._frame["quantity"],
                      events.row_class.tolist(), strict=True)
        picked = {kind for f in self._catalogue.primitives if f.quantities for kind in f.reads}
        self._picked = picked
        self._classes = {(kind, properties, quantity if kind in picked else None): number
                         for kind, properties, quantity, number in classes}

    def add(self, event: Event) -> None:
        """Take one more event of the account, or a correction of one that is there."""
        if event.kind not in self._catalogue.kinds_read:
            return
        self._added.append(event)
        quantity = event.quantity if event.kind in self._picked else None
        row_class = self._classes.get((event.kind, event.properties, quantity))
        if row_class is None or self._n == len(self._columns["order"]):
            self._prepare()
            return
        row, columns = self._n, self._columns
        occurred, recorded = microseconds(event.occurred_at), microseconds(event.recorded_at)
        former = self._ids.get(event.event_id)
        if former is not None:
            columns["superseded"][former] = recorded
        self._ids[event.event_id] = row
        self._id_of.append(event.event_id)
        columns["occurred"][row], columns["recorded"][row] = occurred, recorded
        columns["superseded"][row], columns["row_class"][row] = FOREVER, row_class
        columns["event_count"][row], columns["user_count"][row] = (
            event.event_count, event.user_count)
        columns["quantity"][row] = np.nan if event.quantity is None else event.quantity
        columns["user"][row] = -1 if event.user_id is None else self._users.setdefault(
            event.user_id, len(self._users))
        place = row
        key = (occurred, recorded, event.event_id)
        while place > 0 and self._key(columns["order"][place - 1]) > key:
            place -= 1
        columns["order"][place + 1:row + 1] = columns["order"][place:row].copy()
        columns["order"][place] = row
        self._n += 1

    def _key(self, row: int) -> tuple[int, int, str]:
        return (int(self._columns["occurred"][row]), int(self._columns["recorded"][row]),
                self._id_of[row])

    def values(self, cutoffs: npt.NDArray[np.int64]) -> Floats:
        """The value of every primitive and attribute at each cutoff, as the backfill has it.

        Returns:
            (n_cutoffs, n_items); NaN is unknown.
        """
        columns = {name: sealed(self._columns[name][:self._n]) for name in GROWING}
        events: SweepEvents = replace(
            self._timelines.events, **columns,
            account_starts=np.array([0, self._n]), n_users=np.array([len(self._users)]))
        found: Floats = sweep(events, self._timelines.items, cutoffs)[0]
        return found


def _with_corrections(events: pl.DataFrame) -> pl.DataFrame:
    """Each version of an event holds until the next was recorded."""
    following = pl.col("recorded_at").shift(-1).over("event_id", order_by="recorded_at")
    return events.with_columns(
        pl.coalesce("superseded_at", following).alias("superseded_at"))
