"""Read a mapping file, which says how a table of any shape becomes events.

One TOML file describes several tables: which files hold them, which column is the account, the
time, the quantity, and which columns become properties. Reads the mapping file and checks it,
against itself and against the columns of a table; reads no table and writes nothing.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from features.events.schema import CUSTOM_PREFIX, KINDS, is_kind
from features.ingest.expressions.columns import Formula
from features.ingest.expressions.grammar import ExpressionError
from features.ingest.mapped_tables import (
    END_OF_DAY,
    FORMATS,
    SEPARATORS,
    ContractTable,
    Epoch,
    EventTable,
    InvoiceTable,
    MappedTable,
    MappingError,
    MonthlyTable,
    PropertySource,
    SourceMapping,
    TableSource,
    parse_delay,
)
from features.toml_table import Table, is_number, toml_values

FORMS: Mapping[str, type[MappedTable]] = {
    "events": EventTable,
    "contract_periods": ContractTable,
    "invoices": InvoiceTable,
    "monthly_mrr": MonthlyTable,
}
"""What a row of a table may be, and the values that it has."""

MOST_COMPUTED = 20
"""Columns that one table may compute."""

DAYS_OF_A_YEAR = 366.0


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
        account_prefix=whole.text("account_prefix", ""),
        tables=tuple(
            _table(name, body, where, zone, complete_until) for name, body in tables.items()
        ),
    )
    if not mapping.tables:
        raise MappingError(f"{where} describes no table. Add one as [tables.NAME].")
    return mapping


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

    def constants_of(self, key: str) -> str | float | int:
        """A text or a number."""
        value = self._get(key, None)
        if not isinstance(value, str) and not is_number(value):
            raise self._wrong(key, "text or a number")
        return value

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
    form = _MappingTable(body, where).word("type", tuple(FORMS), "events")
    declared = {"type", *_names(TableSource), *_names(FORMS[form])} - {"name", "source"}
    toml = _MappingTable(body, where, allowed=declared)
    source = _source(name, toml, where, zone, complete_until)
    table: MappedTable
    if form == "events":
        table = _events(toml, source, where)
    elif source.zone is None:
        raise MappingError(f"{where} needs zone, the time zone of its dates (such as UTC).")
    elif form == "contract_periods":
        table = _contracts(toml, source, where)
    elif form == "invoices":
        table = _invoices(toml, source, where)
    else:
        table = _monthly(toml, source, where)
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
        separator=toml.word("separator", tuple(SEPARATORS), ","),
        decimal=toml.word("decimal", (".", ","), "."),
        query=toml.optional_text("query"),
        url_from=toml.optional_text("url_from"),
        zone=zone,
        ignored=toml.texts("ignored", ()),
        complete_until=toml.instant("complete_until", zone) or complete_until,
        computed=_computed(toml, where),
        where=_formula(toml.text("where"), f"{where}, `where`", is_condition=True)
        if toml.has("where")
        else None,
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
    table = ContractTable(
        source=source,
        account=toml.text("account"),
        start=toml.text("start"),
        end=toml.optional_text("end"),
        cancelled=toml.optional_text("cancelled"),
        mrr=toml.text("mrr"),
        time_format=toml.optional_text("time_format"),
        epoch=toml.optional_word("epoch", get_args(Epoch)),
        seats=toml.optional_text("seats"),
        price_plan=toml.optional_text("price_plan"),
        billing_months=toml.optional_text("billing_months"),
        discount=toml.optional_text("discount"),
        currency_column=toml.optional_text("currency_column"),
        only=toml.words("only"),
        end_of_period=toml.word("end_of_period", ("own", "earliest"), "own"),
        constants=toml.constants("constants"),
    )
    if table.end is None and table.cancelled is None:
        raise MappingError(
            f"{where} must say how a contract ends: `end`, the column with the end of each period, "
            f"or `cancelled`, the column with the day on which a customer left (empty for the others)."
        )
    return table


def _invoices(toml: _MappingTable, source: TableSource, where: str) -> InvoiceTable:
    covers: float | str | None = None
    if toml.has("covers_months"):
        given = toml.constants_of("covers_months")
        covers = given if isinstance(given, str) else float(given)
    if covers is None or (not isinstance(covers, str) and not 0 < covers <= 120):
        raise MappingError(
            f"{where} needs covers_months, how many months an invoice pays for (1 for monthly "
            f"invoices, 12 for yearly ones), or the column that says it."
        )
    return InvoiceTable(
        source=source,
        account=toml.text("account"),
        paid_on=toml.text("paid_on"),
        amount=toml.text("amount"),
        covers_months=covers,
        grace_days=min(max(toml.number("grace_days", 30.0), 0.0), DAYS_OF_A_YEAR),
        time_format=toml.optional_text("time_format"),
        epoch=toml.optional_word("epoch", get_args(Epoch)),
        price_plan=toml.optional_text("price_plan"),
        seats=toml.optional_text("seats"),
        currency_column=toml.optional_text("currency_column"),
        only=toml.words("only"),
        constants=toml.constants("constants"),
    )


def _monthly(toml: _MappingTable, source: TableSource, where: str) -> MonthlyTable:
    table = MonthlyTable(
        source=source,
        account=toml.text("account"),
        month=toml.optional_text("month"),
        mrr=toml.optional_text("mrr"),
        month_columns=toml.texts("month_columns", ()),
        month_format=toml.text("month_format", "%Y-%m"),
        price_plan=toml.optional_text("price_plan"),
        seats=toml.optional_text("seats"),
        currency_column=toml.optional_text("currency_column"),
        only=toml.words("only"),
        constants=toml.constants("constants"),
    )
    is_long = table.month is not None and table.mrr is not None
    if is_long == bool(table.month_columns):
        raise MappingError(
            f"{where} must say where its months are: either month and mrr, two columns of a table "
            f'with a row for each month, or month_columns = ["20*"], the columns of a table with a '
            f"column for each month."
        )
    return table


def _computed(toml: _MappingTable, where: str) -> dict[str, Formula]:
    found = {
        name: _formula(text, f"{where}, `computed.{name}`")
        for name, text in toml.words("computed").items()
    }
    if len(found) > MOST_COMPUTED:
        raise MappingError(
            f"{where} computes {len(found)} columns; at most {MOST_COMPUTED} are read."
        )
    return found


def _formula(text: str, where: str, *, is_condition: bool = False) -> Formula:
    try:
        return Formula.read(text, is_condition=is_condition)
    except ExpressionError as exc:
        raise MappingError(
            f"{where} cannot be read: {exc}. The expression is {text!r:.200}."
        ) from exc


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
