"""Answer a write with an Idempotency-Key once: ASGI middleware in front of the routes.

As Stripe defines it: the same key and request get the same answer, another request under the key is
422, one that is still being worked on is 409. The keys are with ``serving.ledger.stores.idempotency``. The
request that is worked on is handed to the route as ``request.state.open_request``; the changes that
the route makes in the ledger are noted with it (``LedgerDatabase.for_request``).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from http import HTTPStatus

from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.auth.roles import Caller, Need
from serving.http.ledger_problems import problem_of
from serving.http.problem_details import problem_response
from serving.http.request_body import read_body, replay_body
from serving.ledger.database.change import OpenRequest, StoredAnswer, TakenKey, WaitBudget
from serving.ledger.errors import LedgerError, LedgerUnreachableError
from serving.ledger.stores.holders import new_holder
from serving.ledger.stores.idempotency import LEASE, Ending, RequestKeys
from serving.problems import (
    KEY_HEADER,
    LONGEST_KEY,
    MissingKeyError,
    ProblemError,
)

RENEWALS_PER_LEASE = 3
REPLAYED = "idempotency-replayed"

LARGEST_COMPARED = 1_000_000
"""Bytes of a body that are compared as JSON; a larger one is compared as it is written."""


def json_response(answer: BaseModel, status: int = HTTPStatus.OK) -> Response:
    """An answer as the response that is sent."""
    return Response(answer.model_dump_json(), status, media_type="application/json")


def stored_answer(response: Response) -> StoredAnswer:
    """A response as a change of the ledger remembers it, to be sent again word for word."""
    return StoredAnswer(
        status=response.status_code,
        body=bytes(response.body),
        media_type=response.headers["content-type"],
    )


def replayed(answer: StoredAnswer) -> Response:
    """An answer that was given before."""
    return Response(
        answer.body, answer.status, media_type=answer.media_type, headers={REPLAYED: "true"}
    )


class IdempotencyMiddleware:
    """Lets a write with an Idempotency-Key have its effect once, as ASGI middleware."""

    def __init__(
        self,
        app: ASGIApp,
        keys: RequestKeys,
        clock: Callable[[], datetime],
        lease: timedelta = LEASE,
    ) -> None:
        self.app = app
        self.keys = keys
        self.clock = clock
        self.pause = (lease / RENEWALS_PER_LEASE).total_seconds()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it as the first time."""
        need = scope.get("state", {}).get("need") if scope["type"] == "http" else None
        key = Headers(scope=scope).get(KEY_HEADER) if isinstance(need, Need) else None
        if key is None or not isinstance(need, Need) or not need.writes:
            await self.app(scope, receive, send)
            return
        try:
            answer = await self._answer(scope, receive, key, need)
        except ProblemError as refusal:
            answer = problem_response(refusal, scope["path"])
        except LedgerError as refusal:
            answer = problem_response(problem_of(refusal), scope["path"])
        if answer is not None:
            await answer(scope, receive, send)

    async def _answer(
        self, scope: Scope, receive: Receive, key: str, need: Need
    ) -> Response | None:
        caller = scope["state"]["caller"]
        assert isinstance(caller, Caller)
        if not 1 <= len(key) <= LONGEST_KEY or not key.isprintable():
            raise MissingKeyError(
                f"The {KEY_HEADER} header has to be 1 to {LONGEST_KEY} characters that can be read."
            )
        body = await read_body(receive)
        if body is None:
            return None
        waits = scope["state"].get("waits")
        if isinstance(waits, WaitBudget):
            waits.charge_since_arrival()
        holder, keys = new_holder(), self.keys.waiting(waits)
        fingerprint, now = fingerprint_of(scope, body), self.clock()
        begin = partial(
            keys.begin,
            caller.key_id,
            key,
            fingerprint,
            may_repeat=need.may_repeat,
            now=now,
            holder=holder,
            with_change=need.one_change,
        )
        if need.one_change and keys.is_looked_after(now):
            new = keys.new_key(caller.key_id, key, fingerprint, holder, now)
            work = keys.open_request(new, looks_first=True)
            answered = await self._pass_on(scope, replay_body(body, receive), work)
            if work.is_unseen:  # else it came before, or was refused before anything was read
                return await self._end(keys, work, answered, begin)
        try:
            begun = await run_in_threadpool(begin)
        except LedgerUnreachableError:  # away, or busy for long; what needs no ledger may answer
            unsure = TakenKey(caller=caller.key_id, key=key, holder=holder)
            if need.one_change:
                unsure = keys.new_key(caller.key_id, key, fingerprint, holder, now)
            work = keys.open_request(unsure, is_sure=False)
            answered = await self._pass_on(scope, replay_body(body, receive), work)
            if work.is_noted:  # it was taken after all
                return await self._settle(keys, work, answered)
            return answered.response()
        if isinstance(begun, StoredAnswer):
            return replayed(begun)
        if begun.unwritten is not None:
            work = keys.open_request(begun)
            answered = await self._pass_on(scope, replay_body(body, receive), work)
            return await self._end(keys, work, answered, begin)
        renewing = asyncio.create_task(self._go_on(begun))
        try:
            work = keys.open_request(begun)
            answered = await self._pass_on(scope, replay_body(body, receive), work)
            return await self._settle(keys, work, answered)
        except Exception:
            await run_in_threadpool(keys.let_go, begun, self.clock())
            raise
        finally:
            renewing.cancel()

    async def _end(
        self,
        keys: RequestKeys,
        work: OpenRequest,
        answered: BufferedAnswer,
        begin: Callable[[], TakenKey | StoredAnswer],
    ) -> Response:
        """What is sent to a request whose key is written with its change."""
        if work.was_late:
            first = await run_in_threadpool(begin)
            return replayed(first) if isinstance(first, StoredAnswer) else answered.response()
        try:
            return await self._settle(keys, work, answered)
        except LedgerUnreachableError:
            if work.is_noted:
                raise
            return answered.response()  # nothing was changed, and the answer says so

    async def _pass_on(self, scope: Scope, receive: Receive, work: OpenRequest) -> BufferedAnswer:
        """What the route answers, which notes its changes with the request."""
        scope.setdefault("state", {})["open_request"] = work
        answered = BufferedAnswer()
        await self.app(scope, receive, answered)
        return answered

    async def _settle(
        self, keys: RequestKeys, work: OpenRequest, answered: BufferedAnswer
    ) -> Response:
        """Store the answer, unless a change remembered the very same, and say what is sent."""
        answer = answered.stored()
        is_free = work.taken.unwritten is not None and not work.is_noted
        if answer == work.answer or (is_free and answered.ending != "done"):
            return answered.response()
        first = await run_in_threadpool(
            keys.settle, work.taken, answer, ending=answered.ending, now=self.clock()
        )
        return answered.response() if first == answer else replayed(first)

    async def _go_on(self, taken: TakenKey) -> None:
        while True:
            await asyncio.sleep(self.pause)
            with contextlib.suppress(LedgerError):
                await run_in_threadpool(self.keys.renew, taken, self.clock())


