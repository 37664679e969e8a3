"""Infer contracts from paid invoices: an account is a customer for as long as it has paid.

::

    invoice  [── covers_months ──)                          contract.started
    invoice                   [── covers_months ──)         contract.renewed, or changed
    nothing                                       ├ grace ┤ contract.cancelled at the paid end,
                                                            known when the grace is over

The MRR at an invoice is the sum of all invoices that cover its day, each divided by its months, so that
two subscriptions on invoices of their own add up. An invoice that ends within ``EARLY_DAYS`` is taken
as followed by this one.
"""

from __future__ import annotations

import polars as pl

from features.events.schema import LINE, UTC_INSTANT
from features.ingest.columns import ColumnValues, read_numbers
from features.ingest.contracts.payments import read_payments
from features.ingest.mapped_tables import InvoiceTable

EARLY_DAYS = 10
"""An invoice that is paid so many days before the last one ends goes on from it."""


def read_invoices(raw: pl.DataFrame, left: pl.Series, table: InvoiceTable) -> pl.DataFrame:
    """Every invoice as a period of its account."""
    covers = (
        read_numbers(raw[table.covers_months], "covers_months", decimal=table.source.decimal)
        if isinstance(table.covers_months, str)
        else ColumnValues(
            values=pl.repeat(float(table.covers_months), raw.height, dtype=pl.Float64, eager=True),
            problem=pl.repeat(None, raw.height, dtype=pl.String, eager=True),
        )
    )
    rows = (
        read_payments(
            raw,
            left,
            table,
            at=table.paid_on,
            amount=table.amount,
            time_format=table.time_format,
            others=(covers,),
        )
        .with_columns(covers.values.alias("months"))
        .with_columns(
            pl.when(pl.col("problem").is_not_null())
            .then("problem")
            .when(~pl.col("months").is_between(0, 120, closed="right").fill_null(value=False))
            .then(pl.lit("covers_months is not between 0 and 120"))
            .alias("problem"),
            pl.when(pl.col("left").is_null() & ~(pl.col("amount") > 0).fill_null(value=False))
            .then(pl.lit("the amount is not above 0"))
            .otherwise("left")
            .alias("left"),
        )
    )
    good = rows.filter(pl.col("problem").is_null() & pl.col("left").is_null())
    periods = _periods(good, table)
    return pl.concat(
        [
            periods,
            rows.join(good.select(LINE), on=LINE, how="anti").select(
                LINE, "account_id", pl.col("at").alias("start"), "problem", "left"
            ),
        ],
        how="diagonal_relaxed",
    ).with_columns(
        pl.col("start").alias("known_at"),
        pl.lit(None, pl.Float64).alias("discount"),
    )


def _periods(good: pl.DataFrame, table: InvoiceTable) -> pl.DataFrame:
    zone = table.source.zone or "UTC"
    grace, early = pl.duration(days=table.grace_days), pl.duration(days=EARLY_DAYS)
    months, local = pl.col("months"), pl.col("at").dt.convert_time_zone(zone)
    whole = local.dt.offset_by(months.floor().cast(pl.Int64).cast(pl.String) + "mo")
    rest = pl.duration(days=((months - months.floor()) * 30.4375).round())
    rows = (
        good.sort("account_id", "at", LINE)
        .with_columns((whole + rest).dt.convert_time_zone("UTC").cast(UTC_INSTANT).alias("end"))
        .with_columns(
            (pl.col("amount") / months).alias("monthly"),
            pl.col("at").shift(-1).over("account_id").alias("next"),
            pl.col("end").cum_max().over("account_id").alias("paid_until"),
        )
        .with_columns(
            pl.when(
                pl.col("next").is_between(
                    pl.col("paid_until") - early, pl.col("paid_until") + grace
                )
            )
            .then("next")
            .otherwise("paid_until")
            .alias("over_at")
        )
    )
    return (
        rows.join(_monthly_sums(rows), on=("account_id", "at"), how="left", maintain_order="left")
        .with_columns(
            (pl.col("over_at") + grace).alias("over_known_at"),
            pl.col("paid_until")
            .dt.convert_time_zone(zone)
            .dt.to_string("%Y-%m-%d")
            .alias("renewal_on"),
        )
        .select(
            LINE,
            "account_id",
            pl.col("at").alias("start"),
            "over_at",
            "over_known_at",
            "renewal_on",
            "mrr",
            "seats",
            pl.col("months").alias("billing_months"),
            "price_plan",
            "problem",
            "left",
        )
    )


def _monthly_sums(rows: pl.DataFrame) -> pl.DataFrame:
    """The MRR of an account at each invoice: of all invoices that cover its day."""
    ends = pl.max_horizontal(
        pl.col("end") - pl.duration(days=EARLY_DAYS), pl.col("at") + pl.duration(microseconds=1)
    )
    steps = pl.concat(
        [
            rows.select(
                "account_id", "at", pl.col("monthly").alias("step"), pl.lit(1).alias("is_start")
            ),
            rows.select(
                "account_id",
                ends.alias("at"),
                (-pl.col("monthly")).alias("step"),
                pl.lit(0).alias("is_start"),
            ),
        ]
    ).sort("account_id", "at", "is_start")
    return (
        steps.with_columns(pl.col("step").cum_sum().over("account_id").round(2).alias("mrr"))
        .filter(pl.col("is_start") == 1)
        .select("account_id", "at", "mrr")
        .unique(subset=["account_id", "at"], keep="last", maintain_order=True)
    )
