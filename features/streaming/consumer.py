"""Consume a stream batch by batch, until told to stop.

Reads, lands, tells the broker, and calls back when it has caught up, which is where touched
accounts are recomputed. Knows no Kafka: whatever can ``read`` and ``tell_broker`` is a stream.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Protocol

from features.lake.lake import Lake
from features.streaming.offsets import Message, StreamSummary, land, offsets_of

MOST_MESSAGES = 5_000
"""Messages of one batch; a batch is also what is waiting when the last one is done."""

WAIT_SECONDS = 0.2


class Stream(Protocol):
    """Where messages come from."""

    def read(self, *, most: int, wait_seconds: float) -> list[Message]:
        """The next messages; none if none came."""
        ...

    def tell_broker(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """Show how far the lake is."""
        ...

    def is_assigned(self) -> bool:
        """Whether it may bring messages yet: a group takes seconds to deal out its partitions."""
        ...


def consume(
    stream: Stream,
    lake: Lake,
    *,
    group: str,
    now: Callable[[], datetime],
    landed: Callable[[StreamSummary], object] = lambda _: None,
    caught_up: Callable[[], object] = lambda: None,
    idle_seconds: float | None = None,
    elapsed: Callable[[], float] = time.monotonic,
) -> StreamSummary:
    """Land what a stream brings, until ``idle_seconds`` have passed without a message.

    They are counted from when the stream may bring messages: waiting for partitions is not idle.

    Args:
        stream: where messages come from.
        lake: where they go.
        group: whose offsets count.
        now: the moment at which messages are judged; asked once a batch.
        landed: told what became of each batch, once it is on disk.
        caught_up: called at the start, for what an earlier process left undone, and when what was
            waiting is on disk; not while a backlog is read.
        idle_seconds: never stop by itself, by default.
        elapsed: seconds from some fixed moment on.

    Returns:
        What became of all messages.
    """
    total = StreamSummary()
    last = elapsed()
    caught_up()
    in_backlog = False
    while True:
        messages = stream.read(most=MOST_MESSAGES, wait_seconds=WAIT_SECONDS)
        if messages:
            summary = land(lake, messages, group=group, now=now())
            stream.tell_broker(offsets_of(lake, group))
            landed(summary)
            total += summary
            in_backlog = len(messages) == MOST_MESSAGES
            if not in_backlog:
                caught_up()
            last = elapsed()
        elif in_backlog:  # nothing came after a full batch: it was the backlog's end
            in_backlog = False
            caught_up()
        elif not stream.is_assigned():
            last = elapsed()
        elif idle_seconds is not None and elapsed() - last >= idle_seconds:
            caught_up()
            return total
