"""Turn arrays into rows of events, and rows into one checked frame.

Rows are narrow until the end: account and user are numbers, times are seconds of the world.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from experiments.simulation.settings import Bools, Calendar, Floats, Ints
from features.events.schema import EVENT_SCHEMA, UTC_INSTANT

DAY_SECONDS = 86_400

ROW_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "account": pl.Int32,
    "user": pl.Int32,
    "kind": pl.String,
    "occurred": pl.Int64,
    "recorded": pl.Int64,
    "event_count": pl.Int64,
    "user_count": pl.Int64,
    "quantity": pl.Float64,
    "properties": pl.String,
}
"""Column name to type of a frame of rows."""


def texts(vocabulary: list[str], codes: Ints) -> pl.Series:
    """The word of each code."""
    return pl.Series(vocabulary, dtype=pl.String).gather(codes)


def flat_json(**columns: pl.Series | str) -> pl.Series:
    """Canonical flat JSON objects, one a row; a null leaves its key out.

    A text is the same in every row; numbers are written bare. Only for values that need no escape.

    >>> flat_json(status=pl.Series(["paid", None]), invoice_id="i1").to_list()
    ['{"invoice_id":"i1","status":"paid"}', '{"invoice_id":"i1"}']
    """
    height = next(len(column) for column in columns.values() if isinstance(column, pl.Series))
    frame = pl.DataFrame(
        {
            name: pl.Series([column] * height, dtype=pl.String)
            if isinstance(column, str)
            else column
            for name, column in columns.items()
        }
    )
    pieces = []
    for name in sorted(frame.columns):
        quote = '"' if frame.schema[name] == pl.String else ""
        shown = pl.concat_str(
            pl.lit(f',"{name}":{quote}'), pl.col(name).cast(pl.String), pl.lit(quote)
        )
        pieces.append(pl.when(pl.col(name).is_null()).then(pl.lit("")).otherwise(shown))
    return frame.select(
        pl.concat_str(pl.lit("{"), pl.concat_str(pieces).str.strip_prefix(","), pl.lit("}"))
    ).to_series()


def event_rows(
    kind: str,
    account: Ints,
    day: Ints,
    second: Ints,
    *,
    user: Ints | None = None,
    event_count: Ints | None = None,
    user_count: Ints | None = None,
    quantity: Floats | Ints | None = None,
    delay: Ints | int = 0,
    properties: pl.Series | str = "{}",
) -> pl.DataFrame:
    """Rows of one kind; ``delay`` is in seconds from the fact to its record."""
    occurred = np.asarray(day, dtype=np.int64) * DAY_SECONDS + np.asarray(second, dtype=np.int64)
    columns: dict[str, NDArray[Any] | pl.Series | str | int | None] = {
        "account": account,
        "user": user,
        "kind": kind,
        "occurred": occurred,
        "recorded": occurred + np.asarray(delay, dtype=np.int64),
        "event_count": 1 if event_count is None else event_count,
        "user_count": 1 if user_count is None else user_count,
        "quantity": quantity,
        "properties": properties,
    }
    series = []
    for name, dtype in ROW_SCHEMA.items():
        column = columns[name]
        if isinstance(column, (pl.Series, np.ndarray)):
            series.append(pl.Series(name, column, nan_to_null=True).cast(dtype))
        else:
            series.append(pl.repeat(column, len(occurred), dtype=dtype, eager=True).alias(name))
    return pl.DataFrame(series)


def cut_after_end(rows: pl.DataFrame, *, ends: Ints, calendar: Calendar) -> pl.DataFrame:
    """Leave out events of an account from its end on, and events recorded after the world's end.

    The end of a contract is itself an event at that instant, and stays.
    """
    last = pl.Series(ends * DAY_SECONDS).gather(rows["account"])
    is_end = rows["kind"] == "contract.cancelled"
    known = rows["recorded"] < calendar.days * DAY_SECONDS
    return rows.filter(((rows["occurred"] < last) | is_end) & known)


def draw_corrections(
    rows: pl.DataFrame, kinds: tuple[str, ...], share: float, delay_days: int, chosen: Floats
) -> pl.DataFrame:
    """Corrections of some rows: the same event with another quantity, recorded days later.

    ``chosen`` is one uniform draw a row. The result holds only the corrections; its ``event``
    column must be kept from ``rows``.
    """
    picked: Bools = (chosen < share) & rows["kind"].is_in(list(kinds)).to_numpy()
    return rows.filter(pl.Series(picked)).with_columns(
        recorded=pl.col("recorded") + delay_days * DAY_SECONDS,
        quantity=(pl.col("quantity") * 0.9).round(2),
    )


def events_of_rows(
    rows: pl.DataFrame, account_ids: list[str], user_ids: list[str], calendar: Calendar
) -> pl.DataFrame:
    """Rows with an ``event`` number as a frame of ``EVENT_SCHEMA``, by record time."""
    origin = int(calendar.starts_at.timestamp()) * 1_000_000
    return rows.select(
        event_id=pl.concat_str(pl.lit("e"), pl.col("event").cast(pl.String).str.zfill(9)),
        account_id=pl.Series(account_ids).gather(rows["account"]),
        user_id=pl.Series(user_ids).gather(rows["user"]),
        kind="kind",
        occurred_at=(pl.col("occurred") * 1_000_000 + origin).cast(UTC_INSTANT),
        recorded_at=(pl.col("recorded") * 1_000_000 + origin).cast(UTC_INSTANT),
        event_count="event_count",
        user_count="user_count",
        quantity="quantity",
        properties="properties",
    ).cast(EVENT_SCHEMA)  # type: ignore[arg-type]
