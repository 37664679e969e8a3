"""The values of a mapping: where the rows of each table are, and which column is what.

Values only: ``mapping.py`` reads and checks them, ``drafts.py`` and ``contracts/`` make events of the
rows that they describe.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from datetime import datetime, timedelta
from fnmatch import fnmatch
from typing import Literal

from features.ingest.expressions.columns import Formula, Writing
from features.ingest.expressions.grammar import columns_of

Epoch = Literal["s", "ms", "us"]

FORMATS = ("csv", "csv.gz", "parquet", "jsonl", "jsonl.gz")
"""The formats of a table; its ``format`` or the ending of the file says which one."""

SEPARATORS: Mapping[str, bytes] = {",": b",", ";": b";", "|": b"|", "tab": b"\t", "blanks": b" "}
"""What stands between the columns of a CSV file; ``blanks`` is any number of blanks."""

END_OF_DAY = "end_of_day"
"""Known at the last microsecond of the day it happened on: seen by an ``as_of`` of midnight."""

DELAY = re.compile(r"(\d+)([smhdw])")
UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}

CURRENCY_NAMES = ("currency", "ccy", "curr", "currency_code", "waehrung", "währung")
"""Columns of these names are read beside amounts, so that two currencies are never summed."""


class MappingError(ValueError):
    """The mapping file contradicts itself, or does not fit a table that it describes."""


@dataclass(frozen=True, kw_only=True)
class PropertySource:
    """The source of one property: a column as text or number, or a band of a number."""

    column: str
    type: Literal["text", "number"] = "text"
    bands: tuple[tuple[float, str], ...] = ()  # (from, word), rising; replaces the number


@dataclass(frozen=True, kw_only=True)
class TableSource:
    """Where the rows of a table are: files by pattern, or a query on a database."""

    name: str
    files: tuple[str, ...] = ()
    format: str | None = None
    separator: str = ","  # of the columns of a CSV file, one of ``SEPARATORS``
    decimal: str = "."  # or a comma
    query: str | None = None
    url_from: str | None = None  # the environment variable that holds the SQLAlchemy URL
    zone: str | None = None  # of times that are written without one
    ignored: tuple[str, ...] = ()  # columns that are not read, on purpose
    complete_until: datetime | None = None
    computed: Mapping[str, Formula] = field(default_factory=dict)  # columns made of others
    where: Formula | None = None  # rows for which it is not true are left out

    def takes(self, path: str) -> bool:
        """Whether a file, by its name or its path below the folder, belongs to this table."""
        name = path.rsplit("/", 1)[-1]
        return any(fnmatch(path, pattern) or fnmatch(name, pattern) for pattern in self.files)

    def reads(self, named: Iterable[str | None]) -> tuple[str, ...]:
        """The columns of the file behind these names and behind all expressions, each once."""
        formulas = [*self.computed.values(), *([self.where] if self.where else [])]
        given = [name for name in named if name is not None and name not in self.computed]
        given += [name for formula in formulas for name in columns_of(formula.node)]
        return tuple(dict.fromkeys(given))


@dataclass(frozen=True, kw_only=True)
class EventTable:
    """A table with one event in a row."""

    source: TableSource
    account: str
    occurred_at: str
    kind: str | None = None
    kind_column: str | None = None
    kinds: Mapping[str, str] = field(default_factory=dict)  # the source's word: our kind
    recorded_at: str | None = None
    recorded_delay: str | None = None
    time_format: str | None = None
    epoch: Epoch | None = None
    event_id: str | None = None
    user: str | None = None
    event_count: str | None = None
    user_count: str | None = None
    quantity: str | None = None
    quantity_factor: float = 1.0
    quantity_words: Mapping[str, str | float | int] = field(default_factory=dict)  # word: number
    zero_quantity: Literal["known", "unknown"] = "known"
    when: str | None = None  # rows where this column is empty are left out
    only: Mapping[str, str] = field(default_factory=dict)  # rows with other values are left out
    properties: Mapping[str, PropertySource] = field(default_factory=dict)
    properties_column: str | None = None
    constants: Mapping[str, str | float | int] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the file that it reads, each once."""
        return self.source.reads(
            (
                self.event_id,
                self.account,
                self.user,
                self.kind_column,
                self.occurred_at,
                self.recorded_at,
                self.event_count,
                self.user_count,
                self.quantity,
                self.when,
                self.properties_column,
                *self.only,
                *(source.column for source in self.properties.values()),
            )
        )


@dataclass(frozen=True, kw_only=True)
class ContractTable:
    """A table with one contract period, or one customer, in a row (``contracts/periods.py``)."""

    source: TableSource
    account: str
    start: str
    mrr: str
    end: str | None = None  # when the period ends; without a successor the account has left
    cancelled: str | None = None  # when the customer left; empty where it has not
    time_format: str | None = None
    epoch: Epoch | None = None
    seats: str | None = None
    price_plan: str | None = None
    billing_months: str | None = None
    discount: str | None = None
    currency_column: str | None = None
    only: Mapping[str, str] = field(default_factory=dict)  # the contract rows; others are add-ons
    end_of_period: Literal["own", "earliest"] = "own"  # earliest: add-on rows may end it early
    constants: Mapping[str, str | float | int] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the file that it reads, each once."""
        return self.source.reads(
            (
                self.account,
                self.start,
                self.end,
                self.cancelled,
                self.mrr,
                self.seats,
                self.price_plan,
                self.billing_months,
                self.discount,
                self.currency_column,
                *self.only,
            )
        )


@dataclass(frozen=True, kw_only=True)
class InvoiceTable:
    """A table with one paid invoice in a row, from which contracts are inferred."""

    source: TableSource
    account: str
    paid_on: str
    amount: str
    covers_months: float | str  # how long an invoice pays for: a number, or a column
    grace_days: float = 30.0  # without another invoice for so long after its end: left
    time_format: str | None = None
    epoch: Epoch | None = None
    price_plan: str | None = None
    seats: str | None = None
    currency_column: str | None = None
    only: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, str | float | int] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the file that it reads, each once."""
        covers = self.covers_months if isinstance(self.covers_months, str) else None
        return self.source.reads(
            (
                self.account,
                self.paid_on,
                self.amount,
                covers,
                self.price_plan,
                self.seats,
                self.currency_column,
                *self.only,
            )
        )


