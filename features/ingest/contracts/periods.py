"""Read contract periods, or one row a customer, as periods of accounts.

With ``end`` a row is a period that ends at a stated day, which is its renewal date until then. With
``cancelled`` only the day on which a customer left ends its contract; it says nothing before that day.
Where add-on rows may end a period early, the period ends at the earliest end among its rows, and that
is known only from then on.
"""

from __future__ import annotations

import polars as pl

from features.events.schema import LINE, UTC_INSTANT
from features.events.validation import AFTER_COMPLETE
from features.ingest.columns import (
    ColumnValues,
    read_instants,
    read_numbers,
    read_words,
)
from features.ingest.drafts import computed_problems, first_problem
from features.ingest.mapped_tables import ContractTable


def read_periods(raw: pl.DataFrame, left: pl.Series, table: ContractTable) -> pl.DataFrame:
    """Every row with its values, its problem, and whether it is a contract row.

    Rows that start after the table is whole are left out and do not change earlier rows: whether an
    account left is decided from what was known at that moment.
    """
    zone = table.source.zone
    height = raw.height
    account = read_words(raw[table.account], "account_id", needed=True)
    start, end, cancelled = (
        read_instants(
            raw[column], name, zone=zone, time_format=table.time_format, epoch=table.epoch
        )
        if column is not None
        else ColumnValues.nulls(height, UTC_INSTANT)
        for name, column in (
            ("start", table.start),
            ("end", table.end),
            ("cancelled", table.cancelled),
        )
    )
    end, cancelled = _may_be_missing(end, "end"), _may_be_missing(cancelled, "cancelled")
    numbers = {
        name: read_numbers(raw[column], name, decimal=table.source.decimal)
        if column
        else ColumnValues.nulls(height, pl.Float64)
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
    readings = (account, start, end, cancelled, *numbers.values(), plan)
    frame = pl.DataFrame(
        {
            LINE: raw[LINE],
            "account_id": account.values,
            "start": start.values.cast(UTC_INSTANT),
            "end": end.values.cast(UTC_INSTANT),
            "cancelled": cancelled.values.cast(UTC_INSTANT),
            **{name: reading.values for name, reading in numbers.items()},
            "price_plan": plan.values,
            "problem": first_problem(*readings, *computed_problems(raw)),
            "left": left,
        }
    )
    period = ("account_id", "start")
    named = "end" if table.cancelled is None else "cancelled"
    earliest = (
        pl.col(named).min().over(period) if table.end_of_period == "earliest" else pl.col(named)
    )
    until = pl.lit(table.source.complete_until, UTC_INSTANT)
    frame = (
        frame.with_columns(
            pl.when(pl.col("problem").is_not_null())
            .then("problem")
            .when(pl.col("end") <= pl.col("start"))
            .then(pl.lit("end is not after start"))
            .when(pl.col("cancelled") <= pl.col("start"))
            .then(pl.lit("cancelled is not after start"))
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
        )
        .with_columns(
            pl.when(pl.col("problem").is_null()).then(earliest).alias("over_at"),
            pl.col("start").alias("known_at"),
            pl.col("end")
            .dt.convert_time_zone(zone or "UTC")
            .dt.to_string("%Y-%m-%d")
            .alias("renewal_on"),
        )
        .with_columns(pl.col("over_at").alias("over_known_at"))
    )
    usable = pl.col("problem").is_null() & pl.col("left").is_null()
    second = usable & (pl.int_range(pl.len()).over(*period, usable) > 0)
    return frame.with_columns(
        pl.when(second)
        .then(pl.lit("is a second contract row of the same account and start"))
        .otherwise("problem")
        .alias("problem")
    )


def _may_be_missing(read: ColumnValues, name: str) -> ColumnValues:
    """The times, of which an empty one is no problem: a contract may have no end."""
    missing = (read.problem == f"{name} is missing").fill_null(value=False)
    return ColumnValues(values=read.values, problem=read.problem.set(missing, None))
