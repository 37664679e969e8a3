"""Store the draws of plans in the ledger: which accounts were drawn, and with which odds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from serving.ledger.database.chain import insert_linked
from serving.ledger.database.database import LedgerDatabase
from serving.ledger.database.tables import DELIVERIES, DRAWS
from serving.ledger.database.timestamps import as_moment, as_text
from serving.ledger.ledger import batched

PART = 500


@dataclass(frozen=True, kw_only=True)
class PlanDraw:
    """What a lot decided about one account: ``drawn`` of ``of_accounts`` were offered the action.

    ``by`` is the person or pool whose last hours were drawn for.
    """

    record_id: str
    account_id: str
    action: str
    arm: str  # offered or not_offered
    probability: float
    draw_id: str
    key_id: str
    drawn: int
    of_accounts: int
    by: str
    drawn_at: datetime
    made_by: str


def record_draws(database: LedgerDatabase, draws: Sequence[PlanDraw]) -> int:
    """Store draws, each lot whole or not at all; returns how many accounts were stored.

    Raises:
        LedgerUnreachableError: they cannot be stored.
    """
    lots: dict[str, list[PlanDraw]] = {}
    for one in draws:
        lots.setdefault(one.draw_id, []).append(one)
    with database.writing() as connection:
        there = {
            known
            for part in batched([one.record_id for one in draws], PART)
            for known in connection.scalars(
                sa.select(DRAWS.c.record_id).where(DRAWS.c.record_id.in_(part))
            )
        }
        new = [
            {**vars(one), "drawn_at": as_text(one.drawn_at)}
            for lot in lots.values()
            if not there.intersection(one.record_id for one in lot)
            for one in lot
        ]
        if new:
            insert_linked(connection, DRAWS, *new)
    return len(new)


def is_drawn(database: LedgerDatabase, draw_id: str) -> bool:
    """Whether the draw of this name is on record.

    Raises:
        LedgerUnreachableError: the ledger cannot be reached.
    """
    with database.reading() as connection:
        return (
            connection.scalar(
                sa.select(DRAWS.c.record_id).where(DRAWS.c.draw_id == draw_id).limit(1)
            )
            is not None
        )


def undelivered_draws(database: LedgerDatabase) -> tuple[PlanDraw, ...]:
    """The draws that are not on the timelines yet, oldest first.

    Raises:
        LedgerUnreachableError: the ledger cannot be reached.
    """
    delivered = sa.select(DELIVERIES.c.record_id).where(DELIVERIES.c.record_id == DRAWS.c.record_id)
    with database.reading() as connection:
        rows = (
            connection.execute(
                sa.select(DRAWS)
                .where(~delivered.exists())
                .order_by(DRAWS.c.drawn_at, DRAWS.c.record_id)
            )
            .mappings()
            .all()
        )
    return tuple(PlanDraw(**{**row, "drawn_at": as_moment(row["drawn_at"])}) for row in rows)
