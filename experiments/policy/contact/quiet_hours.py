"""Quiet hours: when nobody is contacted, on the account's own clock.

::

    account in New York, quiet from 20 to 8
    22:30 there  →  quiet, until 8:00 there the next morning (13:00 UTC in winter)
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo


def quiet_until(moment: datetime, zone: ZoneInfo, hours: tuple[int, int]) -> datetime | None:
    """The end of the quiet hours that contain ``moment``; None: it is outside.

    Args:
        moment: with a time zone of its own.
        zone: the account's.
        hours: local hours from which and until which it is quiet; the first may be the later one,
            and two equal hours are no quiet hours.

    >>> quiet_until(datetime(2026, 3, 3, 3, 30, tzinfo=UTC), ZoneInfo("America/New_York"), (20, 8))
    datetime.datetime(2026, 3, 3, 13, 0, tzinfo=datetime.timezone.utc)
    """
    begins, ends = hours
    local = moment.astimezone(zone)
    over_night = begins > ends
    is_quiet = (
        (local.hour >= begins or local.hour < ends) if over_night else (begins <= local.hour < ends)
    )
    if not is_quiet:
        return None
    day = local.date() + timedelta(days=1 if over_night and local.hour >= begins else 0)
    opens = datetime(day.year, day.month, day.day, tzinfo=zone) + timedelta(hours=ends)
    return opens.astimezone(UTC)


@dataclass(frozen=True, kw_only=True)
class QuietPeriod:
    """Quiet hours that contain ``moment``: nobody is contacted from the first to the second of
    ``hours`` on the clock of ``zone``, that is until ``until`` (UTC)."""

    zone: ZoneInfo
    hours: tuple[int, int]
    moment: datetime
    until: datetime

    @property
    def why(self) -> str:
        """The reason as a sentence."""
        begins, ends = self.hours
        return (
            f"It is {self.moment.astimezone(self.zone):%H:%M} where they are ({self.zone}); "
            f"nobody is contacted from {begins}:00 to {ends}:00."
        )


def quiet_period_at(
    moment: datetime, zone: str | None, hours: tuple[int, int] | None
) -> QuietPeriod | None:
    """The quiet hours that contain a moment, in a time zone (an IANA name); None: it is outside, or
    the zone is unknown.

    >>> quiet_period_at(datetime(2026, 3, 3, 3, 30, tzinfo=UTC), "America/New_York", (20, 8)).why
    'It is 22:30 where they are (America/New_York); nobody is contacted from 20:00 to 8:00.'
    """
    if zone is None or hours is None:
        return None
    there = ZoneInfo(zone)
    until = quiet_until(moment, there, hours)
    return (
        None if until is None else QuietPeriod(zone=there, hours=hours, moment=moment, until=until)
    )
