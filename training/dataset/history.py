"""The history that a training set is compared with: events, and the features they give.

Computes the features of any account at any moment, by the same code as snapshots.
Reads events by ranges of accounts; writes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import polars as pl

from features.catalogue.catalogue import Catalogue
from features.compute.snapshots import build_snapshots
from features.health.formula import FORMULAS, HealthFormula
from training.dataset.labels import ROW

TOLERANCE = 1e-6
"""Relative, because a set may have 32-bit floats or sums in another order."""

OTHER = " of the other"
"""Ends the name of a column that is compared."""

EVENTS_AT_ONCE = 3_000_000
CUTOFFS_AT_ONCE = 32

FeatureMaker = Callable[[pl.DataFrame, Sequence[datetime], Mapping[str, datetime]], pl.DataFrame]
"""Events, moments and first recordings to ``account_id``, ``as_of`` and a column per feature."""


@dataclass(frozen=True, kw_only=True)
class History:
    """The timeline that a set is compared with, and the way from it to features."""

    events: pl.LazyFrame  # LAKE_SCHEMA
    catalogue: Catalogue
    first_recorded: Mapping[str, datetime]
    complete_until: datetime
    formula: HealthFormula = field(default_factory=lambda: FORMULAS["balanced"])
    make: FeatureMaker | None = None  # another way to features, for tests of an altered future

    def features(
        self,
        events: pl.DataFrame,
        as_ofs: Sequence[datetime],
        first: Mapping[str, datetime],
    ) -> pl.DataFrame:
        """The features, by the code that is audited."""
        if self.make is not None:
            return self.make(events, as_ofs, first)
        return build_snapshots(
            events, as_ofs, self.catalogue, first_recorded=first, formula=self.formula
        )

    def of(self, accounts: Sequence[str]) -> pl.DataFrame:
        """All events of these accounts."""
        return self.events.filter(pl.col("account_id").is_in(list(accounts))).collect()


def values_as_of(rows: pl.DataFrame, history: History) -> pl.DataFrame:
    """Features as of each row, in the order of the rows; ``is_known`` says where there are any."""
    wanted = rows.select(ROW).unique()
    frames = []
    for accounts in _ranges(wanted["account_id"].unique().sort(), history):
        here = wanted.filter(pl.col("account_id").is_in(accounts))
        events = history.of(accounts)
        if events.is_empty():
            continue
        moments = here["as_of"].unique().sort().to_list()
        for first in range(0, len(moments), CUTOFFS_AT_ONCE):
            made = build_snapshots(
                events,
                moments[first : first + CUTOFFS_AT_ONCE],
                history.catalogue,
                first_recorded=history.first_recorded,
                formula=history.formula,
                threads=2,
            )
            frames.append(made.join(here, on=ROW, how="semi"))
    nothing = wanted.clear()
    made = pl.concat(frames or [nothing]).with_columns(is_known=pl.lit(value=True))
    joined = rows.select(ROW).join(made, on=ROW, how="left", maintain_order="left")
    return joined.with_columns(pl.col("is_known").fill_null(value=False))


def _ranges(accounts: pl.Series, history: History) -> list[list[str]]:
    """The accounts in parts of about ``EVENTS_AT_ONCE`` events each."""
    counts = dict(history.events.group_by("account_id").len().collect().iter_rows())
    ranges: list[list[str]] = [[]]
    events = 0
    for account in accounts:
        n = counts.get(account, 0)
        if ranges[-1] and events + n > EVENTS_AT_ONCE:
            ranges.append([])
            events = 0
        ranges[-1].append(account)
        events += n
    return ranges


def columns_differ(
    one: pl.DataFrame, other: pl.DataFrame, names: Sequence[str], *, exact: bool = False
) -> pl.DataFrame:
    """Where the columns of these names differ in two frames of the same rows.

    Known against unknown, or more apart than rounding. All at once: a question for each of three
    hundred columns takes longer than their values.
    """
    both = one.select(names).hstack(other.select(pl.col(names).name.suffix(OTHER)))
    tolerance, schema = 0.0 if exact else TOLERANCE, both.schema
    return both.select(_apart(schema, name, tolerance).alias(name) for name in names)


def _apart(schema: pl.Schema, name: str, tolerance: float) -> pl.Expr:
    columns = (name, f"{name}{OTHER}")
    if any(schema[column].is_numeric() or schema[column] == pl.Boolean for column in columns):
        a, b = (pl.col(c).cast(pl.Float64, strict=False).fill_nan(None) for c in columns)
        apart = (a - b).abs() > tolerance * pl.max_horizontal(pl.lit(1.0), a.abs(), b.abs())
        return apart.fill_null(value=False) | (a.is_null() != b.is_null())
    a, b = (pl.col(column).cast(pl.String) for column in columns)
    return a.ne_missing(b)


def sample(accounts: pl.Series, n: int) -> list[str]:
    """Draw n accounts; the draw does not depend on their order."""
    return sorted(accounts, key=lambda one: hashlib.blake2b(one.encode()).digest())[:n]
