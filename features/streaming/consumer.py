"""Consume a stream batch by batch until it is stopped.

Each batch is read and stored, and the broker gets the new offsets. When no more messages wait, a
callback recomputes the accounts with new events. A stream is any object with the methods of
``Stream``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Protocol

from features.events.bounds import Bounds
from features.lake.lake import Lake
from features.streaming.offsets import Message, StreamSummary, ingest_messages, read_offsets

MOST_MESSAGES = 5_000
"""Messages of one batch, at most; a batch is smaller where fewer are waiting."""

WAIT_SECONDS = 0.2


class Stream(Protocol):
    """A source of messages."""

    def read(self, *, most: int, wait_seconds: float) -> list[Message]:
        """The next messages; none if none came in time."""
        ...

    def tell_broker(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """Report the offsets of the lake."""
        ...

    def is_assigned(self) -> bool:
        """Whether messages may come yet: a group takes seconds to assign its partitions."""
        ...


def consume(
    stream: Stream,
    lake: Lake,
    *,
    group: str,
    now: Callable[[], datetime],
    bounds: Callable[[], Bounds] = Bounds,
    on_batch: Callable[[StreamSummary], object] = lambda _: None,
    on_caught_up: Callable[[], object] = lambda: None,
    idle_seconds: float | None = None,
    elapsed: Callable[[], float] = time.monotonic,
) -> StreamSummary:
    """Store the messages of a stream, until ``idle_seconds`` have passed without one.

    The time until partitions are assigned does not count as idle.

    Args:
        stream: the source of messages.
        lake: where the events are stored.
        group: whose offsets count.
        now: returns the moment at which messages are validated; called once a batch.
        bounds: returns the bounds of the tenant; called once a batch.
        on_batch: called with the summary of each batch when it is on disk.
        on_caught_up: called at the start, for accounts that an earlier process left, and whenever all
            waiting messages are on disk; not while a backlog is read.
        idle_seconds: by default, it never stops by itself.
        elapsed: returns seconds since a fixed moment.

    Returns:
        The summary of all messages.
    """
    total = StreamSummary()
    last = elapsed()
    on_caught_up()
    in_backlog = False
    while True:
        messages = stream.read(most=MOST_MESSAGES, wait_seconds=WAIT_SECONDS)
        if messages:
            summary = ingest_messages(lake, messages, group=group, now=now(), bounds=bounds())
            stream.tell_broker(read_offsets(lake, group))
            on_batch(summary)
            total += summary
            in_backlog = len(messages) == MOST_MESSAGES
            if not in_backlog:
                on_caught_up()
            last = elapsed()
        elif in_backlog:  # no message after a full batch: the end of the backlog
            in_backlog = False
            on_caught_up()
        elif not stream.is_assigned():
            last = elapsed()
        elif idle_seconds is not None and elapsed() - last >= idle_seconds:
            on_caught_up()
            return total
