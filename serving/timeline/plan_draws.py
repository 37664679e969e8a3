"""Record draws, of a week's plan or of a lottery: which accounts were drawn, and which were not.

A draw is evidence of what its action does only if everybody who took part is on record, with the
odds, before anybody knows what came of it. So the plan that is saved puts its lots in the ledger,
chained as decisions are, and on the timelines. The first draw of a week stands: a plan that is made
anew in the same week draws the same way, and where others take part now, their lot is no record,
because the team may have seen the first one. A lottery of one action leaves those alone that were not
drawn: the action is put off for them until its effect can be read.
"""

from __future__ import annotations

import contextlib
import uuid
from datetime import datetime, timedelta

from experiments.effects.belief import EFFECT_HORIZON_DAYS
from experiments.planning.plan import Plan
from experiments.policy.contact.snooze import BY_LOT
from experiments.randomisation.keyed_draw import Draw
from features.events.provenance import LAST_HOURS, LOTTERY, own_event_id
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


OF_A_LOTTERY = "lottery-"
"""How the name of a lottery begins that somebody asked for."""

DRAWN, LEFT_ALONE = "offered", "left_alone"

WHY_LEFT_ALONE = "left alone, so that it can be measured what this does"


def lottery_name(action_id: str, day: str) -> str:
    """The name of a day's lottery of an action: asked for again, it is the same draw."""
    return f"{OF_A_LOTTERY}{action_id}-{day}"


def draws_of_lottery(
    drawn: Draw, action_id: str, *, at: datetime, made_by: str
) -> tuple[PlanDraw, ...]:
    """Every account of a lottery of one action."""
    return tuple(
        PlanDraw(
            record_id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"keepwell:{drawn.lottery_id}:{name}")),
            account_id=name,
            action=action_id,
            arm=DRAWN if name in drawn.drawn else LEFT_ALONE,
            probability=drawn.propensity,
            draw_id=drawn.lottery_id,
            key_id=drawn.key_id,
            drawn=len(drawn.drawn),
            of_accounts=len(drawn.of),
            by=made_by,
            drawn_at=at,
            made_by=made_by,
        )
        for name in drawn.of
    )


def store_draws(
    ledger: Ledger, timelines: TimelineStore, draws: tuple[PlanDraw, ...], *, at: datetime
) -> int:
    """Record draws, and put them on the timelines; answers how many accounts were recorded.

    They are in the ledger when this returns. Where others are writing to the workspace they come
    onto the timelines with the next plan or lottery.

    Raises:
        LedgerUnreachableError: they cannot be stored.
    """
    recorded = record_draws(ledger.database, draws)
    with contextlib.suppress(BusyError):
        deliver_draws(ledger, timelines, now=at)
    return recorded


def store_plan_draws(
    ledger: Ledger, timelines: TimelineStore, plan: Plan, *, week: str, at: datetime, made_by: str
) -> int:
    """Record the lots of a plan that is saved; answers how many accounts were recorded."""
    if not plan.lots:
        return 0
    return store_draws(ledger, timelines, draws_of(plan, week=week, at=at, made_by=made_by), at=at)


def deliver_draws(ledger: Ledger, timelines: TimelineStore, *, now: datetime) -> int:
    """Put the draws on the timelines that are not there yet; how many it was.

    Raises:
        BusyError: another process is writing to the workspace.
    """
    draws = undelivered_draws(ledger.database)
    if draws:
        timelines.append([event for one in draws for event in draw_events(one)], now=now)
        ledger.mark_delivered([one.record_id for one in draws], at=now)
    return len(draws)


def draw_events(one: PlanDraw) -> tuple[Event, ...]:
    """A draw as an event: the arm, and the probability to be offered the action.

    Who is left alone by a lottery has the action put off, in a second event.
    """
    is_lottery = one.draw_id.startswith(OF_A_LOTTERY)
    decided = Event(
        event_id=own_event_id("draw", one.record_id),
        account_id=one.account_id,
        kind="action.decided",
        occurred_at=one.drawn_at,
        recorded_at=one.drawn_at,
        quantity=one.probability,
        properties=properties_text(
            {
                "action": one.action,
                "intervention": f"{LOTTERY if is_lottery else LAST_HOURS}{one.action}",
                "arm": one.arm,
                "chance": "lottery" if is_lottery else "last_hours",
                "draw_id": one.draw_id,
            }
        ),
    )
    if one.arm != LEFT_ALONE:
        return (decided,)
    until = one.drawn_at + timedelta(days=EFFECT_HORIZON_DAYS)
    put_off = Event(
        event_id=own_event_id(
            "feedback", str(uuid.uuid5(uuid.NAMESPACE_URL, f"keepwell:left alone:{one.record_id}"))
        ),
        account_id=one.account_id,
        kind="action.judged",
        occurred_at=one.drawn_at,
        recorded_at=one.drawn_at,
        properties=properties_text(
            {
                "action": one.action,
                "verdict": "snooze",
                "by": BY_LOT,
                "reason": WHY_LEFT_ALONE,
                "until": until.isoformat(),
                "heard_at": one.drawn_at.isoformat(),
            }
        ),
    )
    return (decided, put_off)
