"""Read a mapping file, which says how a table of any shape becomes events.

One TOML file describes several tables: which files hold them, which column is the account, the
time, the quantity, and which columns become properties. Reads the mapping file and checks it,
against itself and against the columns of a table; reads no table and writes nothing.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from features.events.schema import CUSTOM_PREFIX, KINDS, is_kind
from features.toml_table import Table, is_number, toml_values

Epoch = Literal["s", "ms", "us"]

FORMATS = ("csv", "csv.gz", "parquet", "jsonl", "jsonl.gz")
"""The formats of a table; its ``format`` or the ending of the file says which one."""

END_OF_DAY = "end_of_day"
"""Known at the last microsecond of the day it happened on: seen by an ``as_of`` of midnight."""

DELAY = re.compile(r"(\d+)([smhdw])")
UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


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
    query: str | None = None
    url_from: str | None = None  # the environment variable that holds the SQLAlchemy URL
    zone: str | None = None  # of times that are written without one
    ignored: tuple[str, ...] = ()  # columns that are not read, on purpose
    complete_until: datetime | None = None

    def takes(self, path: str) -> bool:
        """Whether a file, by its name or its path below the folder, belongs to this table."""
        name = path.rsplit("/", 1)[-1]
        return any(fnmatch(path, pattern) or fnmatch(name, pattern) for pattern in self.files)


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
        """The columns it reads, each once."""
        named = (
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
        return tuple(dict.fromkeys(name for name in named if name is not None))


@dataclass(frozen=True, kw_only=True)
class ContractTable:
    """A table with one contract period in a row (see ``contract_periods.py``)."""

    source: TableSource
    account: str
    start: str
    end: str
    mrr: str
    time_format: str | None = None
    epoch: Epoch | None = None
    seats: str | None = None
    price_plan: str | None = None
    billing_months: str | None = None
    discount: str | None = None
    only: Mapping[str, str] = field(default_factory=dict)  # the contract rows; others are add-ons
    end_of_period: Literal["own", "earliest"] = "own"  # earliest: add-on rows may end it early
    constants: Mapping[str, str | float | int] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it reads, each once."""
        named = (
            self.account,
            self.start,
            self.end,
            self.mrr,
            self.seats,
            self.price_plan,
            self.billing_months,
            self.discount,
            *self.only,
        )
        return tuple(dict.fromkeys(name for name in named if name is not None))


MappedTable = EventTable | ContractTable


@dataclass(frozen=True, kw_only=True)
class SourceMapping:
    """A whole mapping file: a source, its tables, and what is true of all of them."""

    name: str
    tables: tuple[MappedTable, ...]
    complete_until: datetime | None = None
    use_names: tuple[str, ...] = ()  # the product's own feature names that get a feature each
    tenant: str | None = None
    currency: str | None = None


