"""The application: the routes around the state of one workspace, and the gate in front.

``create_app`` takes everything it needs; nothing is opened or read when the module is imported.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import datetime

from fastapi import APIRouter, FastAPI

from features.version import code_version
from features.workspace import Workspace
from registry.store.store import ModelStore
from serving.api.background_tasks import REFRESH_SECONDS, background_tasks
from serving.api.encoded_answers import AnswerFromCache, EncodedAnswers
from serving.api.idempotency import IdempotencyMiddleware
from serving.api.openapi import DESCRIPTION, DocumentedApp, declare_need_of_document
from serving.api.routes import (
    accounts,
    approvals_page,
    catalogues,
    claims,
    events,
    feedback,
    feedback_form,
    next_actions,
    operator_controls,
    pages,
    plans,
    status,
)
from serving.auth.gate import Gate, class_of_address, declared_needs
from serving.http.admission import (
    BATCHES,
    CONTROLS,
    DECISIONS,
    EVENTS,
    PAGES,
    READS,
    STATUS,
    Admission,
    RouteClass,
    in_class,
    places_of_classes,
)
from serving.http.early_refusal import EarlyRefusal
from serving.http.metrics import MetricsMiddleware
from serving.http.probe import Probe
from serving.http.problem_details import install_problems
from serving.ledger.stores.idempotency import RequestKeys
from serving.pages.degraded_notices import degraded_notices
from serving.pages.frame import AnswerProblemToPeople, Templates, sections_of
from serving.settings import ServiceSettings
from serving.state.refresh import FreshScores
from serving.state.service_state import open_service

ROUTERS: tuple[tuple[APIRouter, RouteClass, RouteClass], ...] = (
    # the routes of a subject, the class of those that read, the class of the others
    (accounts.router, READS, BATCHES),
    (claims.router, READS, DECISIONS),
    (operator_controls.router, READS, CONTROLS),
    (next_actions.router, READS, DECISIONS),
    (feedback.router, READS, DECISIONS),
    (plans.router, BATCHES, BATCHES),
    (events.router, READS, EVENTS),
    (catalogues.router, READS, READS),
    (status.router, STATUS, STATUS),
    (pages.router, PAGES, PAGES),
    (feedback_form.router, PAGES, DECISIONS),
    (approvals_page.router, PAGES, DECISIONS),
)
"""The routes of the service by subject, and with which others they share places."""


def _all_routes() -> APIRouter:
    routes = APIRouter()
    for router, reading, other in ROUTERS:
        for route in router.routes:
            reads = "GET" in (getattr(route, "methods", None) or ())
            in_class(reading if reads else other, [route])
        routes.include_router(router)
    return routes


ROUTES = _all_routes()
"""All of them, in this order. FastAPI studies them once for a process, not for each application."""


def create_app(
    workspace: Workspace,
    *,
    store: ModelStore,
    now: Callable[[], datetime],
    settings: ServiceSettings | None = None,
    refresh_seconds: float = REFRESH_SECONDS,
    wall_clock: Callable[[], datetime] | None = None,
    housekeeping: Callable[[], object] | None = None,
    scores_first: bool = True,
) -> FastAPI:
    """The service of one workspace, asked about its data as of ``now``, which may stand still.

    ``wall_clock`` is the real time, by which keys and leases end; ``now`` where it is left out.
    ``housekeeping`` is called again and again in a thread, and looks itself whether it is time.

    It scores every account once at the start, and again when a snapshot, a champion or a setting
    changes. Without ``scores_first`` it answers meanwhile, and says that it is starting.
    """
    service = open_service(
        workspace,
        store=store,
        now=now,
        wall_clock=wall_clock or now,
        settings=settings or ServiceSettings(),
    )
    service.look_at_ledger(whole=True)  # what is damaged refuses the first write already
    service.rebuild.step_online()  # before anything is read from another file in its place
    fresh = FreshScores(service)
    if scores_first:
        service.refresh()

    @contextlib.asynccontextmanager
    async def running(_: FastAPI) -> AsyncIterator[None]:
        async with background_tasks(
            service,
            fresh,
            refresh_seconds=refresh_seconds,
            sends_webhooks=wall_clock is not None and bool(service.settings.webhooks.hosts),
            housekeeping=housekeeping,
            scores_at_once=not scores_first,
        ):
            yield

    app = DocumentedApp(
        title="Keepwell",
        version=code_version(),
        description=DESCRIPTION,
        lifespan=running,
        docs_url=None,
        redoc_url=None,
        routes=ROUTES.routes,
    )
    app.state.service = service
    app.state.places = places_of_classes()
    app.state.probe = Probe()
    declare_need_of_document(app)
    declared_needs(app.routes)  # a route without one is refused before the service starts
    app.state.templates = Templates(
        workspace.settings.tenant,
        sections_of(app.routes),
        lambda: degraded_notices(service.conditions.degraded()),
    )
    app.state.encoded_answers = EncodedAnswers()
    app.state.early_refusal = EarlyRefusal(
        app.state.places,
        class_of_address(app.routes),
        service.metrics.count_refused,
        needs_no_place=app.state.encoded_answers.holds,
    )
    install_problems(app, AnswerProblemToPeople(app.state.templates))
    app.add_middleware(
        IdempotencyMiddleware, keys=RequestKeys(service.ledger.database), clock=service.wall_clock
    )
    app.add_middleware(
        Admission,
        places=app.state.places,
        refused=service.metrics.count_refused,
        knows=app.state.early_refusal.know,
    )
    app.add_middleware(
        AnswerFromCache, answers=app.state.encoded_answers, current=service.live.current_or_none
    )
    app.add_middleware(Gate, settings=service.settings, keys=service.keys, clock=service.wall_clock)
    app.add_middleware(MetricsMiddleware, metrics=service.metrics)
    return app
