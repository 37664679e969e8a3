"""What the service does beside answering: scores, events, webhooks, uses of keys, the work of the night."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import TypeVar

import numpy as np
from starlette.concurrency import run_in_threadpool

from features.garbage_collection import freeze_loaded_objects
from serving.auth.api_keys import ApiKeyError
from serving.http.shared_metrics import SHARE_SECONDS
from serving.ledger.stores.outbox import Outbox
from serving.ledger.stores.outbox_tables import FILE as OUTBOX_FILE
from serving.state.refresh import FreshScores
from serving.state.service_state import ServiceState
from serving.webhooks.secret_encryption import SecretEncryption
from serving.webhooks.sending import Sender, keep_sending

T = TypeVar("T")

log = logging.getLogger("keepwell.serving")

REFRESH_SECONDS = 5.0

USES_SECONDS = 60.0
"""How often it is written down which keys were used; the end of the service does so too."""

HOUSEKEEPING_SECONDS = 60.0
"""How often it is looked whether work of the night is due."""

LOOK_SECONDS = 0.1
"""How often the lake is looked at for new events; what came meanwhile is one batch."""


@contextlib.asynccontextmanager
async def background_tasks(
    service: ServiceState,
    fresh: FreshScores,
    *,
    refresh_seconds: float,
    sends_webhooks: bool,
    housekeeping: Callable[[], object] | None = None,
    scores_at_once: bool = False,
) -> AsyncIterator[None]:
    """Run the tasks while the block lasts; at its end the service is closed."""
    tasks = [
        asyncio.create_task(_note_key_uses(service)),
        asyncio.create_task(_look_at_stores(service, refresh_seconds)),
        asyncio.create_task(_rebuild_stores(service, fresh, refresh_seconds)),
        asyncio.create_task(_refresh_scores(service, refresh_seconds, at_once=scores_at_once)),
        asyncio.create_task(_follow_events(service, fresh)),
    ]
    if service.metrics.shared is not None:
        tasks.append(asyncio.create_task(_share_metrics(service)))
    if sends_webhooks:
        tasks.append(asyncio.create_task(_send_webhooks(service)))
    if housekeeping is not None:
        tasks.append(asyncio.create_task(_keep_house(housekeeping)))
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        fresh.close()
        service.close()


async def run_to_its_end(work: Callable[[], T]) -> T:
    """Run the work in a thread; a cancellation waits until it has ended, since what follows it is
    closing the stores that the work has open."""
    running = asyncio.ensure_future(run_in_threadpool(work))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


async def _score_first(service: ServiceState) -> None:
    """Score every account, and keep what is loaded then away from the garbage collector."""
    try:
        await run_to_its_end(service.refresh)
    except Exception:
        service.metrics.refresh_failures.inc()
        log.exception("the accounts could not be scored; it is tried again")
    freeze_loaded_objects()


async def _refresh_scores(service: ServiceState, seconds: float, *, at_once: bool) -> None:
    """Look again and again whether anything changed; a failure is logged and tried again."""
    if at_once:
        await _score_first(service)
    is_first = True
    while True:
        try:
            await run_to_its_end(partial(service.look_at_ledger, whole=is_first, records=is_first))
            is_first = False
        except Exception:
            log.exception("the ledger could not be looked at")
        await asyncio.sleep(seconds)
        try:
            await run_to_its_end(service.refresh)
            await run_to_its_end(service.deliver)
        except Exception:
            service.metrics.refresh_failures.inc()
            log.exception("scoring anew failed; the portfolio of before goes on serving")


async def _look_at_stores(service: ServiceState, seconds: float) -> None:
    """Look again and again at the condition of each store, in turn with nothing else."""
    while True:
        try:
            await run_to_its_end(service.look_at_stores)
        except Exception:
            log.exception("the stores could not be looked at")
        await asyncio.sleep(seconds)


async def _rebuild_stores(service: ServiceState, fresh: FreshScores, seconds: float) -> None:
    """Make damaged stores again that can be computed, one after the other."""
    while True:
        try:
            if await run_to_its_end(service.rebuild.step_online):
                await run_to_its_end(fresh.start_over)
            made = await run_to_its_end(service.rebuild.step)
        except Exception:
            made = False
            log.exception("a damaged store could not be made again; it is tried again")
        if not made:
            await asyncio.sleep(seconds)


async def _follow_events(service: ServiceState, fresh: FreshScores) -> None:
    """Score the accounts that new events touch; a failure is logged and tried again."""
    while True:
        try:
            if await run_to_its_end(fresh.step) is None:
                await asyncio.sleep(LOOK_SECONDS)
        except Exception:
            service.metrics.refresh_failures.inc()
            log.exception("scoring touched accounts failed; their older scores go on serving")
            await asyncio.sleep(REFRESH_SECONDS)


async def _share_metrics(service: ServiceState) -> None:
    """Leave what this worker counts where the others find it."""
    while True:
        try:
            await run_to_its_end(service.metrics.share)
        except OSError as error:
            log.warning("what this worker counts cannot be shared: %s", error)
        await asyncio.sleep(SHARE_SECONDS)


async def _note_key_uses(service: ServiceState) -> None:
    """Write down which keys were used, once a minute, so that no request waits for it."""
    while True:
        await asyncio.sleep(USES_SECONDS)
        try:
            await run_to_its_end(service.keys.save_uses)
        except ApiKeyError as error:
            log.warning("which keys were used cannot be written down now: %s", error)


async def _keep_house(housekeeping: Callable[[], object]) -> None:
    """Let the work of the night be done when it is due; a failure is logged and tried again."""
    while True:
        try:
            await run_to_its_end(housekeeping)
        except Exception:
            log.exception("the work of the night failed; it is tried again")
        await asyncio.sleep(HOUSEKEEPING_SECONDS)


async def _send_webhooks(service: ServiceState) -> None:
    """Tell other programs what the ledger holds, until this is cancelled."""
    where = service.settings.ledger_url or service.workspace.root / OUTBOX_FILE
    encryption = SecretEncryption(service.workspace.root, service.settings.webhook_key)
    with contextlib.closing(Outbox(where, encryption)) as outbox:
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
