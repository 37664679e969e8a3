"""This module is about the lake: the events of a tenant as Parquet parts behind one manifest.

::

    events/manifest.json      what counts: parts, quarantine, versions that ceased to hold, facts
    events/000001-0.parquet   a part, never changed once the manifest names it
    quarantine/000001-refused.parquet

A batch writes its parts, then swaps the manifest in one step. Killed at any moment, the lake is
the old one or the new one; what a killed batch left behind is not named and is swept away by the
next. Keeps events; judges no row and knows no mapping.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from features.content_ids import fingerprint, with_ids
from features.event_checks import judge
from features.ingest_examples import first_examples
from features.ingest_summary import FileSummary, IngestSummary, RowFate
from features.manifest import (
    MANIFEST,
    LakeError,
    Manifest,
    SourceState,
    manifest_json,
    read_manifest,
)
from features.quarantine import QUARANTINE_SCHEMA, quarantine_rows, raw_text
from features.source_files import LINE
from features.telemetry import EVENT_SCHEMA, UTC_INSTANT
from features.versions import (
    CORRECTED,
    DUPLICATE,
    LANDED,
    NOT_LATER,
    REFUSED,
    resolve,
)
from features.workspace import WorkspaceBusyError, write_atomically

MOST_SMALL_PARTS = 64
SMALL_PART_BYTES = 4_000_000
LAKE_SCHEMA = {**EVENT_SCHEMA, "superseded_at": UTC_INSTANT}
"""Column name to type of ``Lake.scan``: an event, and when its version ceased to hold."""


@dataclass(frozen=True, kw_only=True)
class Landing:
    """What became of the events of one frame."""

    landed: int
    duplicates: int
    corrected: int
    events: int
    refused: tuple[tuple[int, str], ...]  # (line, reason)
    fates: pl.DataFrame  # line, event_id, verdict


class Lake:
    """The events of a tenant. Making the object makes no folder."""

    def __init__(self, folder: str | Path, quarantine: str | Path | None = None) -> None:
        self.folder = Path(folder)
        self.quarantine_folder = Path(quarantine or self.folder.parent / "quarantine")

    def __repr__(self) -> str:
        return f"Lake({str(self.folder)!r})"

    @property
    def manifest(self) -> Manifest:
        """What the lake holds now.

        Raises:
            LakeError: the manifest is damaged.
        """
        return read_manifest(self.folder / MANIFEST)

    def scan(self) -> pl.LazyFrame:
        """Every version of every event, with ``superseded_at`` (null: still valid).

        A row counts as of a moment if it was recorded before it and not superseded before it:
        ``recorded_at < as_of and (superseded_at is null or as_of <= superseded_at)``.
        """
        manifest = self.manifest
        events = self._parts(manifest.parts)
        if not manifest.superseded:
            return events.with_columns(pl.lit(None, UTC_INSTANT).alias("superseded_at"))
        ceased = pl.scan_parquet([self.folder / name for name in manifest.superseded])
        return events.join(ceased, on=["event_id", "recorded_at"], how="left").select(*LAKE_SCHEMA)

    def quarantined(self) -> pl.LazyFrame:
        """The rows that were refused, each with its reason."""
        names = self.manifest.quarantine
        if not names:
            return pl.LazyFrame(schema=QUARANTINE_SCHEMA)
        return pl.scan_parquet([self.quarantine_folder / name for name in names])

    def first_recorded(self) -> dict[str, datetime]:
        """Kind to the moment from which events of it are known; a kind never seen is absent."""
        return dict(self.manifest.first_recorded)

    def last_recorded(self) -> dict[str, datetime]:
        """Kind to the moment of its newest event: how fresh it is."""
        return dict(self.manifest.last_recorded)

    @property
    def sources(self) -> dict[str, SourceState]:
        """Source and table, such as ``crm.usage``, to how far it has come."""
        return dict(self.manifest.sources)

    @property
    def complete_until(self) -> datetime | None:
        """The last ``as_of`` that every source can answer, where one declares an end."""
        ends = [state.complete_until for state in self.manifest.sources.values()
                if state.complete_until is not None]
        return min(ends, default=None)

    @property
    def digest(self) -> str:
        """Fingerprint of the events, whatever order and batches they came in."""
        return f"{self.manifest.fingerprint:032x}"

    @contextmanager
    def batch(self, *, wait_seconds: float = 0.0) -> Iterator[Batch]:
        """Write to the lake: all that the block adds counts at its end, or nothing does.

        Raises:
            WorkspaceBusyError: another process is writing, longer than ``wait_seconds``.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("a+") as handle:
            _take_lock(handle.fileno(), self.folder, wait_seconds)
            batch = Batch(self)
            batch.sweep()
            yield batch
            batch.commit()

    def append(self, frame: pl.DataFrame, *, source: str, file: str, now: datetime,
               complete_until: datetime | None = None, wait_seconds: float = 0.0,
               ) -> IngestSummary:
        """Add events made by a program: judged, deduplicated and landed, or quarantined.

        Raises:
            LakeError: the frame has not the columns of ``EVENT_SCHEMA``.
        """
        if dict(frame.schema) != {name: pl.Schema(EVENT_SCHEMA)[name] for name in EVENT_SCHEMA}:
            raise LakeError(
                f"The lake takes frames of EVENT_SCHEMA, and {file} has {dict(frame.schema)}. "
                f"Build it with events_frame, or cast it."
            )
        draft = frame.with_columns(
            pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias(LINE),
            pl.lit(None, pl.String).alias("problem"), pl.lit(None, pl.String).alias("left"))
        with self.batch(wait_seconds=wait_seconds) as batch:
            summary = batch.take(draft, raw=frame, table=file, file=file, source=source,
                                 now=now, complete_until=complete_until)
        return IngestSummary(files=(summary,), events=batch.events)

    def _parts(self, names: tuple[str, ...]) -> pl.LazyFrame:
        if not names:
            return pl.LazyFrame(schema=EVENT_SCHEMA)
        return pl.scan_parquet([self.folder / name for name in names])


