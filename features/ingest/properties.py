"""Write the properties of a row, from its columns or from JSON, as one canonical text.

A property map is flat, holds texts and finite numbers, and has at most ``LONGEST_PROPERTIES``
characters. A bad value raises no error: its row alone is refused, with the reason.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

import polars as pl

from features.events.schema import LONGEST_NAME, LONGEST_PROPERTIES, properties_text
from features.ingest.columns import ColumnValues
from features.ingest.mapped_tables import PropertySource


def read_properties(
    frame: pl.DataFrame,
    sources: Mapping[str, PropertySource],
    *,
    constants: Mapping[str, str | float | int] | None = None,
    json_column: str | None = None,
    decimal: str = ".",
) -> ColumnValues:
    """The property map of every row as canonical JSON text."""
    fixed = dict(constants or {})
    used = list(
        dict.fromkeys(
            [source.column for source in sources.values()] + ([json_column] if json_column else [])
        )
    )
    if not used:
        return ColumnValues(
            values=pl.repeat(properties_text(fixed), frame.height, eager=True),
            problem=pl.repeat(None, frame.height, dtype=pl.String, eager=True),
        )
    columns = frame.select(_property_column(name, frame[name].dtype) for name in used)
    different = columns.unique(maintain_order=True)
    texts: list[str | None] = []
    problems: list[str | None] = []
    for row in different.iter_rows(named=True):
        try:
            texts.append(_one_map(row, sources, fixed, json_column, decimal))
            problems.append(None)
        except PropertyError as problem:
            texts.append(None)
            problems.append(str(problem))
    known = different.with_columns(
        pl.Series("__text", texts, dtype=pl.String),
        pl.Series("__problem", problems, dtype=pl.String),
    )
    found = columns.join(known, on=used, how="left", nulls_equal=True, maintain_order="left")
    return ColumnValues(values=found["__text"], problem=found["__problem"])


class PropertyError(ValueError):
    """A property map is not flat, not finite, or too long."""


def flat_properties(given: Mapping[str, object]) -> str:
    """A property map as canonical JSON text; true and false become yes and no.

    Raises:
        PropertyError: it is not flat, not finite, or too long.
    """
    given = {
        name: ("no", "yes")[value] if isinstance(value, bool) else value
        for name, value in given.items()
    }
    for name, value in given.items():
        if not name or len(name) > LONGEST_NAME:
            raise PropertyError("properties has an empty or overlong name")
        if value is not None and not isinstance(value, (str, int, float)):
            raise PropertyError("properties is not a flat map of texts and numbers")
    try:
        text = properties_text(given)  # type: ignore[arg-type]
    except ValueError as exc:
        raise PropertyError("properties holds a number that is not finite") from exc
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise PropertyError("properties holds text that is no Unicode")
    if len(text) > LONGEST_PROPERTIES:
        raise PropertyError(f"properties is longer than {LONGEST_PROPERTIES} characters")
    return text


def _property_column(name: str, dtype: pl.DataType) -> pl.Expr:
    if dtype.is_float():
        return pl.col(name).cast(pl.Float64)
    if dtype == pl.Boolean:
        return pl.when(name).then(pl.lit("yes")).when(~pl.col(name)).then(pl.lit("no")).alias(name)
    return pl.col(name).cast(pl.String, strict=False)


def _one_map(
    row: Mapping[str, object],
    sources: Mapping[str, PropertySource],
    fixed: Mapping[str, object],
    json_column: str | None,
    decimal: str,
) -> str:
    found: dict[str, object] = {}
    if json_column and (text := row[json_column]):
        try:
            parsed = json.loads(str(text))
        except (ValueError, RecursionError) as exc:
            raise PropertyError("properties is no JSON") from exc
        if not isinstance(parsed, dict):
            raise PropertyError("properties is not a flat map of texts and numbers")
        found.update(parsed)
    for name, source in sources.items():
        found[name] = _one_property(name, row[source.column], source, decimal)
    return flat_properties(found | dict(fixed))


def _one_property(
    name: str, value: object, source: PropertySource, decimal: str
) -> str | float | int | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if source.type == "text" and not source.bands:
        return value.strip() if isinstance(value, str) else str(value)
    try:
        number = float(_with_point(str(value)) if decimal == "," else str(value))
    except ValueError as exc:
        raise PropertyError(f"property {name} is no number") from exc
    if number != number or number in (float("inf"), float("-inf")):
        raise PropertyError(f"property {name} is not finite")
    if source.bands:
        words = [word for least, word in source.bands if number >= least]
        return words[-1] if words else None
    return int(number) if number.is_integer() else number


def _with_point(text: str) -> str:
    """A number with a decimal comma, as programs write it.

    >>> _with_point("1.234,5"), _with_point("7")
    ('1234.5', '7')
    """
    return re.sub("[.'’ \u00a0\u202f]", "", text).replace(",", ".")
