"""Ingest source files, or rows that a program sends, into the lake.

::

    files ─ mapping ─► raw rows ─► drafts ─► checked ┬─► events      ┐ one manifest,
                                                     ├─► quarantine  ┘ one swap
                                                     └─► left out, counted

Every file of a run is read and checked before the manifest is replaced: a file that cannot be read,
or lacks a column, stops the whole run, and nothing of it is stored. Each step has its own module.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path

from features.events.bounds import Bounds
from features.events.validation import DraftPiece
from features.ingest._text_chunks import SourceFileError, text_blocks, whole_rows
from features.ingest.account_ids import IdWatch, prefix_ids
from features.ingest.contracts.draft import draft_contracts, what_was_inferred
from features.ingest.drafts import draft_events
from features.ingest.json_events import draft_rows
from features.ingest.mapped_tables import (
    ContractTable,
    EventTable,
    InvoiceTable,
    MappedTable,
    MappingError,
    MonthlyTable,
    SourceMapping,
    fitted,
)
from features.ingest.mapping import load_mapping
from features.ingest.readers import (
    RawTable,
    columns_of,
    json_pieces,
    read_pieces,
    read_query,
    read_table,
)
from features.ingest.telltale_columns import ColumnWatch
from features.lake.lake import Batch, Lake
from features.lake.summary import FileSummary, IngestSummary
from features.workspace import SETTINGS_FILE, Workspace
from features.workspace_files import WorkspaceError


@dataclass(frozen=True, kw_only=True)
class MatchedFiles:
    """The files of a run, each with its table, and the files that no table takes."""

    pairs: tuple[tuple[MappedTable, Path, str], ...]  # (table, file, its name in messages)
    unmapped: tuple[str, ...]
    empty_tables: tuple[str, ...]


def ingest(
    workspace: Workspace,
    paths: Sequence[Path],
    mapping_file: Path | None,
    *,
    now: datetime | None = None,
    environment: Mapping[str, str] | None = None,
) -> IngestSummary:
    """Ingest files and folders into a workspace, and store the settings that the mapping holds.

    Without a mapping, ``paths`` are JSON lines files of events in the form of ``POST /v1/events``.

    Raises:
        MappingError: the mapping contradicts itself or does not fit a file.
        SourceFileError: a file is not there, or not what its ending says.
        WorkspaceBusyError: another process is writing to the workspace.
        WorkspaceError: nothing states the workspace's moment.
    """
    mapping = None if mapping_file is None else load_mapping(mapping_file)
    with workspace.lock():
        moment = _moment(workspace, mapping, mapping_file, now)
        lake = Lake(workspace.events_dir, workspace.quarantine_dir)
        if mapping is None or mapping_file is None:
            return ingest_jsonl(lake, paths, now=moment, bounds=workspace.settings.bounds)
        summary = ingest_files(
            lake,
            paths,
            mapping,
            now=moment,
            besides=(mapping_file,),
            environment=os.environ if environment is None else environment,
            bounds=workspace.settings.bounds,
        )
        _note_settings(workspace, mapping, lake)
    return summary


def ingest_files(
    lake: Lake,
    paths: Sequence[Path],
    mapping: SourceMapping,
    *,
    now: datetime,
    besides: Iterable[Path] = (),
    environment: Mapping[str, str] | None = None,
    bounds: Bounds | None = None,
) -> IngestSummary:
    """Ingest files and folders as a mapping says; all of them, or none."""
    began = time.perf_counter()
    found = match_files(paths, mapping, besides=besides)
    summaries: list[FileSummary] = []
    watch, ids = ColumnWatch(known_until=now), IdWatch(lake, mapping)
    before = {
        table.source.name: lake.manifest.mappings.get(f"{mapping.name}.{table.source.name}", "")
        for table in mapping.tables
    }
    with lake.batch(bounds=bounds) as batch:
        for given, path, name in found.pairs:
            table = given
            if not isinstance(given, EventTable):
                table = fitted(given, columns_of(path, given), file=name)
            summaries.append(
                _take_table(
                    batch, table, partial(_pieces, path, table), name, mapping, now, watch, ids
                )
            )
        for table in mapping.tables:
            if table.source.query is not None:
                answer = read_query(table, environment or {})
                query = f"The query of {table.source.name!r}"
                summaries.append(
                    _take_table(
                        batch,
                        fitted(table, answer.present, file=query),
                        partial(iter, [answer]),
                        f"the query of {table.source.name!r}",
                        mapping,
                        now,
                        watch,
                        ids,
                    )
                )
        ids.check()  # before the batch is stored
    return IngestSummary(
        files=tuple(summaries),
        unmapped_files=found.unmapped,
        empty_tables=found.empty_tables,
        warnings=(*watch.warnings(), *_read_otherwise(mapping, before, summaries)),
        events=batch.events,
        seconds=time.perf_counter() - began,
    )


def ingest_jsonl(
    lake: Lake, paths: Sequence[Path], *, now: datetime, bounds: Bounds | None = None
) -> IngestSummary:
    """Ingest JSON lines files of events in the form that ``POST /v1/events`` takes."""
    began = time.perf_counter()
    summaries = []
    with lake.batch(bounds=bounds) as batch:
        for path in paths:
            if not path.name.lower().endswith(".jsonl"):
                raise MappingError(
                    f"{path.name} needs a mapping, since only .jsonl files of events can be "
                    f"ingested without one. Give it with --mapping FILE."
                )
            if not path.is_file():
                raise SourceFileError(f"There is no file {path}. Check the path.")
            summaries.append(
                batch.add_pieces(
                    partial(_event_pieces, path, now),
                    source="events",
                    table="events",
                    file=path.name,
                    now=now,
                    complete_until=None,
                )
            )
    return IngestSummary(
        files=tuple(summaries), events=batch.events, seconds=time.perf_counter() - began
    )


def ingest_rows(
    lake: Lake,
    rows: Sequence[Mapping[str, object]],
    *,
    now: datetime,
    source: str,
    file: str = "request",
    wait_seconds: float = 10.0,
    bounds: Bounds | None = None,
) -> IngestSummary:
    """Ingest events that a program sends, such as the body of ``POST /v1/events``.

    A row without ``recorded_at`` is recorded ``now``, when it became known. The summary says what
    happened to every row.
    """
    draft, raw = draft_rows(list(enumerate(rows, start=1)), now=now)
    with lake.batch(wait_seconds=wait_seconds, bounds=bounds) as batch:
        summary = batch.add_file(
            draft,
            raw=raw,
            source=source,
            table="events",
            file=file,
            now=now,
            complete_until=None,
            tells_rows=True,
        )
    return IngestSummary(files=(summary,), events=batch.events)


def match_files(
    paths: Sequence[Path], mapping: SourceMapping, *, besides: Iterable[Path] = ()
) -> MatchedFiles:
    """Find the table of each file; a folder means the files below it.

    Raises:
        MappingError: no table takes a file that was named, or there is nothing to do.
        SourceFileError: a path does not exist.
    """
    pairs: list[tuple[MappedTable, Path, str]] = []
    unmapped: list[str] = []
    own = {path.resolve() for path in besides}
    for given in paths:
        if not given.exists():
            raise SourceFileError(f"There is no file or folder {given}. Check the path.")
        for path, name in _files_below(given):
            tables = [table for table in mapping.tables if table.source.takes(name)]
            pairs += [(table, path, name) for table in tables]
            if tables or path.resolve() in own:
                continue
            if given.is_file():
                raise MappingError(
                    f"No table of the mapping takes {name}. It takes: {_patterns(mapping)}. Add "
                    f"the file to a table, or leave it away."
                )
            unmapped.append(name)
    taken = {table.source.name for table, _, _ in pairs}
    empty = tuple(
        table.source.name
        for table in mapping.tables
        if table.source.name not in taken and table.source.query is None
    )
    if len(empty) == len(mapping.tables):
        raise MappingError(
            f"None of {', '.join(str(path) for path in paths) or 'no paths'} holds a file that "
            f"the mapping takes ({_patterns(mapping)}). Check the path, or the files entries."
        )
    order = {table.source.name: n for n, table in enumerate(mapping.tables)}
    pairs.sort(key=lambda pair: (order[pair[0].source.name], pair[2]))
    return MatchedFiles(pairs=tuple(pairs), unmapped=tuple(sorted(unmapped)), empty_tables=empty)


def _take_table(
    batch: Batch,
    table: MappedTable,
    read: Callable[[], Iterator[RawTable]],
    name: str,
    mapping: SourceMapping,
    now: datetime,
    watch: ColumnWatch,
    ids: IdWatch,
) -> FileSummary:
    end = table.source.complete_until
    present: tuple[str, ...] = ()

    def drafted() -> Iterator[DraftPiece]:
        nonlocal present
        for raw in read():
            present = raw.present
            if isinstance(table, EventTable):
                draft = draft_events(raw.frame, table)
            else:
                draft = draft_contracts(raw.frame, table, known_until=min(now, end) if end else now)
            watch.see(table, raw.frame, draft)
            draft = prefix_ids(draft, mapping.account_prefix)
            ids.see(draft)
            yield DraftPiece(draft=draft, raw=raw.frame, broken=raw.broken)

    summary = batch.add_pieces(
        drafted,
        source=mapping.name,
        table=table.source.name,
        file=name,
        now=now,
        complete_until=end,
        columns=source_columns(table),
        mapping=mapping.digest_of(table.source.name),
    )
    others = [column for column in present if column not in table.columns]
    return replace(
        summary,
        ignored_columns=tuple(c for c in others if c in table.source.ignored),
        unmapped_columns=tuple(c for c in others if c not in table.source.ignored),
        notes=what_was_inferred(table),
    )


def _read_otherwise(
    mapping: SourceMapping, before: Mapping[str, str], summaries: Sequence[FileSummary]
) -> Iterator[str]:
    """Warn of tables that add events by another mapping than the one they were read with before."""
    for table in mapping.tables:
        name = table.source.name
        landed = sum(one.landed for one in summaries if one.table == name)
        events = f"{landed:,} new event{'s stand' if landed != 1 else ' stands'}"
        if landed and before[name] not in ("", mapping.digest_of(name)):
            yield (
                f"{name} was read with another mapping before, and {events} beside those now: a row "
                f"that both mappings read counts twice. If the mapping before was wrong, ingest into a new "
                f"workspace (--workspace FOLDER)."
            )


def _event_pieces(path: Path, now: datetime) -> Iterator[DraftPiece]:
    """The pieces of a JSON lines file of events."""
    blocks = whole_rows(text_blocks(path, "JSON lines", packed=False), path.name, quoted=False)
    for rows, broken in json_pieces(path.name, blocks):
        draft, raw = draft_rows(rows, now=now)
        yield DraftPiece(draft=draft, raw=raw, broken=tuple(broken))


def _pieces(path: Path, table: MappedTable) -> Iterator[RawTable]:
    """The pieces of a file. Contract periods come in one piece, because a row changes others."""
    return (
        read_pieces(path, table)
        if isinstance(table, EventTable)
        else iter([read_table(path, table)])
    )


def _moment(
    workspace: Workspace,
    mapping: SourceMapping | None,
    mapping_file: Path | None,
    now: datetime | None,
) -> datetime:
    settings = workspace.settings
    stated = now or settings.clock
    if stated is not None:
        return stated
    tables = mapping.tables if mapping is not None else ()
    ends = [
        end
        for end in (settings.complete_until, *(table.source.complete_until for table in tables))
        if end is not None
    ]
    if ends:
        return max(ends)  # a newer export sets a later moment
    file = mapping_file.name if mapping_file is not None else workspace.root / SETTINGS_FILE
    raise WorkspaceError(
        f"Nothing says up to which moment these exports are whole, so nothing was read. Add "
        f"complete_until to {file}, above its first [table], such as:\n"
        f"    complete_until = 2024-02-01T00:00:00Z"
    )


def _note_settings(workspace: Workspace, mapping: SourceMapping, lake: Lake) -> None:
    """Store what the mapping says about the tenant in the settings of the workspace."""
    settings = workspace.settings
    names = tuple(dict.fromkeys((*settings.use_names, *mapping.use_names)))
    changes: dict[str, object] = {
        "use_names": names,
        "complete_until": lake.complete_until or settings.complete_until,
        "tenant": mapping.tenant or settings.tenant,
        "currency": mapping.currency or settings.currency,
    }
    if any(getattr(settings, name) != value for name, value in changes.items()):
        workspace.change_settings(**changes)


def _files_below(given: Path) -> list[tuple[Path, str]]:
    if given.is_file():
        return [(given, given.name)]
    return [
        (path, path.relative_to(given).as_posix())
        for path in sorted(given.rglob("*"))
        if path.is_file()
    ]


def _patterns(mapping: SourceMapping) -> str:
    return ", ".join(pattern for table in mapping.tables for pattern in table.source.files)


def source_columns(table: MappedTable) -> dict[str, str]:
    """The column of each name that a reason may hold, such as ``account_id`` or ``property seats``."""
    named: dict[str, str | None]
    if isinstance(table, ContractTable):
        named = {
            "account_id": table.account,
            "start": table.start,
            "end": table.end,
            "cancelled": table.cancelled,
            "mrr": table.mrr,
            "seats": table.seats,
            "price_plan": table.price_plan,
            "billing_months": table.billing_months,
            "discount": table.discount,
        }
    elif isinstance(table, InvoiceTable):
        covers = table.covers_months if isinstance(table.covers_months, str) else None
        named = {
            "account_id": table.account,
            "paid_on": table.paid_on,
            "amount": table.amount,
            "covers_months": covers,
            "seats": table.seats,
            "price_plan": table.price_plan,
        }
    elif isinstance(table, MonthlyTable):
        named = {
            "account_id": table.account,
            "month": table.month,
            "amount": table.mrr,
            "seats": table.seats,
            "price_plan": table.price_plan,
        }
    else:
        named = {
            "event_id": table.event_id,
            "account_id": table.account,
            "user_id": table.user,
            "kind": table.kind_column,
            "occurred_at": table.occurred_at,
            "recorded_at": table.recorded_at,
            "event_count": table.event_count,
            "user_count": table.user_count,
            "quantity": table.quantity,
            "properties": table.properties_column,
            **{f"property {name}": source.column for name, source in table.properties.items()},
        }
    return {
        name: column
        for name, column in named.items()
        if column is not None and column not in table.source.computed
    }
