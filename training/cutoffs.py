"""This module is about cutoffs: the moments at which the past becomes a training row.

Every moment with a snapshot may be one. It is mature for a horizon once its label window has
closed. Pure; nothing here asks for the current time.
"""

from __future__ import annotations

from datetime import datetime, timedelta


def reach_of(horizon_days: int, *, lead_days: int) -> timedelta:
    """From a cutoff to the end of its label window.

    >>> reach_of(90, lead_days=7).days
    97
    """
    return timedelta(days=lead_days + horizon_days)


def mature(
    cutoffs: tuple[datetime, ...], *, reach: timedelta, known_until: datetime
) -> tuple[datetime, ...]:
    """The cutoffs whose label window has closed by ``known_until``, in order, each once."""
    return tuple(at for at in sorted(set(cutoffs)) if at + reach <= known_until)