@dataclass(frozen=True, kw_only=True)
class MonthlyTable:
    """A table of MRR by month: a row for each account and month, or a column for each month."""

    source: TableSource
    account: str
    month: str | None = None  # long: the column of the month
    mrr: str | None = None  # long: the column of the amount
    month_columns: tuple[str, ...] = ()  # wide: patterns of the names of the columns
    month_format: str = "%Y-%m"  # how months are written, in the column or in the names
    price_plan: str | None = None
    seats: str | None = None
    currency_column: str | None = None
    only: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, str | float | int] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the file that it reads, each once; those of months once it is fitted."""
        return self.source.reads(
            (
                self.account,
                self.month,
                self.mrr,
                *self.month_columns,
                self.price_plan,
                self.seats,
                self.currency_column,
                *self.only,
            )
        )


ContractSource = ContractTable | InvoiceTable | MonthlyTable
MappedTable = EventTable | ContractSource


@dataclass(frozen=True, kw_only=True)
class SourceMapping:
    """A whole mapping file: a source, its tables, and what is true of all of them."""

    name: str
    tables: tuple[MappedTable, ...]
    complete_until: datetime | None = None
    use_names: tuple[str, ...] = ()  # the product's own feature names that get a feature each
    tenant: str | None = None
    currency: str | None = None
    account_prefix: str = ""  # before every id of accounts, people and events

    def digest_of(self, name: str) -> str:
        """A digest of what is made of a row of a table: not of its files, nor of how far it is whole.

        Only what the mapping says is in it, so a key that a later version knows as well changes nothing.
        """
        (table,) = (one for one in self.tables if one.source.name == name)
        source = replace(table.source, files=(), ignored=(), complete_until=None, url_from=None)
        said = {**_stated(table), "source": _stated(source), "account_prefix": self.account_prefix}
        words = json.dumps(said, default=repr, sort_keys=True)
        return hashlib.blake2b(words.encode(), digest_size=16).hexdigest()


def _stated(value: MappedTable | TableSource) -> dict[str, object]:
    """The fields of a mapping that are not as they would be without it."""
    return {
        one.name: getattr(value, one.name)
        for one in fields(value)
        if one.name != "source"
        and getattr(value, one.name)
        != (one.default if one.default_factory is MISSING else one.default_factory())
    }


def writing_of(table: MappedTable) -> Writing:
    """How the table writes numbers and times."""
    time_format = None if isinstance(table, MonthlyTable) else table.time_format
    return Writing(decimal=table.source.decimal, time_format=time_format)


def fitted(table: MappedTable, present: Iterable[str], *, file: str) -> MappedTable:
    """The table as this file has it: its columns of months by name, and its column of currencies.

    Raises:
        MappingError: no column has a name of the form of a month.
    """
    here = tuple(present)
    if isinstance(table, EventTable):
        return table
    if isinstance(table, MonthlyTable) and table.month_columns:
        months = tuple(
            name for name in here if any(fnmatch(name, one) for one in table.month_columns)
        )
        if not months:
            raise MappingError(
                f"{file} has no column of the form {', '.join(table.month_columns)}, which the "
                f"mapping of table {table.source.name!r} reads as months. It has: "
                f"{', '.join(here[:50])}. Nothing was written."
            )
        table = replace(table, month_columns=months)
    if table.currency_column is None:
        named = [name for name in here if name.strip().lower() in CURRENCY_NAMES]
        if named and named[0] not in table.source.ignored:
            table = replace(table, currency_column=named[0])
    return table


def check_columns(table: MappedTable, present: Iterable[str], *, file: str) -> None:
    """Check that a file has every column that its table reads.

    Raises:
        MappingError: a column is missing.
    """
    here = tuple(present)
    missing = [name for name in table.columns if name not in here]
    if missing:
        raise MappingError(
            f"{file} has no column {', '.join(map(repr, missing))}, which the mapping of table "
            f"{table.source.name!r} reads. It has: {', '.join(here) or 'no columns at all'}. "
            f"{_other_separator(here)}"
            f"Name the right column in the mapping, or take the entry out. Nothing was written."
        )


def parse_delay(text: str) -> timedelta:
    """A delay such as ``0s``, ``15m``, ``6h``, ``1d`` as a time span.

    >>> parse_delay("6h")
    datetime.timedelta(seconds=21600)
    """
    match = DELAY.fullmatch(text)
    if match is None:
        raise MappingError(
            f"The recorded_delay {text!r} cannot be read. Write a number and one of "
            f"{', '.join(UNIT_SECONDS)} (such as 6h), or {END_OF_DAY!r} for daily rows."
        )
    return timedelta(seconds=int(match[1]) * UNIT_SECONDS[match[2]])


def _other_separator(here: tuple[str, ...]) -> str:
    """A hint where the header was not cut into columns."""
    for word, sign in SEPARATORS.items():
        if len(here) == 1 and word not in (",", "blanks") and sign.decode() in here[0]:
            return f'Its columns seem to be separated otherwise: add separator = "{word}". '
    return ""
