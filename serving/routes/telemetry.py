"""This module is about the route that takes events from programs."""

from __future__ import annotations

from fastapi import APIRouter

from serving.routes.at_desk import AtDesk, problems
from serving.schemas import EventResult, EventsAnswer, EventsRequest

router = APIRouter(prefix="/v1", tags=["telemetry"])


@router.post("/events", summary="Send telemetry", responses=problems(400, 401, 413, 422, 503))
def receive_events(desk: AtDesk, body: EventsRequest) -> EventsAnswer:
    """Put events on their accounts' timelines.

    Rows are judged one by one: a good row lands even beside a bad one, and a bad one goes to
    quarantine with its reason. A row called `on_timeline` is on disk. Sending the same rows again
    changes nothing. Scores follow with the next snapshot.
    """
    received = desk.timelines.receive(body.events, now=desk.now())
    for row in received.rows:
        desk.metrics.events.labels(row.status).inc()
    summary = received.summary
    return EventsAnswer(
        landed=summary.landed, duplicates=summary.duplicates, corrected=summary.corrected,
        refused=sum(summary.quarantined.values()), left_out=sum(summary.left_out.values()),
        items=[EventResult(row=number, status=row.status, event_id=row.event_id,
                           reason=row.reason)
               for number, row in enumerate(received.rows)])
