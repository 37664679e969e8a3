"""This module is about the draws of a week's plan, kept for good: who was drawn, and who was not.

A draw is evidence of what its action does only if everybody who took part is on record, with the
odds, before anybody knows what came of it. So the plan that is kept puts its lots in the ledger,
chained as decisions are, and on the timelines. The first draw of a week stands: a plan that is made
anew in the same week draws the same way, and where others take part now, their lot is no record,
because the team may have seen the first one.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from experiments.planning.plan import Plan
from features.events.schema import Event, properties_text
from serving.ledger.database.chain import insert_linked
from serving.ledger.database.tables import DELIVERIES, DRAWS
from serving.ledger.database.timestamps import as_moment, as_text
from serving.ledger.ledger import Ledger, batched
from serving.problems import BusyError
from serving.timeline.store import TimelineStore

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


def draws_of(plan: Plan, *, week: str, at: datetime, made_by: str) -> tuple[PlanDraw, ...]:
    """Every account of every lot of a plan."""
    return tuple(
        PlanDraw(
            record_id=str(
                uuid.uuid5(uuid.NAMESPACE_URL, f"keepwell:draw:{week}:{name}:{lot.action_id}")
            ),
            account_id=name,
            action=lot.action_id,
            arm="offered" if name in lot.draw.drawn else "not_offered",
            probability=lot.draw.propensity,
            draw_id=lot.draw.lottery_id,
            key_id=lot.draw.key_id,
            drawn=len(lot.draw.drawn),
            of_accounts=len(lot.draw.of),
            by=lot.by,
            drawn_at=at,
            made_by=made_by,
        )
        for lot in plan.lots
        for name in lot.draw.of
    )


def keep_draws(
    ledger: Ledger, timelines: TimelineStore, plan: Plan, *, week: str, at: datetime, made_by: str
) -> int:
    """Record the lots of a plan that is kept; answers how many accounts were recorded.

    They are in the ledger when this returns. Where others are writing to the workspace they come
    onto the timelines with the next plan.

    Raises:
        LedgerUnreachableError: they can not be stored.
    """
    if not plan.lots:
        return 0
    recorded = record_draws(ledger, draws_of(plan, week=week, at=at, made_by=made_by))
    with contextlib.suppress(BusyError):
        deliver_draws(ledger, timelines, now=at)
    return recorded


def record_draws(ledger: Ledger, draws: Sequence[PlanDraw]) -> int:
    """Store draws, each lot whole or not at all; answers how many accounts were stored."""
    lots: dict[str, list[PlanDraw]] = {}
    for one in draws:
        lots.setdefault(one.draw_id, []).append(one)
    with ledger.database.writing() as connection:
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


def deliver_draws(ledger: Ledger, timelines: TimelineStore, *, now: datetime) -> int:
    """Put the draws on the timelines that are not there yet; how many it was.

    Raises:
        BusyError: another process is writing to the workspace.
    """
    told = sa.select(DELIVERIES.c.record_id).where(DELIVERIES.c.record_id == DRAWS.c.record_id)
    with ledger.database.reading() as connection:
        rows = (
            connection.execute(
                sa.select(DRAWS).where(~told.exists()).order_by(DRAWS.c.drawn_at, DRAWS.c.record_id)
            )
            .mappings()
            .all()
        )
    events = [
        draw_event(PlanDraw(**{**row, "drawn_at": as_moment(row["drawn_at"])})) for row in rows
    ]
    if events:
        timelines.append(events, now=now)
        ledger.mark_delivered([row["record_id"] for row in rows], at=now)
    return len(events)


def draw_event(one: PlanDraw) -> Event:
    """A draw as an event: the arm, and the probability to be offered the action."""
    return Event(
        event_id=f"draw-{one.record_id}",
        account_id=one.account_id,
        kind="action.decided",
        occurred_at=one.drawn_at,
        recorded_at=one.drawn_at,
        quantity=one.probability,
        properties=properties_text(
            {
                "action": one.action,
                "intervention": f"last_hours_{one.action}",
                "arm": one.arm,
                "chance": "last_hours",
                "draw_id": one.draw_id,
            }
        ),
    )
