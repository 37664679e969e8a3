"""Warn of columns that would mislead a model, while a mapping and its tables are read.

Four are named: contract rows of an account that run at the same time; an ``end`` that only leavers have
(it is the day they left, and not a renewal date); an attribute that only leavers have (it was written
when they left); and a column with one value.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

import polars as pl

from features.events.schema import CONTRACT_TERMS, UTC_INSTANT
from features.ingest.contracts.timeline import MID_TERM
from features.ingest.mapped_tables import (
    ContractSource,
    ContractTable,
    EventTable,
    MappedTable,
    MonthlyTable,
)

LEAST_ROWS = 20
"""Rows below which one value says nothing about a column."""

LEAST_ACCOUNTS = 5
"""Accounts that left, and as many that stayed, before a value is said to belong to leavers."""

MOST_VALUES = 20
"""A column with more values than these is looked at for being filled, not value by value."""

MOST_OF_A_VALUE = 0.95
"""The share of accounts with a value that have left, from which the value gives them away."""

MOST_EARLY = 0.5
"""The share of later rows of accounts that start early, from which they may be contracts of their own."""

MOST_ACCOUNTS = 5_000_000
"""Attributes are remembered of so many accounts at most."""


@dataclass
class ColumnWatch:
    """What was seen of the columns of one run."""

    known_until: datetime
    _constants: dict[tuple[str, str], tuple[int, object, bool]] = field(default_factory=dict)
    _attributes: dict[str, list[pl.DataFrame]] = field(default_factory=dict)
    _contracts: list[pl.DataFrame] = field(default_factory=list)
    _ends: list[str] = field(default_factory=list)

    def see(self, table: MappedTable, raw: pl.DataFrame, draft: pl.DataFrame) -> None:
        """Look at some rows of a table and at the events that they make."""
        for column in _valued(table):
            if column in raw.columns:
                self._see_values(table.source.name, column, raw[column])
        if isinstance(table, EventTable):
            self._see_attributes(table, raw)
        else:
            self._see_contracts(table, draft)

    def warnings(self) -> tuple[str, ...]:
        """What to tell about the columns, a sentence each."""
        return (*self._ends, *self._told_by_attributes(), *self._told_by_constants())

    def _see_values(self, table: str, name: str, column: pl.Series) -> None:
        rows, first, differs = self._constants.get((table, name), (0, None, False))
        if not differs:
            known = column.drop_nulls()
            if len(known):
                first = known[0] if first is None else first
                differs = bool((known != first).any()) or len(known) < len(column)
        self._constants[table, name] = (rows + len(column), first, differs)

    def _see_attributes(self, table: EventTable, raw: pl.DataFrame) -> None:
        columns = [source.column for source in table.properties.values()]
        here = [name for name in dict.fromkeys(columns) if name in raw.columns]
        if table.kind != "account.updated" or not here or table.account not in raw.columns:
            return
        pieces = self._attributes.setdefault(table.source.name, [])
        if sum(piece.height for piece in pieces) < MOST_ACCOUNTS:
            pieces.append(
                raw.select(
                    pl.col(table.account).cast(pl.String).str.strip_chars().alias("__account"),
                    *(pl.col(name).cast(pl.String, strict=False).alias(name) for name in here),
                )
            )

    def _see_contracts(self, table: ContractSource, draft: pl.DataFrame) -> None:
        good = draft.filter(pl.col("problem").is_null() & pl.col("left").is_null())
        self._contracts.append(good.select("account_id", "kind", "occurred_at"))
        if isinstance(table, ContractTable):
            self._see_overlaps(table, good)
        if isinstance(table, ContractTable) and table.end is not None and table.cancelled is None:
            starts = good.filter(pl.col("kind").is_in(CONTRACT_TERMS))
            ends = (
                starts["properties"].str.json_path_match("$.renewal_on").str.to_date(strict=False)
            )
            open_rows = ends.null_count()
            past = int((ends.cast(UTC_INSTANT) <= self.known_until).sum())
            if open_rows >= LEAST_ACCOUNTS and LEAST_ACCOUNTS <= past == len(ends) - open_rows:
                self._ends.append(
                    f"the column {table.end!r} of table {table.source.name!r} has a day in {past:,} rows, "
                    f"all of them past, and is empty in the other {open_rows:,}: only those who left have "
                    f"it. It is a day of leaving, not an end that was agreed: write cancelled = "
                    f'"{table.end}" in place of end'
                )

    def _see_overlaps(self, table: ContractTable, good: pl.DataFrame) -> None:
        later = good.filter(
            pl.col("kind").is_in(CONTRACT_TERMS) & (pl.col("kind") != "contract.started")
        )
        reason = later["properties"].str.json_path_match("$.reason")
        early = int((reason == MID_TERM).sum())
        if early >= LEAST_ROWS and early >= MOST_EARLY * later.height:
            self._ends.append(
                f"{early:,} of {later.height:,} later rows of table {table.source.name!r} start before the "
                f"row before them ends, and each is read as a change of the one contract of its "
                f"account. If an account has several contracts at once, sum them up by account and "
                f"month in the export, or its MRR rises and falls with every row"
            )

    def _told_by_attributes(self) -> list[str]:
        status = self._leavers()
        if status is None:
            return []
        found = []
        for table, pieces in self._attributes.items():
            joined = pl.concat(pieces).join(status, left_on="__account", right_on="account_id")
            for name in joined.columns[1:-1]:
                said = _told_by(joined.select(pl.col(name).alias("value"), "has_left"))
                if said is not None:
                    found.append(
                        f"the attribute {name!r} of table {table!r} {said}. It was written when they left; "
                        f'a model must not read it: list it under ignored = ["{name}"], or give it the '
                        f"day on which it was written"
                    )
        return found

    def _told_by_constants(self) -> list[str]:
        return [
            f"the column {name!r} of table {table!r} is "
            + ("empty" if first is None else f"{str(first)[:40]!r}")
            + f" in all {rows:,} rows: it cannot tell accounts apart"
            for (table, name), (rows, first, differs) in self._constants.items()
            if not differs and rows >= LEAST_ROWS
        ]

    def _leavers(self) -> pl.DataFrame | None:
        """Every account with a contract, and whether its last event is that it left."""
        if not self._contracts:
            return None
        status = (
            pl.concat(self._contracts)
            .sort("occurred_at", pl.col("kind") != "contract.cancelled")
            .group_by("account_id")
            .agg(has_left=pl.col("kind").last() == "contract.cancelled")
        )
        left = int(status["has_left"].sum())
        enough = min(left, status.height - left) >= LEAST_ACCOUNTS
        return status if enough else None


def _told_by(rows: pl.DataFrame) -> str | None:
    """How a column gives leavers away, or None where it does not."""
    filled = rows.filter(pl.col("value").str.strip_chars() != "")
    stayed = rows.height - int(rows["has_left"].sum())
    left = int(filled["has_left"].sum())
    if left >= LEAST_ACCOUNTS and left == filled.height and stayed >= LEAST_ACCOUNTS:
        return f"is filled for {left:,} accounts, and all of them left"
    counts = filled.group_by("value").agg(
        pl.len().alias("all"), pl.col("has_left").sum().alias("left")
    )
    if counts.height > MOST_VALUES:
        return None
    base = int(rows["has_left"].sum()) / max(rows.height, 1)
    for value, accounts, gone in counts.sort("left", descending=True).iter_rows():
        if gone >= LEAST_ACCOUNTS and gone / accounts >= max(MOST_OF_A_VALUE, 2 * base):
            return f"is {value[:40]!r} for {accounts:,} accounts, of which {gone:,} left"
    return None


def _valued(table: MappedTable) -> tuple[str, ...]:
    """The columns whose values are read as values: no ids, no times."""
    names: tuple[str | None, ...]
    if isinstance(table, EventTable):
        names = (table.quantity, *(source.column for source in table.properties.values()))
    elif isinstance(table, MonthlyTable):
        names = (table.mrr, table.seats, table.price_plan)
    else:
        names = (table.seats, table.price_plan)
    return tuple(dict.fromkeys(name for name in names if name is not None))
