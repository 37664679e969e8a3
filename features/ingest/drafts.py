"""Draft events from the rows of a table: which become events, which are refused or left out.

A *draft* is a frame with the columns of an event, the line of each row, what is wrong with it
(``problem``) and why it is left out (``left``). ``events/validation.py`` splits a draft into events,
refused rows and rows left out, without losing a row.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from features.events.schema import LINE, UTC_INSTANT
from features.events.validation import DRAFT_SCHEMA
from features.ingest.columns import (
    ColumnValues,
    read_counts,
    read_instants,
    read_numbers,
    read_words,
)
from features.ingest.expressions.columns import PROBLEM, with_computed
from features.ingest.mapped_tables import (
    END_OF_DAY,
    EventTable,
    MappedTable,
    parse_delay,
    writing_of,
)
from features.ingest.properties import read_properties


def draft_events(raw: pl.DataFrame, table: EventTable) -> pl.DataFrame:
    """The draft of a table that has one event in a row."""
    raw, left = computed_rows(raw, table)
    height = raw.height
    zone = table.source.zone
    occurred = read_instants(
        raw[table.occurred_at],
        "occurred_at",
        zone=zone,
        time_format=table.time_format,
        epoch=table.epoch,
    )
    if table.recorded_at is not None:
        recorded = read_instants(
            raw[table.recorded_at],
            "recorded_at",
            zone=zone,
            time_format=table.time_format,
            epoch=table.epoch,
        )
    else:
        recorded = ColumnValues(
            values=_delayed(occurred.values, table.recorded_delay or "0s", zone or "UTC"),
            problem=pl.repeat(None, height, dtype=pl.String, eager=True),
        )
    quantity = _quantities(raw, table)
    values = quantity.values
    if table.zero_quantity == "unknown":
        values = pl.DataFrame({"q": values}).select(pl.when(pl.col("q") != 0).then("q")).to_series()
    words = {
        "event_id": _optional(raw, table.event_id, "event_id"),
        "account_id": read_words(raw[table.account], "account_id", needed=True),
        "user_id": _optional(raw, table.user, "user_id"),
        "kind": _kinds(raw, table),
    }
    counts = {
        name: read_counts(
            raw[column] if column is not None else None,
            name,
            height,
            decimal=table.source.decimal,
        )
        for name, column in (("event_count", table.event_count), ("user_count", table.user_count))
    }
    properties = read_properties(
        raw,
        table.properties,
        constants=table.constants,
        json_column=table.properties_column,
        decimal=table.source.decimal,
    )
    readings = (
        words["event_id"],
        words["account_id"],
        words["user_id"],
        words["kind"],
        occurred,
        recorded,
        counts["event_count"],
        counts["user_count"],
        quantity,
        properties,
    )
    draft = pl.DataFrame(
        {
            LINE: raw[LINE],
            "event_id": words["event_id"].values,
            "account_id": words["account_id"].values,
            "user_id": words["user_id"].values,
            "kind": words["kind"].values,
            "occurred_at": occurred.values,
            "recorded_at": recorded.values,
            "event_count": counts["event_count"].values,
            "user_count": counts["user_count"].values,
            "quantity": values * table.quantity_factor,
            "properties": properties.values,
            "problem": first_problem(*readings, *computed_problems(raw)),
            "left": _left_by_table(raw, left, table),
        }
    )
    return draft.cast(DRAFT_SCHEMA)


def computed_rows(raw: pl.DataFrame, table: MappedTable) -> tuple[pl.DataFrame, pl.Series]:
    """The rows with their computed columns, and why each is left out by ``only`` or ``where``."""
    source = table.source
    if not source.computed and source.where is None:
        return raw, other_rows(raw, table.only)
    made, is_read = with_computed(raw, source.computed, source.where, writing_of(table))
    other = other_rows(made, table.only)
    said = source.where.text if source.where is not None else ""
    left = pl.DataFrame({"other": other, "is_read": is_read}).select(
        pl.when(pl.col("other").is_not_null())
        .then("other")
        .when(~pl.col("is_read"))
        .then(pl.lit(f"not {said}"))
    )
    return made, left.to_series()


def computed_problems(raw: pl.DataFrame) -> tuple[ColumnValues, ...]:
    """The problems of columns that were computed, as readings without values."""
    if PROBLEM not in raw.columns:
        return ()
    return (ColumnValues(values=raw[PROBLEM], problem=raw[PROBLEM]),)


def first_problem(*readings: ColumnValues) -> pl.Series:
    """The first problem of each row, in the order given."""
    found = [
        reading.problem.alias(str(number))
        for number, reading in enumerate(readings)
        if reading.problem.null_count() < len(reading.problem)
    ]
    if not found:
        return readings[0].problem.cast(pl.String)
    return pl.DataFrame(found).select(pl.coalesce(pl.all())).to_series().cast(pl.String)


def other_rows(raw: pl.DataFrame, only: Mapping[str, str]) -> pl.Series:
    """Why a row is left out by ``only``; null where it is not."""
    if not only:
        return pl.repeat(None, raw.height, dtype=pl.String, eager=True)
    clauses = [
        pl.when(pl.col(column).cast(pl.String).ne_missing(pl.lit(value))).then(
            pl.lit(f"{column} is not {value}")
        )
        for column, value in only.items()
    ]
    return raw.select(pl.coalesce(clauses).alias("left")).to_series()


def _left_by_table(raw: pl.DataFrame, other: pl.Series, table: EventTable) -> pl.Series:
    if table.when is None:
        return other
    empty = raw.select(
        pl.when(
            pl.col(table.when).is_null()
            | (pl.col(table.when).cast(pl.String, strict=False).str.strip_chars() == "")
        ).then(pl.lit(f"{table.when} is empty"))
    ).to_series()
    return pl.DataFrame({"a": other, "b": empty}).select(pl.coalesce("a", "b")).to_series()


def _kinds(raw: pl.DataFrame, table: EventTable) -> ColumnValues:
    if table.kind_column is None:
        return ColumnValues(
            values=pl.repeat(table.kind, raw.height, dtype=pl.String, eager=True),
            problem=pl.repeat(None, raw.height, dtype=pl.String, eager=True),
        )
    read = read_words(raw[table.kind_column], "kind", needed=True)
    return ColumnValues(values=read.values.replace(dict(table.kinds)), problem=read.problem)


def _quantities(raw: pl.DataFrame, table: EventTable) -> ColumnValues:
    if table.quantity is None:
        return ColumnValues.nulls(raw.height, pl.Float64)
    column = raw[table.quantity]
    if table.quantity_words:
        words = {word: str(number) for word, number in table.quantity_words.items()}
        column = column.cast(pl.String, strict=False).str.strip_chars().replace(words)
    return read_numbers(column, "quantity", decimal=table.source.decimal)


def _delayed(occurred: pl.Series, delay: str, zone: str) -> pl.Series:
    frame = pl.DataFrame({"t": occurred.cast(UTC_INSTANT)})
    if delay != END_OF_DAY:
        return frame.select(pl.col("t") + pl.lit(parse_delay(delay))).to_series()
    local = pl.col("t").dt.convert_time_zone(zone).dt.truncate("1d").dt.offset_by("1d")
    return frame.select(local.dt.convert_time_zone("UTC") - pl.duration(microseconds=1)).to_series()


def _optional(raw: pl.DataFrame, column: str | None, name: str) -> ColumnValues:
    if column is None:
        return ColumnValues.nulls(raw.height, pl.String)
    return read_words(raw[column], name, needed=False)
