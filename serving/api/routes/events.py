"""The route that takes events from programs."""

from __future__ import annotations

import re
from difflib import get_close_matches

from fastapi import APIRouter

from features.events.schema import KIND_NAMES
from serving.api.dependencies import AtService
from serving.api.route_problems import problems
from serving.api.schemas.events import EventResult, EventsAnswer, EventsRequest
from serving.auth.roles import Need, needs
from serving.problems import EXAMPLE_TIME, BusyError, TooManyError, check_count

DESCRIPTION = f"""Put events on their accounts' timelines.

Rows are judged one by one: a good row lands even beside a bad one, and a bad one goes to
quarantine with its reason. A row called `on_timeline` is on disk. Sending the same rows again
changes nothing. The scores of their accounts follow within seconds. Times are ISO 8601 with their
zone, such as {EXAMPLE_TIME}.

Kinds: {", ".join(sorted(KIND_NAMES))}; and your own as `custom.` and a name.
"""

router = APIRouter(prefix="/v1", tags=["events"])


@router.post(
    "/events",
    operation_id="send_events",
    summary="Send telemetry",
    description=DESCRIPTION,
)
@needs(Need(permission="send", of="company", writes=True, may_repeat=True))
@problems(TooManyError, BusyError)
def receive_events(service: AtService, body: EventsRequest) -> EventsAnswer:
    """Put events on their accounts' timelines."""
    check_count("events", len(body.events), service.settings.most_events_per_call)
    received = service.timelines.receive(body.events, now=service.now())
    for row in received.rows:
        service.metrics.events.labels(row.status).inc()
    summary = received.summary
    return EventsAnswer(
        landed=summary.landed,
        duplicates=summary.duplicates,
        corrected=summary.corrected,
        refused=sum(summary.quarantined.values()),
        left_out=sum(summary.left_out.values()),
        items=[
            EventResult(
                row=number,
                status=row.status,
                event_id=row.event_id,
                reason=with_advice(row.reason, body.events[number].get("kind")),
            )
            for number, row in enumerate(received.rows)
        ],
    )


def with_advice(reason: str | None, kind: object) -> str | None:
    """Why a row was refused, with what to send instead.

    >>> with_advice("kind is not known", "feature_used")
    "kind 'feature_used' is not known. Did you mean 'feature.used'? GET /docs lists every kind; \
send one of your own as 'custom.feature_used'."
    """
    if reason is None:
        return None
    if reason.endswith("has no time zone"):
        return f"{reason}; write it with one, such as {EXAMPLE_TIME}"
    if reason != "kind is not known":
        return reason
    name = str(kind)[:60]
    near = get_close_matches(name, sorted(KIND_NAMES), n=1)
    meant = f" Did you mean {near[0]!r}?" if near else ""
    own = re.sub(r"\W+", "_", name.removeprefix("custom.")).strip("_").lower() or "pallet_shipped"
    return (
        f"kind {name!r} is not known.{meant} GET /docs lists every kind; send one of your own "
        f"as 'custom.{own}'."
    )
