"""This module is about what became of rows: how many landed, and where each of the others went.

For every file and in total, ``landed + duplicates + corrected + quarantined + left out`` equals
the rows read plus the events made of several rows. Counts and words; reads and writes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class FileSummary:
    """What became of the rows of one file for one table."""

    file: str
    table: str
    read: int  # rows of the file
    derived: int = 0  # events made of several rows, such as a cancellation
    landed: int = 0
    duplicates: int = 0  # identical repeats, dropped
    corrected: int = 0  # same id, other content, recorded later
    quarantined: Mapping[str, int] = field(default_factory=dict)  # by reason
    left_out: Mapping[str, int] = field(default_factory=dict)  # by reason
    unmapped_columns: tuple[str, ...] = ()  # left alone: the mapping does not name them
    ignored_columns: tuple[str, ...] = ()  # left alone: the mapping says so

    @property
    def is_balanced(self) -> bool:
        """Whether no row was lost or counted twice."""
        return self.read + self.derived == (
            self.landed + self.duplicates + self.corrected + sum(self.quarantined.values())
            + sum(self.left_out.values()))


@dataclass(frozen=True, kw_only=True)
class IngestSummary:
    """What became of the rows of a run."""

    files: tuple[FileSummary, ...]
    unmapped_files: tuple[str, ...] = ()  # left alone
    empty_tables: tuple[str, ...] = ()  # no file of the run belonged to them
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
        """Rows that are on the timeline now and were not before, corrections aside."""
        return sum(file.landed for file in self.files)

    @property
    def duplicates(self) -> int:
        """Identical repeats, dropped."""
        return sum(file.duplicates for file in self.files)

    @property
    def corrected(self) -> int:
        """Rows that replace an earlier content from the moment they were recorded."""
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
        said = [
            f"Read {self.read:,} rows of {len(self.files)} file(s) in {self.seconds:.1f} s: "
            f"{self.landed:,} landed, {self.duplicates:,} were already there, "
            f"{self.corrected:,} are corrections, {sum(self.quarantined.values()):,} were "
            f"quarantined, {sum(self.left_out.values()):,} were left out."
        ]
        for file in self.files:
            made = f" and {file.derived:,} events made of several rows" if file.derived else ""
            said.append(f"  {file.file} ({file.table}): {file.read:,} rows{made}; "
                        f"{file.landed:,} landed, {file.duplicates:,} already there, "
                        f"{file.corrected:,} corrections")
            said += [f"    quarantined: {count:,} because {reason}"
                     for reason, count in sorted(file.quarantined.items())]
            said += [f"    left out: {count:,} because {reason}"
                     for reason, count in sorted(file.left_out.items())]
            if file.ignored_columns:
                said.append(f"    columns ignored on purpose: {', '.join(file.ignored_columns)}")
            if file.unmapped_columns:
                said.append(f"    columns left alone: {', '.join(file.unmapped_columns)}")
        if self.unmapped_files:
            said.append(f"  files left alone: {', '.join(self.unmapped_files)}")
        if self.empty_tables:
            said.append(f"  tables without a file in this run: {', '.join(self.empty_tables)}")
        return said


def _added(counts: object) -> Mapping[str, int]:
    total: Counter[str] = Counter()
    for count in counts:  # type: ignore[attr-defined]
        total.update(count)
    return dict(total)
