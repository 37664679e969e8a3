"""Declare the kinds of events and the one schema that they share.

Everything Keepwell knows about an account is an event on its timeline. An event says when it
happened (``occurred_at``) and when it became known (``recorded_at``); a feature as of a moment
reads only events with ``recorded_at`` before it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import polars as pl

UTC_INSTANT = pl.Datetime("us", "UTC")

EVENT_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "event_id": pl.String,
    "account_id": pl.String,
    "user_id": pl.String,  # null when the source does not say who
    "kind": pl.String,
    "occurred_at": UTC_INSTANT,
    "recorded_at": UTC_INSTANT,
    "event_count": pl.Int64,  # 1, or more for rows that were already summed
    "user_count": pl.Int64,  # 1, or more for rows that were already summed
    "quantity": pl.Float64,  # what the kind is about; null when it has none
    "properties": pl.String,  # flat JSON object, keys sorted; "{}" when empty
}
"""Column name to Polars type of an event frame, in this order."""

CLOCK_TOLERANCE = timedelta(minutes=5)
"""How far ``recorded_at`` may lie before ``occurred_at``, because two clocks differ. It is then set
to ``occurred_at``."""

LARGEST_QUANTITY = 1e12
"""No quantity is larger, in either direction, of kinds that declare no smaller bound and of which the
tenant says nothing else: so much of any currency is more than a company pays in a month."""

LARGEST_READ = 1e15
"""No setting allows a larger one: sums of as many events as anybody has stay finite, and cents are
still exact. Where an older workspace holds a larger one, it is unknown to features."""

LARGEST_COUNT = 10**12
"""No row stands for more events or users."""

LONGEST_NAME = 200
"""Characters of an account, a user, an id, a kind or the name of a property, at most."""

LONGEST_PROPERTIES = 4_000
"""Characters of all properties of an event together, at most."""

LARGEST_SPAN_SECONDS, LARGEST_SPAN_HOURS, LARGEST_GRADE = 1e9, 1e6, 1e3
"""The same for spans (31 and 114 years), and for grades, answers and severities on any scale."""

EARLIEST_DATE, LATEST_DATE = date(1970, 1, 1), date(2100, 12, 31)
"""An event whose date property (a renewal, a due day) lies outside these is refused; where an older
workspace holds one, the date is unknown."""

DATE_PROPERTIES = ("renewal_on", "due_on")
"""The properties that are dates, in the form YYYY-MM-DD."""

CUSTOM_PREFIX = "custom."
"""A tenant's own kinds start with this."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of event: its dotted name, what its quantity means, which properties it may carry."""

    name: str
    description: str
    quantity: str = ""  # empty: the kind has no quantity
    largest: float = LARGEST_QUANTITY  # of the quantity, in either direction
    properties: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()  # properties without which nothing can read an event of the kind


