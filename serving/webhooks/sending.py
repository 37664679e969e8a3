"""Send webhooks: fill the outbox, send what is due, try again later.

One step sends to one webhook, by one process at a time (a lease that ends by itself). A failed
message waits longer each time, with jitter, so that receivers that come back are not all asked at
once. After ``MOST_ATTEMPTS`` it is given up and waits for a replay. The clock and the random numbers
are parameters.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np

from serving.ledger.database.database import LedgerDatabase
from serving.ledger.stores.outbox import Outbox, OutboxError, database_is_away
from serving.ledger.stores.outbox_tables import Endpoint, Message
from serving.webhooks.http_delivery import SECONDS, Attempt, post
from serving.webhooks.messages import messages_after
from serving.webhooks.signature import signed_headers
from serving.webhooks.url import (
    AllowedAddresses,
    Resolve,
    WebhookAddressError,
    resolved,
    target_of,
)

log = logging.getLogger("keepwell.webhooks")

MOST_ATTEMPTS = 15
FIRST_WAIT, LONGEST_WAIT = 5.0, 6 * 3600.0
"""Seconds before the second attempt, doubling up to the longest; all take 9 to 17 hours."""

PER_STEP = 20
MOST_WAITING = 10_000
"""While this many messages of a webhook wait, no more of the ledger is read for it."""

LEASE_SECONDS = 60.0
KEPT_SECONDS = 30 * 86_400.0
FORGET_SECONDS = 3600.0
LOOK_SECONDS = 0.5
ENDPOINTS_SECONDS = 2.0
GONE = 410
MOST_AT_ONCE = 8
LONGEST_PAUSE = 60.0
"""Seconds between two attempts while a database is away; the pauses double up to it."""


@dataclass(frozen=True, kw_only=True)
class Sender:
    """Sends webhooks: with the ledger, the outbox, the real time, and the allowed addresses."""

    ledger: LedgerDatabase
    outbox: Outbox
    clock: Callable[[], float]
    rng: np.random.Generator
    holder: str
    allowed: AllowedAddresses
    resolve: Resolve = resolved
    seconds: float = SECONDS
    context: ssl.SSLContext = field(default_factory=ssl.create_default_context)

    def step(self, name: str) -> int:
        """Read on in the ledger and send what is due to one webhook; how many were delivered.

        Raises:
            OutboxError: there is no such webhook any more.
        """
        endpoint = self.outbox.endpoint(name)
        if not self._is_mine(name):
            return 0
        self.fill(endpoint)
        delivered = 0
        for message in self.outbox.due(name, now=self.clock(), most=PER_STEP):
            if not self._is_mine(name):
                break
            attempt = self._attempt(endpoint, message)
            if attempt.is_delivered:
                self.outbox.mark_sent(name, message, now=self.clock())
                delivered += 1
                continue
            self._put_off(name, message, attempt)
            if attempt.status is None:
                break  # it does not answer: nothing else would be taken now either
        return delivered

    def fill(self, endpoint: Endpoint) -> None:
        """Let what the ledger holds since wait for this webhook."""
        while self.outbox.waiting(endpoint.name) < MOST_WAITING:
            messages, last = messages_after(
                self.ledger, endpoint.name, endpoint.kinds, after=endpoint.place
            )
            if last == endpoint.place or not self.outbox.put(
                endpoint.name, messages, after=endpoint.place, up_to=last, now=self.clock()
            ):
                return
            endpoint = replace(endpoint, place=last)

    def forget(self) -> None:
        """Forget what was sent long ago."""
        self.outbox.forget_sent(before=self.clock() - KEPT_SECONDS)

    def _is_mine(self, name: str) -> bool:
        return self.outbox.take_lease(name, self.holder, now=self.clock(), seconds=LEASE_SECONDS)

    def _attempt(self, endpoint: Endpoint, message: Message) -> Attempt:
        body = message.body.encode()
        try:
            target = target_of(endpoint.url, self.allowed, self.resolve)
        except WebhookAddressError as error:
            return Attempt(problem=str(error))
        headers = signed_headers(
            body,
            message_id=message.message_id,
            timestamp=int(self.clock()),
            secrets=self.outbox.secrets(endpoint.name),
        )
        return post(target, body, headers, context=self.context, seconds=self.seconds)

    def _put_off(self, name: str, message: Message, attempt: Attempt) -> None:
        now, tried = self.clock(), message.attempts + 1
        due_at = None
        if tried < MOST_ATTEMPTS and attempt.status != GONE:
            due_at = now + max(seconds_to_wait(tried, self.rng), attempt.wait or 0.0)
        self.outbox.mark_failed(name, message, problem=attempt.words, due_at=due_at, now=now)
        if due_at is None:
            log.warning(
                "webhook %s: message %s is given up after %d attempts: %s",
                name,
                message.message_id,
                tried,
                attempt.words,
            )


def seconds_to_wait(attempts: int, rng: np.random.Generator) -> float:
    """Seconds until the next attempt: doubling, and anywhere between half and all of that."""
    longest = min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** (attempts - 1))
    return float(longest * rng.uniform(0.5, 1.0))


class _Failures:
    """Failures in a row: each pause is twice as long, and what is the same is said once."""

    def __init__(self, what: str, pause: float) -> None:
        self._what, self._first = what, pause
        self._pause, self._said = 0.0, ""

    def note(self, error: Exception) -> float:
        """Log a failure, of a database that is away in one line; the seconds until the next attempt."""
        self._pause = min(max(2 * self._pause, self._first), LONGEST_PAUSE)
        why = database_is_away(error)
        if why is None:
            log.error("%s; it is tried again", self._what, exc_info=error)
        elif why != self._said:
            self._said = why
            log.warning(
                "%s: %s It is tried again, every %g s at last", self._what, why, LONGEST_PAUSE
            )
        return self._pause

    def end(self) -> None:
        """Note that it works."""
        if self._said:
            log.info("no longer: %s", self._what)
        self._pause, self._said = 0.0, ""


async def keep_sending(sender: Sender, *, seconds: float = LOOK_SECONDS) -> None:
    """Send to every webhook, each at its own pace, until this is cancelled.

    A failure is logged and tried again; webhooks that are added or removed meanwhile are noticed.
    """
    tasks: dict[str, asyncio.Task[None]] = {}
    pool = ThreadPoolExecutor(MOST_AT_ONCE, thread_name_prefix="webhooks")
    loop = asyncio.get_running_loop()
    forget_at = sender.clock()
    usual = min(ENDPOINTS_SECONDS, 4 * seconds)
    failures = _Failures("the webhooks cannot be read", usual)
    try:
        while True:
            pause = usual
            try:
                found = await loop.run_in_executor(pool, sender.outbox.endpoints)
                _start_and_stop(
                    tasks,
                    {each.name for each in found},
                    lambda name: _send_to(name, sender, pool, seconds),
                )
                if sender.clock() >= forget_at:
                    await loop.run_in_executor(pool, sender.forget)
                    forget_at = sender.clock() + FORGET_SECONDS
                failures.end()
            except Exception as error:  # noqa: BLE001 - it is logged
                pause = failures.note(error)
            await asyncio.sleep(pause)
    finally:
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
        await asyncio.to_thread(pool.shutdown, cancel_futures=True)  # an attempt ends by itself


def _start_and_stop(
    tasks: dict[str, asyncio.Task[None]],
    names: set[str],
    start: Callable[[str], Coroutine[None, None, None]],
) -> None:
    for name in [*tasks]:
        if name not in names:
            tasks.pop(name).cancel()
    for name in sorted(names - set(tasks)):
        tasks[name] = asyncio.create_task(start(name))


async def _send_to(name: str, sender: Sender, pool: ThreadPoolExecutor, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    failures = _Failures(f"sending to webhook {name} failed", max(seconds, 5.0))
    while True:
        try:
            sent = await loop.run_in_executor(pool, sender.step, name)
            failures.end()
            if not sent:
                await asyncio.sleep(seconds)
        except OutboxError:
            return  # it was removed
        except Exception as error:  # noqa: BLE001 - it is logged
            await asyncio.sleep(failures.note(error))
