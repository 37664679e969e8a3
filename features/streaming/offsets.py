"""Turn messages of a broker into events, and store the offsets up to which they were read.

::

    messages ─► those not read before ─► events, quarantine ┐ one manifest,
                                  └────► offsets            ┘ replaced in one step

The offsets are in the manifest of the lake, so that the events of a batch and their offsets take effect
in one step: if a process is killed, no message is lost and none counts twice. ``kafka.py`` reads the
messages.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from features.events.bounds import Bounds
from features.ingest.json_events import draft_rows
from features.ingest.readers import json_lines
from features.lake.lake import Lake
from features.lake.summary import FileSummary

SOURCE = "kafka"
"""The source name of events from a stream; its tables are the topics."""

WAIT_SECONDS = 60.0
"""A batch waits this long for another process to finish writing."""


@dataclass(frozen=True, kw_only=True)
class Message:
    """One message of a stream, and its position there."""

    topic: str
    partition: int
    offset: int
    value: bytes | None

    @property
    def stream(self) -> str:
        """``topic/partition``, in which its offset counts."""
        return f"{self.topic}/{self.partition}"


@dataclass(frozen=True, kw_only=True)
class StreamSummary:
    """What happened to messages: each is in exactly one of the counts besides ``read``."""

    read: int = 0
    landed: int = 0
    duplicates: int = 0
    corrected: int = 0
    quarantined: int = 0
    left_out: int = 0
    read_before: int = 0

    def __add__(self, other: StreamSummary) -> StreamSummary:
        return StreamSummary(
            **{name: count + getattr(other, name) for name, count in vars(self).items()}
        )

    def line(self) -> str:
        """The counts as a sum in words."""
        words = {
            "landed": self.landed,
            "duplicates": self.duplicates,
            "corrections": self.corrected,
            "quarantined": self.quarantined,
            "left out": self.left_out,
            "read before": self.read_before,
        }
        said = " + ".join(f"{count:,} {word}" for word, count in words.items() if count)
        return f"{self.read:,} messages: {said or 'nothing'}"


def ingest_messages(
    lake: Lake,
    messages: Sequence[Message],
    *,
    group: str,
    now: datetime,
    bounds: Bounds | None = None,
) -> StreamSummary:
    """Store the events of messages, and the offsets up to which their streams were read.

    A message is one event as JSON, in the form of ``POST /v1/events``. Messages that this group has
    read before are skipped. A row without ``recorded_at`` is recorded ``now``. A row without
    ``event_id`` gets an id of its position and content, so that the size of batches changes nothing.

    Raises:
        WorkspaceBusyError: another process is writing, longer than ``WAIT_SECONDS``.
    """
    if not messages:
        return StreamSummary()
    with lake.batch(wait_seconds=WAIT_SECONDS, bounds=bounds) as batch:
        known = batch.offsets
        new = [
            message
            for message in messages
            if message.offset >= known.get(f"{group}/{message.stream}", 0)
        ]
        before = StreamSummary(read=len(messages) - len(new), read_before=len(messages) - len(new))
        if not new:
            return before
        batch.advance_offsets(_next_offsets(new, group))
        places = {
            line: (message.stream, message.offset) for line, message in enumerate(new, start=1)
        }
        rows, broken = json_lines(b"\n".join(_one_line(message.value) for message in new))
        draft, raw = draft_rows(rows, now=now)
        own = pl.Series([_place_id(new[line - 1]) for line, _ in rows], dtype=pl.String)
        draft = draft.with_columns(pl.coalesce("event_id", own))
        summary = batch.add_file(
            draft,
            raw=raw,
            source=SOURCE,
            table=new[0].topic,
            file=new[0].topic,
            now=now,
            complete_until=None,
            broken=tuple(broken),
            places=places,
        )
    return before + _stream_summary(summary)


def read_offsets(lake: Lake, group: str) -> dict[tuple[str, int], int]:
    """(topic, partition) to the first message that the group has not read."""
    found = {}
    for name, offset in lake.manifest.offsets.items():
        if name.startswith(f"{group}/"):
            topic, partition = name.removeprefix(f"{group}/").rsplit("/", 1)
            found[topic, int(partition)] = offset
    return found


def stream_clock(lake: Lake) -> datetime | None:
    """The newest moment that a stream has recorded; None before the first.

    While the manifest is damaged, it is that of the last one that this process read.

    Raises:
        LakeDamagedError: the manifest is damaged, and this process has read no good one.
    """
    return max(
        (
            state.last_recorded_at
            for name, state in lake.last_good_manifest.sources.items()
            if name.startswith(f"{SOURCE}.") and state.last_recorded_at is not None
        ),
        default=None,
    )


def _next_offsets(messages: Iterable[Message], group: str) -> Mapping[str, int]:
    offsets: dict[str, int] = {}
    for message in messages:
        name = f"{group}/{message.stream}"
        offsets[name] = max(offsets.get(name, 0), message.offset + 1)
    return offsets


def _place_id(message: Message) -> str:
    text = f"{message.stream}/{message.offset}/".encode() + (message.value or b"")
    return f"kafka-{hashlib.blake2b(text, digest_size=16).hexdigest()}"


def _one_line(value: bytes | None) -> bytes:
    """The JSON text on one line: line breaks occur only between tokens, where a space is the same."""
    line = (value or b"").replace(b"\n", b" ")
    return line if line.strip() else b"null"


def _stream_summary(summary: FileSummary) -> StreamSummary:
    return StreamSummary(
        read=summary.read,
        landed=summary.landed,
        duplicates=summary.duplicates,
        corrected=summary.corrected,
        quarantined=sum(summary.quarantined.values()),
        left_out=sum(summary.left_out.values()),
    )
