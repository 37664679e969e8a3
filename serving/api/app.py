"""The application: the routes around the state of one workspace, and the gate in front.

``create_app`` takes everything it needs; nothing is opened or read when the module is imported.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import sys
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any

import numpy as np
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.concurrency import run_in_threadpool

from features.version import code_version
from features.workspace import Workspace
from registry.store.store import ModelStore
from serving.api.idempotency import IdempotencyMiddleware
from serving.api.routes import (
    accounts,
    claims,
    feedback,
    next_actions,
    operator_controls,
    plans,
    status,
)
from serving.api.routes import approvals_page as approving
from serving.api.routes import catalogues as holdings
from serving.api.routes import events as telemetry
from serving.api.routes import feedback_form as judging
from serving.api.routes import pages as people
from serving.api.routes.plans import MOST_PLANS_AT_ONCE
from serving.api.schemas.wire_model import ProblemAnswer
from serving.auth.gate import Gate, declared_needs
from serving.auth.roles import PRODUCT, Need, needs
from serving.http.concurrency_limit import Turns
from serving.http.metrics import Measured
from serving.http.problem_details import install_problems
from serving.ledger.idempotency import RequestKeys
from serving.ledger.stores.outbox import FILE as OUTBOX_FILE
from serving.ledger.stores.outbox import Outbox
from serving.pages.frame import AnswerProblemToPeople, Templates, sections_of
from serving.problems import KEY_HEADER, LONGEST_KEY
from serving.settings import ServiceSettings
from serving.state.refresh import FreshScores
from serving.state.service_state import ServiceState, open_service
from serving.text_format import INTERVAL_COVERS
from serving.webhooks.secret_encryption import Seal
from serving.webhooks.sending import Sender, keep_sending

log = logging.getLogger("keepwell.serving")

DESCRIPTION = (
    """Which accounts are likely to leave or to grow, and what to do next about each.

Every score says its source (`model` or `health_formula`), why it is degraded, its moment and how
fresh each source is. `null` is unknown, never zero. Money is in the tenant's reporting currency.
Every error has one shape (RFC 9457, `application/problem+json`) with a `next` step.

Two times: `as_of`, `decided_at`, `occurred_at`, `received_at` and what is recommended are on the
time of the data, which stands still between exports. What a person put off until a date, the
quiet hours of an account, leases, `valid_until`, windows for a veto, caps per week on claims, keys
and webhooks go by the clock of the service, which runs.

Probabilities come with a 95 % interval. """
    + INTERVAL_COVERS
    + "\n"
)

ROUTERS = (
    accounts.router,
    claims.router,
    operator_controls.router,
    next_actions.router,
    feedback.router,
    plans.router,
    telemetry.router,
    holdings.router,
    status.router,
    people.router,
    judging.router,
    approving.router,
)
"""The routes of the service, by subject."""

REFRESH_SECONDS = 5.0

LOOK_SECONDS = 0.1
"""How often the lake is looked at for new events; what came meanwhile is one batch."""


SWITCH_SECONDS = 0.0005
"""How long one thread may keep another from Python's interpreter. Scoring comes back to it after
each step in compiled code; at Python's 5 ms it would wait longest while events come in."""


