"""Apply retention to a lake: what is older than the horizon of its kind loses who it was about, or goes.

Rows that figures are computed from stay, with kind, moment, count, quantity and the properties that are
read; who caused them, what they wrote and the ids of the events go. Rows of kinds that nothing reads go
as a whole. The new files take effect with one manifest, as those of an erasure do. A part is read and
written a row group at a time: neither its account nor its time changes, so the rows keep their order.
"""

from __future__ import annotations

import json
import secrets
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import polars as pl

from features.events.provenance import OWN_ID
from features.events.schema import EVENT_SCHEMA, PROPERTIES
from features.lake.admission.horizons import Horizon
from features.lake.deduplication.ids import fingerprint
from features.lake.deduplication.row_keys import with_keys
from features.lake.deduplication.spool import clear_spool
from features.lake.forget import GRACE_SECONDS, WAIT_SECONDS, minus, plus, remove_unlisted
from features.lake.integrity import with_digests
from features.lake.lake import Lake
from features.lake.manifest import MANIFEST, Manifest, manifest_json
from features.lake.parts import row_groups, sync_folder, write_frame, write_part_in_groups
from features.workspace_files import hold_lock, write_atomically

AGED_PREFIX = "aged-"
"""Begins the new id of an event that was aged."""


@dataclass(frozen=True, kw_only=True)
class HeldNames:
    """Whose data stay: accounts and persons under a legal hold.

    ``some_unknown`` says that there is a hold on somebody whom the lake does not name: then no refused
    row goes, since any may be about them.
    """

    accounts: frozenset[str] = frozenset()
    persons: frozenset[str] = frozenset()
    some_unknown: bool = False

    def is_in(self, text: str) -> bool:
        """Whether a text may be about somebody who is held."""
        return self.some_unknown or any(name in text for name in self.accounts | self.persons)


@dataclass
class RetentionChanges:
    """What was aged, by kind of event."""

    changed: Counter[str] = field(default_factory=Counter)
    removed: Counter[str] = field(default_factory=Counter)
    held_back: Counter[str] = field(default_factory=Counter)
    refused_removed: int = 0
    refused_held_back: int = 0
    rows_delta: int = 0
    events_delta: int = 0
    fingerprint_delta: int = 0
    gone: list[pl.DataFrame] = field(default_factory=list)  # keys of versions that went
    ids: dict[str, str] = field(default_factory=dict)  # of events that were corrected

    @property
    def touched(self) -> int:
        """The number of rows that are changed or gone."""
        return self.changed.total() + self.removed.total() + self.refused_removed


