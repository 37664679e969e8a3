"""Choose the cutoffs: the moments at which the past becomes a training row.

Of the moments with a snapshot, the first of each month: monthly rows of an account overlap enough
already, and a week with daily snapshots must not outweigh a quarter. A cutoff is mature for a
horizon once its label window has closed. Pure; nothing here asks for the current time.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def reach_of(horizon_days: int, *, lead_days: int) -> timedelta:
    """From a cutoff to the end of its label window.

    >>> reach_of(90, lead_days=7).days
    97
    """
    return timedelta(days=lead_days + horizon_days)


def first_of_months(moments: tuple[datetime, ...]) -> tuple[datetime, ...]:
    """The first moment of each month of UTC, in order.

    >>> days = (datetime(2022, 3, 8, tzinfo=UTC), datetime(2022, 3, 1, tzinfo=UTC),
    ...         datetime(2022, 4, 4, tzinfo=UTC))
    >>> [at.day for at in first_of_months(days)]
    [1, 4]
    """
    first: dict[tuple[int, int], datetime] = {}
    for at in sorted(moments):
        utc = at.astimezone(UTC)
        first.setdefault((utc.year, utc.month), at)
    return tuple(first.values())


def mature(
    cutoffs: tuple[datetime, ...], *, reach: timedelta, known_until: datetime
) -> tuple[datetime, ...]:
    """The cutoffs whose label window has closed by ``known_until``, in order, each once."""
    return tuple(at for at in sorted(set(cutoffs)) if at + reach <= known_until)
