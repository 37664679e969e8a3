"""Deadlines of actions, in hours or in working hours.

::

    Friday 16:00 + 2 working hours = Monday 10:00      (workday 9 to 17, UTC, Monday to Friday)
"""

from __future__ import annotations

from datetime import datetime, timedelta

from registry.playbook.actions import Action

SATURDAY = 5


def deadline_of(action: Action, start: datetime, workday: tuple[int, int]) -> datetime | None:
    """The end of the action's time, counted from its trigger; None without a limit."""
    if action.deadline_hours is None:
        return None
    hours = timedelta(hours=action.deadline_hours)
    return after_working_hours(start, hours, workday) if action.business_hours else start + hours


def after_working_hours(start: datetime, hours: timedelta, workday: tuple[int, int]) -> datetime:
    """The moment at which these working hours have passed.

    >>> from datetime import UTC
    >>> friday = datetime(2026, 3, 6, 16, tzinfo=UTC)
    >>> after_working_hours(friday, timedelta(hours=2), (9, 17)).isoformat()
    '2026-03-09T10:00:00+00:00'
    """
    now, left = start, hours
    while True:
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        opens, closes = (midnight + timedelta(hours=hour) for hour in workday)
        now = max(now, opens)
        if now.weekday() < SATURDAY and now < closes:
            if left <= closes - now:
                return now + left
            left -= closes - now
        now = midnight + timedelta(days=1)