KINDS: tuple[Kind, ...] = (
    Kind(
        name="user.session",
        description="A person logged in and worked.",
        quantity="length in seconds",
        largest=LARGEST_SPAN_SECONDS,
        properties=("role", "environment"),
    ),
    Kind(
        name="feature.used",
        description="A feature of the product was used.",
        quantity="value of what was done, where it has one",
        properties=("name", "role", "use_case", "environment"),
    ),
    Kind(
        name="integration.state",
        description="An integration connected, failed or went.",
        properties=("name", "state"),
    ),  # state: connected, error, disconnected
    Kind(
        name="error.raised",
        description="The product failed for the account.",
        properties=("name", "severity"),
    ),
    Kind(
        name="job.retry",
        description="A job of the account had to be retried.",
        properties=("name",),
    ),
    Kind(
        name="billing.invoice",
        description="An invoice moved.",
        quantity="amount",
        properties=("invoice_id", "status", "due_on"),
    ),  # status: issued, paid, late, failed
    Kind(
        name="order.placed",
        description="The account bought something, without a contract that says so.",
        quantity="amount",
        properties=("order_id", "items", "channel"),
    ),
    Kind(
        name="ticket.created",
        description="A support ticket was opened.",
        quantity="severity, 1 is worst, 4 mildest",
        largest=LARGEST_GRADE,
        properties=("ticket_id", "topic", "repeat"),
    ),  # repeat: yes, no
    Kind(
        name="ticket.updated",
        description="A first reply, a sentiment, a reopening.",
        quantity="hours to the first reply, or sentiment from -1 to +1",
        largest=LARGEST_SPAN_HOURS,
        properties=("ticket_id", "change"),
    ),  # change: first_reply, sentiment, reopened
    Kind(
        name="ticket.resolved",
        description="A support ticket was closed.",
        quantity="hours from opening to resolution",
        largest=LARGEST_SPAN_HOURS,
        properties=("ticket_id", "severity", "sla_met"),
    ),  # sla_met: yes, no
    Kind(name="nudge.sent", description="A nudge was shown or sent.", properties=("name",)),
    Kind(
        name="nudge.acted", description="Somebody did what a nudge proposed.", properties=("name",)
    ),
    Kind(
        name="recipe.completed", description="A guided recipe was finished.", properties=("name",)
    ),
    Kind(
        name="deployment.published",
        description="The account published a deployment.",
        properties=("environment",),
    ),
    Kind(
        name="config.changed",
        description="The account changed its configuration.",
        properties=("name", "feature_flag"),
    ),
    Kind(
        name="account.updated",
        description="Attributes of the account, as of a moment.",
        properties=(
            "name",
            "segment",
            "icp",
            "use_case",
            "price_plan",
            "service_tier",
            "region",
            "country",
            "channel",
            "industry",
            "csm",
            "parent",
            "time_zone",
            "legal_hold",
        ),
    ),  # an IANA name; legal_hold: yes, no
    Kind(
        name="contract.started",
        description="A contract began.",
        quantity="MRR",
        properties=(
            "price_plan",
            "seats",
            "features_in_plan",
            "unit_limit",
            "billing_months",
            "discount",
            "renewal_on",
            "notice_days",
            "reason",
        ),
    ),
    Kind(
        name="contract.changed",
        description="Plan, seats, MRR or billing changed.",
        quantity="MRR",
        properties=(
            "price_plan",
            "seats",
            "features_in_plan",
            "unit_limit",
            "billing_months",
            "discount",
            "renewal_on",
            "notice_days",
            "reason",
        ),
    ),
    Kind(
        name="contract.renewed",
        description="A contract went on for another period.",
        quantity="MRR",
        properties=(
            "price_plan",
            "seats",
            "features_in_plan",
            "unit_limit",
            "billing_months",
            "discount",
            "renewal_on",
            "notice_days",
            "reason",
        ),
    ),
    Kind(name="contract.paused", description="A contract was paused.", properties=("reason",)),
    Kind(
        name="contract.resumed",
        description="A paused contract went on.",
        quantity="MRR",
        properties=("price_plan", "seats", "renewal_on"),
    ),
    Kind(
        name="contract.cancelled",
        description="A contract ended without renewal.",
        properties=("reason", "would_return"),
    ),
    Kind(name="trial.started", description="A trial began.", properties=("length_days",)),
    Kind(name="trial.ended", description="A trial ended.", properties=("result",)),
    Kind(
        name="cancellation.intended",
        description="The account said it means to leave.",
        properties=("reason",),
    ),
    Kind(
        name="usage.metered",
        description="Metered units were used.",
        quantity="units",
        properties=("unit",),
    ),
    Kind(
        name="usage.limit_reached",
        description="A limit of the plan was reached.",
        properties=("unit",),
    ),
    Kind(
        name="survey.answered",
        description="A survey was answered.",
        quantity="answer",
        largest=LARGEST_GRADE,
        properties=("survey", "scale"),
    ),  # survey: nps (0-10), csat (1-5), ces (1-7)
    Kind(
        name="sponsor.contacted",
        description="A sponsor or champion was in touch.",
        properties=("role", "channel"),
    ),  # role: sponsor, champion
    Kind(
        name="contact.changed",
        description="A sponsor or champion joined or left.",
        properties=("role", "state"),
    ),  # state: joined, left
    Kind(
        name="goal.measured",
        description="A goal of the account was measured.",
        quantity="current value",
        properties=("kpi", "baseline", "target", "reached"),
    ),
    Kind(
        name="training.completed", description="Somebody was trained.", properties=("name", "role")
    ),
    Kind(
        name="onboarding.step_completed",
        description="An onboarding step was completed.",
        properties=("step",),
    ),
    Kind(
        name="milestone.updated",
        description="A milestone of the success plan moved.",
        properties=("name", "status", "due_on"),
    ),
    Kind(
        name="review.held",
        description="A business review took place.",
        quantity="rating from 0 to 10",
        largest=LARGEST_GRADE,
        properties=("type", "renewal_intent"),
    ),
    Kind(
        name="advocacy.updated",
        description="An advocacy activity moved.",
        properties=("type", "status"),
    ),
    Kind(
        name="consent.updated",
        description="Consent to a channel was given or withdrawn.",
        properties=("channel", "state"),
    ),  # state: given, withdrawn
    Kind(
        name="feature.requested",
        description="A feature was asked for.",
        properties=("name", "price_plan", "state"),
    ),  # state: open, answered
    Kind(
        name="community.posted",
        description="Somebody posted in the community.",
        properties=("topic",),
    ),
    Kind(
        name="incident.opened",
        description="An incident began that the account felt.",
        quantity="severity, 1 is worst",
        largest=LARGEST_GRADE,
        properties=("incident_id",),
    ),
    Kind(
        name="incident.communicated",
        description="The account was told of an incident.",
        properties=("incident_id",),
    ),
    Kind(
        name="incident.resolved",
        description="An incident that the account felt was over.",
        quantity="hours from opening to resolution",
        largest=LARGEST_SPAN_HOURS,
        properties=("incident_id",),
    ),
    Kind(name="alert.raised", description="An alert was raised.", properties=("alert",)),
    Kind(
        name="alert.closed",
        description="An alert was closed.",
        properties=("alert", "outcome", "useful"),
    ),
    Kind(
        name="action.decided",
        description="Keepwell, or another system, recommended an action.",
        quantity="propensity of the recommendation; with an arm, that of being offered it",
        largest=1.0,
        properties=("action", "decision_id", "intervention", "arm", "chance", "draw_id"),
    ),  # chance: one of CHANCES; a log of others has none
    Kind(
        name="action.executed",
        description="An action was carried out.",
        properties=("action", "decision_id", "intervention", "by"),
        needed=("action",),
    ),
    Kind(
        name="action.declined",
        description="A person decided against an action.",
        properties=("action", "decision_id", "reason"),
        needed=("action",),
    ),
    Kind(
        name="action.outcome",
        description="What came of an action.",
        quantity="after less before, where it was measured",
        properties=(
            "action",
            "decision_id",
            "outcome",
            "clock",
            "before",
            "after",
            "unit",
            "window_days",
            "source",
        ),
        needed=("action",),
    ),
    Kind(
        name="action.judged",
        description="A person agreed, disagreed or put an action off.",
        properties=("action", "decision_id", "verdict", "reason", "until", "by", "heard_at"),
        needed=("action", "verdict"),
    ),  # until, heard_at: moments in real time, not of the workspace
)

