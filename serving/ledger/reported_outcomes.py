"""Outcomes of decisions: what was done and what followed, on which clock, and who may report it.

Functions here take part in a transaction of the ledger.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from serving.ledger.autonomy import GUARDRAIL, SUGGESTED, level_now
from serving.ledger.database.chain import insert_linked
from serving.ledger.database.tables import CHAIN, CLAIM_RECORDS, DECISIONS, OUTCOMES
from serving.ledger.database.timestamps import as_moment, as_text, service_time
from serving.ledger.errors import (
    ContradictingOutcomeError,
    DecisionExpiredError,
    NotYoursError,
    OutcomeBeforeDecisionError,
    UnknownDecisionError,
)
from serving.ledger.kill_switch import Control, Scope, add_control, read_controls

OutcomeKind = Literal["executed", "declined", "outcome"]

Clock = Literal["quick", "slow"]

RESULTS: Mapping[str, Clock] = {
    "accepted": "quick",
    "no_answer": "quick",
    "usage_moved": "quick",
    "usage_fell": "quick",
    "usage_steady": "quick",
    "complained": "quick",
    "opted_out": "quick",
    "unsubscribed": "quick",
    "harmed": "quick",
    "renewed": "slow",
    "grew": "slow",
    "shrank": "slow",
    "left": "slow",
}
"""Results that learning knows, and on which clock they come: within days of an action, or at the
end of a contract. Other results are stored as they were reported."""

OPPOSITES: Mapping[str, OutcomeKind] = {"executed": "declined", "declined": "executed"}
"""Kinds of outcome that cannot both be true of one decision."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A number of before an action and the same of after it: of what, in which windows, by what."""

    before: int
    after: int
    unit: str
    window_days: int  # of each window
    source: str


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """An outcome of a decision: it was executed, declined, or had a result."""

    outcome_id: str
    decision_id: str
    account_id: str
    action: str
    kind: OutcomeKind
    occurred_at: datetime
    received_at: datetime
    result: str | None = None
    reason: str | None = None
    by: str | None = None
    clock: Clock | None = None
    measure: Measure | None = None
    subjects: tuple[str, ...] = ()  # actions that were done with it, in the same conversation


@dataclass(frozen=True, kw_only=True)
class NewOutcome:
    """An outcome as it was reported, before it has an id."""

    kind: OutcomeKind
    occurred_at: datetime | None = None  # None: the moment it was received
    result: str | None = None
    reason: str | None = None
    by: str | None = None
    measure: Measure | None = None


def decision_row(connection: Connection, decision_id: str) -> sa.Row[Any]:
    """A stored decision as its row.

    Raises:
        UnknownDecisionError: no such decision.
    """
    row = connection.execute(
        sa.select(DECISIONS).where(DECISIONS.c.decision_id == decision_id)
    ).one_or_none()
    if row is None:
        raise UnknownDecisionError("No decision with this id was stored.")
    return row


def asked_at(decided: sa.Row[Any]) -> datetime:
    """The moment a decision was asked for, by the clock of the service where that was stored."""
    return as_moment(decided.asked_at or decided.decided_at)


