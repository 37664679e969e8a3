"""Write a moment as a person reads it: a day where it is midnight UTC, else day, time and zone.

Whoever reads "complete until 2024-04-01" takes it for the start of that day; where that is not
so, the time has to be said.
"""

from __future__ import annotations

from datetime import UTC, datetime


def moment_words(moment: datetime) -> str:
    """A moment as a person reads it, in UTC.

    >>> moment_words(datetime(2024, 4, 1, tzinfo=UTC))
    '2024-04-01'
    >>> moment_words(datetime(2024, 4, 1, 22, 30, tzinfo=UTC))
    '2024-04-01 22:30 UTC'
    """
    moment = moment.astimezone(UTC)
    if moment.time() == datetime.min.time():
        return f"{moment:%Y-%m-%d}"
    shown = moment.isoformat(sep=" ", timespec="auto").removesuffix("+00:00")
    return f"{shown.removesuffix(':00') if moment.second == 0 else shown} UTC"
