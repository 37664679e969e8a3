"""Draft the contract events of a table, whichever of the four forms it has."""

from __future__ import annotations

from datetime import datetime

import polars as pl

from features.ingest.contracts.invoices import read_invoices
from features.ingest.contracts.monthly import read_months
from features.ingest.contracts.periods import read_periods
from features.ingest.contracts.timeline import INFERRED_FROM, draft_periods
from features.ingest.drafts import computed_rows
from features.ingest.mapped_tables import (
    ContractSource,
    ContractTable,
    InvoiceTable,
    MappingError,
    MonthlyTable,
)


def draft_contracts(
    raw: pl.DataFrame,
    table: ContractSource,
    *,
    known_until: datetime,
) -> pl.DataFrame:
    """The draft of a table of contracts: an event per period, and one per cancellation.

    Raises:
        MappingError: its amounts are in more than one currency.
    """
    raw, left = computed_rows(raw, table)
    _refuse_two_currencies(raw.filter(left.is_null()), table)
    if isinstance(table, ContractTable):
        return draft_periods(
            read_periods(raw, left, table), table.constants, known_until=known_until
        )
    if isinstance(table, InvoiceTable):
        return draft_periods(
            read_invoices(raw, left, table),
            {INFERRED_FROM: "invoices", **table.constants},
            known_until=known_until,
            may_overlap=True,
        )
    return draft_periods(
        read_months(raw, left, table),
        {INFERRED_FROM: "mrr by month", **table.constants},
        known_until=known_until,
    )


def what_was_inferred(table: object) -> tuple[str, ...]:
    """What a reader of the summary has to know about contracts that no contract said."""
    if isinstance(table, InvoiceTable):
        covers = (
            f"the months in {table.covers_months!r}"
            if isinstance(table.covers_months, str)
            else "1 month"
            if table.covers_months == 1
            else f"{table.covers_months:g} months"
        )
        return (
            f"contracts are inferred from paid invoices: each pays for {covers}, and an account "
            f"without another one within {table.grace_days:g} days after that counts as left "
            f"(stored as inferred_from = invoices)",
        )
    if isinstance(table, MonthlyTable):
        return (
            "contracts are inferred from MRR by month: a month is known when it is over, and an "
            "account without MRR in the month after counts as left (stored as inferred_from = mrr by "
            "month)",
        )
    return ()


def _refuse_two_currencies(raw: pl.DataFrame, table: ContractSource) -> None:
    if table.currency_column is None:
        return
    column = (
        raw[table.currency_column]
        .cast(pl.String, strict=False)
        .str.strip_chars()
        .str.to_uppercase()
    )
    counts = column.drop_nulls().value_counts(sort=True).filter(pl.col(column.name) != "")
    if counts.height > 1:
        found = ", ".join(f"{name} ({count:,} rows)" for name, count in counts.head(5).iter_rows())
        raise MappingError(
            f"Table {table.source.name!r} has amounts in {counts.height} currencies: {found}. They are "
            f"never summed. Convert them in the export, or read one of them with where = "
            f"\"{table.currency_column} = '{counts[column.name][0]}'\" and the others into a workspace of "
            f"their own. Nothing was written."
        )
