"""Read a table of MRR by month, long or wide, as periods of accounts.

A month is known when it is over: its row may hold what changed on any of its days. An account has left
where a later month is in the table and it has none, or an MRR of 0, in the month that follows::

    month     2024-01   2024-02   2024-03   2024-04 (the last of the table)
    acme          100       100       120       120    started, changed in March; not over
    zeta           50        50                        cancelled on March 1, known on March 31
"""

from __future__ import annotations

import polars as pl

from features.events.schema import LINE, UTC_INSTANT
from features.ingest.contracts.payments import read_payments
from features.ingest.mapped_tables import MonthlyTable

NO_MRR = "the MRR of the month is 0 or empty"
AS_BEFORE = "the terms are those of the month before"
AT, AMOUNT = "__month", "__mrr"


def read_months(raw: pl.DataFrame, left: pl.Series, table: MonthlyTable) -> pl.DataFrame:
    """Every first month of new terms as a period of its account."""
    zone = table.source.zone or "UTC"
    long = raw.with_columns(left.alias("__left"))
    if table.month_columns:
        month, mrr = AT, AMOUNT
        long = long.with_columns(pl.col(table.month_columns).cast(pl.String, strict=False)).unpivot(
            on=list(table.month_columns),
            index=[name for name in long.columns if name not in table.month_columns],
            variable_name=AT,
            value_name=AMOUNT,
        )
    else:
        month, mrr = table.month or "", table.mrr or ""
    form = table.month_format
    if long[month].dtype == pl.String and "%d" not in form:
        long = long.with_columns(pl.col(month).str.strip_chars() + " 01")
        form += " %d"
    rows = read_payments(
        long, long["__left"], table, at=month, amount=mrr, time_format=form
    ).with_columns(_local_month(pl.col("at"), zone).alias("at"))
    usable = pl.col("problem").is_null() & pl.col("left").is_null()
    last = rows.filter(usable)["at"].max()
    rows = rows.with_columns(
        pl.when(usable & ~(pl.col("amount") > 0).fill_null(value=False))
        .then(pl.lit(NO_MRR))
        .otherwise("left")
        .alias("left")
    )
    paid = rows.filter(usable).sort("account_id", "at", LINE)
    following = _next_month(pl.col("at"), zone)
    terms = ("amount", "seats", "price_plan")
    same = pl.all_horizontal(
        pl.col(n).eq_missing(pl.col(n).shift(1).over("account_id")) for n in terms
    )
    goes_on = (
        (pl.col("at").shift(1).over("account_id").pipe(_next_month, zone) == pl.col("at")) & same
    ).fill_null(value=False)
    paid = paid.with_columns(
        goes_on.alias("goes_on"),
        following.alias("until"),
        (~goes_on).cast(pl.Int64).cum_sum().over("account_id").alias("period"),
    ).with_columns(pl.col("until").max().over("account_id", "period").alias("over_at"))
    known = pl.duration(microseconds=1)
    periods = paid.with_columns(
        pl.when("goes_on").then(pl.lit(AS_BEFORE)).otherwise("left").alias("left"),
        (pl.col("until") - known).alias("known_at"),
        pl.when(pl.col("over_at") <= pl.lit(last, UTC_INSTANT)).then("over_at").alias("over_at"),
    ).with_columns((pl.col("over_at").pipe(_next_month, zone) - known).alias("over_known_at"))
    rest = rows.filter(~usable).with_columns(pl.col("at").alias("known_at"))
    return pl.concat(
        [periods, rest],
        how="diagonal_relaxed",
    ).select(
        LINE,
        "account_id",
        pl.col("at").alias("start"),
        "known_at",
        "over_at",
        "over_known_at",
        pl.lit(None, pl.String).alias("renewal_on"),
        pl.col("amount").alias("mrr"),
        "seats",
        pl.lit(None, pl.Float64).alias("billing_months"),
        pl.lit(None, pl.Float64).alias("discount"),
        "price_plan",
        "problem",
        "left",
    )


def _local_month(at: pl.Expr, zone: str) -> pl.Expr:
    local = at.dt.convert_time_zone(zone).dt.truncate("1mo")
    return local.dt.convert_time_zone("UTC").cast(UTC_INSTANT)


def _next_month(at: pl.Expr, zone: str) -> pl.Expr:
    local = at.dt.convert_time_zone(zone).dt.offset_by("1mo")
    return local.dt.convert_time_zone("UTC").cast(UTC_INSTANT)
