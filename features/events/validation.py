"""Split a draft into events, refused rows and rows left out.

A refused row goes to quarantine with its reason. A row is left out where it is not an error but lies
outside the data, such as one recorded after ``complete_until``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from features.events.schema import (
    CLOCK_TOLERANCE,
    DATE_PROPERTIES,
    EARLIEST_DATE,
    EVENT_SCHEMA,
    KINDS,
    LARGEST_QUANTITY,
    LATEST_DATE,
    LINE,
    UTC_INSTANT,
    is_kind,
)

AFTER_COMPLETE = "after complete_until"

NOT_YET_KNOWN = "not yet known at the workspace's clock"

COUNTS_NOTHING = "event_count is 0"

BOUNDS: Mapping[float, tuple[str, ...]] = {
    largest: tuple(kind.name for kind in KINDS if kind.largest == largest)
    for largest in sorted({kind.largest for kind in KINDS} - {LARGEST_QUANTITY})
}
"""The largest quantity of kinds that have a smaller one than all, and those kinds."""

READ_INSIDE = {
    kind.name: (tuple(name for name in DATE_PROPERTIES if name in kind.properties), kind.needed)
    for kind in KINDS
    if kind.needed or set(kind.properties) & set(DATE_PROPERTIES)
}
"""The kinds whose properties are looked into: which are dates, and which an event must have."""

DRAFT_SCHEMA = pl.Schema(
    {
        LINE: pl.Int64,
        **EVENT_SCHEMA,
        "problem": pl.String,
        "left": pl.String,
    }
)
"""The columns of a draft: the event, its line, its problem, and why it is left out."""


@dataclass(frozen=True, kw_only=True)
class DraftPiece:
    """Some rows of a file, in the order of the file, and their draft."""

    draft: pl.DataFrame  # DRAFT_SCHEMA
    raw: pl.DataFrame  # the original rows, with LINE
    broken: tuple[tuple[int, str, str], ...] = ()  # lines that are no rows: line, reason, text


@dataclass(frozen=True, kw_only=True)
class ValidatedDraft:
    """The three parts of a draft; every row is in exactly one of them."""

    events: pl.DataFrame  # EVENT_SCHEMA and LINE
    refused: pl.DataFrame  # LINE, reason
    left_out: pl.DataFrame  # LINE, reason


def beyond(largest: float) -> str:
    """The reason of a quantity that is larger.

    >>> beyond(1e12)
    'quantity is beyond 1,000,000,000,000 in either direction; check its unit'
    """
    return f"quantity is beyond {largest:,.0f} in either direction; check its unit"


def validate_draft(
    draft: pl.DataFrame, *, now: datetime, complete_until: datetime | None
) -> ValidatedDraft:
    """Split a draft into events, refused rows and rows left out."""
    occurred, recorded = pl.col("occurred_at"), pl.col("recorded_at")
    after = recorded > pl.lit(complete_until, UTC_INSTANT)
    tolerance = pl.lit(CLOCK_TOLERANCE)
    kinds = draft["kind"].drop_nulls().unique()
    small_bound, inside = _beyond_their_kind(kinds), _problems_inside(draft, kinds)
    unknown = pl.Series([kind for kind in kinds.to_list() if not is_kind(kind)], dtype=pl.String)
    marked = draft.with_columns(
        pl.when(pl.col("left").is_not_null())
        .then("left")
        .when(after)
        .then(pl.lit(AFTER_COMPLETE))
        .when(pl.lit(complete_until is not None) & (recorded > pl.lit(now, UTC_INSTANT)))
        .then(pl.lit(NOT_YET_KNOWN))  # rows of a stated period are facts
        .alias("left"),
        pl.when(pl.col("problem").is_not_null())
        .then("problem")
        .when(pl.col("account_id").fill_null("") == "")
        .then(pl.lit("account_id is missing"))
        .when(pl.col("kind").is_in(unknown.implode()))
        .then(pl.lit("kind is not known"))
        .when(pl.col("quantity").abs() > LARGEST_QUANTITY)
        .then(pl.lit(beyond(LARGEST_QUANTITY)))
        .when(small_bound.is_not_null())
        .then(small_bound)
        .when(inside.is_not_null())
        .then(inside)
        .when(occurred > pl.lit(now, UTC_INSTANT) + tolerance)
        .then(pl.lit("occurred_at lies in the future"))
        .when(recorded < occurred - tolerance)
        .then(pl.lit("recorded_at is before occurred_at"))
        .alias("problem"),
    ).with_columns(
        pl.when(pl.col("left").is_not_null())
        .then("left")
        .when(pl.col("problem").is_not_null())
        .then(None)
        .when(pl.col("event_count") == 0)
        .then(pl.lit(COUNTS_NOTHING))
        .when(recorded > pl.lit(now, UTC_INSTANT) + tolerance)
        .then(pl.lit(NOT_YET_KNOWN))
        .alias("left")
    )
    left = pl.col("left").is_not_null()
    refused = ~left & pl.col("problem").is_not_null()
    events = marked.filter(~left & ~refused).with_columns(
        pl.max_horizontal("recorded_at", "occurred_at").alias("recorded_at")
    )
    return ValidatedDraft(
        events=events.select(LINE, *EVENT_SCHEMA),
        refused=marked.filter(refused).select(LINE, pl.col("problem").alias("reason")),
        left_out=marked.filter(left).select(LINE, pl.col("left").alias("reason")),
    )


def _beyond_their_kind(kinds: pl.Series) -> pl.Expr:
    """The reason of a quantity that is more than its kind can have, but not more than any can."""
    found = pl.lit(None, pl.String)
    for largest, names in BOUNDS.items():
        of_these = kinds.filter(kinds.is_in(names))
        if len(of_these):
            is_beyond = pl.col("quantity").abs() > largest
            found = (
                pl.when(is_beyond & pl.col("kind").is_in(of_these.implode()))
                .then(pl.lit(beyond(largest)))
                .otherwise(found)
            )
    return found


def _problems_inside(draft: pl.DataFrame, kinds: pl.Series) -> pl.Series:
    """What is wrong with the properties of each row; null where nothing is."""
    nothing = pl.repeat(None, draft.height, dtype=pl.String, eager=True)
    looked_into = kinds.filter(kinds.is_in([*READ_INSIDE]))
    if not len(looked_into):
        return nothing
    rows = draft.select("kind", "properties").with_row_index("row")
    rows = rows.filter(pl.col("kind").is_in(looked_into.implode()))
    found = pl.DataFrame(schema={"row": rows.schema["row"], "reason": pl.String})
    for kind in looked_into:
        dates, needed = READ_INSIDE[kind]
        reasons = [_missing(kind, name) for name in needed] + [_no_date(name) for name in dates]
        of_kind = rows.filter(pl.col("kind") == kind).select("row", reason=pl.coalesce(reasons))
        found.vstack(of_kind.drop_nulls(), in_place=True)
    if not found.height:
        return nothing
    return nothing.scatter(found["row"], found["reason"])


def _missing(kind: str, name: str) -> pl.Expr:
    value = pl.col("properties").str.json_path_match(f"$.{name}")
    reason = f"{kind} needs the property {name}"
    return pl.when(value.fill_null("").str.strip_chars() == "").then(pl.lit(reason))


def _no_date(name: str) -> pl.Expr:
    """A date that is written as one and is none, or one that nobody can mean."""
    text = pl.col("properties").str.json_path_match(f"$.{name}").str.slice(0, 10)
    day = text.str.to_date("%Y-%m-%d", strict=False)
    is_plausible = day.is_between(pl.lit(EARLIEST_DATE), pl.lit(LATEST_DATE)).fill_null(value=False)
    reason = (
        f"{name} is no date from {EARLIEST_DATE:%Y} to {LATEST_DATE:%Y}; leave it out where there is "
        "none"
    )
    looks_like_one = text.str.contains(r"^\d{4}-\d{2}-\d{2}$")
    return pl.when(looks_like_one & ~is_plausible).then(pl.lit(reason))
