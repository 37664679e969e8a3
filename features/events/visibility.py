"""Which versions of an event are visible as of a moment.

A version is visible as of a moment if it was recorded before the moment and was not superseded
before it: ``recorded_at < as_of and (superseded_at is null or as_of <= superseded_at)``. The two
functions ``is_recorded`` and ``still_holds`` are that rule. The forms for Polars and for single
events are built from them here, the forms for compiled code in ``kernel/windows.py``. Nothing else
compares these columns with a moment.

::

    version 1   recorded ───── visible ─────┤
    version 2                               recorded ───── visible ─────►
                                            superseded_at of version 1
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Protocol, TypeVar

import polars as pl

from features.events.schema import UTC_INSTANT

Events = TypeVar("Events", pl.DataFrame, pl.LazyFrame)


def is_recorded(recorded_at: Any, as_of: Any) -> Any:
    """Whether a version was known by a moment.

    Takes numbers, datetimes and Polars expressions, and can be compiled, as ``still_holds`` can.
    """
    return recorded_at < as_of


def still_holds(as_of: Any, superseded_at: Any) -> Any:
    """Whether a version that a correction superseded was not yet superseded at a moment."""
    return as_of <= superseded_at


# Polars


def visible(as_of: datetime | pl.Expr) -> pl.Expr:
    """Whether a row of ``LAKE_SCHEMA`` is visible as of a moment."""
    holds: pl.Expr = newest_version() | still_holds(_moment(as_of), pl.col("superseded_at"))
    return recorded_before(as_of) & holds


def recorded_before(moment: datetime | pl.Expr) -> pl.Expr:
    """Whether a version was visible at a moment or earlier; it may be superseded since."""
    known: pl.Expr = is_recorded(pl.col("recorded_at"), _moment(moment))
    return known


def changed_since(moment: datetime) -> pl.Expr:
    """Whether a version became visible, or was superseded, at or after a moment."""
    superseded: pl.Expr = still_holds(_moment(moment), pl.col("superseded_at"))
    return ~recorded_before(moment) | superseded


def newest_version() -> pl.Expr:
    """Whether no correction has ever superseded a version."""
    return pl.col("superseded_at").is_null()


def with_superseded(events: Events) -> Events:
    """The events with the column ``superseded_at``; null where no correction is known."""
    if "superseded_at" in events.collect_schema().names():
        return events
    return events.with_columns(pl.lit(None, UTC_INSTANT).alias("superseded_at"))


def visible_events(events: Events, as_of: datetime | pl.Expr) -> Events:
    """The versions that are visible as of a moment; ``superseded_at`` may be left out."""
    if "superseded_at" in events.collect_schema().names():
        return events.filter(visible(as_of))
    return events.filter(recorded_before(as_of))


def versions_before(events: Events, moment: datetime) -> Events:
    """Every version that was known at a moment, without the corrections that came later."""
    superseded = pl.col("superseded_at")
    return events.filter(recorded_before(moment)).with_columns(
        pl.when(~still_holds(_moment(moment), superseded)).then(superseded).alias("superseded_at")
    )


def _moment(moment: datetime | pl.Expr) -> pl.Expr:
    return pl.lit(moment, dtype=UTC_INSTANT) if isinstance(moment, datetime) else moment


# Single events


class Version(Protocol):
    """A version of an event."""

    @property
    def recorded_at(self) -> datetime:
        """When it became known."""

    @property
    def superseded_at(self) -> datetime | None:
        """When a correction became known; None where there is none."""


def is_visible(version: Version, as_of: datetime) -> bool:
    """Whether a version is visible as of a moment."""
    superseded = version.superseded_at
    return bool(
        is_recorded(version.recorded_at, as_of)
        and (superseded is None or still_holds(as_of, superseded))
    )


def unchanged_between(
    versions: Iterable[Version],
    as_of: datetime,
) -> tuple[datetime | None, datetime | None]:
    """The moments ``(after, until]`` as of which the same versions are visible as at ``as_of``.

    None is no bound.
    """
    changes = [
        at
        for version in versions
        for at in (version.recorded_at, version.superseded_at)
        if at is not None
    ]
    return (
        max((at for at in changes if is_recorded(at, as_of)), default=None),
        min((at for at in changes if still_holds(as_of, at)), default=None),
    )
