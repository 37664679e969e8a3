"""The routes that say whether the service works, to programs."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from fastapi import APIRouter, Request, Response

from serving.api.dependencies import AtService
from serving.api.schemas.wire_model import Answer
from serving.auth.roles import PROBE_NEED, Need, needs
from serving.http.metrics import CONTENT_TYPE_LATEST
from serving.http.probe import Probe
from serving.ledger.errors import LedgerUnreachableError
from serving.problems import ProblemError
from serving.state.service_state import ServiceState

router = APIRouter(tags=["status"])


class DegradedStore(Answer):
    """A store of the workspace that cannot be used as it is."""

    store: str
    reason: str
    missing: str | None = None
    since: datetime | None = None


class StatusAnswer(Answer):
    """Whether the service works.

    It is `degraded` where it answers and a store of the workspace cannot be used as it is; `stores`
    says which, why, since when, and what is missing meanwhile.
    """

    status: Literal["ok", "degraded", "starting", "failing"]
    detail: str | None = None
    as_of: datetime | None = None
    stores: tuple[DegradedStore, ...] = ()


@router.get("/healthz", operation_id="get_health", summary="Is the process alive")
@needs(PROBE_NEED)
async def alive() -> StatusAnswer:
    """Answers as long as the process does; reads nothing, and waits for no thread."""
    return StatusAnswer(status="ok")


@router.get(
    "/readyz",
    operation_id="get_readiness",
    summary="Can it answer",
    responses={503: {"model": StatusAnswer}},
)
@needs(PROBE_NEED)
async def ready(service: AtService, request: Request, response: Response) -> StatusAnswer:
    """Whether accounts are scored, the ledger can be read and is the one it was; says what is
    missing, within a second.

    It needs no key, and counts nothing of the company. The stores are those that could not be used
    when they were looked at last, some seconds ago.
    """
    probe = request.app.state.probe
    assert isinstance(probe, Probe)
    answer: StatusAnswer = await probe.ask(lambda: _ready(service)) or StatusAnswer(
        status="failing",
        detail=f"A store of the workspace did not answer within {probe.seconds:g} s. Another "
        f"program may have it locked.",
        stores=_degraded(service),
    )
    if answer.status in ("starting", "failing"):
        response.status_code = 503
    return answer


def _degraded(service: ServiceState) -> tuple[DegradedStore, ...]:
    return tuple(
        DegradedStore(store=one.store, reason=one.reason, missing=one.missing, since=one.since)
        for one in service.conditions.degraded()
        if one.reason is not None
    )


def _ready(service: ServiceState) -> StatusAnswer:
    stores = _degraded(service)
    try:
        portfolio = service.portfolio
        service.ledger.database.check_readable()
    except ProblemError as error:
        return StatusAnswer(status="starting", detail=error.detail, stores=stores)
    except LedgerUnreachableError as error:
        return StatusAnswer(status="failing", detail=error.detail, stores=stores)
    if service.ledger.database.problem is not None:
        return StatusAnswer(
            status="failing",
            detail=f"{service.ledger.database.problem} Nothing is stored; scores are served. "
            f"keepwell ledger verify says more.",
            as_of=portfolio.as_of,
            stores=stores,
        )
    service.limits.current()
    service.prices.current()
    service.company.current()
    problems = (
        service.live.problem,
        service.limits.problem,
        service.prices.problem,
        service.company.problem,
    )
    detail = " ".join(filter(None, problems)) or None
    return StatusAnswer(
        status="degraded" if stores else "ok",
        detail=detail,
        as_of=portfolio.as_of,
        stores=stores,
    )


@router.get(
    "/metrics",
    operation_id="get_metrics",
    summary="Figures for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}}},
)
@needs(Need(permission="watch", of="company"))
def metrics(service: AtService) -> Response:
    """Requests, times, ages and counts in Prometheus' text format."""
    return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)