def load_mapping(path: Path) -> SourceMapping:
    """Read and check a mapping file.

    Raises:
        MappingError: there is no file, it is not TOML, or what it says is not valid.
    """
    try:
        table = toml_values(path.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise MappingError(
            f"There is no mapping file {path}. Give the right path with --mapping FILE."
        ) from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise MappingError(f"The mapping file {path.name} is not valid TOML: {exc}.") from exc
    return read_mapping(table, where=path.name)


def read_mapping(table: Mapping[str, object], *, where: str) -> SourceMapping:
    """A mapping from its parsed TOML; ``where`` names it in errors."""
    whole = _MappingTable(table, where, allowed=(*_names(SourceMapping), "zone"))
    tables = whole.table("tables")
    zone = whole.zone()
    complete_until = whole.instant("complete_until", zone)
    mapping = SourceMapping(
        name=whole.text("name"),
        complete_until=complete_until,
        use_names=whole.texts("use_names", ()),
        tenant=whole.optional_text("tenant"),
        currency=whole.optional_text("currency"),
        tables=tuple(
            _table(name, body, where, zone, complete_until) for name, body in tables.items()
        ),
    )
    if not mapping.tables:
        raise MappingError(f"{where} describes no table. Add one as [tables.NAME].")
    return mapping


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


class _MappingTable(Table):
    error = MappingError

    def words(self, key: str) -> dict[str, str]:
        """A table of texts; empty where it is left out."""
        names = self.table(key, {})
        below = _MappingTable(names, f"{self.where}, `{key}`")
        return {name: below.text(name, "") for name in names}

    def constants(self, key: str) -> dict[str, str | float | int]:
        """A table of texts and numbers; empty where it is left out."""
        constants: dict[str, str | float | int] = {}
        for name, value in self.table(key, {}).items():
            if not isinstance(value, str) and not is_number(value):
                raise MappingError(
                    f"{self.where}, `{key}`: `{name}` has to be text or a number, not {value!r}."
                )
            constants[name] = value
        return constants

    def zone(self) -> str | None:
        """The name of a time zone, or None where it is left out."""
        name = self.optional_text("zone")
        if name is not None:
            try:
                ZoneInfo(name)
            except (ZoneInfoNotFoundError, ValueError) as exc:
                raise MappingError(
                    f"{self.where}: the zone {name!r} is not known. "
                    f"Write one such as UTC or Europe/Berlin."
                ) from exc
        return name


def _table(
    name: str, body: object, file: str, zone: str | None, complete_until: datetime | None
) -> MappedTable:
    where = f"[tables.{name}] of {file}"
    kind = _MappingTable(body, where).word("type", ("events", "contract_periods"), "events")
    is_contracts = kind == "contract_periods"
    declared = _names(TableSource) + _names(ContractTable if is_contracts else EventTable)
    toml = _MappingTable(body, where, allowed={"type", *declared} - {"name", "source"})
    source = _source(name, toml, where, zone, complete_until)
    table = _contracts(toml, source, where) if is_contracts else _events(toml, source, where)
    overlap = sorted(set(table.columns) & set(table.source.ignored))
    if overlap:
        raise MappingError(f"{where} both reads and ignores {', '.join(overlap)}.")
    return table


def _source(
    name: str, toml: _MappingTable, where: str, zone: str | None, complete_until: datetime | None
) -> TableSource:
    zone = toml.zone() or zone
    source = TableSource(
        name=name,
        files=toml.texts("files", ()),
        format=toml.optional_word("format", FORMATS),
        query=toml.optional_text("query"),
        url_from=toml.optional_text("url_from"),
        zone=zone,
        ignored=toml.texts("ignored", ()),
        complete_until=toml.instant("complete_until", zone) or complete_until,
    )
    if bool(source.files) == bool(source.query):
        raise MappingError(
            f'{where} must say where its rows are: either files = ["NAME.csv"], or query = '
            f'"SELECT …" with url_from = the environment variable that holds the database URL.'
        )
    if source.query and not source.url_from:
        raise MappingError(
            f"{where} has a query and needs url_from, the environment variable "
            f"that holds the database URL."
        )
    return source


def _events(toml: _MappingTable, source: TableSource, where: str) -> EventTable:
    table = EventTable(
        source=source,
        account=toml.text("account"),
        occurred_at=toml.text("occurred_at"),
        kind=toml.optional_text("kind"),
        kind_column=toml.optional_text("kind_column"),
        kinds=toml.words("kinds"),
        recorded_at=toml.optional_text("recorded_at"),
        recorded_delay=toml.optional_text("recorded_delay"),
        time_format=toml.optional_text("time_format"),
        epoch=toml.optional_word("epoch", get_args(Epoch)),
        event_id=toml.optional_text("event_id"),
        user=toml.optional_text("user"),
        event_count=toml.optional_text("event_count"),
        user_count=toml.optional_text("user_count"),
        quantity=toml.optional_text("quantity"),
        quantity_factor=toml.number("quantity_factor", 1.0),
        quantity_words=toml.constants("quantity_words"),
        zero_quantity=toml.word("zero_quantity", ("known", "unknown"), "known"),
        when=toml.optional_text("when"),
        only=toml.words("only"),
        properties={
            name: _property(name, value, where)
            for name, value in toml.table("properties", {}).items()
        },
        properties_column=toml.optional_text("properties_column"),
        constants=toml.constants("constants"),
    )
    _one_of(where, kind=table.kind, kind_column=table.kind_column)
    _one_of(where, recorded_at=table.recorded_at, recorded_delay=table.recorded_delay)
    if table.recorded_delay not in (None, END_OF_DAY):
        parse_delay(table.recorded_delay or "")
    for kind in (table.kind, *table.kinds.values()):
        if kind is not None and not is_kind(kind):
            raise MappingError(
                f"{where} names the kind {kind!r}, which does not exist. Write one of "
                f"{', '.join(known.name for known in KINDS)}, or your own under "
                f"{CUSTOM_PREFIX!r} (such as {CUSTOM_PREFIX}{kind.replace('.', '_')})."
            )
    return table


def _contracts(toml: _MappingTable, source: TableSource, where: str) -> ContractTable:
    if source.zone is None:
        raise MappingError(f"{where} needs zone, the time zone of its dates (such as UTC).")
    return ContractTable(
        source=source,
        account=toml.text("account"),
        start=toml.text("start"),
        end=toml.text("end"),
        mrr=toml.text("mrr"),
        time_format=toml.optional_text("time_format"),
        epoch=toml.optional_word("epoch", get_args(Epoch)),
        seats=toml.optional_text("seats"),
        price_plan=toml.optional_text("price_plan"),
        billing_months=toml.optional_text("billing_months"),
        discount=toml.optional_text("discount"),
        only=toml.words("only"),
        end_of_period=toml.word("end_of_period", ("own", "earliest"), "own"),
        constants=toml.constants("constants"),
    )


def _property(name: str, value: object, where: str) -> PropertySource:
    if isinstance(value, str):
        return PropertySource(column=value)
    where = f"{where}, properties.{name}"
    if not isinstance(value, dict):
        raise MappingError(f"{where} must be a column name or a table with column, not {value!r}.")
    toml = _MappingTable(value, where, allowed=_names(PropertySource))
    bands = toml.table("bands", {})
    edges = _MappingTable(bands, f"{where}.bands")
    return PropertySource(
        column=toml.text("column"),
        type=toml.word("type", ("text", "number"), "text"),
        bands=tuple(sorted((edges.number(word, may_be_infinite=True), word) for word in bands)),
    )


def _names(declared: type[SourceMapping | TableSource | MappedTable | PropertySource]) -> list[str]:
    return [field.name for field in fields(declared)]


def _one_of(where: str, **given: str | None) -> None:
    if sum(value is not None for value in given.values()) != 1:
        raise MappingError(f"{where} must say exactly one of {' and '.join(given)}.")
