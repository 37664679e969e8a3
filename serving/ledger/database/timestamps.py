"""Moments in the ledger, as texts in UTC that sort as the moments do.

Two clocks meet there. Moments about the data (as of when, when something happened) are on the time
of the data, which stands still between exports. Leases, windows and validity are on the clock of
the service, which runs; where it is set back, the newest moment in the ledger is a lower bound.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from serving.ledger.database.tables import BY_THE_CLOCK

MOST_SET_BACK = timedelta(days=1)
"""A clock that is further behind than this was wrong before, and was put right: its former moments
are no lower bound, or nothing would end until that day comes."""


def as_text(moment: object) -> str:
    """A moment as the ledger writes it.

    >>> as_text(datetime(2026, 3, 1, 12, tzinfo=UTC))
    '2026-03-01T12:00:00.000000+00:00'
    """
    if not isinstance(moment, datetime) or moment.utcoffset() is None:
        raise TypeError(f"{moment!r} is not a moment; the ledger stores moments in UTC.")
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def as_moment(text: str) -> datetime:
    """A moment that the ledger wrote."""
    return datetime.fromisoformat(text)


class MonotonicClock:
    """A clock that never goes back, except where it is put right."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._latest: datetime | None = None
        self._turn = threading.Lock()

    def __call__(self) -> datetime:
        """The moment now."""
        with self._turn:
            now = self._clock()
            if self._latest is None or not now < self._latest <= now + MOST_SET_BACK:
                self._latest = now
            return self._latest


def service_time(connection: Connection, clock: datetime) -> datetime:
    """The clock of the service in a transaction: never before the newest moment of the ledger.

    So a lease that has lapsed once stays so for every process, also where a clock is behind.
    """
    farthest = as_text(clock + MOST_SET_BACK)
    newest = connection.execute(
        sa.select(
            *(
                sa.select(sa.func.max(column)).where(column <= farthest).scalar_subquery()
                for column in BY_THE_CLOCK
            )
        )
    ).one()
    return max([clock, *(as_moment(text) for text in newest if text is not None)])
