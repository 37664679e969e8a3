"""Quarantine: rows that were refused, with the reason, the file and the line.

A refused row is stored in its original form, shortened where it is long, so that a person can correct
it and ingest the file again. The lake stores refused rows and events in the same step.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import date, datetime

import polars as pl

from features.events.schema import RAW, UTC_INSTANT

LONGEST_RAW = 2_000  # characters of a refused row that are stored

QUARANTINE_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "row_id": pl.String,  # the same row refused again is the same entry
    "source": pl.String,
    "file": pl.String,
    "line": pl.Int64,
    "reason": pl.String,
    "raw": pl.String,
    "refused_at": UTC_INSTANT,
}
"""Column name to Polars type of the quarantine table."""


def quarantine_rows(
    rows: Iterable[tuple[int, str, str]], *, source: str, file: str, now: datetime
) -> pl.DataFrame:
    """Refused rows, given as (line, reason, content), as entries of the quarantine table."""
    entries = [
        {
            "row_id": _row_id(source, file, line, reason, raw),
            "source": source,
            "file": file,
            "line": line,
            "reason": reason,
            "raw": shorten(raw),
            "refused_at": now,
        }
        for line, reason, raw in rows
    ]
    return pl.DataFrame(entries, schema=QUARANTINE_SCHEMA)


def raw_text(row: Mapping[str, object]) -> str:
    """A source row as JSON, for a person to read."""
    if RAW in row:
        return str(row[RAW])
    return json.dumps(dict(row), default=_shown, ensure_ascii=False)


def shorten(text: str) -> str:
    """Text cut to ``LONGEST_RAW`` characters, with a note of how much is missing."""
    if len(text) <= LONGEST_RAW:
        return text
    return f"{text[:LONGEST_RAW]} … ({len(text) - LONGEST_RAW:,} more characters)"


def _shown(value: object) -> str:
    return value.isoformat() if isinstance(value, date) else repr(value)


def _row_id(*parts: object) -> str:
    text = "\x1f".join(map(str, parts)).encode("utf-8", errors="surrogatepass")
    return hashlib.blake2b(text, digest_size=16).hexdigest()
