"""Turn contract periods, rows with a start and an end, into contract events.

::

    row 1   [────────────)                  contract.started   at its start
    row 2                [────────────)     contract.renewed   starts at the previous end, or
                                            contract.changed   with other plan, seats, MRR, billing
    no row 3                          ^     contract.cancelled at the end, once that is past

A row is known from its start on. Until its end has passed, the end is only the renewal date: that
the account did not renew becomes known at the end and not earlier. Where add-on rows may end a period
early, the period ends at the earliest end among its rows, and that is known only from then on.
"""

from __future__ import annotations

from datetime import datetime

import polars as pl

from features.events.schema import LINE, UTC_INSTANT
from features.events.validation import AFTER_COMPLETE, DRAFT_SCHEMA
from features.ingest.columns import (
    ColumnValues,
    read_instants,
    read_numbers,
    read_words,
)
from features.ingest.drafts import first_problem, other_rows
from features.ingest.mapping import ContractTable, PropertySource
from features.ingest.properties import read_properties

AT_RENEWAL = "renewal"
MID_TERM = "mid-term"
TERMS = ("price_plan", "seats", "mrr", "billing_months")
"""A renewal with another value in one of these is a change."""


def draft_contracts(
    raw: pl.DataFrame,
    table: ContractTable,
    *,
    known_until: datetime,
) -> pl.DataFrame:
    """The draft of a table of contract periods: an event per row, and one per cancellation.

    Rows that start after ``known_until`` are left out and do not change earlier rows: whether an
    account left is decided from what was known at that moment.
    """
    rows = _read_periods(raw, table)
    periods = rows.filter(pl.col("problem").is_null() & pl.col("left").is_null())
    classified = _classify_periods(periods)
    cancelled = classified.filter(
        pl.col("is_over") & (pl.col("over_at") <= pl.lit(known_until, UTC_INSTANT))
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
        constants=table.constants,
    )
    terms = classified.with_columns(
        properties.values.alias("properties"),
        pl.coalesce("problem", properties.problem).alias("problem"),
    )
    rest = rows.filter(pl.col("problem").is_not_null() | pl.col("left").is_not_null())
    return pl.concat(
        [
            _draft_rows(terms, kind="kind", at="start", quantity="mrr"),
            _draft_rows(rest, kind=None, at="start", quantity=None),
            _draft_rows(cancelled, kind=None, at="over_at", quantity=None).with_columns(
                pl.lit("contract.cancelled").alias("kind"), pl.lit("{}").alias("properties")
            ),
        ]
    )


def _read_periods(raw: pl.DataFrame, table: ContractTable) -> pl.DataFrame:
    """Every row with its values, its problem, and whether it is a contract row."""
    zone = table.source.zone
    height = raw.height
    account = read_words(raw[table.account], "account_id", needed=True)
    start, end = (
        read_instants(
            raw[column], name, zone=zone, time_format=table.time_format, epoch=table.epoch
        )
        for name, column in (("start", table.start), ("end", table.end))
    )
    open_end = end.problem == "end is missing"  # a contract may have no end
    end = ColumnValues(
        values=end.values, problem=end.problem.set(open_end.fill_null(value=False), None)
    )
    numbers = {
        name: read_numbers(raw[column], name) if column else ColumnValues.nulls(height, pl.Float64)
        for name, column in (
            ("mrr", table.mrr),
            ("seats", table.seats),
            ("billing_months", table.billing_months),
            ("discount", table.discount),
        )
    }
    plan = (
        read_words(raw[table.price_plan], "price_plan", needed=False)
        if table.price_plan
        else ColumnValues.nulls(height, pl.String)
    )
    readings = (account, start, end, *numbers.values(), plan)
    frame = pl.DataFrame(
        {
            LINE: raw[LINE],
            "account_id": account.values,
            "start": start.values.cast(UTC_INSTANT),
            "end": end.values.cast(UTC_INSTANT),
            **{name: reading.values for name, reading in numbers.items()},
            "price_plan": plan.values,
            "problem": first_problem(*readings),
            "left": other_rows(raw, table.only),
        }
    )
    period = ("account_id", "start")
    earliest = (
        pl.col("end").min().over(period) if table.end_of_period == "earliest" else pl.col("end")
    )
    until = pl.lit(table.source.complete_until, UTC_INSTANT)
    frame = frame.with_columns(
        pl.when(pl.col("problem").is_not_null())
        .then("problem")
        .when(pl.col("end") <= pl.col("start"))
        .then(pl.lit("end is not after start"))
        .when(pl.col("mrr").is_null() & pl.col("left").is_null())
        .then(pl.lit("mrr is missing"))
        .when(pl.col("mrr") < 0)
        .then(pl.lit("mrr is negative"))
        .when(pl.col("seats") < 0)
        .then(pl.lit("seats is negative"))
        .alias("problem"),
        pl.when(pl.col("start") > until)
        .then(pl.lit(AFTER_COMPLETE))
        .otherwise("left")
        .alias("left"),
    ).with_columns(
        pl.when(pl.col("problem").is_null()).then(earliest).alias("over_at"),
        pl.col("end")
        .dt.convert_time_zone(zone or "UTC")
        .dt.to_string("%Y-%m-%d")
        .alias("renewal_on"),
    )
    usable = pl.col("problem").is_null() & pl.col("left").is_null()
    second = usable & (pl.int_range(pl.len()).over(*period, usable) > 0)
    return frame.with_columns(
        pl.when(second)
        .then(pl.lit("is a second contract row of the same account and start"))
        .otherwise("problem")
        .alias("problem")
    )


def _classify_periods(periods: pl.DataFrame) -> pl.DataFrame:
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
        .when(early)
        .then(pl.lit("contract.changed"))
        .when(same)
        .then(pl.lit("contract.renewed"))
        .otherwise(pl.lit("contract.changed"))
        .alias("kind"),
        pl.when(first | gap | (same & ~early))
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
    rows: pl.DataFrame, *, kind: str | None, at: str, quantity: str | None
) -> pl.DataFrame:
    return rows.select(
        pl.col(LINE),
        pl.lit(None, pl.String).alias("event_id"),
        "account_id",
        pl.lit(None, pl.String).alias("user_id"),
        (pl.col(kind) if kind else pl.lit("contract.started")).alias("kind"),
        pl.col(at).alias("occurred_at"),
        pl.col(at).alias("recorded_at"),
        pl.lit(1, pl.Int64).alias("event_count"),
        pl.lit(1, pl.Int64).alias("user_count"),
        (pl.col(quantity) if quantity else pl.lit(None, pl.Float64)).alias("quantity"),
        (pl.col("properties") if "properties" in rows.columns else pl.lit("{}")).alias(
            "properties"
        ),
        "problem",
        "left",
    ).cast(DRAFT_SCHEMA)