UNTREATED_ARMS = ("control", "holdout", "not_offered", "held_out", "left_alone")
"""Arms of ``action.decided`` that do not receive the action; every other arm does."""

CHANCES = ("none", "between_actions", "last_hours", "holdout", "lottery")
"""Which draw decided in one of Keepwell's own decisions: none, the one between nearly equal actions of
an account, the one for the last hours between nearly equal accounts, the holdout, or a lottery that
somebody asked for. Only the last three have an arm, because there the alternative is to do nothing."""

KIND_NAMES: frozenset[str] = frozenset(kind.name for kind in KINDS)

CONTRACT_TERMS = ("contract.started", "contract.changed", "contract.renewed")
"""The kinds whose quantity is the MRR from then on and whose properties are the terms."""


def is_kind(name: str) -> bool:
    """Whether events of this kind are accepted: a kind of the table, or a tenant's own.

    >>> is_kind("feature.used"), is_kind("custom.pallet_shipped"), is_kind("feature_used")
    (True, True, False)
    """
    return name in KIND_NAMES or (name.startswith(CUSTOM_PREFIX) and len(name) > len(CUSTOM_PREFIX))


PROPERTIES = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False
)
"""One encoder for all rows: ``json.dumps`` makes one each time, which doubles the cost."""


def properties_text(properties: Mapping[str, str | float | int | bool | None]) -> str:
    """A flat property map as canonical JSON: keys sorted, empty values left out.

    >>> properties_text({"role": "admin", "name": "search", "note": None})
    '{"name":"search","role":"admin"}'
    """
    kept = {key: value for key, value in properties.items() if value is not None}
    return PROPERTIES.encode(kept)


@dataclass(frozen=True, kw_only=True)
class Event:
    """One telemetry record, checked: ``recorded_at`` is never before ``occurred_at``.

    Raises:
        ValueError: a time without a zone, or ``recorded_at`` before ``occurred_at``.
    """

    account_id: str
    kind: str
    occurred_at: datetime
    recorded_at: datetime
    event_id: str = ""
    user_id: str | None = None
    event_count: int = 1
    user_count: int = 1
    quantity: float | None = None
    properties: str = "{}"

    def __post_init__(self) -> None:
        for name in ("occurred_at", "recorded_at"):
            if getattr(self, name).utcoffset() is None:
                raise ValueError(f"{name} of {self.kind!r} has no time zone; write it in UTC.")
        if self.recorded_at < self.occurred_at:
            raise ValueError(
                f"{self.kind!r} of account {self.account_id!r} was recorded at {self.recorded_at} "
                f"before it happened at {self.occurred_at}; check the source's clock."
            )


def events_frame(events: list[Event]) -> pl.DataFrame:
    """Events as a frame of ``EVENT_SCHEMA``, one row each, in the order given."""
    rows = [{name: getattr(event, name) for name in EVENT_SCHEMA} for event in events]
    return pl.DataFrame(rows, schema=EVENT_SCHEMA)


LINE = "__line"
"""The position of a row in its file: the line of a text file, the row of a Parquet file, from 1."""

RAW = "__raw"
"""The original text of a row that did not come in columns."""
