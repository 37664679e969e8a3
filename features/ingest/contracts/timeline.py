"""Turn the periods of accounts into contract events, and nothing that was not known yet.

::

    row 1   [────────────)                  contract.started   at its start
    row 2                [────────────)     contract.renewed   starts at the previous end, or
                                            contract.changed   with other plan, seats, MRR, billing
    no row 3                          ^     contract.cancelled at the end, once that is past

Until its end has passed, the end of a period is only the renewal date: that the account did not renew
becomes known at the end and not earlier. Where a source knows later, its periods say when.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import polars as pl

from features.events.schema import LINE, UTC_INSTANT
from features.events.validation import DRAFT_SCHEMA
from features.ingest.mapped_tables import PropertySource
from features.ingest.properties import read_properties

AT_RENEWAL = "renewal"
MID_TERM = "mid-term"
TERMS = ("price_plan", "seats", "mrr", "billing_months")
"""A renewal with another value in one of these is a change."""

PERIOD_TYPES: dict[str, pl.DataType | type[pl.DataType]] = {
    LINE: pl.Int64,
    "account_id": pl.String,
    "start": UTC_INSTANT,
    "known_at": UTC_INSTANT,  # when the start became known
    "over_at": UTC_INSTANT,  # when it ends, or null
    "over_known_at": UTC_INSTANT,  # when it becomes known that nothing follows
    "renewal_on": pl.String,
    "mrr": pl.Float64,
    "seats": pl.Float64,
    "billing_months": pl.Float64,
    "discount": pl.Float64,
    "price_plan": pl.String,
    "problem": pl.String,
    "left": pl.String,
}
PERIODS = pl.Schema(PERIOD_TYPES)
"""One period in a row, with its problem and why it is left out."""


def draft_periods(
    rows: pl.DataFrame,
    constants: Mapping[str, str | float | int],
    *,
    known_until: datetime,
    may_overlap: bool = False,
) -> pl.DataFrame:
    """The draft of ``PERIODS``: an event for each start, and one for each cancellation.

    With ``may_overlap`` a period that starts before the last one ends, at the same terms, is a
    renewal and no change of the terms.
    """
    rows = rows.select(PERIODS.names()).cast(PERIODS)
    good = pl.col("problem").is_null() & pl.col("left").is_null()
    classified = _classify(rows.filter(good), may_overlap=may_overlap)
    cancelled = classified.filter(
        pl.col("is_over") & (pl.col("over_known_at") <= pl.lit(known_until, UTC_INSTANT))
    )
    properties = read_properties(
        classified,
        {
            "price_plan": PropertySource(column="price_plan"),
            "seats": PropertySource(column="seats", type="number"),
            "billing_months": PropertySource(column="billing_months", type="number"),
            "discount": PropertySource(column="discount", type="number"),
            "renewal_on": PropertySource(column="renewal_on"),
            "reason": PropertySource(column="reason"),
        },
        constants=constants,
    )
    terms = classified.with_columns(
        properties.values.alias("properties"),
        pl.coalesce("problem", properties.problem).alias("problem"),
    )
    ended = read_properties(cancelled, {}, constants=_provenance(constants)).values
    return pl.concat(
        [
            _draft_rows(terms, kind="kind", at="start", known="known_at", quantity="mrr"),
            _draft_rows(rows.filter(~good), kind=None, at="start", known="known_at", quantity=None),
            _draft_rows(
                cancelled, kind=None, at="over_at", known="over_known_at", quantity=None
            ).with_columns(
                pl.lit("contract.cancelled").alias("kind"), pl.Series("properties", ended)
            ),
        ]
    )


INFERRED_FROM = "inferred_from"
"""The property of a contract event that no contract said: what it was inferred from."""


def _provenance(constants: Mapping[str, str | float | int]) -> dict[str, str | float | int]:
    return {name: value for name, value in constants.items() if name == INFERRED_FROM}


def _classify(periods: pl.DataFrame, *, may_overlap: bool) -> pl.DataFrame:
    """Which kind of event each period is, and whether it was the last one before a gap."""
    rows = periods.sort("account_id", "start").with_columns(
        *(
            pl.col(name).shift(1).over("account_id").alias(f"previous_{name}")
            for name in (*TERMS, "over_at", LINE)
        ),
        pl.col("start").shift(-1).over("account_id").alias("next_start"),
    )
    first = pl.col(f"previous_{LINE}").is_null()
    gap = pl.col("start") > pl.col("previous_over_at")
    early = (pl.col("start") < pl.col("previous_over_at")) | pl.col("previous_over_at").is_null()
    same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"previous_{name}")) for name in TERMS)
    return rows.with_columns(
        pl.when(first | gap)
        .then(pl.lit("contract.started"))
        .when(early & ~(same & pl.lit(may_overlap)))
        .then(pl.lit("contract.changed"))
        .when(same)
        .then(pl.lit("contract.renewed"))
        .otherwise(pl.lit("contract.changed"))
        .alias("kind"),
        pl.when(first | gap | (same & (~early | pl.lit(may_overlap))))
        .then(None)
        .when(early)
        .then(pl.lit(MID_TERM))
        .otherwise(pl.lit(AT_RENEWAL))
        .alias("reason"),
        (
            pl.col("over_at").is_not_null()
            & (pl.col("next_start").is_null() | (pl.col("next_start") > pl.col("over_at")))
        ).alias("is_over"),
    )


def _draft_rows(
    rows: pl.DataFrame, *, kind: str | None, at: str, known: str, quantity: str | None
) -> pl.DataFrame:
    return rows.select(
        pl.col(LINE),
        pl.lit(None, pl.String).alias("event_id"),
        "account_id",
        pl.lit(None, pl.String).alias("user_id"),
        (pl.col(kind) if kind else pl.lit("contract.started")).alias("kind"),
        pl.col(at).alias("occurred_at"),
        pl.col(known).alias("recorded_at"),
        pl.lit(1, pl.Int64).alias("event_count"),
        pl.lit(1, pl.Int64).alias("user_count"),
        (pl.col(quantity) if quantity else pl.lit(None, pl.Float64)).alias("quantity"),
        (pl.col("properties") if "properties" in rows.columns else pl.lit("{}")).alias(
            "properties"
        ),
        "problem",
        "left",
    ).cast(DRAFT_SCHEMA)
