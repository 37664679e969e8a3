"""Limit how many large requests run at once; a request over the limit is refused with 503.

A request over the limit is refused at once: waiting, it would hold a thread that small requests
need.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from serving.problems import TooManyAtOnceError


class ConcurrencyLimit:
    """At most ``most`` at once; ``what`` names them in the refusal."""

    def __init__(self, most: int, *, what: str, seconds: int = 5) -> None:
        self.most = most
        self._what = what
        self._seconds = seconds
        self._free = threading.BoundedSemaphore(most)

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Take a place, and free it at the end whatever happens.

        Raises:
            TooManyAtOnceError: every place is taken.
        """
        if not self._free.acquire(blocking=False):
            raise TooManyAtOnceError(
                f"{self.most} {self._what} are being made, and no more are made at once.",
                headers={"Retry-After": str(self._seconds)},
            )
        try:
            yield
        finally:
            self._free.release()