def store_outcome(
    connection: Connection,
    decided: sa.Row[Any],
    new: NewOutcome,
    *,
    outcome_id: str,
    received_at: datetime,
    heard_at: datetime | None = None,
) -> None:
    """Write an outcome in a transaction that has the writers' lock.

    ``received_at`` is on the time of the data, ``heard_at`` on the clock of the service. Where
    nobody says when it happened, it is when it was received, and never before the decision: a
    clock that ran backwards is no report of the past.

    Raises:
        ContradictingOutcomeError: it was carried out and is now declined, or the reverse.
        OutcomeBeforeDecisionError: it is said to have happened before it was decided.
    """
    opposite = OPPOSITES.get(new.kind)
    before = connection.execute(
        sa.select(OUTCOMES.c.received_at)
        .where(OUTCOMES.c.decision_id == decided.decision_id, OUTCOMES.c.kind == opposite)
        .order_by(OUTCOMES.c.received_at)
    ).first()
    if before is not None:
        raise ContradictingOutcomeError(
            f"This decision was reported as {opposite} on {before.received_at[:10]}, so "
            f"it cannot be {new.kind} as well."
        )
    decided_at = as_moment(decided.decided_at)
    if new.occurred_at is not None and new.occurred_at < decided_at:
        raise OutcomeBeforeDecisionError(
            f"occurred_at is {new.occurred_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC, before the "
            f"decision of {decided_at:%Y-%m-%d %H:%M:%S} UTC."
        )
    received_at = max(received_at, decided_at)
    insert_linked(
        connection,
        OUTCOMES,
        {
            "outcome_id": outcome_id,
            "decision_id": decided.decision_id,
            "kind": new.kind,
            "occurred_at": as_text(new.occurred_at or received_at),
            "received_at": as_text(received_at),
            "result": new.result,
            "reason": new.reason,
            "by": new.by,
            "clock": clock_of(new),
            "measure": None
            if new.measure is None
            else json.dumps(vars(new.measure), sort_keys=True),
            "heard_at": None if heard_at is None else as_text(heard_at),
        },
    )
    if new.result in GUARDRAIL.results:
        lower_after_harm(connection, decided, at=heard_at or received_at)


def clock_of(new: NewOutcome) -> Clock | None:
    """On which clock an outcome comes; None where its result is in nobody's table.

    >>> clock_of(NewOutcome(kind="executed")), clock_of(NewOutcome(kind="outcome", result="left"))
    ('quick', 'slow')
    """
    return "quick" if new.kind in OPPOSITES else RESULTS.get(new.result or "")


@dataclass(frozen=True, kw_only=True)
class ExecutedDecision:
    """A decision that was carried out, and when."""

    decision_id: str
    account_id: str
    at: datetime


def executed_without_slow_outcome(connection: Connection) -> tuple[ExecutedDecision, ...]:
    """Decisions that were carried out and have no outcome on the slow clock yet."""
    slow = sa.alias(OUTCOMES)
    rows = connection.execute(
        outcomes_with_decisions()
        .where(
            OUTCOMES.c.kind == "executed",
            ~sa.exists().where(
                slow.c.decision_id == OUTCOMES.c.decision_id, slow.c.clock == "slow"
            ),
        )
        .order_by(OUTCOMES.c.occurred_at, OUTCOMES.c.outcome_id)
    )
    return _first_of_each(rows)


def executed_without_measure(connection: Connection) -> tuple[ExecutedDecision, ...]:
    """Decisions that were carried out and of which nothing was measured yet."""
    measured = sa.alias(OUTCOMES)
    rows = connection.execute(
        outcomes_with_decisions()
        .where(
            OUTCOMES.c.kind == "executed",
            ~sa.exists().where(
                measured.c.decision_id == OUTCOMES.c.decision_id, measured.c.measure.is_not(None)
            ),
        )
        .order_by(OUTCOMES.c.occurred_at, OUTCOMES.c.outcome_id)
    )
    return _first_of_each(rows)


def _first_of_each(rows: Iterable[sa.Row[Any]]) -> tuple[ExecutedDecision, ...]:
    found: dict[str, ExecutedDecision] = {}
    for row in rows:
        found.setdefault(
            row.decision_id,
            ExecutedDecision(
                decision_id=row.decision_id,
                account_id=row.account_id,
                at=as_moment(row.occurred_at),
            ),
        )
    return tuple(found.values())