class LakeRetention:
    """Counts and ages old events of one lake."""

    def __init__(
        self,
        lake: Lake,
        horizons: Mapping[str, Horizon],
        held: HeldNames,
        *,
        refused_before: datetime | None = None,
    ) -> None:
        self._lake = lake
        self._horizons = horizons
        self._held = held
        self._refused_before = refused_before
        self._corrected = frozenset[str]()
        self._young = frozenset[str]()
        self._renamed: dict[str, str] = {}

    def count(self) -> RetentionChanges:
        """What would be aged; nothing is written."""
        self._look_at_corrections()
        aged = RetentionChanges()
        for name in self._lake.manifest.parts:
            for _ in self._groups(name, aged):
                pass
        for name in self._lake.manifest.quarantine:
            self._refused(name, aged)
        return aged

    def run(self, *, grace_seconds: float = GRACE_SECONDS) -> RetentionChanges:
        """Age it. Old files are gone when it returns.

        Raises:
            WorkspaceBusyError: another process writes events for longer than a minute.
            LakeDamagedError: a file of the lake is not as it was written.
        """
        lake = self._lake
        busy = f"Another process is writing events to {lake.folder} for long. Nothing was changed."
        with hold_lock(lake.folder, wait_seconds=WAIT_SECONDS, busy=busy):
            clear_spool(lake.folder)
            lake.check()
            self._look_at_corrections()
            old, aged = lake.manifest, RetentionChanges()
            new = self._rewritten(old, aged)
            if aged.touched:
                new = with_digests(new, old, folder=lake.folder, quarantine=lake.quarantine_folder)
                write_atomically(lake.folder / MANIFEST, manifest_json(new))
                sync_folder(lake.folder)
                time.sleep(grace_seconds)  # for readers that are about to open the old files
            remove_unlisted(lake)
        return aged

    def _rewritten(self, old: Manifest, aged: RetentionChanges) -> Manifest:
        generation = old.generation + 1
        parts: list[str] = []
        for name in old.parts:
            if not self._has_changes(name, aged):
                parts.append(name)
                continue
            new_name = f"{generation:06d}-aged-{len(parts)}.parquet"
            groups = (left for left, _ in self._groups(name, aged))
            if write_part_in_groups(groups, self._lake.folder / new_name):
                parts.append(new_name)
        quarantine: list[str] = []
        for name in old.quarantine:
            left = self._refused(name, aged)
            if left is None:
                quarantine.append(name)
            elif not left.is_empty():
                quarantine.append(f"{generation:06d}-aged-refused-{len(quarantine)}.parquet")
                write_frame(left, self._lake.quarantine_folder / quarantine[-1])
        return replace(
            old,
            generation=generation,
            parts=tuple(parts),
            superseded=tuple(self._superseded(old, generation, aged)),
            quarantine=tuple(quarantine),
            retired=(),
            retired_earlier={},
            rows=old.rows + aged.rows_delta,
            events=old.events + aged.events_delta,
            fingerprint=plus(old.fingerprint, aged.fingerprint_delta),
        )

    def _has_changes(self, name: str, aged: RetentionChanges) -> bool:
        """Whether a part holds a row that retention changes; reads up to the first one.

        What is held back in a part without one is counted here.
        """
        lookup = pl.scan_parquet(self._lake.folder / name).filter(self._is_old()).select(pl.len())
        if not lookup.collect().item():
            return False
        seen = RetentionChanges()
        if any(is_changed for _, is_changed in self._groups(name, seen)):
            return True
        aged.held_back.update(seen.held_back)
        return False

    def _groups(self, name: str, aged: RetentionChanges) -> Iterator[tuple[pl.DataFrame, bool]]:
        """The row groups of a part as they stay, each with whether it was changed."""
        for group in row_groups(self._lake.folder / name):
            yield self._applied(group, aged)

    def _applied(self, group: pl.DataFrame, aged: RetentionChanges) -> tuple[pl.DataFrame, bool]:
        """Rows as they stay, in their order, and whether any changed; what changed is counted."""
        marks = group.select(
            self._is_old().alias("old"),
            self._is_held().alias("held"),
            self._rows_stay().alias("stay"),
        )
        is_old, is_held, stays = marks["old"], marks["held"], marks["stay"]
        if not is_old.any():
            return group, False
        aged.held_back.update(_by_kind(group.filter(is_old & is_held)))
        before = group.filter(is_old & ~is_held & stays)
        after = self._without_persons(before)
        differs = before.select(
            pl.any_horizontal(
                pl.col(column).ne_missing(after[column]).alias(column) for column in EVENT_SCHEMA
            ).alias("differs")
        )["differs"]
        gone = group.filter(is_old & ~is_held & ~stays)
        if gone.is_empty() and not differs.any():
            return group, False
        lost, made = before.filter(differs), after.filter(differs)
        self._note(aged, lost, made, gone)
        order = pl.Series("order", range(group.height), dtype=pl.UInt32)
        untouched = group.with_columns(order).filter(~is_old | is_held)
        changed = after.with_columns(order.filter(is_old & ~is_held & stays))
        return pl.concat([untouched, changed]).sort("order").drop("order"), True

    def _note(
        self, aged: RetentionChanges, lost: pl.DataFrame, made: pl.DataFrame, gone: pl.DataFrame
    ) -> None:
        """Count rows that were changed, each before and after, and rows that are gone."""
        aged.changed.update(_by_kind(lost))
        aged.removed.update(_by_kind(gone))
        corrected = pl.Series(sorted(self._corrected), dtype=pl.String).implode()
        versions = gone.select("event_id", "recorded_at")
        aged.gone.append(versions.filter(pl.col("event_id").is_in(corrected)))
        taken = pl.concat([lost, gone])
        aged.rows_delta += made.height - taken.height
        aged.events_delta += int(made["event_count"].sum()) - int(taken["event_count"].sum())
        aged.fingerprint_delta = plus(
            aged.fingerprint_delta,
            minus(fingerprint(with_keys(made)), fingerprint(with_keys(taken))),
        )
        aged.ids.update(
            (one, new)
            for one, new in zip(lost["event_id"], made["event_id"], strict=True)
            if one in self._corrected
        )

    def _without_persons(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Old rows that stay, without whoever caused them."""
        texts = rows.select("kind", "properties").unique()
        stays = {
            (kind, text): PROPERTIES.encode(
                {
                    name: value
                    for name, value in json.loads(text).items()
                    if name in self._horizons[kind].properties
                }
            )
            for kind, text in texts.rows()
        }
        shorter = pl.DataFrame(
            [(*key, text) for key, text in stays.items()],
            schema={"kind": pl.String, "properties": pl.String, "shorter": pl.String},
            orient="row",
        )
        return (
            rows.join(shorter, on=["kind", "properties"], how="left", maintain_order="left")
            .with_columns(
                pl.lit(None, pl.String).alias("user_id"),
                pl.col("shorter").alias("properties"),
                pl.Series("event_id", list(self._new_ids(rows["event_id"])), dtype=pl.String),
            )
            .select(*EVENT_SCHEMA)
        )

    def _new_ids(self, ids: pl.Series) -> Iterator[str]:
        """New ids; an event that was corrected has the same one in all its versions.

        One of which a version is not old keeps its id, as do events that Keepwell wrote.
        """
        is_own = ids.str.contains(OWN_ID)
        for one, own in zip(ids, is_own, strict=True):
            if own or one.startswith(AGED_PREFIX) or one in self._young:
                yield one
            elif one in self._corrected:
                yield self._renamed.setdefault(one, AGED_PREFIX + secrets.token_hex(12))
            else:
                yield AGED_PREFIX + secrets.token_hex(12)

    def _look_at_corrections(self) -> None:
        """Learn which events were corrected, and which of those have a version that is not old."""
        manifest = self._lake.manifest
        found = self._lake.superseded_rows(manifest).select("event_id").unique().collect()
        self._corrected = frozenset(found["event_id"])
        if not self._corrected:
            self._young = frozenset()
            return
        young = (
            pl.scan_parquet([self._lake.folder / name for name in manifest.parts])
            .filter(
                pl.col("event_id").is_in(found["event_id"].implode()),
                ~self._is_old() | self._is_held(),
            )
            .select("event_id")
            .collect()
        )
        self._young = frozenset(young["event_id"])

    def _superseded(self, old: Manifest, generation: int, aged: RetentionChanges) -> Iterator[str]:
        gone = pl.concat(
            [
                pl.DataFrame(
                    schema={name: EVENT_SCHEMA[name] for name in ("event_id", "recorded_at")}
                ),
                *aged.gone,
            ]
        )
        ids = aged.ids
        for number, name in enumerate(old.superseded):
            frame = pl.read_parquet(self._lake.folder / name)
            left = frame.join(gone, on=["event_id", "recorded_at"], how="anti").with_columns(
                pl.col("event_id").replace(list(ids), list(ids.values())) if ids else "event_id"
            )
            if left.equals(frame):
                yield name
            elif not left.is_empty():
                new_name = f"{generation:06d}-aged-superseded-{number}.parquet"
                write_frame(left, self._lake.folder / new_name)
                yield new_name

    def _refused(self, name: str, aged: RetentionChanges) -> pl.DataFrame | None:
        """The refused rows that stay; None where none is old."""
        if self._refused_before is None:
            return None
        frame = pl.read_parquet(self._lake.quarantine_folder / Path(name).name)
        is_old = frame["refused_at"] < self._refused_before
        held = pl.Series(
            [self._held.is_in(f"{raw} {file}") for raw, file in frame.select("raw", "file").rows()],
            dtype=pl.Boolean,
        )
        aged.refused_held_back += int((is_old & held).sum())
        gone = is_old & ~held
        aged.refused_removed += int(gone.sum())
        return frame.filter(~gone) if gone.any() else None

    def _is_old(self) -> pl.Expr:
        before = {kind: one.before for kind, one in self._horizons.items()}
        return pl.any_horizontal(
            pl.lit(False),
            *(
                (pl.col("kind") == kind) & (pl.col("occurred_at") < moment)
                for kind, moment in before.items()
            ),
        )

    def _is_held(self) -> pl.Expr:
        return _among("account_id", self._held.accounts) | _among("user_id", self._held.persons)

    def _rows_stay(self) -> pl.Expr:
        return _among("kind", {kind for kind, one in self._horizons.items() if one.rows_stay})


def _among(column: str, names: Set[str]) -> pl.Expr:
    listed = pl.Series(sorted(names), dtype=pl.String).implode()
    return pl.col(column).is_in(listed).fill_null(value=False)


def _by_kind(rows: pl.DataFrame) -> dict[str, int]:
    return dict(rows.group_by("kind").len().rows())
