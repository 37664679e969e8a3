"""This module is about what the policy reads of each timeline, kept as plain values.

What an account's events say stays the same until one of them becomes known, ceases to hold, or
another part of the lake names the account. So it is kept with the parts it was read from and the
moments between which it is so, and read again where that is no longer the case.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from features.events.visibility import is_visible, unchanged_between
from serving.decisions.record import PolicyFacts, facts_told
from serving.timeline.event_cache import KeptEvent, KeptKinds, kept_events

MOST_ACCOUNTS = 50_000
"""Of so many accounts the facts are kept; those that were read first are let go first."""


@dataclass(frozen=True, slots=True)
class _Read:
    """What events said, of which parts, and at which moments: after ``after``, up to ``until``."""

    parts: tuple[int, ...]
    after: datetime | None  # None: from the first moment on
    until: datetime | None  # None: for good
    facts: PolicyFacts

    def holds_at(self, as_of: datetime) -> bool:
        return (self.after is None or self.after < as_of) and (
            self.until is None or as_of <= self.until
        )


class KeptFacts:
    """What the policy reads of the timelines of one lake; equal to reading their events anew."""

    def __init__(self, kept: KeptKinds, *, most: int = MOST_ACCOUNTS) -> None:
        self._kept = kept
        self._most = most
        self._read: dict[str, _Read] = {}
        self._letting_go = threading.Lock()

    def of(self, account_ids: Sequence[str], *, as_of: datetime) -> dict[str, PolicyFacts]:
        """What was known of each account at ``as_of``; accounts without events are absent."""
        parts = self._kept.parts()
        found: dict[str, PolicyFacts] = {}
        anew: dict[str, tuple[int, ...]] = {}
        for account_id in account_ids:
            numbers = tuple([part.number for part in parts if account_id in part.places])
            if not numbers:
                continue
            read = self._read.get(account_id)
            if read is not None and read.parts == numbers and read.holds_at(as_of):
                found[account_id] = read.facts
            else:
                anew[account_id] = numbers
        events: dict[str, list[KeptEvent]] = {}
        for event in kept_events(parts, list(anew)):
            events.setdefault(event.account_id, []).append(event)
        for account_id, numbers in anew.items():
            read = _read(events[account_id], as_of, numbers)
            self._keep(account_id, read)
            found[account_id] = read.facts
        return found

    def _keep(self, account_id: str, read: _Read) -> None:
        with self._letting_go:
            self._read.pop(account_id, None)
            self._read[account_id] = read
            if len(self._read) > self._most:
                del self._read[next(iter(self._read))]


def _read(events: Sequence[KeptEvent], as_of: datetime, parts: tuple[int, ...]) -> _Read:
    after, until = unchanged_between(events, as_of)
    return _Read(
        parts=parts,
        after=after,
        until=until,
        facts=facts_told(event for event in events if is_visible(event, as_of)),
    )
