"""Count what happens to the rows of one file, piece by piece.

Prepares the refused rows for the quarantine, with the first example of each reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

import polars as pl

from features.events.schema import EVENT_SCHEMA, LINE
from features.events.validation import DraftPiece, ValidatedDraft
from features.lake._examples import first_examples
from features.lake.quarantine import quarantine_rows, raw_text
from features.lake.summary import FileSummary, RowFate
from features.workspace_files import WorkspaceError

MOST_REFUSED = 2_000_000
"""Rows of one file that can be refused beside those that are stored; they are held in memory."""

Places = Mapping[int, tuple[str, int]]
"""Line to the original file and the line in it, where that is another file."""


class FileCounts:
    """The counts of one file so far; the arguments are those of ``Batch.add_file``."""

    def __init__(
        self,
        *,
        source: str,
        file: str,
        now: datetime,
        columns: Mapping[str, str] | None,
        places: Places | None,
        tells_rows: bool,
    ) -> None:
        self._source, self._file, self._now = source, file, now
        self._columns = columns or {name: name for name in EVENT_SCHEMA}
        self._places = places
        self._tells_rows = tells_rows
        self._read = self._derived = 0
        self._reasons: Counter[str] = Counter()
        self._left_out: Counter[str] = Counter()
        self._examples: dict[str, str] = {}
        self._fates: list[RowFate] = []
        self.quarantined: list[pl.DataFrame] = []

    def add_validated(self, piece: DraftPiece, validated: ValidatedDraft) -> None:
        """Count the rows of a piece, and those that validation refused or left out.

        Raises:
            WorkspaceError: more than ``MOST_REFUSED`` rows of the file are refused.
        """
        self._read += piece.raw.height + len(piece.broken)
        self._derived += piece.draft.height - piece.raw.height
        left_out, refused = (
            list(frame.iter_rows()) for frame in (validated.left_out, validated.refused)
        )
        self._left_out.update(reason for _, reason in left_out)
        self._refuse(piece.raw, refused, piece.broken)
        if self._tells_rows:
            for became, rows in (("left_out", left_out), ("refused", refused)):
                self._fates += [
                    RowFate(line=line, became=became, reason=reason) for line, reason in rows
                ]

    def add_late_refusals(self, piece: DraftPiece, lines: Collection[int], reason: str) -> None:
        """Count the rows of a piece that were refused once all events of the file were read."""
        here = piece.raw[LINE].filter(piece.raw[LINE].is_in(pl.Series(list(lines)).implode()))
        self._refuse(piece.raw, [(line, reason) for line in here.to_list()], ())

    def add_fates(self, events: pl.DataFrame, reason: str) -> None:
        """Note the fate of each event, if the caller wants it; ``reason`` is that of a refusal."""
        if self._tells_rows:
            self._fates += [
                RowFate(
                    line=line,
                    became=became,
                    event_id=event_id,
                    reason=reason if became == "refused" else None,
                )
                for line, event_id, became in events.select(LINE, "event_id", "became").iter_rows()
            ]

    def summary(
        self,
        *,
        table: str,
        landed: int,
        duplicates: int,
        corrected: int,
        complete_until: datetime | None,
    ) -> FileSummary:
        """The counts of the whole file."""
        return FileSummary(
            file=self._file,
            table=table,
            read=self._read,
            derived=self._derived,
            landed=landed,
            duplicates=duplicates,
            corrected=corrected,
            quarantined=dict(self._reasons),
            left_out=dict(self._left_out),
            examples=dict(self._examples),
            fates=tuple(self._fates),
            complete_until=complete_until,
        )

    def _refuse(
        self,
        raw: pl.DataFrame,
        refused: Sequence[tuple[int, str]],
        broken: Sequence[tuple[int, str, str]],
    ) -> None:
        if not refused and not broken:
            return
        lines = pl.Series([line for line, _ in refused], dtype=pl.Int64)
        bad = {
            row.pop(LINE): row
            for row in raw.filter(pl.col(LINE).is_in(lines.implode())).iter_rows(named=True)
        }
        rows = [
            *broken,
            *(
                (line, reason, raw_text(bad[line]) if line in bad else "")
                for line, reason in refused
            ),
        ]
        self._reasons.update(reason for _, reason, _ in rows)
        if self._reasons.total() > MOST_REFUSED:
            [(reason, _)] = self._reasons.most_common(1)
            raise WorkspaceError(
                f"More than {MOST_REFUSED:,} rows of {self._file} are refused, most because {reason}. "
                f"Look whether the mapping fits this file, or export it again. Nothing was written."
            )
        by_file: dict[str, list[tuple[int, str, str]]] = {}
        for line, reason, text in sorted(rows):
            place, number = (self._file, line) if self._places is None else self._places[line]
            by_file.setdefault(place, []).append((number, reason, text))
        self.quarantined += [
            quarantine_rows(refusals, source=self._source, file=place, now=self._now)
            for place, refusals in by_file.items()
        ]
        for reason, example in first_examples(
            refused, bad, file=self._file, broken=broken, columns=self._columns
        ).items():
            self._examples.setdefault(reason, example)
