"""The lake: the events of a tenant as Parquet parts behind one manifest.

::

    events/manifest.json      the valid files, how far each source has come, counts
    events/000001-0.parquet   a part, never changed once the manifest names it
    events/000001-0.keys      the key index of that part
    quarantine/000001-refused.parquet

A batch writes its parts, then replaces the manifest in one step. If the process is killed at any
moment, the lake is the old one or the new one. Files of a killed batch are not in the manifest; the
next batch removes them. ``events/validation.py`` decides which rows are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from features.events.bounds import Bounds
from features.events.schema import EVENT_SCHEMA, LINE, UTC_INSTANT
from features.events.validation import DraftPiece, validate_draft
from features.events.visibility import versions_before, visible
from features.lake._tally import FileCounts, Places
from features.lake.admission.horizons import mark_outdated
from features.lake.admission.residency import refuse_other_regions
from features.lake.deduplication.deduplicate import deduplicate_events, select_new_events
from features.lake.deduplication.ids import fingerprint, with_first_ids
from features.lake.deduplication.key_index import keys_path
from features.lake.deduplication.row_keys import with_keys
from features.lake.deduplication.spool import MOST_IN_MEMORY, clear_spool, open_spool
from features.lake.deduplication.versions import CORRECTED, DUPLICATE, LANDED, NOT_LATER, REFUSED
from features.lake.erased_subjects import ErasedSubjects
from features.lake.integrity import check_files, with_digests
from features.lake.manifest import (
    KINDS_OF_FILES,
    MANIFEST,
    LakeDamagedError,
    LakeError,
    Manifest,
    MissingPartError,
    SourceState,
    kind_of_file,
    last_good_manifest,
    manifest_json,
    read_manifest,
)
from features.lake.parts import PartBuilder, sync_folder, write_frame, write_part
from features.lake.quarantine import QUARANTINE_SCHEMA
from features.lake.summary import FileSummary, IngestSummary
from features.workspace_files import hold_lock, write_atomically

MOST_SMALL_PARTS = 64
SMALL_PART_BYTES = 4_000_000
KEPT_GENERATIONS = 256
"""For how many commits a merged file stays on disk after the next merge of its kind."""

SUPERSEDED_KEY = ("event_id", "recorded_at")
"""The columns that identify a superseded version among the versions of its event."""

LAKE_SCHEMA = {**EVENT_SCHEMA, "superseded_at": UTC_INSTANT}
"""Column name to type of ``Lake.scan``: an event, and when a correction superseded it."""


class Lake:
    """The events of a tenant. Making the object makes no folder.

    While a file is read, up to ``most_in_memory`` of its events are in memory; with more, all are on
    disk.
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

    @property
    def erased(self) -> ErasedSubjects:
        """Whom the workspace of this lake has forgotten."""
        return ErasedSubjects(self.folder.parent)

    def __repr__(self) -> str:
        return f"Lake({str(self.folder)!r})"

    @property
    def manifest(self) -> Manifest:
        """The current manifest.

        Raises:
            LakeDamagedError: the manifest is damaged.
        """
        return read_manifest(self.folder / MANIFEST)

    @property
    def last_good_manifest(self) -> Manifest:
        """The current manifest, or, while that is damaged, the last one that this process read.

        Raises:
            LakeDamagedError: the manifest is damaged, and this process has read no good one.
        """
        return last_good_manifest(self.folder / MANIFEST)

    def check(self) -> None:
        """See that the manifest and all files that it lists are as they were written.

        Raises:
            LakeDamagedError: one is not.
        """
        manifest = self.manifest
        self._check_age(manifest)
        self.check_files(manifest)

    def check_files(self, manifest: Manifest) -> None:
        """See that all files of a manifest are as they were written.

        Raises:
            LakeDamagedError: one is not.
        """
        check_files(self.folder, (*manifest.parts, *manifest.superseded), manifest.digests)
        check_files(self.quarantine_folder, manifest.quarantine, manifest.digests)

    def _check_age(self, manifest: Manifest) -> None:
        """See that no file is of a later batch than the one after this manifest, which was killed.

        Raises:
            LakeDamagedError: the manifest is older than the files beside it.
        """
        latest = max(
            (
                int(number)
                for path in self.folder.glob("*.parquet")
                if (number := path.name.partition("-")[0]).isdecimal()
            ),
            default=0,
        )
        if latest > manifest.generation + 1:
            raise LakeDamagedError(
                f"The lake's {MANIFEST} in {self.folder} is an older one (generation "
                f"{manifest.generation:,}) than the files beside it ({latest:,}). Put the newer one "
                f"back, or remove the folder and ingest the sources again."
            )

    def scan(self, manifest: Manifest | None = None) -> pl.LazyFrame:
        """Every version of every event, with ``superseded_at`` (null: still valid).

        Reads the files of ``manifest``, else those of the current one. ``as_of`` selects the
        versions that are visible as of one moment, ``versions_before`` those for several moments.
        """
        manifest = manifest or self.manifest
        events = self._parts(manifest)
        if not manifest.superseded:
            return events.with_columns(pl.lit(None, UTC_INSTANT).alias("superseded_at"))
        superseded = self.superseded_rows(manifest)
        return events.join(superseded, on=[*SUPERSEDED_KEY], how="left").select(*LAKE_SCHEMA)

    def as_of(self, moment: datetime, manifest: Manifest | None = None) -> pl.LazyFrame:
        """The version of each event that is visible as of a moment."""
        return self.scan(manifest).filter(visible(moment))

    def versions_before(self, moment: datetime) -> pl.LazyFrame:
        """Every version that was known at a moment, without the corrections that came later.

        For readers that ask as of several moments up to this one.
        """
        return versions_before(self.scan(), moment)

    def superseded_rows(self, manifest: Manifest) -> pl.LazyFrame:
        """``SUPERSEDED_KEY`` and ``superseded_at`` of the versions that corrections superseded."""
        check_files(self.folder, manifest.superseded, manifest.digests)
        if not manifest.superseded:
            return pl.LazyFrame(
                schema={name: LAKE_SCHEMA[name] for name in (*SUPERSEDED_KEY, "superseded_at")}
            )
        return pl.scan_parquet([self.folder / name for name in manifest.superseded])

    def quarantined(self) -> pl.LazyFrame:
        """The refused rows, each with its reason."""
        manifest = self.manifest
        names = manifest.quarantine
        check_files(self.quarantine_folder, names, manifest.digests)
        if not names:
            return pl.LazyFrame(schema=QUARANTINE_SCHEMA)
        return pl.scan_parquet([self.quarantine_folder / name for name in names])

    def first_recorded(self) -> dict[str, datetime]:
        """Kind to the moment of its first event; a kind without events is absent."""
        return dict(self.manifest.first_recorded)

    def last_recorded(self) -> dict[str, datetime]:
        """Kind to the moment of its newest event."""
        return dict(self.manifest.last_recorded)

    @property
    def sources(self) -> dict[str, SourceState]:
        """Source and table, such as ``crm.usage``, to its newest moments and number of rows."""
        return dict(self.manifest.sources)

    @property
    def complete_until(self) -> datetime | None:
        """The last ``as_of`` for which every source is complete; None where no source says one."""
        return self.manifest.complete_until

    @property
    def digest(self) -> str:
        """Fingerprint of the events; it does not depend on their order and batches."""
        return self.manifest.digest

    @contextmanager
    def batch(
        self, *, wait_seconds: float = 0.0, bounds: Bounds | None = None, is_ours: bool = False
    ) -> Iterator[Batch]:
        """Write to the lake: everything that the block adds is stored at its end, or nothing is.

        ``bounds`` are those of the tenant; ``is_ours`` says that Keepwell wrote the events itself.

        Raises:
            WorkspaceBusyError: another process is writing, longer than ``wait_seconds``.
            LakeDamagedError: a file of the lake is not as it was written.
            UnwritableError: the disk is full, or may only be read.
        """
        busy = (
            f"Another process is writing events to {self.folder}. Wait for it to end and try "
            f"again; nothing was changed."
        )
        with hold_lock(self.folder, wait_seconds=wait_seconds, busy=busy):
            if self.manifest.generation == 0 and not (self.folder / MANIFEST).exists():
                # from now on a manifest that is missing is one that was lost
                write_atomically(self.folder / MANIFEST, manifest_json(Manifest()))
            self.check()
            batch = Batch(self, bounds=bounds, is_ours=is_ours)
            batch.remove_leftovers()
            yield batch
            batch.commit()
            self.last_good_manifest  # noqa: B018 - an older one than this would be noticed

    def append(
        self,
        frame: pl.DataFrame | Callable[[], pl.DataFrame],
        *,
        source: str,
        file: str,
        now: datetime,
        complete_until: datetime | None = None,
        wait_seconds: float = 0.0,
    ) -> IngestSummary:
        """Add events that Keepwell made: validate and deduplicate them, then store or quarantine them.

        A function is called once nobody else can write: what it reads elsewhere is not older than
        what an erasure that came before has left.

        Raises:
            LakeError: the frame does not have the columns of ``EVENT_SCHEMA``.
        """
        with self.batch(wait_seconds=wait_seconds, is_ours=True) as batch:
            rows = frame() if callable(frame) else frame
            summary = batch.add_file(
                _draft_of(rows, file),
                raw=rows,
                table=file,
                file=file,
                source=source,
                now=now,
                complete_until=complete_until,
            )
        return IngestSummary(files=(summary,), events=batch.events)

    def _parts(self, manifest: Manifest) -> pl.LazyFrame:
        check_files(self.folder, manifest.parts, manifest.digests)
        if not manifest.parts:
            return pl.LazyFrame(schema=EVENT_SCHEMA)
        return pl.scan_parquet([self.folder / name for name in manifest.parts])


