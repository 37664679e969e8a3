"""Summarise an ingestion: how many rows landed in the lake, and what happened to the others.

For every file and in total, ``landed + duplicates + corrected + quarantined + left out`` equals
the rows read plus the events that were made of several rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from features._dates import format_moment
from features.events.validation import AFTER_COMPLETE

QUARANTINED_AT = "quarantine/*.parquet"
"""The files of refused rows in a workspace."""

FILES_SHOWN = 5
"""Files of one table that the summary lists one by one; more are summed up."""

REASONS_SHOWN = 10
"""Reasons of one file, or of one table, in the summary."""

WARNINGS_SHOWN = 10
"""Warnings of columns in a summary."""

NAMES_SHOWN = 50
"""Of columns or files in one line of the summary."""


@dataclass(frozen=True, kw_only=True)
class RowFate:
    """What happened to one row."""

    line: int
    became: str  # landed, duplicate, corrected, refused, left_out
    event_id: str | None = None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class FileSummary:
    """What happened to the rows of one file for one table."""

    file: str
    table: str
    read: int  # rows of the file
    derived: int = 0  # events made of several rows, such as a cancellation
    landed: int = 0
    duplicates: int = 0  # identical repeats, dropped
    corrected: int = 0  # same id, other content, recorded later
    quarantined: Mapping[str, int] = field(default_factory=dict)  # by reason
    examples: Mapping[str, str] = field(default_factory=dict)  # the first quarantined, by reason
    left_out: Mapping[str, int] = field(default_factory=dict)  # by reason
    complete_until: datetime | None = None  # rows recorded later were left out
    fates: tuple[RowFate, ...] = ()  # of every row, if the caller wants them
    unmapped_columns: tuple[str, ...] = ()  # not read: the mapping does not name them
    ignored_columns: tuple[str, ...] = ()  # not read: the mapping says so
    notes: tuple[str, ...] = ()  # what was inferred, such as contracts from invoices

    @property
    def is_balanced(self) -> bool:
        """Whether no row was lost or counted twice."""
        return self.read + self.derived == (
            self.landed
            + self.duplicates
            + self.corrected
            + sum(self.quarantined.values())
            + sum(self.left_out.values())
        )


@dataclass(frozen=True, kw_only=True)
class IngestSummary:
    """What happened to the rows of a run."""

    files: tuple[FileSummary, ...]
    unmapped_files: tuple[str, ...] = ()  # not read
    empty_tables: tuple[str, ...] = ()  # no file of the run belonged to them
    warnings: tuple[str, ...] = ()  # of columns that would mislead a model
    events: int = 0  # sum of event_count over the rows that landed or corrected
    seconds: float = 0.0

    @property
    def read(self) -> int:
        """Rows of the files."""
        return sum(file.read for file in self.files)

    @property
    def derived(self) -> int:
        """Events made of several rows."""
        return sum(file.derived for file in self.files)

    @property
    def landed(self) -> int:
        """Rows that became new events, without corrections."""
        return sum(file.landed for file in self.files)

    @property
    def duplicates(self) -> int:
        """Identical repeats, dropped."""
        return sum(file.duplicates for file in self.files)

    @property
    def corrected(self) -> int:
        """Rows that replace the content of an event from the moment they were recorded."""
        return sum(file.corrected for file in self.files)

    @property
    def quarantined(self) -> Mapping[str, int]:
        """Rows refused, by reason."""
        return _added(file.quarantined for file in self.files)

    @property
    def left_out(self) -> Mapping[str, int]:
        """Rows out of scope, by reason."""
        return _added(file.left_out for file in self.files)

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """The summary in sentences, one a line, for the command line."""
        refused = sum(self.quarantined.values())
        said = [
            f"Read {_counted(self.read, 'row')} of {_counted(len(self.files), 'file')} in "
            f"{self.seconds:.1f} s{_made(self)}: {_sum(self)}."
        ]
        if self.events > self.landed + self.corrected:
            said.append(
                f"What is new counts as {self.events:,} events, since a row may sum up several."
            )
        for file in by_table(self.files):
            said += _lines_of(file)
        if self.unmapped_files:
            said.append(f"  files left alone: {_listed(self.unmapped_files)}")
        if self.empty_tables:
            said.append(f"  tables without a file in this run: {', '.join(self.empty_tables)}")
        said += [f"Warning: {warning}." for warning in self.warnings[:WARNINGS_SHOWN]]
        if more := len(self.warnings) - WARNINGS_SHOWN:
            said += [f"Warning: {more:,} more columns are like these."] if more > 0 else []
        if refused:
            said.append(
                f"{_counted(refused, 'refused row')} to look at, with reason, file and "
                f"line: {QUARANTINED_AT} in the workspace."
            )
        return said


def by_table(files: Sequence[FileSummary]) -> list[FileSummary]:
    """The files one by one; those of a table with more than ``FILES_SHOWN``, summed up as one."""
    tables: dict[str, list[FileSummary]] = {}
    for file in files:
        tables.setdefault(file.table, []).append(file)
    return [
        one
        for table in tables.values()
        for one in (table if len(table) <= FILES_SHOWN else [_as_one(table)])
    ]


def _as_one(files: Sequence[FileSummary]) -> FileSummary:
    """Many files of one table as if they were one; an example says of which file it is."""
    examples: dict[str, str] = {}
    for file in files:
        for reason, example in file.examples.items():
            examples.setdefault(reason, f"{file.file}: {example}")
    return FileSummary(
        file=f"{len(files):,} files, {files[0].file} to {files[-1].file}",
        table=files[0].table,
        read=sum(file.read for file in files),
        derived=sum(file.derived for file in files),
        landed=sum(file.landed for file in files),
        duplicates=sum(file.duplicates for file in files),
        corrected=sum(file.corrected for file in files),
        quarantined=_added(file.quarantined for file in files),
        examples=examples,
        left_out=_added(file.left_out for file in files),
        complete_until=files[0].complete_until,
        unmapped_columns=tuple(dict.fromkeys(c for file in files for c in file.unmapped_columns)),
        ignored_columns=tuple(dict.fromkeys(c for file in files for c in file.ignored_columns)),
        notes=tuple(dict.fromkeys(note for file in files for note in file.notes)),
    )


def _lines_of(file: FileSummary) -> list[str]:
    said = [
        f"  {file.file} ({file.table}): {_counted(file.read, 'row')}{_made(file)}: {_sum(file)}"
    ]
    refused = sorted(file.quarantined.items(), key=lambda one: (-one[1], one[0]))
    for reason, count in refused[:REASONS_SHOWN]:
        example = file.examples.get(reason)
        first = "" if example is None else f"; {'the first: ' * (count > 1)}{example}"
        said.append(f"    quarantined: {count:,} because {reason}{first}")
    if others := refused[REASONS_SHOWN:]:
        rows = sum(count for _, count in others)
        said.append(
            f"    quarantined: {rows:,} for {_counted(len(others), 'other reason')}, in the quarantine"
        )
    for reason, count in sorted(file.left_out.items())[:REASONS_SHOWN]:
        until = (
            ""
            if reason != AFTER_COMPLETE or file.complete_until is None
            else (f", {format_moment(file.complete_until)}")
        )
        said.append(f"    left out: {count:,} because {reason}{until}")
    if file.ignored_columns:
        said.append(f"    columns ignored on purpose: {_listed(file.ignored_columns)}")
    if file.unmapped_columns:
        said.append(f"    columns left alone: {_listed(file.unmapped_columns)}")
    said += [f"    note: {note}" for note in file.notes]
    return said


def _sum(counts: FileSummary | IngestSummary) -> str:
    """The counts as a sum that a reader can check."""
    terms = {
        "landed": counts.landed,
        "already there": counts.duplicates,
        "correction" if counts.corrected == 1 else "corrections": counts.corrected,
        "quarantined": sum(counts.quarantined.values()),
        "left out": sum(counts.left_out.values()),
    }
    return " + ".join(
        f"{count:,} {word}" for word, count in terms.items() if count or word == "landed"
    )


def _made(counts: FileSummary | IngestSummary) -> str:
    """A note of the events that were made of several rows; empty where there are none."""
    if not counts.derived:
        return ""
    return (
        f", which make {_counted(counts.read + counts.derived, 'event')} (a contract period "
        f"tells of its start and may tell of its end)"
    )


def _listed(names: Sequence[str]) -> str:
    """The first names, and how many more there are.

    >>> _listed(["plan", "seats"])
    'plan, seats'
    >>> _listed([f"c{n}" for n in range(1_000)]).endswith("c49 and 950 more")
    True
    """
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {more:,} more" if more > 0 else "")


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _added(counts: object) -> Mapping[str, int]:
    total: Counter[str] = Counter()
    for count in counts:  # type: ignore[attr-defined]
        total.update(count)
    return dict(total)
