"""Format a moment for a person: a day where it is midnight UTC, else day, time and zone.

A reader takes "complete until 2024-04-01" for the start of that day. For any other moment the time has
to be written.
"""

from __future__ import annotations

from datetime import UTC, datetime


def format_moment(moment: datetime) -> str:
    """A moment in UTC, for a person.

    >>> format_moment(datetime(2024, 4, 1, tzinfo=UTC))
    '2024-04-01'
    >>> format_moment(datetime(2024, 4, 1, 22, 30, tzinfo=UTC))
    '2024-04-01 22:30 UTC'
    """
    moment = moment.astimezone(UTC)
    if moment.time() == datetime.min.time():
        return f"{moment:%Y-%m-%d}"
    shown = moment.isoformat(sep=" ", timespec="auto").removesuffix("+00:00")
    return f"{shown.removesuffix(':00') if moment.second == 0 else shown} UTC"
