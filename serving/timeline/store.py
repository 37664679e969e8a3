"""An account's timeline as a person reads it, and as Keepwell writes to it.

Reads events from the lake with the one rule of visibility, puts them into words by day, and appends
decisions and outcomes. A decision or an outcome is first in the ledger and then here; what a stopped
process left behind is written at the next chance, once.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal

import polars as pl

from features.events.schema import KINDS, Event, events_frame, properties_text
from features.events.visibility import visible_events
from features.lake.lake import Lake
from features.lake.summary import IngestSummary
from features.streaming.ingest_worker import IngestWorker
from features.streaming.refresh import seen_as_of
from features.workspace import Workspace
from features.workspace_files import WorkspaceBusyError
from serving.ledger.feedback import Feedback
from serving.ledger.ledger import Decision, DecisionSummary, Ledger, Outcome
from serving.problems import BusyError
from serving.scoring.score import SourceFreshness
from serving.text_format import number, plain, plural
from serving.timeline.assignment_event import drawn_arm
from serving.timeline.event_cache import EventCache
from serving.timeline.sentences import judged_sentence

SOURCE = "keepwell"
SENT = "api"
WAIT_SECONDS = 5.0
"""A write waits this long for another process to finish writing."""

MOST_EVENTS = 5_000

Status = Literal["on_timeline", "refused", "left_out"]
STATUS: Mapping[str, Status] = {"refused": "refused", "left_out": "left_out"}
"""The status that a sender is told for a row; any other row is on the timeline."""

SENTENCES: Mapping[str, str] = {
    "user.session": "Logged in",
    "feature.used": "Used {name}",
    "integration.state": "Integration {name}: {state}",
    "error.raised": "Met an error ({name})",
    "job.retry": "A job had to be retried ({name})",
    "billing.invoice": "Invoice {status}",
    "ticket.created": "Opened a support ticket ({topic})",
    "ticket.updated": "Support ticket: {change}",
    "ticket.resolved": "Support ticket resolved",
    "nudge.sent": "Was shown a nudge ({name})",
    "nudge.acted": "Followed a nudge ({name})",
    "recipe.completed": "Finished a guided recipe ({name})",
    "deployment.published": "Published a deployment",
    "config.changed": "Changed the configuration ({name})",
    "account.updated": "Account details were updated",
    "contract.started": "Contract started on the plan {price_plan}",
    "contract.changed": "Contract changed to the plan {price_plan}",
    "contract.renewed": "Contract renewed on the plan {price_plan}",
    "contract.paused": "Contract paused ({reason})",
    "contract.resumed": "Contract resumed",
    "contract.cancelled": "Contract ended without renewal ({reason})",
    "trial.started": "Trial started",
    "trial.ended": "Trial ended ({result})",
    "cancellation.intended": "Said they mean to leave ({reason})",
    "usage.metered": "Metered use ({unit})",
    "usage.limit_reached": "Reached a limit of the plan ({unit})",
    "survey.answered": "Answered the {survey} survey",
    "sponsor.contacted": "The {role} was in touch",
    "contact.changed": "A {role} {state}",
    "goal.measured": "Goal measured: {kpi}",
    "training.completed": "Somebody was trained ({name})",
    "onboarding.step_completed": "Completed the onboarding step {step}",
    "milestone.updated": "Milestone {name}: {status}",
    "review.held": "Business review held",
    "advocacy.updated": "Advocacy ({type}): {status}",
    "consent.updated": "Consent for {channel}: {state}",
    "feature.requested": "Asked for a feature ({name})",
    "community.posted": "Posted in the community",
    "incident.opened": "An incident began that the account felt",
    "incident.communicated": "Was told of an incident",
    "incident.resolved": "The incident was over",
    "alert.raised": "Alert raised: {alert}",
    "alert.closed": "Alert closed: {alert}",
    "action.decided": "Keepwell recommended {action}",
    "action.executed": "Carried out: {action}",
    "action.declined": "Decided against {action} ({reason})",
    "action.outcome": "Outcome of {action}: {outcome}",
    "action.judged": "{by} judged {action}",
}
"""Kind to the words a person reads; a property that an event lacks leaves its words out."""

ARM_SENTENCES: Mapping[str, str] = {
    "held_out": "Drawn by lot to be left alone, so that it can be measured what our actions do",
    "not_offered": "Not drawn by lot for {action} this week",
}
"""The sentence where chance decided that nothing is done."""

QUANTITIES: Mapping[str, str] = {
    "billing.invoice": "{value} {currency}",
    "contract.started": "{value} {currency} a month",
    "contract.changed": "{value} {currency} a month",
    "contract.renewed": "{value} {currency} a month",
    "contract.resumed": "{value} {currency} a month",
    "survey.answered": "answer {value}",
    "ticket.created": "severity {value}, 1 is worst",
    "ticket.resolved": "after {value} hours",
    "incident.resolved": "after {value} hours",
    "review.held": "rated {value} of 10",
    "usage.metered": "{value} units",
    "goal.measured": "now {value}",
}
"""Kind to the words for its quantity, where a person wants to read it."""

MEASURED: Mapping[str, str] = {
    "usage_moved": "use rose",
    "usage_fell": "use fell",
    "usage_steady": "use stayed about as it was",
}
"""Sentences about what was measured after an action."""

ROUTINE = frozenset({"user.session", "feature.used", "usage.metered", "job.retry"})
"""Kinds that happen all the time: a page adds them up per day."""


@dataclass(frozen=True, kw_only=True)
class TimelineEvent:
    """One event of a timeline, or several equal ones of one day."""

    kind: str
    occurred_at: datetime
    recorded_at: datetime
    text: str
    count: int = 1
    quantity: float | None = None
    event_id: str | None = None
    properties: Mapping[str, str | float | bool] | None = None


@dataclass(frozen=True, kw_only=True)
class TimelineDay:
    """The events of one day, in words."""

    on: date
    notable: tuple[TimelineEvent, ...]
    routine: tuple[TimelineEvent, ...]


@dataclass(frozen=True, kw_only=True)
class WeekOfUse:
    """An account's use of the product in one week that ends on a day."""

    until: date
    uses: int | None  # None: the account was not known yet


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
        self._lake = Lake(workspace.events_dir, workspace.quarantine_dir)
        self._intake = IngestWorker(self._lake)
        self._event_caches: dict[tuple[str, ...], EventCache] = {}

    def seen_as_of(self, now: datetime) -> datetime:
        """The ``as_of`` of questions about the timelines, as of which scores are fresh too."""
        return seen_as_of(now, self._lake.manifest)

    def events(
        self,
        account_id: str,
        *,
        as_of: datetime,
        since: datetime | None = None,
        most: int = MOST_EVENTS,
    ) -> pl.DataFrame:
        """The newest events of an account that were known at ``as_of``, newest first."""
        known = self._lake.as_of(as_of).filter(pl.col("account_id") == account_id)
        if since is not None:
            known = known.filter(pl.col("occurred_at") >= since)
        return (
            known.sort("occurred_at", "recorded_at", "event_id", descending=True)
            .head(most)
            .collect()
        )

    def known_since(self, account_id: str, *, as_of: datetime) -> datetime | None:
        """The time of the first event of an account that was known at ``as_of``."""
        events = self._lake.as_of(as_of).filter(pl.col("account_id") == account_id)
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
        known = self._lake.as_of(as_of)
        own, used = known.filter(pl.col("account_id").is_in(account_ids)), pl.col("kind") == kind
        uses, first_events, first = pl.collect_all(
            [
                own.filter(
                    used, pl.col("occurred_at") >= since, pl.col("occurred_at") < until
                ).select("account_id", "occurred_at", "event_count"),
                own.group_by("account_id").agg(pl.col("occurred_at").min()),
                known.filter(used).select(pl.col("occurred_at").min(), pl.col("recorded_at").max()),
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
        """The moment at which each kind was last recorded."""
        return tuple(
            SourceFreshness(kind=kind, last_recorded_at=at)
            for kind, at in sorted(self._lake.last_recorded().items())
        )

    def receive(self, rows: Sequence[Mapping[str, object]], *, now: datetime) -> ReceivedEvents:
        """Take events that a program sent; what is called on the timeline is on disk.

        Raises:
            BusyError: another process is writing to the workspace.
        """
        with _not_busy():
            summary = self._intake.ingest(rows, now=now, source=SENT, wait_seconds=WAIT_SECONDS)
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
        with _not_busy():
            self._lake.append(
                events_frame(list(events)),
                source=SOURCE,
                file=SOURCE,
                now=now,
                wait_seconds=WAIT_SECONDS,
            )

    def deliver(self, ledger: Ledger, *, now: datetime) -> int:
        """Put on the timeline what the ledger holds and the timeline lacks; how many it was.

        Repeating it changes nothing: each record has its own event id.
        """
        decisions, outcomes, feedback = ledger.undelivered()
        events = [
            *map(decided_event, decisions),
            *map(outcome_event, outcomes),
            *map(judged_event, feedback),
        ]
        if events:
            self.append(events, now=now)
            ledger.mark_delivered(
                [d.decision_id for d in decisions]
                + [o.outcome_id for o in outcomes]
                + [one.feedback_id for one in feedback],
                at=now,
            )
        return len(events)


def decided_event(decision: Decision | DecisionSummary) -> Event:
    """A decision as an event: what was recommended, and what chance had to do with it."""
    drawn = drawn_arm(decision)
    return Event(
        event_id=f"decision-{decision.decision_id}",
        account_id=decision.account_id,
        kind="action.decided",
        occurred_at=decision.decided_at,
        recorded_at=decision.decided_at,
        quantity=decision.propensity if drawn is None else drawn.probability,
        properties=properties_text(
            {
                "action": decision.action,
                "decision_id": decision.decision_id,
                **({"chance": "none"} if drawn is None else drawn.properties),
            }
        ),
    )


def outcome_event(outcome: Outcome) -> Event:
    """An outcome as an event."""
    words: dict[str, str | int | None] = {
        "action": outcome.action,
        "decision_id": outcome.decision_id,
    }
    quantity: float | None = None
    if outcome.kind == "executed":
        words["by"] = outcome.by
        words["subjects"] = " ".join(outcome.subjects) or None
    elif outcome.kind == "declined":
        words["reason"] = outcome.reason
    else:
        words["outcome"] = outcome.result
        words["clock"] = outcome.clock
        if outcome.measure is not None:
            words.update(vars(outcome.measure))
            quantity = float(outcome.measure.after - outcome.measure.before)
    return Event(
        event_id=f"outcome-{outcome.outcome_id}",
        account_id=outcome.account_id,
        kind=f"action.{outcome.kind}",
        occurred_at=outcome.occurred_at,
        recorded_at=max(outcome.received_at, outcome.occurred_at),
        quantity=quantity,
        properties=properties_text(words),
    )


def judged_event(feedback: Feedback) -> Event:
    """Feedback on a recommendation as an event."""
    return Event(
        event_id=f"feedback-{feedback.feedback_id}",
        account_id=feedback.account_id,
        kind="action.judged",
        occurred_at=feedback.at,
        recorded_at=feedback.at,
        properties=properties_text(
            {
                "action": feedback.action,
                "decision_id": feedback.decision_id,
                "verdict": feedback.verdict,
                "reason": feedback.reason,
                "by": feedback.by,
                "until": feedback.snooze_until.isoformat() if feedback.snooze_until else None,
                "heard_at": feedback.heard_at.isoformat() if feedback.heard_at else None,
            }
        ),
    )


def describe_events(events: pl.DataFrame, *, currency: str) -> tuple[TimelineEvent, ...]:
    """Every event with its sentence, in the order given."""
    return tuple(
        TimelineEvent(
            kind=row["kind"],
            occurred_at=row["occurred_at"],
            recorded_at=row["recorded_at"],
            text=sentence(row["kind"], json.loads(row["properties"]), row["quantity"], currency),
            count=row["event_count"],
            quantity=row["quantity"],
            event_id=row["event_id"],
            properties=json.loads(row["properties"]),
        )
        for row in events.iter_rows(named=True)
    )


def group_by_day(events: Sequence[TimelineEvent], *, most_days: int) -> tuple[TimelineDay, ...]:
    """The newest days; equal events of a day are one line with a count."""
    days: dict[date, list[TimelineEvent]] = defaultdict(list)
    for event in events:
        days[event.occurred_at.astimezone(UTC).date()].append(event)
    return tuple(_day(on, days[on]) for on in sorted(days, reverse=True)[:most_days])


def weeks_of_use(
    events: pl.DataFrame, *, as_of: datetime, weeks: int, known_since: datetime | None
) -> tuple[WeekOfUse, ...]:
    """Uses of the product in each of the last weeks, oldest first.

    A week that ended before anything was known of the account has no number, not zero.
    """
    used = events.filter(pl.col("kind").is_in(["feature.used", "user.session"]))
    counts: Counter[int] = Counter()
    for at, count in used.select("occurred_at", "event_count").iter_rows():
        counts[(as_of - at) // timedelta(days=7)] += count
    ends = [(week, as_of - timedelta(days=7 * week)) for week in range(weeks - 1, -1, -1)]
    return tuple(
        WeekOfUse(
            until=end.date(),
            uses=counts[week] if known_since is not None and known_since < end else None,
        )
        for week, end in ends
    )


def sentence(
    kind: str, properties: Mapping[str, str | float | bool], quantity: float | None, currency: str
) -> str:
    """An event in words.

    >>> sentence("billing.invoice", {"status": "late"}, 120.0, "USD")
    'Invoice late: 120 USD'
    >>> sentence("feature.used", {}, None, "USD")
    'Used the product'
    >>> sentence("contract.cancelled", {}, None, "USD")
    'Contract ended without renewal'
    """
    if kind == "feature.used" and "name" not in properties:
        return "Used the product"
    if kind == "action.outcome" and "window_days" in properties:
        return measured_sentence(properties)
    if kind == "action.judged" and "verdict" in properties:
        return judged_sentence(properties)
    pattern = ARM_SENTENCES.get(str(properties.get("arm"))) or SENTENCES.get(kind)
    if pattern is None:
        return plain(kind.removeprefix("custom.")).capitalize()
    words = {
        key: plain(value) if isinstance(value, str) else str(value)
        for key, value in properties.items()
    }
    text = pattern.format_map(_Blank(words)).replace("()", "").strip(" :")
    text = " ".join(text.split())
    if quantity is not None and kind in QUANTITIES:
        value = QUANTITIES[kind].format(value=number(quantity), currency=currency)
        text = f"{text}: {value}"
    return text


def measured_sentence(properties: Mapping[str, str | float | bool]) -> str:
    """An outcome that was measured, with unit and windows.

    >>> measured_sentence({"action": "tips_email", "outcome": "usage_moved", "before": 40,
    ...                    "after": 71, "unit": "uses of features", "window_days": 14})
    'After tips email use rose: 71 uses of features in the 14 days after, 40 in the 14 days before'
    """
    days = properties["window_days"]
    what = MEASURED.get(str(properties.get("outcome")), plain(str(properties.get("outcome"))))
    return (
        f"After {plain(str(properties.get('action') or 'an action'))} {what}: "
        f"{properties.get('after')} {properties.get('unit')} in the {days} days after, "
        f"{properties.get('before')} in the {days} days before"
    )


def known_kinds() -> frozenset[str]:
    """The kinds of the table, for the test that each has its words."""
    return frozenset(kind.name for kind in KINDS)


class _Blank(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return ""


def _day(on: date, events: Sequence[TimelineEvent]) -> TimelineDay:
    lines: dict[str, list[TimelineEvent]] = defaultdict(list)
    for event in events:
        lines[event.text].append(event)
    summed = []
    for text, same in lines.items():
        count = sum(event.count for event in same)
        summed.append(
            TimelineEvent(
                kind=same[0].kind,
                occurred_at=same[0].occurred_at,
                recorded_at=same[0].recorded_at,
                text=text if count == 1 else f"{text} ({plural(count, 'time')})",
                count=count,
            )
        )
    notable = tuple(e for e in summed if e.kind not in ROUTINE)
    routine = tuple(sorted((e for e in summed if e.kind in ROUTINE), key=lambda e: -e.count))
    return TimelineDay(on=on, notable=notable, routine=routine)


@contextmanager
def _not_busy() -> Iterator[None]:
    try:
        yield
    except WorkspaceBusyError as error:
        raise BusyError(
            "Others are writing to this workspace, or many events are coming in.",
            headers={"Retry-After": "5"},
        ) from error