def lower_after_harm(connection: Connection, decided: sa.Row[Any], *, at: datetime) -> None:
    """Lower the level of a decision's action in its segment where a guardrail is broken."""
    same = (
        DECISIONS.c.action == decided.action,
        DECISIONS.c.segment.is_not_distinct_from(decided.segment),
    )
    failed = (
        sa.select(CHAIN.c.place, sa.literal(1).label("harm"))
        .join(
            CLAIM_RECORDS,
            sa.and_(
                CHAIN.c.table == CLAIM_RECORDS.name, CHAIN.c.record_id == CLAIM_RECORDS.c.record_id
            ),
        )
        .join(DECISIONS, DECISIONS.c.decision_id == CLAIM_RECORDS.c.decision_id)
        .where(CLAIM_RECORDS.c.kind == "failed", *same)
    )
    is_harm = OUTCOMES.c.result.in_(sorted(GUARDRAIL.results))
    reported = (
        sa.select(CHAIN.c.place, sa.case((is_harm, 1), else_=0).label("harm"))
        .join(
            OUTCOMES,
            sa.and_(CHAIN.c.table == OUTCOMES.name, CHAIN.c.record_id == OUTCOMES.c.outcome_id),
        )
        .join(DECISIONS, DECISIONS.c.decision_id == OUTCOMES.c.decision_id)
        .where(sa.or_(OUTCOMES.c.kind == "executed", is_harm), *same)
    )
    newest = sa.union_all(failed, reported).order_by(sa.desc("place")).limit(GUARDRAIL.window)
    harms = [row.harm for row in connection.execute(newest)]
    broken = GUARDRAIL.breach(sum(harms), len(harms))
    scope = Scope(action=decided.action, segment=decided.segment)
    if broken is not None and level_now(read_controls(connection), scope) > SUGGESTED:
        add_control(
            connection,
            Control(
                kind="level",
                scope=scope,
                value=SUGGESTED,
                by="keepwell",
                at=at,
                reason=f"A guardrail was broken: {broken}.",
            ),
        )


def check_still_free(
    connection: Connection,
    decided: sa.Row[Any],
    new: NewOutcome,
    clock: datetime,
    reporter: str | None,
) -> None:
    """Check that the reporter may report: nobody else holds the decision, and it was valid then.

    Who says when it was done is held to the time of the data, in which the decision was as long
    valid as by the clock.
    """
    at = service_time(connection, clock)
    held = connection.execute(
        sa.select(CLAIM_RECORDS.c.by, CLAIM_RECORDS.c.kind, CLAIM_RECORDS.c.lease_until)
        .join(
            CHAIN,
            sa.and_(
                CHAIN.c.table == CLAIM_RECORDS.name, CHAIN.c.record_id == CLAIM_RECORDS.c.record_id
            ),
        )
        .where(CLAIM_RECORDS.c.decision_id == decided.decision_id)
        .order_by(CHAIN.c.place.desc())
    ).first()
    if (
        held is not None
        and held.by != reporter
        and (held.kind == "completed" or as_moment(held.lease_until) > at)
    ):
        raise NotYoursError(f"This decision is {held.by}'s, who claimed it.")
    if new.kind != "executed" or decided.valid_until is None:
        return
    until = as_moment(decided.valid_until)
    passed = (
        at - asked_at(decided)
        if new.occurred_at is None
        else new.occurred_at - as_moment(decided.decided_at)
    )
    if passed > until - asked_at(decided):
        raise DecisionExpiredError(
            f"This decision was valid until {until:%Y-%m-%d %H:%M} UTC, before it was carried out."
        )


def request_digest(decision_id: str, new: NewOutcome, action: str | None = None) -> str:
    """The hash by which a repeated request is known."""
    fields = {
        name: value for name, value in asdict(new).items() if name != "measure" or value is not None
    }  # older keys were stored without it
    parts = [decision_id, fields, *([] if action is None else [action])]
    content = json.dumps(parts, sort_keys=True, default=as_text)
    return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()


def outcomes_with_decisions() -> sa.Select[Any]:
    """Every outcome with the account and the action of its decision."""
    return sa.select(
        OUTCOMES, DECISIONS.c.account_id, DECISIONS.c.action, DECISIONS.c.subjects
    ).join(DECISIONS, DECISIONS.c.decision_id == OUTCOMES.c.decision_id)


def as_outcome(row: sa.Row[Any]) -> Outcome:
    """A row of those as an outcome."""
    return Outcome(
        outcome_id=row.outcome_id,
        decision_id=row.decision_id,
        account_id=row.account_id,
        action=row.action,
        kind=row.kind,
        occurred_at=as_moment(row.occurred_at),
        received_at=as_moment(row.received_at),
        result=row.result,
        reason=row.reason,
        by=row.by,
        clock=row.clock,
        measure=None if row.measure is None else Measure(**json.loads(row.measure)),
        subjects=() if row.subjects is None else tuple(json.loads(row.subjects)),
    )
