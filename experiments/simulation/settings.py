"""The settings of a simulated company, and its calendar.

Days are counted from the first day of the world. Contracts begin on day 1 to 28 of a month, so
that a period of any number of months ends on the same day of a later month. Values only.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Matrix = NDArray[np.float32]
Codes = NDArray[np.int8]
Bools = NDArray[np.bool_]

LAST_ANCHOR = 28
"""The latest day of a month on which a contract may begin: every month has it."""

LONGEST_PERIOD_MONTHS = 12


class WorldSettingsError(ValueError):
    """A world that cannot be simulated."""


@dataclass(frozen=True, kw_only=True)
class WorldSettings:
    """How large the world is, when it begins, and how its accounts arrive."""

    accounts: int = 2000
    months: int = 18
    starts_on: date = date(2024, 1, 1)
    opening_months: int = 3  # the company opens its doors to a waiting list
    opening_share: float = 0.65  # of all accounts, in the opening months
    pilot_share: float = 0.43  # of CSMs: the success call is decided by lottery
    judgement_share: float = 0.35  # of CSMs: the success call is decided by judgement

    def __post_init__(self) -> None:
        if self.accounts < 20:
            raise WorldSettingsError(f"accounts={self.accounts}: a world needs at least 20.")
        if self.months < 6:
            raise WorldSettingsError(
                f"months={self.months}: a world needs at least 6, or no outcome is ever mature."
            )
        if self.starts_on.day != 1:
            raise WorldSettingsError(
                f"starts_on={self.starts_on}: a world begins on the first of a month."
            )
        for name in ("opening_share", "pilot_share", "judgement_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise WorldSettingsError(f"{name}={getattr(self, name)}: a share is 0 to 1.")
        if self.pilot_share + self.judgement_share > 1:
            raise WorldSettingsError(
                "pilot_share and judgement_share add to more than 1; they share the CSMs."
            )

    @cached_property
    def calendar(self) -> Calendar:
        """The days and months of this world."""
        return Calendar(starts_on=self.starts_on, months=self.months)


@dataclass(frozen=True, kw_only=True)
class Calendar:
    """Days and months of a world, counted from its first day.

    >>> calendar = Calendar(starts_on=date(2024, 1, 1), months=6)
    >>> calendar.days, int(calendar.day_of(6, 1)), calendar.date_of(31).isoformat()
    (182, 182, '2024-02-01')
    """

    starts_on: date
    months: int

    @cached_property
    def month_starts(self) -> Ints:
        """The first day of every month, well beyond the end: renewal dates lie in the future."""
        firsts = [
            _months_later(self.starts_on, month)
            for month in range(self.months + 2 * LONGEST_PERIOD_MONTHS)
        ]
        return np.array([(first - self.starts_on).days for first in firsts], dtype=np.int64)

    @property
    def days(self) -> int:
        """How many days the world lasts."""
        return int(self.month_starts[self.months])

    @property
    def starts_at(self) -> datetime:
        """The first instant."""
        return datetime(self.starts_on.year, self.starts_on.month, self.starts_on.day, tzinfo=UTC)

    @property
    def ends_at(self) -> datetime:
        """The instant from which nothing is known."""
        return self.starts_at + timedelta(days=self.days)

    @cached_property
    def weekdays(self) -> Ints:
        """0 is Monday, per day of the world."""
        return (np.arange(self.days) + self.starts_on.weekday()) % 7

    def month_of(self, day: Ints) -> Ints:
        """The month that a day lies in."""
        return np.searchsorted(self.month_starts, day, side="right") - 1

    def day_of(self, month: int | Ints, anchor: int | Ints) -> Ints:
        """The day on which a month reaches its ``anchor``-th day."""
        return np.asarray(self.month_starts[month] + anchor - 1, dtype=np.int64)

    def date_of(self, day: int) -> date:
        """A day of the world as a date."""
        return self.starts_on + timedelta(days=day)

    def date_texts(self) -> list[str]:
        """Every day from the first to the last known month, as ISO text."""
        return [self.date_of(day).isoformat() for day in range(int(self.month_starts[-1]) + 31)]


PRESETS: dict[str, WorldSettings] = {
    "tiny": WorldSettings(accounts=60, months=8),
    "small": WorldSettings(accounts=600, months=18),
    "standard": WorldSettings(accounts=2000, months=18),
    "long": WorldSettings(accounts=2000, months=48),
}


def _months_later(first: date, months: int) -> date:
    year, month = divmod(first.year * 12 + first.month - 1 + months, 12)
    return date(year, month + 1, 1)
