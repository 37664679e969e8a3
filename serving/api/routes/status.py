"""The routes that say whether the service works, to programs."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from fastapi import APIRouter, Response

from serving.api.dependencies import AtService
from serving.api.schemas.wire_model import Answer
from serving.auth.roles import PROBE_NEED, Need, needs
from serving.http.metrics import CONTENT_TYPE_LATEST
from serving.problems import ProblemError

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


@router.get("/healthz", summary="Is the process alive")
@needs(PROBE_NEED)
def alive() -> StatusAnswer:
    """Answers as long as the process does; reads nothing."""
    return StatusAnswer(status="ok")


@router.get("/readyz", summary="Can it answer", responses={503: {"model": StatusAnswer}})
@needs(PROBE_NEED)
def ready(service: AtService, response: Response) -> StatusAnswer:
    """Whether accounts are scored and the ledger can be read; says what is missing.

    It needs no key, and counts nothing of the company. The stores are those that could not be used
    when they were looked at last, some seconds ago.
    """
    stores = tuple(
        DegradedStore(store=one.store, reason=one.reason, missing=one.missing, since=one.since)
        for one in service.conditions.degraded()
        if one.reason is not None
    )
    try:
        portfolio = service.portfolio
        service.ledger.counts()
    except ProblemError as error:
        response.status_code = 503
        return StatusAnswer(status="starting", detail=error.detail, stores=stores)
    service.limits.current()
    service.prices.current()
    problems = (service.live.problem, service.limits.problem, service.prices.problem)
    detail = " ".join(filter(None, problems)) or None
    return StatusAnswer(
        status="degraded" if stores else "ok",
        detail=detail,
        as_of=portfolio.as_of,
        stores=stores,
    )


@router.get(
    "/metrics",
    summary="Figures for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}}},
)
@needs(Need(permission="watch", of="company"))
def metrics(service: AtService) -> Response:
    """Requests, times, ages and counts in Prometheus' text format."""
    return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)
