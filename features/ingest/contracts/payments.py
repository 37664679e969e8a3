"""Read what the tables of invoices and of MRR by month have in common: an amount on a day."""

from __future__ import annotations

import polars as pl

from features.events.schema import LINE, UTC_INSTANT
from features.events.validation import AFTER_COMPLETE
from features.ingest.columns import ColumnValues, read_instants, read_numbers, read_words
from features.ingest.drafts import computed_problems, first_problem
from features.ingest.mapped_tables import InvoiceTable, MonthlyTable

SUMMED = "another row of the same account and day holds their sum"


def read_payments(
    raw: pl.DataFrame,
    left: pl.Series,
    table: InvoiceTable | MonthlyTable,
    *,
    at: str,
    amount: str,
    time_format: str | None,
    others: tuple[ColumnValues, ...] = (),
) -> pl.DataFrame:
    """The amounts of accounts, those of one account and one moment summed in their first row.

    The columns: LINE, account_id, at, amount, seats, price_plan, problem, left.
    """
    height, zone = raw.height, table.source.zone or "UTC"
    epoch = table.epoch if isinstance(table, InvoiceTable) else None
    account = read_words(raw[table.account], "account_id", needed=True)
    when = read_instants(
        raw[at], _name_of(at, table), zone=zone, time_format=time_format, epoch=epoch
    )
    paid = read_numbers(raw[amount], "amount", decimal=table.source.decimal)
    seats = (
        read_numbers(raw[table.seats], "seats", decimal=table.source.decimal)
        if table.seats
        else ColumnValues.nulls(height, pl.Float64)
    )
    plan = (
        read_words(raw[table.price_plan], "price_plan", needed=False)
        if table.price_plan
        else ColumnValues.nulls(height, pl.String)
    )
    until = pl.lit(table.source.complete_until, UTC_INSTANT)
    rows = pl.DataFrame(
        {
            LINE: raw[LINE],
            "account_id": account.values,
            "at": when.values.cast(UTC_INSTANT),
            "amount": paid.values,
            "seats": seats.values,
            "price_plan": plan.values,
            "problem": first_problem(
                account, when, paid, seats, plan, *others, *computed_problems(raw)
            ),
            "left": left,
        }
    ).with_columns(
        pl.when(pl.col("at") > until).then(pl.lit(AFTER_COMPLETE)).otherwise("left").alias("left")
    )
    good = pl.col("problem").is_null() & pl.col("left").is_null()
    same = ("account_id", "at")
    return (
        rows.with_columns(good.alias("is_good"))
        .with_columns(
            pl.when("is_good")
            .then(pl.col("amount").sum().over(*same, "is_good").round(6))
            .otherwise("amount")
            .alias("amount"),
            pl.when("is_good" & (pl.int_range(pl.len()).over(*same, "is_good") > 0))
            .then(pl.lit(SUMMED))
            .otherwise("left")
            .alias("left"),
        )
        .drop("is_good")
    )


def _name_of(column: str, table: InvoiceTable | MonthlyTable) -> str:
    return "paid_on" if isinstance(table, InvoiceTable) else "month"
