"""Read a column of text, or of any type, as instants, numbers or words.

Each function returns the values and the problem of each row (null where there is none). A bad value
raises no error: its row alone is refused, with the problem as the reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from features.events.schema import LARGEST_COUNT, LONGEST_NAME, UTC_INSTANT
from features.events.text_buffers import is_repetitive, text_buffers
from features.ingest.expressions.columns import read_number
from features.ingest.mapped_tables import MappingError

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(2200, 1, 1, tzinfo=UTC)

FIRST_PRINTED, DELETE, BEFORE_C1 = 0x20, 0x7F, 0xC2
"""Bytes of UTF-8: the first printable one, delete, and the first byte of U+0080 to U+009F."""

ISO_TIME = (
    r"^(?<day>\d{4}-\d{2}-\d{2})"
    r"(?:[Tt ](?<clock>\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?)"
    r"\s?(?<offset>[Zz]|[+-]\d{2}(?::?\d{2})?)?)?$"
)

USUAL_TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-5][0-9](?:\.[0-9]{3}|\.[0-9]{6})?Z$"
"""The form in which most programs write a time, such as ``2026-03-01T09:30:00.250Z``."""


@dataclass(frozen=True, kw_only=True)
class ColumnValues:
    """The values of a column, and the problem of each row (null: none)."""

    values: pl.Series
    problem: pl.Series

    @classmethod
    def nulls(cls, height: int, dtype: pl.DataType | type[pl.DataType]) -> ColumnValues:
        """The values where a table has no such column: all null, without a problem."""
        return cls(
            values=pl.repeat(None, height, dtype=dtype, eager=True),
            problem=pl.repeat(None, height, dtype=pl.String, eager=True),
        )


def read_instants(
    column: pl.Series,
    name: str,
    *,
    zone: str | None = None,
    time_format: str | None = None,
    epoch: str | None = None,
) -> ColumnValues:
    """Times as UTC instants; ``zone`` is the zone of times that are written without one.

    A local time that occurs twice, when clocks go back, is read as the later one: an event must not
    be known too early.

    Raises:
        MappingError: the mapping has to say how the times of this column are written.
    """
    if column.dtype == pl.Null:
        column = column.cast(pl.String)
    if column.dtype.is_numeric() and epoch is None:
        raise MappingError(
            f"The column {column.name!r} holds numbers, not times. Say what they "
            f'count with epoch = "s", "ms" or "us".'
        )
    if isinstance(column.dtype, pl.Datetime) and column.dtype.time_zone is None and zone is None:
        raise MappingError(
            f"The times in column {column.name!r} have no time zone. Declare one "
            f'in the mapping, such as zone = "UTC".'
        )
    if column.dtype == pl.Date and zone is None:
        raise MappingError(
            f"The days in column {column.name!r} have no time zone. Declare one "
            f'in the mapping, such as zone = "UTC".'
        )
    if column.dtype == pl.String and epoch is None and time_format is None:
        exact = read_usual_times(column)
        if exact.null_count() < len(exact):
            return _read_remaining(column, name, exact, zone)
    return _read_any_instants(column, name, zone, time_format, epoch)


def read_usual_times(texts: pl.Series) -> pl.Series:
    """The instants of texts that look like ``USUAL_TIME``; null where a text does not.

    >>> times = pl.Series(["1970-01-01T00:00:01Z", "1970-01-01", None])
    >>> read_usual_times(times).dt.second().to_list()
    [1, None, None]
    """
    text = pl.col("text")
    instant = text.str.to_datetime(
        "%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us", time_zone="UTC", strict=False
    )
    is_usual = text.str.contains(USUAL_TIME) & (text.str.slice(0, 4) != "0000")
    return texts.to_frame("text").select(pl.when(is_usual).then(instant)).to_series()


def _read_remaining(
    column: pl.Series, name: str, exact: pl.Series, zone: str | None
) -> ColumnValues:
    """The instants of a column, of which ``exact`` holds those that are read already."""
    problem = (
        exact.to_frame("given")
        .select(
            pl.when(~pl.col("given").is_between(EARLIEST, LATEST)).then(
                pl.lit(f"{name} is an impossible time")
            )
        )
        .to_series()
    )
    values = exact
    if problem.null_count() < len(problem):
        values = values.set(problem.is_not_null(), None)
    left = exact.is_null().arg_true()
    if len(left):
        rest = _read_any_instants(column.gather(left), name, zone, None, None)
        values, problem = values.scatter(left, rest.values), problem.scatter(left, rest.problem)
    return ColumnValues(values=values, problem=problem)


def _read_any_instants(
    column: pl.Series, name: str, zone: str | None, time_format: str | None, epoch: str | None
) -> ColumnValues:
    """The instants of a column, however they are written."""
    is_plain = epoch is None and column.dtype != pl.String
    frame = pl.DataFrame({"given": column if is_plain else column.unique()})
    if epoch is not None:
        read = _from_epoch(frame, epoch)
    elif column.dtype == pl.String:
        read = _from_text(frame, zone, time_format)
    else:
        naive = (
            pl.col("given").cast(pl.Datetime("us"))
            if (getattr(column.dtype, "time_zone", None) is None)
            else None
        )
        instant = (
            pl.col("given").dt.convert_time_zone("UTC")
            if naive is None
            else _in_zone(naive, zone or "UTC")
        )
        read = frame.with_columns(
            instant.cast(UTC_INSTANT).alias("instant"), pl.lit(None, pl.String).alias("problem")
        )
    read = read.with_columns(
        pl.when(pl.col("given").is_null())
        .then(pl.lit("is missing"))
        .when(pl.col("problem").is_not_null())
        .then("problem")
        .when(pl.col("instant").is_null())
        .then(pl.lit("is no time"))
        .when(~pl.col("instant").is_between(EARLIEST, LATEST))
        .then(pl.lit("is an impossible time"))
        .alias("problem"),
    ).with_columns(pl.when(pl.col("problem").is_null()).then("instant").alias("instant"))
    found = (
        read
        if is_plain
        else pl.DataFrame({"given": column}).join(
            read, on="given", how="left", nulls_equal=True, maintain_order="left"
        )
    )
    return ColumnValues(values=found["instant"], problem=_with_name(found["problem"], name))


def read_numbers(column: pl.Series, name: str, *, decimal: str = ".") -> ColumnValues:
    """Finite numbers; null where the text is empty or no finite number."""
    text = column.cast(pl.String, strict=False) if not column.dtype.is_numeric() else None
    if text is not None:
        text = text.str.strip_chars()
        empty = text.is_null() | (text == "")
        values = text.to_frame("n").select(read_number(pl.col("n"), decimal)).to_series()
    else:
        empty = column.is_null()
        values = column.cast(pl.Float64)
    frame = pl.DataFrame({"values": values, "empty": empty})
    problem = frame.select(
        pl.when("empty")
        .then(None)
        .when(pl.col("values").is_null())
        .then(pl.lit("is no number"))
        .when(~pl.col("values").is_finite())
        .then(pl.lit("is not finite"))
    ).to_series()
    clean = frame.select(
        pl.when(~pl.col("empty") & pl.col("values").is_finite()).then(pl.col("values") + 0.0)
    ).to_series()  # + 0.0: no minus zero
    return ColumnValues(values=clean, problem=_with_name(problem, name))


def read_counts(
    column: pl.Series | None, name: str, height: int, *, decimal: str = "."
) -> ColumnValues:
    """Whole numbers from 0; 1 where there is no such column, or no value in it."""
    if column is None:
        return ColumnValues(
            values=pl.repeat(1, height, dtype=pl.Int64, eager=True),
            problem=pl.repeat(None, height, dtype=pl.String, eager=True),
        )
    numbers = read_numbers(column, name, decimal=decimal)
    frame = pl.DataFrame({"values": numbers.values, "problem": numbers.problem})
    value = pl.col("values")
    problem = frame.select(
        pl.when(pl.col("problem").is_not_null())
        .then("problem")
        .when(value < 0)
        .then(pl.lit(f"{name} is negative"))
        .when(value != value.round())
        .then(pl.lit(f"{name} is no whole number"))
        .when(value > LARGEST_COUNT)
        .then(pl.lit(f"{name} is absurdly large"))
    ).to_series()
    clean = (
        pl.DataFrame({"values": numbers.values, "problem": problem})
        .select(pl.when(pl.col("problem").is_null()).then(value.fill_null(1.0)).cast(pl.Int64))
        .to_series()
    )
    return ColumnValues(values=clean, problem=problem)


def read_words(column: pl.Series, name: str, *, needed: bool) -> ColumnValues:
    """Ids and names: text without surrounding spaces, of at most ``LONGEST_NAME`` characters."""
    if column.dtype == pl.String and is_repetitive(column):
        different = column.unique()
        read = _read_words(different, name, needed=False)
        if read.problem.null_count() == len(different) and (
            read.values.eq_missing(different).all()
        ):
            missing = pl.lit(f"{name} is missing") if needed and column.null_count() else None
            return ColumnValues(
                values=column,
                problem=pl.DataFrame({"c": column})
                .select(pl.when(pl.col("c").is_null()).then(missing).cast(pl.String))
                .to_series(),
            )
    return _read_words(column, name, needed=needed)


def _read_words(column: pl.Series, name: str, *, needed: bool) -> ColumnValues:
    if column.dtype.is_float():  # 12.0 is how pandas writes 12 beside missing values
        whole = (column == column.round()).fill_null(value=False)
        text = (
            pl.DataFrame({"c": column, "w": whole})
            .select(
                pl.when("w")
                .then(pl.col("c").cast(pl.Int64, strict=False).cast(pl.String))
                .otherwise(pl.col("c").cast(pl.String))
            )
            .to_series()
        )
    else:
        text = column.cast(pl.String, strict=False)
    values = text.str.strip_chars()
    frame = pl.DataFrame({"values": values}).with_columns(
        pl.when(pl.col("values") != "").then("values").alias("values")
    )
    controls = (
        pl.col("values").str.contains(r"\p{Cc}")
        if _may_hold_controls(frame["values"])
        else pl.lit(value=False)
    )
    problem = frame.select(
        pl.when(pl.col("values").is_null())
        .then(pl.lit(f"{name} is missing") if needed else pl.lit(None, pl.String))
        .when(pl.col("values").str.len_chars() > LONGEST_NAME)
        .then(pl.lit(f"{name} is longer than {LONGEST_NAME} characters"))
        .when(controls)
        .then(pl.lit(f"{name} holds control characters"))
    ).to_series()
    return ColumnValues(values=frame["values"], problem=problem)


def _may_hold_controls(texts: pl.Series) -> bool:
    """Whether a byte of the column may belong to a control character.

    Most columns have none, and this test is cheaper than a search in each text.
    """
    _, letters = text_buffers(texts)
    return bool(((letters < FIRST_PRINTED) | (letters == DELETE) | (letters == BEFORE_C1)).any())


def _from_text(frame: pl.DataFrame, zone: str | None, time_format: str | None) -> pl.DataFrame:
    text = pl.col("given").str.strip_chars()
    frame = frame.with_columns(pl.when(text != "").then(text).alias("__text"))
    if time_format is not None and "%z" in time_format:
        return frame.with_columns(
            pl.col("__text")
            .str.to_datetime(time_format, time_unit="us", time_zone="UTC", strict=False)
            .alias("instant"),
            _missing(),
        ).drop("__text")
    if time_format is not None:
        naive = pl.col("__text").str.to_datetime(time_format, time_unit="us", strict=False)
        frame = frame.with_columns(
            naive.alias("__naive"), pl.lit(None, pl.String).alias("__offset")
        )
    else:
        groups = pl.col("__text").str.extract_groups(ISO_TIME)
        clock = groups.struct.field("clock")
        full = pl.when(clock.str.len_chars() == 5).then(clock + ":00").otherwise(clock)
        naive = (groups.struct.field("day") + "T" + full.fill_null("00:00:00")).str.to_datetime(
            "%Y-%m-%dT%H:%M:%S%.f", time_unit="us", strict=False
        )
        frame = frame.with_columns(
            naive.alias("__naive"), groups.struct.field("offset").alias("__offset")
        )
    offset = pl.col("__offset")
    digits = offset.str.replace_all(r"[:+-]", "")
    minutes = digits.str.slice(0, 2).cast(pl.Int64, strict=False) * 60 + digits.str.slice(
        2, 2
    ).cast(pl.Int64, strict=False).fill_null(0)
    signed = pl.when(offset.str.starts_with("-")).then(-minutes).otherwise(minutes).fill_null(0)
    local = _in_zone(pl.col("__naive"), zone) if zone else pl.lit(None, UTC_INSTANT)
    frame = frame.with_columns(
        pl.when(offset.is_not_null())
        .then((pl.col("__naive") - pl.duration(minutes=signed)).dt.replace_time_zone("UTC"))
        .otherwise(local)
        .cast(UTC_INSTANT)
        .alias("instant")
    )
    lost = pl.col("__naive").is_not_null() & pl.col("instant").is_null()
    return frame.with_columns(
        pl.when(pl.col("__text").is_null())
        .then(pl.lit("is missing"))
        .when(lost & pl.lit(zone is None))
        .then(pl.lit("has no time zone"))
        .when(lost)
        .then(pl.lit(f"does not exist in the zone {zone}"))
        .alias("problem")
    ).drop("__text", "__naive", "__offset")


def _missing() -> pl.Expr:
    return pl.when(pl.col("__text").is_null()).then(pl.lit("is missing")).alias("problem")


def _from_epoch(frame: pl.DataFrame, epoch: str) -> pl.DataFrame:
    micros = {"s": 1_000_000, "ms": 1_000, "us": 1}[epoch]
    number = pl.col("given").cast(pl.Float64, strict=False)
    whole = (
        pl.when(number.is_finite() & (number.abs() * micros < 9e18))
        .then((number * micros).round())
        .cast(pl.Int64)
    )
    blank = pl.col("given").cast(pl.String, strict=False).str.strip_chars() == ""
    return frame.with_columns(
        whole.cast(UTC_INSTANT).alias("instant"),
        pl.when(blank).then(pl.lit("is missing")).alias("problem"),
    )


def _in_zone(naive: pl.Expr, zone: str) -> pl.Expr:
    return naive.dt.replace_time_zone(
        zone, ambiguous="latest", non_existent="null"
    ).dt.convert_time_zone("UTC")


def _with_name(problem: pl.Series, name: str) -> pl.Series:
    if problem.null_count() == len(problem):
        return problem.cast(pl.String)
    return pl.DataFrame({"p": problem}).select(pl.lit(f"{name} ") + pl.col("p")).to_series()
