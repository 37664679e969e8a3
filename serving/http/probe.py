"""Answer a question about the service in bounded time, whatever its stores do.

A probe has a thread of its own, so it waits for no other request. It asks one question at a time: while a
store does not answer, further callers wait for the same answer, and no thread is added.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")

SECONDS = 1.0


class Probe(Generic[T]):
    """Asks one question at a time; callers that come meanwhile get the same answer."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self.seconds = seconds
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="probe")
        self._asked: Future[T] | None = None

    async def ask(self, question: Callable[[], T]) -> T | None:
        """The answer; None where it takes longer than ``seconds``."""
        if self._asked is None or self._asked.done():
            self._asked = self._thread.submit(question)
        waited = asyncio.wrap_future(self._asked)
        done, _ = await asyncio.wait([waited], timeout=self.seconds)
        return waited.result() if done else None
