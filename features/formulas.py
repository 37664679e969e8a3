"""This module is about the words that formulas of expression features are made of.

Each is a Polars expression over the events of one window, oldest first (``feature.Expression``).
A tenant's own formula may use them or any other expression of Polars.
"""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl


def property_column(key: str) -> pl.Expr:
    """A property of the events as text; null where an event has none.

    >>> events = pl.DataFrame({"properties": ['{"state":"error"}', "{}"]})
    >>> events.select(property_column("state")).to_series().to_list()
    ['error', None]
    """
    return pl.col("properties").str.json_path_match(f"$.{key}")


def property_number(key: str) -> pl.Expr:
    """A property of the events as a number; null where it is none."""
    number = property_column(key).cast(pl.Float64, strict=False)
    return pl.when(number.is_finite()).then(number)


def newest_of_each(key: str) -> pl.Expr:
    """Whether an event is the newest of those with its value of the property.

    >>> events = pl.DataFrame({"properties": ['{"name":"a"}', '{"name":"b"}', '{"name":"a"}']})
    >>> events.select(newest_of_each("name")).to_series().to_list()
    [False, True, True]
    """
    name = property_column(key)
    return name.is_last_distinct() & name.is_not_null()


def count_in_state(key: str, state: str, states: Iterable[str]) -> pl.Expr:
    """How many things (values of ``key``) are in one of the states by their newest event."""
    return (newest_of_each(key) & property_column(state).is_in([*states])).sum()


def count_open_for(key: str, state: str, *, is_open: str, is_closed: str, days: int) -> pl.Expr:
    """How many things were open ``days`` ago and have not been closed since."""
    name, said = property_column(key), property_column(state)
    old = pl.col("days_before") >= days
    newest_then = pl.when(old).then(name).is_last_distinct() & old & name.is_not_null()
    was_open = name.filter(newest_then & (said == is_open))
    closed = name.filter(~old & (said == is_closed)).drop_nulls()
    return was_open.implode().list.set_difference(closed.implode()).list.len().sum()


def second_largest_day(amount: str) -> pl.Expr:
    """The second largest sum of a day of the window, where days without events are 0.

    Of 28 days this is the 95th percentile by nearest rank: the 27th of 28.
    """
    day = pl.col("days_before")
    # rows are in order of time, so the sum so far at the end of each day gives the days' sums
    so_far = pl.col(amount).cum_sum().filter(day != day.shift(-1).fill_null(-1))
    daily = so_far - so_far.shift(1).fill_null(0)
    return daily.sort(descending=True).slice(1, 1).sum()
