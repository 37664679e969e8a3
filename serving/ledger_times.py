"""This module is about moments in the ledger: texts in UTC that sort as the moments do."""

from __future__ import annotations

from datetime import UTC, datetime


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
