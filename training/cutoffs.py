"""This module is about cutoffs: the moments at which the past becomes a training row.

Pure calendar arithmetic in UTC; nothing here asks for the current time.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class CutoffError(ValueError):
    """The wanted cutoffs can not be made."""


def month_starts(first: datetime, last: datetime) -> tuple[datetime, ...]:
    """Midnight of the first day of every month in ``[first, last]``, in UTC.

    >>> [at.date().isoformat() for at in month_starts(datetime(2022, 11, 15, tzinfo=UTC),
    ...                                               datetime(2023, 2, 1, tzinfo=UTC))]
    ['2022-12-01', '2023-01-01', '2023-02-01']
    """
    for at in (first, last):
        if at.utcoffset() is None:
            raise CutoffError(f"The cutoff bound {at} has no time zone; write it in UTC.")
    first, last = first.astimezone(UTC), last.astimezone(UTC)
    at = datetime(first.year, first.month, 1, tzinfo=UTC)
    starts: list[datetime] = []
    while at <= last:
        if at >= first:
            starts.append(at)
        at = datetime(at.year + at.month // 12, at.month % 12 + 1, 1, tzinfo=UTC)
    return tuple(starts)


def mature(
    cutoffs: tuple[datetime, ...], *, horizon_days: int, lead_days: int, known_until: datetime
) -> tuple[datetime, ...]:
    """The cutoffs whose label window has closed by ``known_until``."""
    return tuple(
        at for at in cutoffs if at + timedelta(days=lead_days + horizon_days) <= known_until
    )