class BufferedAnswer:
    """An answer held back until it is stored."""

    def __init__(self) -> None:
        self.status = 500
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = bytearray()

    async def __call__(self, message: Message) -> None:
        """Take the next part of the answer."""
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], list(message.get("headers", ()))
        elif message["type"] == "http.response.body":
            self.body += message.get("body", b"")

    @property
    def ending(self) -> Ending:
        """How the request ended, by its status."""
        if self.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return "failed"
        return "refused" if self.status >= HTTPStatus.BAD_REQUEST else "done"

    def stored(self) -> StoredAnswer:
        """What of it is stored."""
        return StoredAnswer(
            status=self.status,
            body=bytes(self.body),
            media_type=Headers(raw=self.headers).get("content-type"),
        )

    def response(self) -> Response:
        """The answer, to be sent."""
        response = Response(bytes(self.body), self.status)
        response.raw_headers = self.headers
        return response


def fingerprint_of(scope: Scope, body: bytes) -> str:
    """The hash by which a repeated request is known; a JSON body may be written otherwise."""
    content = body
    if len(body) <= LARGEST_COMPARED:
        with contextlib.suppress(ValueError, RecursionError):
            content = json.dumps(json.loads(body), sort_keys=True).encode()
    parts = (
        scope["method"].encode(),
        scope["path"].encode(),
        scope.get("query_string", b""),
        content,
    )
    return hashlib.sha256(b"\0".join(hashlib.sha256(one).digest() for one in parts)).hexdigest()
