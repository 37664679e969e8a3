"""Decisions that wait for a person, who approves them or vetoes them in time.

Looks at the newest decisions only: an older one is no longer valid, or so many wait that no person
reads them all. The rules of approving are in ``serving.ledger.approvals``.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from experiments.policy.recommend import DO_NOTHING
from serving.ledger.autonomy import APPROVED_ONLY, VETO_WINDOW, level_now
from serving.ledger.database.database import LedgerDatabase
from serving.ledger.database.tables import APPROVALS, CHAIN, DECISIONS, OUTCOMES
from serving.ledger.database.timestamps import as_moment
from serving.ledger.kill_switch import Scope, read_controls
from serving.ledger.reported_outcomes import asked_at

NEWEST = 5_000
"""So many of the newest decisions are looked at."""


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


def pending_decisions(
    database: LedgerDatabase, *, now: datetime, accounts: Collection[str]
) -> tuple[PendingDecision, ...]:
    """The decisions that wait now about these accounts, highest expected value first.

    Of several decisions on the same action for an account by the same proposer only the newest is
    there; what is stopped, done, declined, judged or no longer valid is not.

    Args:
        database: the ledger's.
        now: by the clock of the service.
        accounts: those that are reached.

    Raises:
        LedgerUnreachableError: the ledger cannot be reached.
    """
    columns = [c for c in DECISIONS.c if c.name not in ("eligible", "withheld", "inputs")]
    linked = sa.and_(CHAIN.c.table == DECISIONS.name, CHAIN.c.record_id == DECISIONS.c.decision_id)
    wanted: sa.Select[Any] = (
        sa.select(*columns, CHAIN.c.place)
        .join(CHAIN, linked)
        .where(
            DECISIONS.c.action != DO_NOTHING,
            DECISIONS.c.autonomy >= APPROVED_ONLY,
            ~sa.exists().where(APPROVALS.c.decision_id == DECISIONS.c.decision_id),
            ~sa.exists().where(
                OUTCOMES.c.decision_id == DECISIONS.c.decision_id,
                OUTCOMES.c.kind.in_(("executed", "declined")),
            ),
        )
    )
    if len(accounts) == 1:
        wanted = wanted.where(DECISIONS.c.account_id.in_(list(accounts)))
    else:
        wanted = wanted.where(
            CHAIN.c.place.in_(
                sa.select(CHAIN.c.place)
                .where(CHAIN.c.table == DECISIONS.name)
                .order_by(CHAIN.c.place.desc())
                .limit(NEWEST)
            )
        )
    found: dict[tuple[str, str, str | None], PendingDecision] = {}
    with database.reading() as connection:
        controls = read_controls(connection)
        rows = connection.execute(wanted).all()
        for row in sorted(rows, key=lambda one: -one.place):
            if (
                row.account_id not in accounts
                or row.valid_until is None
                or as_moment(row.valid_until) <= now
            ):
                continue
            level = min(
                row.autonomy,
                level_now(controls, Scope(action=row.action, segment=row.segment, csm=row.csm)),
            )
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