def create_app(
    workspace: Workspace,
    *,
    store: ModelStore,
    now: Callable[[], datetime],
    settings: ServiceSettings | None = None,
    refresh_seconds: float = REFRESH_SECONDS,
    wall_clock: Callable[[], datetime] | None = None,
) -> FastAPI:
    """The service of one workspace, asked about its data as of ``now``, which may stand still.

    ``wall_clock`` is the real time, by which keys and leases end; ``now`` where it is left out.

    It scores every account once at the start, and again when a snapshot, a champion or a setting
    changes.
    """
    service = open_service(
        workspace,
        store=store,
        now=now,
        wall_clock=wall_clock or now,
        settings=settings or ServiceSettings(),
    )
    fresh = FreshScores(service)
    service.refresh()

    @contextlib.asynccontextmanager
    async def running(_: FastAPI) -> AsyncIterator[None]:
        sys.setswitchinterval(SWITCH_SECONDS)
        tasks = [
            asyncio.create_task(_keep_fresh(service, refresh_seconds)),
            asyncio.create_task(_keep_up(service, fresh)),
        ]
        if wall_clock is not None and service.settings.webhooks.hosts:
            tasks.append(asyncio.create_task(_send_webhooks(service)))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            fresh.close()
            service.close()

    app = KeepwellApp(
        title="Keepwell",
        version=code_version(),
        description=DESCRIPTION,
        lifespan=running,
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service
    app.state.plan_turns = Turns(MOST_PLANS_AT_ONCE, what="plans")
    for router in ROUTERS:
        app.include_router(router)
    for route in iter_route_contexts(app.routes):  # made now, and not while threads ask for them
        if route.path == app.openapi_url and route.endpoint is not None:
            needs(PRODUCT)(route.endpoint)
    declared_needs(app.routes)  # a route without one is refused before the service starts
    app.state.templates = Templates(workspace.settings.tenant, sections_of(app.routes))
    install_problems(app, AnswerProblemToPeople(app.state.templates))
    app.add_middleware(
        IdempotencyMiddleware, keys=RequestKeys(service.ledger.database), clock=service.wall_clock
    )
    app.add_middleware(Gate, settings=service.settings, keys=service.keys, clock=service.wall_clock)
    app.add_middleware(Measured, metrics=service.metrics)
    return app


class KeepwellApp(FastAPI):
    """The application, whose OpenAPI document also holds the one shape of its errors."""

    def openapi(self) -> dict[str, Any]:
        """The document, made at the first call."""
        if self.openapi_schema is None:
            document = super().openapi()
            shape = ProblemAnswer.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas = document["components"]["schemas"]
            schemas.update(shape.pop("$defs"))
            schemas["ProblemAnswer"] = shape
            declared = declared_needs(self.routes)
            for path, methods in document["paths"].items():
                for method, one in methods.items():
                    _say_the_key(one, declared.get(f"{method.upper()} {path}"))
            self.openapi_schema = document
        return self.openapi_schema


def _say_the_key(operation: dict[str, Any], need: Need | None) -> None:
    """Let a write say that it takes an Idempotency-Key, where it does not say so itself."""
    parameters = operation.setdefault("parameters", [])
    if need is not None and need.writes and KEY_HEADER not in {one["name"] for one in parameters}:
        parameters.append(
            {
                "name": KEY_HEADER,
                "in": "header",
                "required": False,
                "description": "New for each write, the same when a request is repeated: it is then "
                "done once, and answered as the first time.",
                "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST_KEY},
            }
        )
    if not parameters:
        del operation["parameters"]


async def _keep_fresh(service: ServiceState, seconds: float) -> None:
    """Look again and again whether anything changed; a failure is told and tried again."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await run_in_threadpool(service.refresh)
            await run_in_threadpool(service.deliver)
        except Exception:
            service.metrics.refresh_failures.inc()
            log.exception("scoring anew failed; the portfolio of before goes on serving")


async def _send_webhooks(service: ServiceState) -> None:
    """Tell other programs what the ledger holds, until this is cancelled."""
    where = service.settings.ledger_url or service.workspace.root / OUTBOX_FILE
    seal = Seal(service.workspace.root, service.settings.webhook_key)
    with contextlib.closing(Outbox(where, seal)) as outbox:
        await keep_sending(
            Sender(
                ledger=service.ledger.database,
                outbox=outbox,
                clock=lambda: service.wall_clock().timestamp(),
                rng=np.random.default_rng(),
                holder=secrets.token_hex(8),
                allowed=service.settings.webhooks,
            )
        )


async def _keep_up(service: ServiceState, fresh: FreshScores) -> None:
    """Score the accounts that new events touch; a failure is told and tried again."""
    while True:
        try:
            if await run_in_threadpool(fresh.step) is None:
                await asyncio.sleep(LOOK_SECONDS)
        except Exception:
            service.metrics.refresh_failures.inc()
            log.exception("scoring touched accounts failed; their older scores go on serving")
            await asyncio.sleep(REFRESH_SECONDS)