class Batch:
    """One writing of a lake, from its old manifest to its new one."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._old = lake.manifest
        self._new = replace(self._old, generation=self._old.generation + 1)
        self._refused: list[pl.DataFrame] = []
        self._superseded: list[pl.DataFrame] = []
        self.events = 0

    def sweep(self) -> None:
        """Remove what a killed batch left behind."""
        old = self._old
        for folder, keep in (
                (self._lake.folder, {*old.parts, *old.superseded, *old.retired}),
                (self._lake.quarantine_folder, {*old.quarantine, *old.retired})):
            for path in [*folder.glob("*.parquet"), *folder.glob(".*.tmp")]:
                if path.name not in keep:
                    path.unlink(missing_ok=True)

    def take(self, draft: pl.DataFrame, *, raw: pl.DataFrame, source: str, table: str, file: str,
             now: datetime, complete_until: datetime | None,
             broken: tuple[tuple[int, str, str], ...] = (),
             columns: Mapping[str, str] | None = None, tells_rows: bool = False,
             places: Mapping[int, tuple[str, int]] | None = None) -> FileSummary:
        """Judge a draft, land its events and quarantine the rest.

        ``raw`` shows refused rows; ``columns`` says which of its columns a reason speaks of;
        ``places`` says where each line came from, if that is not the file itself. The fate of
        every row by itself is told only where it is asked for.
        """
        judged = judge(draft, now=now, complete_until=complete_until)
        landing = self._land(judged.events, f"{source}.{table}", complete_until)
        refused = [*judged.refused.iter_rows(), *landing.refused]
        lines = raw if LINE in raw.columns else raw.with_row_index(LINE, offset=1)
        bad = {row.pop(LINE): row for row in lines.filter(
            pl.col(LINE).is_in([line for line, _ in refused])).iter_rows(named=True)}
        rows = [*broken, *((line, reason, raw_text(bad[line]) if line in bad else "")
                           for line, reason in refused)]
        by_file: dict[str, list[tuple[int, str, str]]] = {}
        for line, reason, text in sorted(rows):
            place, number = (file, line) if places is None else places[line]
            by_file.setdefault(place, []).append((number, reason, text))
        self._refused += [quarantine_rows(refusals, source=source, file=place, now=now)
                          for place, refusals in by_file.items()]
        self.events += landing.events
        reasons: dict[str, int] = {}
        for _, reason, _ in rows:
            reasons[reason] = reasons.get(reason, 0) + 1
        fates = [*(RowFate(line=line, became="left_out", reason=reason)
                   for line, reason in judged.left_out.iter_rows()),
                 *(RowFate(line=line, became="refused", reason=reason)
                   for line, reason in judged.refused.iter_rows()),
                 *(RowFate(line=line, became=became, event_id=event_id,
                           reason=NOT_LATER if became == REFUSED else None)
                   for line, event_id, became in landing.fates.iter_rows())] if tells_rows else []
        return FileSummary(
            file=file, table=table, fates=tuple(fates), read=lines.height + len(broken),
            derived=draft.height - lines.height,
            landed=landing.landed, duplicates=landing.duplicates, corrected=landing.corrected,
            quarantined=reasons, complete_until=complete_until,
            examples=first_examples(refused, bad, file=file, broken=broken,
                                    columns=columns or {name: name for name in EVENT_SCHEMA}),
            left_out=dict(judged.left_out["reason"].value_counts().iter_rows()),
        )

    @property
    def offsets(self) -> dict[str, int]:
        """``group/topic/partition`` to the first message that is not in the lake yet."""
        return dict(self._new.offsets)

    def move_on(self, offsets: Mapping[str, int]) -> None:
        """Note how far streams have been read; it counts together with their events."""
        self._new = replace(self._new, offsets={**self._new.offsets, **offsets})

    def commit(self) -> None:
        """Make what was added count, in one step."""
        folder = self._lake.quarantine_folder
        if self._refused:
            seen = self._lake.quarantined().select("row_id").collect()["row_id"]
            fresh = pl.concat(self._refused).unique("row_id", keep="first", maintain_order=True)
            fresh = fresh.filter(~pl.col("row_id").is_in(seen.implode()))
            if not fresh.is_empty():
                name = f"{self._new.generation:06d}-refused.parquet"
                _write(fresh, folder / name)
                self._new = replace(self._new, quarantine=(*self._new.quarantine, name))
        if any(not frame.is_empty() for frame in self._superseded):
            name = f"{self._new.generation:06d}-superseded.parquet"
            _write(pl.concat(self._superseded), self._lake.folder / name)
            self._new = replace(self._new, superseded=(*self._new.superseded, name))
        self._merge_small_parts()
        if replace(self._new, generation=self._old.generation) != self._old:
            write_atomically(self._lake.folder / MANIFEST, manifest_json(self._new))
            _sync_folder(self._lake.folder)

    def _merge_small_parts(self) -> None:
        """Keep the number of files bearable when events come in many small batches."""
        lake = self._lake
        for name, folder in (("parts", lake.folder), ("superseded", lake.folder),
                             ("quarantine", lake.quarantine_folder)):
            files: tuple[str, ...] = getattr(self._new, name)
            small = [file for file in files if (folder / file).stat().st_size < SMALL_PART_BYTES]
            if len(small) <= MOST_SMALL_PARTS:
                continue
            rows = pl.concat([pl.read_parquet(folder / file) for file in small])
            merged = f"{self._new.generation:06d}-merged-{name}.parquet"
            _write(rows, folder / merged)
            kept = tuple(file for file in files if file not in small)
            changes: dict[str, Any] = {name: (*kept, merged)}
            self._new = replace(self._new, retired=tuple(small), **changes)

    def _land(self, events: pl.DataFrame, source: str,
              complete_until: datetime | None) -> Landing:
        keyed = with_ids(events)
        verdict = self._verdicts(keyed)
        new = keyed.filter((verdict == LANDED) | (verdict == CORRECTED))
        self._remember(new, source, complete_until)
        return Landing(
            landed=int((verdict == LANDED).sum()),
            duplicates=int((verdict == DUPLICATE).sum()),
            corrected=int((verdict == CORRECTED).sum()),
            events=int(new["event_count"].sum()),
            refused=tuple((line, NOT_LATER) for line in
                          keyed.filter(verdict == REFUSED)[LINE].to_list()),
            fates=keyed.select(LINE, "event_id", verdict.alias("became")),
        )

    def _verdicts(self, keyed: pl.DataFrame) -> pl.Series:
        """What becomes of each event; where the id is the content, an equal id is a repeat."""
        lake = self._lake._parts(self._new.parts)
        own = keyed["event_id"] != keyed["digest"]
        stored = lake.select("event_id").join(
            keyed.lazy().select("event_id"), on="event_id", how="semi").collect()["event_id"]
        verdict = keyed.select(
            pl.when(pl.col("event_id").is_in(stored.implode())).then(pl.lit(DUPLICATE))
            .otherwise(pl.lit(LANDED))).to_series()
        if not own.any():
            return verdict
        given = keyed.filter(own)
        existing = lake.join(given.lazy().select("event_id").unique(), on="event_id",
                             how="semi").collect()
        versions = resolve(given, existing)
        self._superseded.append(versions.superseded)
        return verdict.scatter(own.arg_true(), versions.verdicts)

    def _remember(self, new: pl.DataFrame, source: str, complete_until: datetime | None) -> None:
        manifest = self._new
        state = manifest.sources.get(source, SourceState())
        last = new["recorded_at"].max()
        state = SourceState(
            rows=state.rows + new.height,
            last_recorded_at=_latest(state.last_recorded_at,
                                     last if isinstance(last, datetime) else None),
            complete_until=_latest(state.complete_until, complete_until))
        self._new = manifest = replace(manifest, sources={**manifest.sources, source: state})
        if new.is_empty():
            return
        name = f"{manifest.generation:06d}-{len(manifest.parts)}.parquet"
        _write(new.sort("account_id", "occurred_at", "event_id").select(*EVENT_SCHEMA),
               self._lake.folder / name)
        first, latest = dict(manifest.first_recorded), dict(manifest.last_recorded)
        for kind, low, high in new.group_by("kind").agg(
                pl.col("recorded_at").min().alias("low"),
                pl.col("recorded_at").max().alias("high")).iter_rows():
            first[kind] = min(low, first.get(kind, low))
            latest[kind] = max(high, latest.get(kind, high))
        self._new = replace(
            manifest, parts=(*manifest.parts, name), rows=manifest.rows + new.height,
            events=manifest.events + int(new["event_count"].sum()),
            fingerprint=_add(manifest.fingerprint, fingerprint(new)),
            first_recorded=first, last_recorded=latest)


def _add(one: int, other: int) -> int:
    """The sum of two fingerprints, each half by itself."""
    half = (1 << 64) - 1
    return ((((one >> 64) + (other >> 64)) & half) << 64) | ((one + other) & half)


def _latest(one: datetime | None, other: datetime | None) -> datetime | None:
    return max((moment for moment in (one, other) if moment is not None), default=None)


def _take_lock(handle: int, folder: Path, wait_seconds: float) -> None:
    until = time.monotonic() + wait_seconds
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            if time.monotonic() >= until:
                raise WorkspaceBusyError(
                    f"Another process is writing events to {folder}. Wait for it to end and try "
                    f"again; nothing was changed."
                ) from exc
            time.sleep(0.02)
        else:
            return


def _write(frame: pl.DataFrame, path: Path) -> None:
    """Write a part to disk for good; no manifest names it yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    frame.write_parquet(temporary, compression="zstd", compression_level=3)
    with temporary.open("rb") as handle:
        os.fsync(handle.fileno())
    temporary.replace(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
