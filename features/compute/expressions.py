"""Evaluate expression features: Polars formulas over the events of a window.

An ``Expression`` sees exactly the events that a ``Feature`` with the same window sees. They are
selected here, before the formula runs, so no formula can see beyond its moment.

::

    events of its kinds ── visible as of the moment ── in window ──► formula
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import polars as pl

from features.catalogue.feature import Expression
from features.events.schema import LARGEST_READ
from features.events.visibility import visible, with_superseded
from features.kernel.windows import EPOCH

ORDER = ("account_id", "occurred_at", "recorded_at", "event_id")
"""The order in which a formula sees events, the same as in the sweep."""

DAY = timedelta(days=1)
SEEN = "seen"


def with_expressions(
    frame: pl.DataFrame,
    events: pl.DataFrame,
    expressions: Sequence[Expression],
    *,
    first_recorded: Mapping[str, datetime],
) -> pl.DataFrame:
    """The rows of a snapshot with one more column for each expression.

    Args:
        frame: ``account_id`` and ``as_of``, perhaps with other columns.
        events: events of whole accounts (``EVENT_SCHEMA``, with ``superseded_at`` if known).
        expressions: what to compute.
        first_recorded: kind to the moment its first event of any account became known; a value is
            unknown while no source has sent any kind that it reads.
    """
    if not expressions:
        return frame
    kinds = sorted({kind for feature in expressions for kind in feature.reads})
    read = (
        events.filter(pl.col("kind").is_in(kinds))
        .with_columns(
            pl.col("account_id", "kind").cast(pl.String),
            pl.when(pl.col("quantity").abs() <= LARGEST_READ).then("quantity"),  # else unknown
        )
        .sort(ORDER)
        .pipe(with_superseded)
    )
    rows = frame.select("account_id", "as_of")
    columns: list[pl.Series] = []
    for _, group in itertools.groupby(sorted(expressions, key=_window), key=_window):
        together = tuple(group)
        mine = read.filter(pl.col("kind").is_in(together[0].reads))
        moments = rows["as_of"].unique().sort().to_list() if mine.height else []
        found = [_values(mine, together, as_of) for as_of in moments]
        joined = rows.join(
            pl.concat(found or [_values(mine.clear(), together, EPOCH)]),
            on=["account_id", "as_of"],
            how="left",
            maintain_order="left",
        )
        # with_columns, because select would give one null where a value is unknown for all rows
        columns += (
            joined.with_columns(
                _known(feature, first_recorded).alias(feature.name) for feature in together
            )
            .select(feature.name for feature in together)
            .get_columns()
        )
    return frame.with_columns(columns)


def visible_events(rows: pl.DataFrame, feature: Expression, as_of: datetime) -> pl.DataFrame:
    """The events that the feature sees as of the moment: the rule of ``windows.py`` in Polars."""
    closes = as_of - feature.ends_before
    inside = pl.col("occurred_at") < closes
    if feature.lookback is not None:
        inside &= pl.col("occurred_at") >= closes - feature.lookback
    age = (pl.lit(closes) - pl.col("occurred_at")).dt.total_microseconds()
    return rows.filter(inside, visible(as_of)).with_columns(
        pl.lit(as_of).cast(pl.Datetime("us", "UTC")).alias("as_of"),
        ((age - 1) // (DAY // timedelta(microseconds=1))).alias("days_before"),
    )


def _values(
    rows: pl.DataFrame,
    features: Sequence[Expression],
    as_of: datetime,
) -> pl.DataFrame:
    """One row for each account with a visible event."""
    # Eagerly, step by step: a lazy plan sums a group in parts, and one account alone would give
    # other bits than among others.
    return (
        visible_events(rows, features[0], as_of)
        .rechunk()
        .group_by(
            "account_id",
            "as_of",
            maintain_order=True,
        )
        .agg(
            pl.lit(True).alias(SEEN),
            *(f.formula().cast(pl.Float64).alias(f.name) for f in features),
        )
    )


def _known(feature: Expression, first_recorded: Mapping[str, datetime]) -> pl.Expr:
    """Unknown before a source sent its kinds; ``when_empty`` where the window holds no event."""
    sent = [first_recorded[kind] for kind in feature.reads if kind in first_recorded]
    if not sent:
        return pl.lit(None, pl.Float64)
    value = pl.col(feature.name)
    finite = pl.when(value.is_finite()).then(value)
    empty = pl.lit(feature.when_empty, pl.Float64)
    return pl.when(pl.col("as_of") > min(sent)).then(
        pl.when(pl.col(SEEN).is_not_null()).then(finite).otherwise(empty)
    )


def _window(feature: Expression) -> tuple[tuple[str, ...], timedelta, timedelta]:
    return feature.reads, feature.lookback or timedelta.max, feature.ends_before
