"""Split a draft into events, refused rows and rows left out.

A refused row goes to quarantine with its reason. A row is left out where it is not an error but lies
outside the data, such as one recorded after ``complete_until``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from features.events.bounds import Bounds
from features.events.provenance import OWN_PROPERTIES, claimed_draws, claims_of_ours
from features.events.schema import (
    CLOCK_TOLERANCE,
    DATE_PROPERTIES,
    EVENT_SCHEMA,
    KINDS,
    LARGEST_COUNT,
    LINE,
    LONGEST_PROPERTIES,
    UTC_INSTANT,
    is_kind,
)

AFTER_COMPLETE = "after complete_until"

NOT_YET_KNOWN = "not yet known at the workspace's clock"

COUNTS_NOTHING = "event_count is 0"

READ_INSIDE = {
    kind.name: (tuple(name for name in DATE_PROPERTIES if name in kind.properties), kind.needed)
    for kind in KINDS
    if kind.needed or {*kind.properties} & {*DATE_PROPERTIES, *OWN_PROPERTIES}
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
    draft: pl.DataFrame,
    *,
    now: datetime,
    complete_until: datetime | None,
    bounds: Bounds | None = None,
    is_ours: bool = False,
) -> ValidatedDraft:
    """Split a draft into events, refused rows and rows left out.

    ``bounds`` are those of the tenant, by default those that the kinds declare. ``is_ours`` says that
    Keepwell wrote the events itself; events from outside may not claim to be its own.
    """
    bounds = bounds or Bounds()
    occurred, recorded = pl.col("occurred_at"), pl.col("recorded_at")
    after = recorded > pl.lit(complete_until, UTC_INSTANT)
    tolerance = pl.lit(CLOCK_TOLERANCE)
    kinds = draft["kind"].drop_nulls().unique()
    too_large = _beyond_their_kind(kinds, bounds)
    inside = _problems_inside(draft, kinds, bounds, is_ours=is_ours)
    claimed = draft["event_id"].null_count() < draft.height and not is_ours
    no_problem = pl.lit(None, pl.String)
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
        .otherwise(
            pl.coalesce(
                claims_of_ours() if claimed else no_problem,
                too_large,
                _too_many(bounds),
                inside,
                _too_long(draft, bounds),
                pl.when(occurred > pl.lit(now, UTC_INSTANT) + tolerance)
                .then(pl.lit("occurred_at lies in the future"))
                .when(recorded < occurred - tolerance)
                .then(pl.lit("recorded_at is before occurred_at")),
            )
        )
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


def _beyond_their_kind(kinds: pl.Series, bounds: Bounds) -> pl.Expr:
    """The reason of a quantity that is more than its kind can have."""
    by_largest = bounds.kinds_by_largest(kinds.to_list())
    quantity = pl.col("quantity").abs()
    found = pl.lit(None, pl.String)
    for number, (largest, names) in enumerate(by_largest.items()):
        is_beyond = quantity > largest
        if number:  # the first is the largest of all, and whatever is beyond it is beyond its own
            is_beyond &= pl.col("kind").is_in(names)
        found = pl.when(is_beyond).then(pl.lit(beyond(largest))).otherwise(found)
    return found


def _too_many(bounds: Bounds) -> pl.Expr:
    """The reason of a row that stands for more events or users than the tenant allows."""
    if bounds.count == LARGEST_COUNT:  # which is refused when a count is read
        return pl.lit(None, pl.String)
    return pl.coalesce(
        pl.when(pl.col(name) > bounds.count).then(
            pl.lit(f"{name} is beyond {bounds.count:,}; check its unit")
        )
        for name in ("event_count", "user_count")
    )


def _too_long(draft: pl.DataFrame, bounds: Bounds) -> pl.Series:
    """The reason of a row of which a property has more characters than the tenant allows."""
    texts = draft["properties"]
    nothing = pl.repeat(None, draft.height, dtype=pl.String, eager=True)
    if bounds.text == LONGEST_PROPERTIES:  # which is refused when properties are read
        return nothing
    rows = (texts.str.len_chars() > bounds.text).fill_null(value=False).arg_true()
    reasons = [
        next(
            (
                f"property {name} is longer than {bounds.text:,} characters"
                for name, value in json.loads(text).items()
                if len(str(value)) > bounds.text
            ),
            None,
        )
        for text in texts.gather(rows)
    ]
    return nothing.scatter(rows, pl.Series(reasons, dtype=pl.String))


def _problems_inside(
    draft: pl.DataFrame, kinds: pl.Series, bounds: Bounds, *, is_ours: bool
) -> pl.Series:
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
        reasons = [_missing(kind, name) for name in needed]
        reasons += [_no_date(name, bounds) for name in dates]
        if kind == "action.decided":
            reasons += () if is_ours else claimed_draws()
        if not reasons:
            continue
        of_kind = rows.filter(pl.col("kind") == kind).select("row", reason=pl.coalesce(reasons))
        found.vstack(of_kind.drop_nulls(), in_place=True)
    if not found.height:
        return nothing
    return nothing.scatter(found["row"], found["reason"])


def _missing(kind: str, name: str) -> pl.Expr:
    value = pl.col("properties").str.json_path_match(f"$.{name}")
    reason = f"{kind} needs the property {name}"
    return pl.when(value.fill_null("").str.strip_chars() == "").then(pl.lit(reason))


def _no_date(name: str, bounds: Bounds) -> pl.Expr:
    """A date that is written as one and is none, or one that nobody can mean."""
    text = pl.col("properties").str.json_path_match(f"$.{name}").str.slice(0, 10)
    day = text.str.to_date("%Y-%m-%d", strict=False)
    first, last = bounds.from_date, bounds.until_date
    is_plausible = day.is_between(pl.lit(first), pl.lit(last)).fill_null(value=False)
    span = (
        f"{first:%Y} to {last:%Y}"
        if (first.month, first.day, last.month, last.day) == (1, 1, 12, 31)
        else f"{first} to {last}"
    )
    reason = f"{name} is no date from {span}; leave it out where there is none"
    looks_like_one = text.str.contains(r"^\d{4}-\d{2}-\d{2}$")
    return pl.when(looks_like_one & ~is_plausible).then(pl.lit(reason))