class Batch:
    """One change of a lake, from its old manifest to its new one."""

    def __init__(self, lake: Lake, *, bounds: Bounds | None = None, is_ours: bool = False) -> None:
        self._lake = lake
        self._bounds = bounds or Bounds()
        self._is_ours = is_ours
        self._old = lake.manifest
        self._new = replace(self._old, generation=self._old.generation + 1)
        self._refused: list[pl.DataFrame] = []
        self._superseded: list[pl.DataFrame] = []
        self.events = 0

    def remove_leftovers(self) -> None:
        """Remove files that a killed batch left."""
        old = self._old
        clear_spool(self._lake.folder)
        self._remove_altered_indexes()
        indexes = {keys_path(Path(name)).name for name in old.parts}
        retired = {*old.retired, *old.retired_earlier}
        for folder, keep in (
            (self._lake.folder, {*old.parts, *indexes, *old.superseded, *retired}),
            (self._lake.quarantine_folder, {*old.quarantine, *retired}),
        ):
            for path in [*folder.glob("*.parquet"), *folder.glob("*.keys"), *folder.glob(".*.tmp")]:
                if path.name not in keep:
                    path.unlink(missing_ok=True)

    def _remove_altered_indexes(self) -> None:
        """Remove key indexes that are not as they were written; they are made again."""
        for part in self._old.parts:
            path = keys_path(self._lake.folder / part)
            try:
                check_files(path.parent, [path.name], self._old.digests)
            except MissingPartError:
                pass
            except LakeDamagedError:
                path.unlink()

    def add_file(
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
        """Add the rows of one file as a single piece; see ``add_pieces``."""
        lines = (
            raw
            if LINE in raw.columns
            else raw.with_row_index(LINE, offset=1).cast({LINE: pl.Int64})
        )
        whole = DraftPiece(draft=draft, raw=lines, broken=broken)
        return self.add_pieces(
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

    def add_pieces(
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
        mapping: str = "",
    ) -> FileSummary:
        """Validate the pieces of a file, store its events and quarantine the refused rows.

        The quarantine shows the raw rows of a piece. ``columns`` maps the names in reasons to the
        columns of the raw rows, ``places`` maps each line to its original file, where that is
        another. With ``tells_rows`` the summary holds the fate of every row. ``mapping`` is a digest
        of how the table is read, which is remembered of it. ``pieces`` is called a
        second time only where an event is refused because of another event.
        """
        counts = FileCounts(
            source=source, file=file, now=now, columns=columns, places=places, tells_rows=tells_rows
        )
        erased, region = self._lake.erased, self._bounds.region

        def taken(piece: DraftPiece) -> DraftPiece:
            known = mark_outdated(erased.mark(piece), self._lake.folder.parent)
            return refuse_other_regions(known, region)

        kinds: set[str] = set()
        with open_spool(self._lake.folder, most_in_memory=self._lake.most_in_memory) as spool:
            for piece in map(taken, pieces()):
                judged = validate_draft(
                    piece.draft,
                    now=now,
                    complete_until=complete_until,
                    bounds=self._bounds,
                    is_ours=self._is_ours,
                )
                counts.add_validated(piece, judged)
                kinds.update(judged.events["kind"].unique())
                spool.add(with_keys(with_first_ids(judged.events)))
            found = deduplicate_events(
                spool, [self._lake.folder / name for name in self._new.parts]
            )
            late: set[int] = set()
            writer = PartBuilder(self._add_part)
            for resolved in found.with_fates(spool.pieces()):
                counts.add_fates(resolved, NOT_LATER)
                late.update(resolved.filter(pl.col("became") == REFUSED)[LINE].to_list())
                writer.add(select_new_events(resolved))
            writer.close()
        if late:
            for piece in map(taken, pieces()):
                counts.add_late_refusals(piece, late, NOT_LATER)
        self._superseded.append(found.superseded)
        self._refused += counts.quarantined
        summary = counts.summary(
            table=table,
            landed=found.count(LANDED),
            duplicates=found.count(DUPLICATE),
            corrected=found.count(CORRECTED),
            complete_until=complete_until,
        )
        self._note_source(
            f"{source}.{table}",
            rows=summary.landed + summary.corrected,
            last=writer.last_recorded,
            complete_until=complete_until,
            kinds=kinds,
        )
        if mapping:
            found_with = {**self._new.mappings, f"{source}.{table}": mapping}
            self._new = replace(self._new, mappings=found_with)
        return summary

    @property
    def offsets(self) -> dict[str, int]:
        """``group/topic/partition`` to the first message that is not in the lake."""
        return dict(self._new.offsets)

    def advance_offsets(self, offsets: Mapping[str, int]) -> None:
        """Set how far streams have been read; stored in the same step as their events."""
        self._new = replace(self._new, offsets={**self._new.offsets, **offsets})

    def commit(self) -> None:
        """Write the new manifest, with which everything that was added takes effect."""
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
        self._new = with_digests(
            self._new, self._old, folder=self._lake.folder, quarantine=self._lake.quarantine_folder
        )
        if replace(self._new, generation=self._old.generation) != self._old:
            write_atomically(self._lake.folder / MANIFEST, manifest_json(self._new))
            sync_folder(self._lake.folder)

    def _merge_small_parts(self) -> None:
        """Merge small files, so that many small batches do not make too many."""
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
        """List the files that were merged.

        The files of the newest merge of each kind stay listed, because ``manifest_diff`` needs
        them. Those of earlier merges stay on disk for readers that began before.
        """
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
        self,
        name: str,
        *,
        rows: int,
        last: datetime | None,
        complete_until: datetime | None,
        kinds: Collection[str],
    ) -> None:
        is_known = name in self._new.kinds or name not in self._new.sources
        state = self._new.sources.get(name, SourceState())
        state = SourceState(
            rows=state.rows + rows,
            last_recorded_at=_latest(state.last_recorded_at, last),
            complete_until=_latest(state.complete_until, complete_until),
        )
        self._new = replace(self._new, sources={**self._new.sources, name: state})
        if is_known:
            sent = {*self._new.kinds.get(name, ()), *kinds}
            self._new = replace(self._new, kinds={**self._new.kinds, name: tuple(sorted(sent))})

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
        events = int(new["event_count"].cast(pl.Int128).sum())  # 64 bits may overflow
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


def _draft_of(frame: pl.DataFrame, file: str) -> pl.DataFrame:
    if dict(frame.schema) != {name: pl.Schema(EVENT_SCHEMA)[name] for name in EVENT_SCHEMA}:
        raise LakeError(
            f"The lake takes frames of EVENT_SCHEMA, and {file} has {dict(frame.schema)}. "
            f"Build it with events_frame, or cast it."
        )
    return frame.with_columns(
        pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias(LINE),
        pl.lit(None, pl.String).alias("problem"),
        pl.lit(None, pl.String).alias("left"),
    )


def _groups(small: list[Path]) -> Iterator[list[Path]]:
    """Groups of files that are large enough together to be merged into one."""
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
    """The sum of two fingerprints; each half is added by itself."""
    half = (1 << 64) - 1
    return ((((one >> 64) + (other >> 64)) & half) << 64) | ((one + other) & half)


def _latest(one: datetime | None, other: datetime | None) -> datetime | None:
    return max((moment for moment in (one, other) if moment is not None), default=None)
