"""Slow down whoever presents wrong keys, without shutting out anybody else.

Ten wrong keys of an address are free. Each further one shuts the address for twice as long as the
one before, a quarter of an hour at most, and what is refused meanwhile does not count. A key that
came in from the address before is let in all the same, so that who guesses at an address shuts out
nobody who works there. An address is an IPv4 address or the first half of an IPv6 one. This machine
is never shut: its owner always gets in, and a proxy on it that does not say whom it speaks for
stands for everybody. Of one event loop; a bounded number of addresses is remembered.
"""

from __future__ import annotations

import ipaddress
import math
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta

FREE = 10
"""Wrong keys of an address that are answered without waiting."""

LONGEST = timedelta(minutes=15)
FORGOTTEN_AFTER = timedelta(hours=1)
"""An address that presented no wrong key for so long is as one that never did."""

MOST_ADDRESSES = 10_000
MOST_KEYS = 100
"""Keys that are remembered of an address, besides which a shut address waits."""


@dataclass
class _Failures:
    count: int
    last: datetime
    shut_until: datetime


class FailedAttempts:
    """The wrong keys that each address presented, and the keys that came in from it."""

    def __init__(self) -> None:
        self._failures: OrderedDict[str, _Failures] = OrderedDict()
        self._came_in: OrderedDict[str, set[str]] = OrderedDict()

    def seconds_to_wait(self, address: str | None, key_id: str | None, now: datetime) -> int:
        """How long a request has to wait that presents this key, None for a wrong one; 0 if not."""
        place = place_of(address)
        found = None if place is None else self._failures.get(place)
        if place is None or found is None or found.shut_until <= now:
            return 0
        found.shut_until = min(found.shut_until, now + LONGEST)  # the clock may have been put back
        if key_id is not None and key_id in self._came_in.get(place, ()):
            return 0
        return math.ceil((found.shut_until - now).total_seconds())

    def failed(self, address: str | None, now: datetime) -> bool:
        """Note a wrong key; whether the address is shut now for the first time."""
        place = place_of(address)
        if place is None:
            return False
        found = self._failures.get(place)
        if found is None or now - max(found.last, found.shut_until) >= FORGOTTEN_AFTER:
            found = self._failures[place] = _Failures(count=0, last=now, shut_until=now)
        found.count += 1
        found.last = now
        self._failures.move_to_end(place)
        if len(self._failures) > MOST_ADDRESSES:
            self._failures.popitem(last=False)
        beyond = found.count - FREE
        if beyond >= 0:
            seconds = 2.0 ** min(beyond, 30)
            found.shut_until = now + min(timedelta(seconds=seconds), LONGEST)
        return beyond == 0

    def came_in(self, address: str | None, key_id: str) -> None:
        """Note that a key was right at an address."""
        place = place_of(address)
        if place is None:
            return
        known = self._came_in.setdefault(place, set())
        if key_id not in known:
            self._came_in.move_to_end(place)
            if len(known) < MOST_KEYS:
                known.add(key_id)
            if len(self._came_in) > MOST_ADDRESSES:
                self._came_in.popitem(last=False)


def place_of(address: str | None) -> str | None:
    """What an address counts as; None for this machine, which is never shut.

    >>> place_of("203.0.113.9"), place_of("2001:db8:1:2:3::4"), place_of("::ffff:203.0.113.9")
    ('203.0.113.9', '2001:db8:1:2::', '203.0.113.9')
    >>> place_of("127.0.0.1"), place_of("::1"), place_of(None)
    (None, None, None)
    """
    if address is None:
        return None
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:100]
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is None:
            half = int(ip) >> 64 << 64
            return None if ip.is_loopback else str(ipaddress.IPv6Address(half))
        ip = ip.ipv4_mapped
    return None if ip.is_loopback else str(ip)
