"""Rows of a source with everything wrong that can be: made at random from a seed, or by Hypothesis.

Every field may be missing, of another type, enormous, not finite, full of control characters; ids
repeat with other content, and clocks go wrong by ten years.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import polars as pl

FIELDS = ("id", "company", "person", "what", "at", "known", "n", "value", "feature", "size", "more")

MAPPING = """
name = "shop"
complete_until = 2026-06-01T00:00:00Z

[tables.use]
files = ["use.*"]
event_id = "id"
account = "company"
user = "person"
kind_column = "what"
kinds = { click = "feature.used" }
occurred_at = "at"
recorded_at = "known"
event_count = "n"
quantity = "value"
properties_column = "more"
[tables.use.properties]
name = "feature"
size = { column = "size", type = "number" }
"""

HUGE = "9" * 400
ODD_TEXTS = (
    None,
    "",
    "   ",
    "null",
    "NaN",
    "x" * 300,
    "x" * 6_000,
    "\x01\x1b[31m",
    "a\tb",
    "a\nb",
    "\x7f",
    "\u202e\u200b",
    "'; DROP TABLE events; --",
    '"',
    '\\"',
    "a,b",
    "ünïcode 🙂",
    "-0",
    "1e400",
    HUGE,
)
ODD_TIMES = (
    None,
    "",
    "yesterday",
    "2026-02-30T00:00:00Z",
    "2026-03-01",
    "2026-03-01T09:00:00",
    "2016-03-01T09:00:00Z",
    "2036-03-01T09:00:00Z",
    "0001-01-01T00:00:00Z",
    "99999-01-01T00:00:00Z",
    "2026-03-01T25:00:00Z",
    "1772355600",
    HUGE,
    "\x00",
)
ODD_NUMBERS = (
    None,
    "",
    "NaN",
    "inf",
    "-inf",
    "-1",
    "0",
    "1.5",
    "1e12",
    "1e300",
    "1e400",
    "lots",
    "0x10",
    "1,000",
    "½",
    HUGE,
    "\x01",
)
ODD_MAPS = (
    None,
    "",
    "{}",
    "{",
    "[1]",
    "null",
    '"a"',
    '{"a": {"b": 1}}',
    '{"a": NaN}',
    '{"a": true}',
    '{"": 1}',
    '{"a": "' + "z" * 5_000 + '"}',
    "[" * 2_000,
    '{"a": 1e999}',
    '{"a": "\\ud800"}',
    '{"size": 3}',
)

ODD: Mapping[str, Sequence[str | None]] = {
    "id": ODD_TEXTS,
    "company": ODD_TEXTS,
    "person": ODD_TEXTS,
    "what": (*ODD_TEXTS, "coffee.drunk", "custom.", "custom.ride", "feature.used"),
    "at": ODD_TIMES,
    "known": ODD_TIMES,
    "n": ODD_NUMBERS,
    "value": ODD_NUMBERS,
    "feature": ODD_TEXTS,
    "size": ODD_NUMBERS,
    "more": ODD_MAPS,
}
OTHER_TYPES: Sequence[object] = (True, 7, -1.5, [], [1], {}, {"a": {"b": []}}, None)
"""What JSON may hold where a text or a number belongs."""

Row = dict[str, object]


def good_row(rng: np.random.Generator) -> Row:
    """A row that is well by itself; its id may be that of another."""
    day, hour = rng.integers(1, 28), rng.integers(0, 23)
    return {
        "id": f"e{rng.integers(200)}" if rng.random() < 0.2 else f"u{rng.integers(10**12)}",
        "company": f"c{rng.integers(9)}",
        "person": f"p{rng.integers(9)}",
        "what": "click",
        "at": f"2026-03-{day:02}T{hour:02}:00:00Z",
        "known": f"2026-{rng.integers(4, 6):02}-{day:02}T{hour:02}:00:00Z",
        "n": "1",
        "value": str(rng.integers(3)),
        "feature": "search",
        "size": "3",
        "more": "{}",
    }


def malformed_rows(rng: np.random.Generator, count: int) -> Iterator[Row]:
    """Rows of text, of which about half have a field or two that is wrong; some come twice."""
    row: Row = {}
    for _ in range(count):
        if not row or rng.random() > 0.1:  # one in ten is the row before it, once more
            row = good_row(rng)
            for _ in range(rng.choice((0, 0, 1, 1, 2))):
                field = FIELDS[rng.integers(len(FIELDS))]
                row[field] = ODD[field][rng.integers(len(ODD[field]))]
        yield dict(row)


def as_csv(rows: Sequence[Mapping[str, object]]) -> bytes:
    """The rows as CSV, without the one character that no text file holds."""
    text = io.StringIO(newline="")
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(FIELDS)
    lines.writerows([row.get(field) for field in FIELDS] for row in rows)
    return text.getvalue().replace("\x00", "\x01").encode()


def as_jsonl(rows: Sequence[Mapping[str, object]]) -> bytes:
    """The rows as JSON lines."""
    every = dict.fromkeys(FIELDS)
    return "".join(json.dumps(every | dict(row)) + "\n" for row in rows).encode()


def as_parquet(rows: Sequence[Mapping[str, object]]) -> bytes:
    """The rows as a Parquet file of texts."""
    content = io.BytesIO()
    pl.DataFrame(
        [[row.get(field) for field in FIELDS] for row in rows],
        schema=dict.fromkeys(FIELDS, pl.String),
        orient="row",
    ).write_parquet(content)
    return content.getvalue()


def as_event(row: Mapping[str, object], rng: np.random.Generator) -> Row:
    """A row as a program would send it: fields of another name, left out, or of another type.

    Its numbers are finite and exact, since one that is not refuses the whole request.
    """
    try:
        more = json.loads(str(row["more"]), parse_float=str, parse_constant=str)
    except (ValueError, RecursionError):
        more = row["more"]
    sent: Row = {
        "event_id": row["id"],
        "account_id": row["company"],
        "user_id": row["person"],
        "kind": "feature.used" if row["what"] == "click" else row["what"],
        "occurred_at": row["at"],
        "recorded_at": row["known"],
        "event_count": 1,
        "quantity": 2.5,
        "properties": more,
    }
    for _ in range(rng.choice((0, 0, 1))):
        name = str(rng.choice([*sent]))
        if rng.random() < 0.3:
            del sent[name]
        else:
            sent[name] = OTHER_TYPES[rng.integers(len(OTHER_TYPES))]
    if rng.random() < 0.02:
        sent["colour"] = "blue"
    return sent
