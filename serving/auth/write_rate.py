"""Bound how many writes one key may send, so that nobody fills the disk with a key of little use.

A key has so many writes a second, and what it did not use for ``SAVED_SECONDS`` beside. Each process
counts by itself. Of one event loop; a bounded number of keys is remembered.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable

SAVED_SECONDS = 10
MOST_KEYS = 10_000


class WriteRate:
    """The writes that each key has left.

    Args:
        per_second: writes of one key; 0 is without a bound.
        clock: seconds that never go back.
    """

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_second = per_second
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # writes, as of when

    def seconds_to_wait(self, key_id: str) -> int:
        """How long a key has to wait before its next write; 0 where it may write, which is counted."""
        if not self.per_second:
            return 0
        now, most = self._clock(), max(1.0, self.per_second * SAVED_SECONDS)
        left, since = self._left.get(key_id, (most, now))
        left = min(most, left + (now - since) * self.per_second)
        may = left >= 1
        self._left[key_id] = (left - 1 if may else left, now)
        self._left.move_to_end(key_id)
        if len(self._left) > MOST_KEYS:
            self._left.popitem(last=False)
        return 0 if may else math.ceil((1 - left) / self.per_second)
