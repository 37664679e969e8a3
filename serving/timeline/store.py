"""Timelines of a workspace: read from the lake, written under its lock.

Reads events with the one rule of visibility and appends decisions and outcomes. A decision or an
outcome is first in the ledger and then here; what a stopped process left behind is written at the
next chance, once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import polars as pl

from features.events.schema import Event, events_frame
from features.events.visibility import visible_events
from features.lake.integrity import reading
from features.lake.lake import Lake
from features.lake.manifest import LakeDamagedError
from features.lake.summary import IngestSummary
from features.streaming.ingest_worker import IngestWorker
from features.streaming.refresh import seen_as_of
from features.workspace import Workspace
from features.workspace_files import WorkspaceBusyError
from serving.ledger.ledger import Ledger
from serving.problems import BusyError
from serving.scoring.score import SourceFreshness
from serving.timeline.event_cache import EventCache
from serving.timeline.ledger_events import decided_event, judged_event, outcome_event

SOURCE = "keepwell"
SENT = "api"
WAIT_SECONDS = 5.0
"""A write waits this long for another process to finish writing."""

MOST_EVENTS = 5_000

Status = Literal["on_timeline", "refused", "left_out"]
STATUS: Mapping[str, Status] = {"refused": "refused", "left_out": "left_out"}
"""The status that a sender is told for a row; any other row is on the timeline."""


@dataclass(frozen=True, kw_only=True)
class KnownUse:
    """The known use of some accounts in a span of time, by one kind of event."""

    of_account: Mapping[str, Sequence[tuple[datetime, int]]]  # when, and how often
    account_since: Mapping[str, datetime]  # the first event of any kind
    first: datetime | None  # the first use by anybody; None: nobody's use is known
    recorded_until: datetime | None  # the newest record of a use by anybody


@dataclass(frozen=True, kw_only=True)
class RowResult:
    """The result for one event that was sent."""

    status: Status
    event_id: str | None = None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class ReceivedEvents:
    """The results for the events of one request, in total and one by one."""

    summary: IngestSummary
    rows: tuple[RowResult, ...]


class TimelineStore:
    """Timelines of one workspace: read from the lake, written under its lock."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._lake = Lake(workspace.events_dir, workspace.quarantine_dir)
        self._intake = IngestWorker(self._lake)
        self._event_caches: dict[tuple[str, ...], EventCache] = {}

    def seen_as_of(self, now: datetime) -> datetime:
        """The ``as_of`` of questions about the timelines, as of which scores are fresh too."""
        return seen_as_of(now, self._lake.last_good_manifest)

    def check(self) -> None:
        """See that every file of the timelines is as it was written.

        Raises:
            LakeDamagedError: one is not; what needs it cannot be answered.
        """
        self._lake.check()

    def _known(self, as_of: datetime) -> pl.LazyFrame:
        """The events that were known at ``as_of``, also while the manifest is damaged."""
        return visible_events(self._lake.scan(self._lake.last_good_manifest), as_of)

    def events(
        self,
        account_id: str,
        *,
        as_of: datetime,
        since: datetime | None = None,
        most: int = MOST_EVENTS,
    ) -> pl.DataFrame:
        """The newest events of an account that were known at ``as_of``, newest first."""
        with reading(self._lake.folder):
            known = self._known(as_of).filter(pl.col("account_id") == account_id)
            if since is not None:
                known = known.filter(pl.col("occurred_at") >= since)
            return (
                known.sort("occurred_at", "recorded_at", "event_id", descending=True)
                .head(most)
                .collect()
            )

    def known_since(self, account_id: str, *, as_of: datetime) -> datetime | None:
        """The time of the first event of an account that was known at ``as_of``."""
        with reading(self._lake.folder):
            events = self._known(as_of).filter(pl.col("account_id") == account_id)
            first: datetime | None = events.select(pl.col("occurred_at").min()).collect().item()
        return first

    def known_use(
        self,
        kind: str,
        *,
        account_ids: Sequence[str],
        since: datetime,
        until: datetime,
        as_of: datetime,
    ) -> KnownUse:
        """The uses of these accounts in a half-open span, as known at ``as_of``."""
        used = pl.col("kind") == kind
        with reading(self._lake.folder):
            known = self._known(as_of)
            own = known.filter(pl.col("account_id").is_in(account_ids))
            uses, first_events, first = pl.collect_all(
                [
                    own.filter(
                        used, pl.col("occurred_at") >= since, pl.col("occurred_at") < until
                    ).select("account_id", "occurred_at", "event_count"),
                    own.group_by("account_id").agg(pl.col("occurred_at").min()),
                    known.filter(used).select(
                        pl.col("occurred_at").min(), pl.col("recorded_at").max()
                    ),
                ]
            )
        of_account: dict[str, list[tuple[datetime, int]]] = {}
        for account_id, at, count in uses.iter_rows():
            of_account.setdefault(account_id, []).append((at, count))
        return KnownUse(
            of_account=of_account,
            account_since=dict(first_events.iter_rows()),
            first=first["occurred_at"].item(),
            recorded_until=first["recorded_at"].item(),
        )

    def of_kinds(
        self, kinds: Sequence[str], *, account_ids: Sequence[str], as_of: datetime
    ) -> pl.DataFrame:
        """The events of some kinds of some accounts that were known at ``as_of``."""
        return visible_events(self.event_cache(kinds).events(account_ids), as_of)

    def event_cache(self, kinds: Sequence[str]) -> EventCache:
        """The events of some kinds, in memory."""
        return self._event_caches.setdefault(tuple(kinds), EventCache(self._lake, kinds))

    def freshness(self) -> tuple[SourceFreshness, ...]:
        """The moment at which each kind was last recorded; none while that cannot be read."""
        try:
            newest = self._lake.last_good_manifest.last_recorded
        except LakeDamagedError:
            return ()
        return tuple(
            SourceFreshness(kind=kind, last_recorded_at=at) for kind, at in sorted(newest.items())
        )

    def receive(self, rows: Sequence[Mapping[str, object]], *, now: datetime) -> ReceivedEvents:
        """Take events that a program sent; what is called on the timeline is on disk.

        Raises:
            BusyError: another process is writing to the workspace.
        """
        with _not_busy():
            summary = self._intake.ingest(
                rows,
                now=now,
                source=SENT,
                wait_seconds=WAIT_SECONDS,
                bounds=self._workspace.settings.bounds,
            )
        [received] = summary.files
        results = {
            fate.line: RowResult(
                status=STATUS.get(fate.became, "on_timeline"),
                event_id=fate.event_id,
                reason=fate.reason,
            )
            for fate in received.fates
        }
        return ReceivedEvents(
            summary=summary, rows=tuple(results[n] for n in range(1, len(rows) + 1))
        )

    def close(self) -> None:
        """End the process that takes in large batches, if there is one."""
        self._intake.close()

    def append(self, events: Sequence[Event], *, now: datetime) -> None:
        """Write events; they are on disk when this returns.

        Raises:
            BusyError: another process is writing to the workspace.
        """
        self._append(events_frame(list(events)), now=now)

    def deliver(self, ledger: Ledger, *, now: datetime) -> int:
        """Put on the timeline what the ledger holds and the timeline lacks; how many it was.

        Repeating it changes nothing: each record has its own event id.
        """
        if not any(ledger.undelivered()):
            return 0
        read: list[str] = []

        def events() -> pl.DataFrame:
            """Read while nobody else writes: a person who is erased meanwhile does not come back."""
            decisions, outcomes, feedback = ledger.undelivered()
            read.extend(d.decision_id for d in decisions)
            read.extend(o.outcome_id for o in outcomes)
            read.extend(one.feedback_id for one in feedback)
            return events_frame(
                [
                    *map(decided_event, decisions),
                    *map(outcome_event, outcomes),
                    *map(judged_event, feedback),
                ]
            )

        self._append(events, now=now)
        ledger.mark_delivered(read, at=now)
        return len(read)

    def _append(self, events: pl.DataFrame | Callable[[], pl.DataFrame], *, now: datetime) -> None:
        with _not_busy():
            self._lake.append(
                events, source=SOURCE, file=SOURCE, now=now, wait_seconds=WAIT_SECONDS
            )


@contextmanager
def _not_busy() -> Iterator[None]:
    try:
        yield
    except WorkspaceBusyError as error:
        raise BusyError(
            "Others are writing to this workspace, or many events are coming in.",
            headers={"Retry-After": "5"},
        ) from error
