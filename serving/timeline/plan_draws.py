"""Record the draws of a week's plan: which accounts were drawn, and which were not.

A draw is evidence of what its action does only if everybody who took part is on record, with the
odds, before anybody knows what came of it. So the plan that is saved puts its lots in the ledger,
chained as decisions are, and on the timelines. The first draw of a week stands: a plan that is made
anew in the same week draws the same way, and where others take part now, their lot is no record,
because the team may have seen the first one.
"""

from __future__ import annotations

import contextlib
import uuid
from datetime import datetime

from experiments.planning.plan import Plan
from features.events.provenance import LAST_HOURS, own_event_id
from features.events.schema import Event, properties_text
from serving.ledger.ledger import Ledger
from serving.ledger.stores.plan_draws import PlanDraw, record_draws, undelivered_draws
from serving.problems import BusyError
from serving.timeline.store import TimelineStore


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


def store_plan_draws(
    ledger: Ledger, timelines: TimelineStore, plan: Plan, *, week: str, at: datetime, made_by: str
) -> int:
    """Record the lots of a plan that is saved; answers how many accounts were recorded.

    They are in the ledger when this returns. Where others are writing to the workspace they come
    onto the timelines with the next plan.

    Raises:
        LedgerUnreachableError: they cannot be stored.
    """
    if not plan.lots:
        return 0
    recorded = record_draws(ledger.database, draws_of(plan, week=week, at=at, made_by=made_by))
    with contextlib.suppress(BusyError):
        deliver_draws(ledger, timelines, now=at)
    return recorded


def deliver_draws(ledger: Ledger, timelines: TimelineStore, *, now: datetime) -> int:
    """Put the draws on the timelines that are not there yet; how many it was.

    Raises:
        BusyError: another process is writing to the workspace.
    """
    draws = undelivered_draws(ledger.database)
    if draws:
        timelines.append([draw_event(one) for one in draws], now=now)
        ledger.mark_delivered([one.record_id for one in draws], at=now)
    return len(draws)


def draw_event(one: PlanDraw) -> Event:
    """A draw as an event: the arm, and the probability to be offered the action."""
    return Event(
        event_id=own_event_id("draw", one.record_id),
        account_id=one.account_id,
        kind="action.decided",
        occurred_at=one.drawn_at,
        recorded_at=one.drawn_at,
        quantity=one.probability,
        properties=properties_text(
            {
                "action": one.action,
                "intervention": f"{LAST_HOURS}{one.action}",
                "arm": one.arm,
                "chance": "last_hours",
                "draw_id": one.draw_id,
            }
        ),
    )
