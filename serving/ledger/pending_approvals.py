"""Decisions that wait for a person, who approves them or vetoes them in time, and what was answered.

An answer is a verdict, a claim that holds, or the word that it was done or declined. It answers every
decision on the same action of the account that was asked for before it, whoever asked: an older one
does not wait again because a newer one was approved. Looks at the newest decisions only: an older
one is no longer valid, or so many wait that no person reads them all. The rules of approving are in
``serving.ledger.approvals``.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from experiments.policy.recommend import DO_NOTHING
from registry.playbook.playbook import load_playbook
from serving.ledger.autonomy import APPROVED_ONLY, VETO_WINDOW, ceiling, level_now
from serving.ledger.database.database import LedgerDatabase
from serving.ledger.database.tables import (
    APPROVALS,
    CHAIN,
    CLAIM_RECORDS,
    DECISIONS,
    OUTCOMES,
)
from serving.ledger.database.timestamps import as_moment
from serving.ledger.kill_switch import Scope, read_controls
from serving.ledger.ranked_actions import bound_of
from serving.ledger.reported_outcomes import asked_at

NEWEST = 5_000
"""So many of the newest decisions are looked at."""

Answer = Literal["approved", "rejected", "claimed", "executed", "declined"]


@dataclass(frozen=True, kw_only=True)
class PendingDecision:
    """A decision that waits: for an approval, or until nobody can veto it any more."""

    decision_id: str
    account_id: str
    action: str
    expected_value: float
    currency: str
    asked_by: str | None
    asked_at: datetime
    valid_until: datetime
    goes_ahead_at: datetime | None  # None: not before somebody approved it


@dataclass(frozen=True, kw_only=True)
class DecisionAnswer:
    """The newest answer to the decisions on one action of an account."""

    answer: Answer
    by: str | None
    at: datetime
    until: datetime  # how long the decision is valid, or the claim holds
    place: int  # in the chain: decisions before it are answered


def pending_decisions(
    database: LedgerDatabase, *, now: datetime, accounts: Collection[str]
) -> tuple[PendingDecision, ...]:
    """The decisions that wait now about these accounts, highest expected value first.

    Of several decisions on the same action for an account by the same proposer only the newest is
    there; what is stopped, answered or no longer valid is not.

    Args:
        database: the ledger's.
        now: by the clock of the service.
        accounts: those that are reached.

    Raises:
        LedgerUnreachableError: the ledger cannot be reached.
    """
    columns = [c for c in DECISIONS.c if c.name not in ("eligible", "withheld", "inputs")]
    wanted: sa.Select[Any] = (
        sa.select(*columns, CHAIN.c.place)
        .join(CHAIN, _linked(DECISIONS, DECISIONS.c.decision_id))
        .where(
            DECISIONS.c.action != DO_NOTHING,
            DECISIONS.c.autonomy.is_not(None),
            *_about(accounts),
        )
    )
    found: dict[tuple[str, str, str | None], PendingDecision] = {}
    with database.reading() as connection:
        controls = read_controls(connection)
        answers = _answers(connection, now=now, accounts=accounts)
        rows = connection.execute(wanted).all()
        for row in sorted(rows, key=lambda one: -one.place):
            if (
                row.account_id not in accounts
                or row.valid_until is None
                or as_moment(row.valid_until) <= now
            ):
                continue
            answer = answers.get((row.account_id, row.action))
            if answer is not None and answer.place > row.place:
                continue
            level = level_now(controls, Scope(action=row.action, segment=row.segment, csm=row.csm))
            if level > row.autonomy:  # raised since, or more than this action may
                level = min(level, _bound_of(connection, row))
            ahead = asked_at(row) + VETO_WINDOW if level == APPROVED_ONLY + 1 else None
            if level in (APPROVED_ONLY, APPROVED_ONLY + 1) and (ahead is None or now < ahead):
                found.setdefault(
                    (row.account_id, row.action, row.proposed_by),
                    PendingDecision(
                        decision_id=row.decision_id,
                        account_id=row.account_id,
                        action=row.action,
                        expected_value=row.expected_value,
                        currency=row.currency,
                        asked_by=row.proposed_by,
                        asked_at=asked_at(row),
                        valid_until=as_moment(row.valid_until),
                        goes_ahead_at=ahead,
                    ),
                )
    return tuple(sorted(found.values(), key=lambda one: (-one.expected_value, one.decision_id)))


def answers_of_account(
    database: LedgerDatabase, *, now: datetime, account_id: str
) -> dict[str, DecisionAnswer]:
    """By action the newest answer about an account that still holds.

    A verdict holds as long as its decision is valid, a claim as long as its lease.

    Raises:
        LedgerUnreachableError: the ledger cannot be reached.
    """
    with database.reading() as connection:
        found = _answers(connection, now=now, accounts=[account_id])
    return {action: one for (_, action), one in found.items() if one.until > now}


def _answers(
    connection: Connection, *, now: datetime, accounts: Collection[str]
) -> dict[tuple[str, str], DecisionAnswer]:
    """By account and action the newest answer to one of their decisions."""
    about = _about(accounts)
    found: dict[tuple[str, str], DecisionAnswer] = {}

    def take(row: sa.Row[Any], until: datetime) -> None:
        before = found.get((row.account_id, row.action))
        if before is None or before.place < row.place:
            found[row.account_id, row.action] = DecisionAnswer(
                answer=row.answer, by=row.by, at=as_moment(row.at), until=until, place=row.place
            )

    said: sa.Select[Any] = (
        sa.select(
            *_of_decision(),
            APPROVALS.c.verdict.label("answer"),
            APPROVALS.c.by,
            APPROVALS.c.at,
            CHAIN.c.place,
        )
        .join(DECISIONS, DECISIONS.c.decision_id == APPROVALS.c.decision_id)
        .join(CHAIN, _linked(APPROVALS, APPROVALS.c.approval_id))
    )
    done: sa.Select[Any] = (
        sa.select(
            *_of_decision(),
            OUTCOMES.c.kind.label("answer"),
            OUTCOMES.c.by,
            sa.func.coalesce(OUTCOMES.c.heard_at, OUTCOMES.c.received_at).label("at"),
            CHAIN.c.place,
        )
        .join(DECISIONS, DECISIONS.c.decision_id == OUTCOMES.c.decision_id)
        .join(CHAIN, _linked(OUTCOMES, OUTCOMES.c.outcome_id))
        .where(OUTCOMES.c.kind.in_(("executed", "declined")))
    )
    for statement in (said, done):
        for row in connection.execute(statement.where(*about)):
            take(row, now if row.valid_until is None else as_moment(row.valid_until))
    steps: sa.Select[Any] = (
        sa.select(
            CLAIM_RECORDS.c.account_id,
            CLAIM_RECORDS.c.action,
            CLAIM_RECORDS.c.claim_id,
            CLAIM_RECORDS.c.kind,
            CLAIM_RECORDS.c.lease_until,
            sa.literal("claimed").label("answer"),
            CLAIM_RECORDS.c.by,
            CLAIM_RECORDS.c.at,
            CHAIN.c.place,
        )
        .join(DECISIONS, DECISIONS.c.decision_id == CLAIM_RECORDS.c.decision_id)
        .join(CHAIN, _linked(CLAIM_RECORDS, CLAIM_RECORDS.c.record_id))
        .order_by(CHAIN.c.place)
    )
    newest = {row.claim_id: row for row in connection.execute(steps.where(*about))}
    for row in newest.values():
        if row.kind in ("claimed", "heartbeat") and as_moment(row.lease_until) > now:
            take(row, as_moment(row.lease_until))
    return found


def _of_decision() -> tuple[sa.Column[Any], ...]:
    return (DECISIONS.c.account_id, DECISIONS.c.action, DECISIONS.c.valid_until)


def _linked(table: sa.Table, record_id: sa.Column[Any]) -> sa.ColumnElement[bool]:
    """The row of the chain of a record."""
    return sa.and_(CHAIN.c.table == table.name, CHAIN.c.record_id == record_id)


def _about(accounts: Collection[str]) -> tuple[sa.ColumnElement[bool], ...]:
    """Decisions about one account; about several, the newest of all."""
    if len(accounts) == 1:
        return (DECISIONS.c.account_id.in_(list(accounts)),)
    places = CHAIN.alias("newest")
    newest = (
        sa.select(places.c.record_id)
        .where(places.c.table == DECISIONS.name)
        .order_by(places.c.place.desc())
        .limit(NEWEST)
    )
    return (DECISIONS.c.decision_id.in_(newest),)


def _bound_of(connection: Connection, row: sa.Row[Any]) -> int:
    """How far the action of a decision may go; its list is read only where that can matter."""
    action = load_playbook().by_id.get(row.action)
    if action is None or ceiling(action) <= row.autonomy:
        return int(row.autonomy)
    return bound_of(
        connection.execute(
            sa.select(DECISIONS).where(DECISIONS.c.decision_id == row.decision_id)
        ).one()
    )
