"""The lake: the events of a tenant as Parquet parts behind one manifest.

::

    events/manifest.json      what counts: parts, quarantine, versions that ceased to hold, facts
    events/000001-0.parquet   a part, never changed once the manifest names it
    events/000001-0.keys      the key index of that part
    quarantine/000001-refused.parquet

A batch writes its parts, then swaps the manifest in one step. Killed at any moment, the lake is
the old one or the new one; what a killed batch left behind is not named and is swept away by the
next. Keeps events; how a row is judged is in ``event_checks``, and it knows no mapping.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from features.events.schema import EVENT_SCHEMA, LINE, UTC_INSTANT
from features.events.validation import DraftPiece, validate_draft
from features.events.visibility import versions_before, visible
from features.lake._tally import Places, Tally
from features.lake.deduplication.deduplicate import judge_landing, landed
from features.lake.deduplication.ids import fingerprint, with_first_ids
from features.lake.deduplication.key_index import keys_path
from features.lake.deduplication.row_keys import with_keys
from features.lake.deduplication.spool import MOST_IN_MEMORY, clear_spool, spool_in
from features.lake.deduplication.versions import CORRECTED, DUPLICATE, LANDED, NOT_LATER, REFUSED
from features.lake.manifest import (
    KINDS_OF_FILES,
    MANIFEST,
    LakeError,
    Manifest,
    SourceState,
    kind_of_file,
    manifest_json,
    read_manifest,
)
from features.lake.parts import FreshParts, sync_folder, write_frame, write_part
from features.lake.quarantine import QUARANTINE_SCHEMA
from features.lake.summary import FileSummary, IngestSummary
from features.workspace_files import hold_lock, write_atomically

MOST_SMALL_PARTS = 64
SMALL_PART_BYTES = 4_000_000
KEPT_GENERATIONS = 256
"""For how many commits more a merged file stays once another merge of its kind has come."""

CEASED_BY = ("event_id", "recorded_at")
"""What tells the row that was superseded from the others of its event."""

LAKE_SCHEMA = {**EVENT_SCHEMA, "superseded_at": UTC_INSTANT}
"""Column name to type of ``Lake.scan``: an event, and when its version ceased to hold."""


class Lake:
    """The events of a tenant. Making the object makes no folder.

    While a file is read, ``most_in_memory`` of its events wait in memory and any more on the disk.
    """

    def __init__(
        self,
        folder: str | Path,
        quarantine: str | Path | None = None,
        *,
        most_in_memory: int = MOST_IN_MEMORY,
    ) -> None:
        self.folder = Path(folder)
        self.most_in_memory = most_in_memory
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

    def scan(self, manifest: Manifest | None = None) -> pl.LazyFrame:
        """Every version of every event, with ``superseded_at`` (null: still valid).

        Of what a manifest names, if one is given; of what the lake holds now, if not.

        ``as_of`` gives those that are visible as of one moment, ``versions_before`` what is needed
        where there are several.
        """
        manifest = manifest or self.manifest
        events = self._parts(manifest.parts)
        if not manifest.superseded:
            return events.with_columns(pl.lit(None, UTC_INSTANT).alias("superseded_at"))
        return events.join(self.ceased(manifest), on=[*CEASED_BY], how="left").select(*LAKE_SCHEMA)

    def as_of(self, moment: datetime, manifest: Manifest | None = None) -> pl.LazyFrame:
        """What was known at a moment: the version of each event that is visible as of it."""
        return self.scan(manifest).filter(visible(moment))

    def versions_before(self, moment: datetime) -> pl.LazyFrame:
        """Every version as it was known at a moment: a correction that came later is not there.

        For questions as of several moments up to this one.
        """
        return versions_before(self.scan(), moment)

    def ceased(self, manifest: Manifest) -> pl.LazyFrame:
        """``CEASED_BY`` and ``superseded_at`` of the rows that a manifest says were superseded."""
        if not manifest.superseded:
            return pl.LazyFrame(
                schema={name: LAKE_SCHEMA[name] for name in (*CEASED_BY, "superseded_at")}
            )
        return pl.scan_parquet([self.folder / name for name in manifest.superseded])

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
        return self.manifest.complete_until

    @property
    def digest(self) -> str:
        """Fingerprint of the events, whatever order and batches they came in."""
        return self.manifest.digest

    @contextmanager
    def batch(self, *, wait_seconds: float = 0.0) -> Iterator[Batch]:
        """Write to the lake: all that the block adds counts at its end, or nothing does.

        Raises:
            WorkspaceBusyError: another process is writing, longer than ``wait_seconds``.
        """
        busy = (
            f"Another process is writing events to {self.folder}. Wait for it to end and try "
            f"again; nothing was changed."
        )
        with hold_lock(self.folder, wait_seconds=wait_seconds, busy=busy):
            batch = Batch(self)
            batch.sweep()
            yield batch
            batch.commit()

    def append(
        self,
        frame: pl.DataFrame,
        *,
        source: str,
        file: str,
        now: datetime,
        complete_until: datetime | None = None,
        wait_seconds: float = 0.0,
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
            pl.lit(None, pl.String).alias("problem"),
            pl.lit(None, pl.String).alias("left"),
        )
        with self.batch(wait_seconds=wait_seconds) as batch:
            summary = batch.take(
                draft,
                raw=frame,
                table=file,
                file=file,
                source=source,
                now=now,
                complete_until=complete_until,
            )
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
        clear_spool(self._lake.folder)
        indexes = {keys_path(Path(name)).name for name in old.parts}
        retired = {*old.retired, *old.retired_earlier}
        for folder, keep in (
            (self._lake.folder, {*old.parts, *indexes, *old.superseded, *retired}),
            (self._lake.quarantine_folder, {*old.quarantine, *retired}),
        ):
            for path in [*folder.glob("*.parquet"), *folder.glob("*.keys"), *folder.glob(".*.tmp")]:
                if path.name not in keep:
                    path.unlink(missing_ok=True)

    def take(
        self,
        draft: pl.DataFrame,
        *,
        raw: pl.DataFrame,
        source: str,
        table: str,
        file: str,
        now: datetime,
        complete_until: datetime | None,
        broken: tuple[tuple[int, str, str], ...] = (),
        columns: Mapping[str, str] | None = None,
        tells_rows: bool = False,
        places: Places | None = None,
    ) -> FileSummary:
        """Take a whole file, or what counts as one, as a single piece; see ``take_pieces``."""
        lines = (
            raw
            if LINE in raw.columns
            else raw.with_row_index(LINE, offset=1).cast({LINE: pl.Int64})
        )
        whole = DraftPiece(draft=draft, raw=lines, broken=broken)
        return self.take_pieces(
            lambda: iter([whole]),
            source=source,
            table=table,
            file=file,
            now=now,
            complete_until=complete_until,
            columns=columns,
            tells_rows=tells_rows,
            places=places,
        )

    def take_pieces(
        self,
        pieces: Callable[[], Iterable[DraftPiece]],
        *,
        source: str,
        table: str,
        file: str,
        now: datetime,
        complete_until: datetime | None,
        columns: Mapping[str, str] | None = None,
        tells_rows: bool = False,
        places: Places | None = None,
    ) -> FileSummary:
        """Judge the pieces of a file, land its events and quarantine the rest.

        The raw rows of a piece show what was refused; ``columns`` says which of their columns a
        reason speaks of; ``places`` says where each line came from, if that is not the file
        itself. The fate of every row by itself is told only where it is asked for. The pieces are
        asked for once more only where an event is refused because of another.
        """
        tally = Tally(
            source=source, file=file, now=now, columns=columns, places=places, tells_rows=tells_rows
        )
        with spool_in(self._lake.folder, most_in_memory=self._lake.most_in_memory) as spool:
            for piece in pieces():
                judged = validate_draft(piece.draft, now=now, complete_until=complete_until)
                tally.judged(piece, judged)
                spool.add(with_keys(with_first_ids(judged.events)))
            landing = judge_landing(spool, [self._lake.folder / name for name in self._new.parts])
            late: set[int] = set()
            fresh = FreshParts(self._add_part)
            for told in landing.told(spool.pieces()):
                tally.landed(told, NOT_LATER)
                late.update(told.filter(pl.col("became") == REFUSED)[LINE].to_list())
                fresh.add(landed(told))
            fresh.close()
        if late:
            for piece in pieces():
                tally.refused_late(piece, late, NOT_LATER)
        self._superseded.append(landing.superseded)
        self._refused += tally.quarantined
        summary = tally.summary(
            table=table,
            landed=landing.count(LANDED),
            duplicates=landing.count(DUPLICATE),
            corrected=landing.count(CORRECTED),
            complete_until=complete_until,
        )
        self._note_source(
            f"{source}.{table}",
            rows=summary.landed + summary.corrected,
            last=fresh.last_recorded,
            complete_until=complete_until,
        )
        return summary

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
                write_frame(fresh, folder / name)
                self._new = replace(self._new, quarantine=(*self._new.quarantine, name))
        if any(not frame.is_empty() for frame in self._superseded):
            name = f"{self._new.generation:06d}-superseded.parquet"
            write_frame(pl.concat(self._superseded), self._lake.folder / name)
            self._new = replace(self._new, superseded=(*self._new.superseded, name))
        self._merge_small_parts()
        if replace(self._new, generation=self._old.generation) != self._old:
            write_atomically(self._lake.folder / MANIFEST, manifest_json(self._new))
            sync_folder(self._lake.folder)

    def _merge_small_parts(self) -> None:
        """Keep the number of files bearable when events come in many small batches."""
        lake = self._lake
        retired: list[str] = []
        kinds: set[str] = set()
        for name in KINDS_OF_FILES:
            folder = lake.quarantine_folder if name == "quarantine" else lake.folder
            files: tuple[str, ...] = getattr(self._new, name)
            small = [file for file in files if (folder / file).stat().st_size < SMALL_PART_BYTES]
            if len(small) <= MOST_SMALL_PARTS:
                continue
            merged: list[str] = []
            for group in _groups([folder / file for file in small]):
                rows = pl.concat([pl.read_parquet(path) for path in group])
                merged.append(f"{self._new.generation:06d}-merged-{name}-{len(merged)}.parquet")
                (write_part if name == "parts" else write_frame)(rows, folder / merged[-1])
            kept = tuple(file for file in files if file not in small)
            changes: dict[str, Any] = {name: (*kept, *merged)}
            self._new = replace(self._new, **changes)
            retired += small
            kinds.add(name)
        if retired:
            self._retire(retired, kinds)

    def _retire(self, retired: list[str], kinds: set[str]) -> None:
        """Note what was merged. Whoever follows the lake finds what the newest merge of each kind
        was made of; what earlier ones were made of stays for readers that began before."""
        new = self._new
        earlier = {
            name: until for name, until in new.retired_earlier.items() if until > new.generation
        }
        earlier |= {
            name: new.generation + KEPT_GENERATIONS
            for name in new.retired
            if kind_of_file(name) in kinds
        }
        others = [name for name in new.retired if kind_of_file(name) not in kinds]
        self._new = replace(new, retired=(*others, *retired), retired_earlier=earlier)

    def _note_source(
        self, name: str, *, rows: int, last: datetime | None, complete_until: datetime | None
    ) -> None:
        state = self._new.sources.get(name, SourceState())
        state = SourceState(
            rows=state.rows + rows,
            last_recorded_at=_latest(state.last_recorded_at, last),
            complete_until=_latest(state.complete_until, complete_until),
        )
        self._new = replace(self._new, sources={**self._new.sources, name: state})

    def _add_part(self, new: pl.DataFrame) -> None:
        manifest = self._new
        name = f"{manifest.generation:06d}-{len(manifest.parts)}.parquet"
        write_part(new, self._lake.folder / name)
        first, latest = dict(manifest.first_recorded), dict(manifest.last_recorded)
        for kind, low, high in (
            new.group_by("kind")
            .agg(
                pl.col("recorded_at").min().alias("low"), pl.col("recorded_at").max().alias("high")
            )
            .iter_rows()
        ):
            first[kind] = min(low, first.get(kind, low))
            latest[kind] = max(high, latest.get(kind, high))
        events = int(new["event_count"].sum())
        self.events += events
        self._new = replace(
            manifest,
            parts=(*manifest.parts, name),
            rows=manifest.rows + new.height,
            events=manifest.events + events,
            fingerprint=_add(manifest.fingerprint, fingerprint(new)),
            first_recorded=first,
            last_recorded=latest,
        )


def _groups(small: list[Path]) -> Iterator[list[Path]]:
    """Files in groups that are large enough together, so that merging one is never much work."""
    group: list[Path] = []
    size = 0
    for path in small:
        group.append(path)
        size += path.stat().st_size
        if size >= SMALL_PART_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _add(one: int, other: int) -> int:
    """The sum of two fingerprints, each half by itself."""
    half = (1 << 64) - 1
    return ((((one >> 64) + (other >> 64)) & half) << 64) | ((one + other) & half)


def _latest(one: datetime | None, other: datetime | None) -> datetime | None:
    return max((moment for moment in (one, other) if moment is not None), default=None)
