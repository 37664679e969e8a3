"""Terms from which the formulas of expression features are built.

Each is a Polars expression over the events of one window, oldest first (``feature.Expression``).
A tenant's own formula may use them or any other expression of Polars.
"""

from __future__ import annotations

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
