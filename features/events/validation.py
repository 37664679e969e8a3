"""Split a draft into events, refused rows and rows left out.

A refused row goes to quarantine with its reason. A row is left out where it is not an error but lies
outside the data, such as one recorded after ``complete_until``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import polars as pl

from features.events.schema import CLOCK_TOLERANCE, EVENT_SCHEMA, LINE, UTC_INSTANT, is_kind

AFTER_COMPLETE = "after complete_until"

NOT_YET_KNOWN = "not yet known at the workspace's clock"

COUNTS_NOTHING = "event_count is 0"

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


def validate_draft(
    draft: pl.DataFrame, *, now: datetime, complete_until: datetime | None
) -> ValidatedDraft:
    """Split a draft into events, refused rows and rows left out."""
    occurred, recorded = pl.col("occurred_at"), pl.col("recorded_at")
    after = recorded > pl.lit(complete_until, UTC_INSTANT)
    tolerance = pl.lit(CLOCK_TOLERANCE)
    kinds = draft["kind"].drop_nulls().unique()
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
