"""This module is about writes that are done once, however often they are sent: Idempotency-Key.

As Stripe defines it: the same key and request get the same answer, another request under the key is
422, one that is still being worked on is 409; a key is kept for at least 24 hours, for each API key
by itself. A request that was refused without any effect leaves its key free.

A key is taken, with a lease, before the route runs, and its answer is kept before it is sent. A
process may be killed in between, so the transaction that has the effect also notes it in the key's
row, by the same commit, and fails where another process took the key over. A route that knows its
answer by then (``answered_by_commit``) has it kept by that commit too. Who sends the request again
after the lease is then told the truth: without an effect the route runs; with its answer kept that
is the answer; else it runs where it may run again (what it wrote is found under the key); else its
answer is lost, and is said to be, and nothing is done twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import secrets
import zlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus

import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy import event
from sqlalchemy.engine import Connection
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.auth.roles import Caller, Need
from serving.http.ledger_problems import problem_of
from serving.http.problem_details import problem_response
from serving.ledger.database.database import LedgerDatabase
from serving.ledger.errors import (
    AnswerLostError,
    InFlightError,
    KeyReusedError,
    LedgerError,
    LedgerUnreachableError,
)
from serving.problems import KEY_HEADER, LONGEST_KEY, MissingKeyError, ProblemError, TooLargeError

KEPT = timedelta(hours=24)
LEASE = timedelta(seconds=30)
RENEWALS_PER_LEASE = 3
RETRY_SECONDS = 1
REPLAYED = "idempotency-replayed"

LARGEST_COMPARED = 1_000_000
"""Bytes of a body that are compared as JSON; a larger one is compared as it is written."""

METADATA = sa.MetaData()
REQUESTS = sa.Table(
    "idempotent_requests",
    METADATA,
    sa.Column("caller", sa.String, primary_key=True),
    sa.Column("key", sa.String, primary_key=True),
    sa.Column("fingerprint", sa.String, nullable=False),
    sa.Column("holder", sa.String, nullable=False),
    sa.Column("lease_until", sa.String, nullable=False),
    sa.Column("effects", sa.Integer, nullable=False),
    sa.Column("began_at", sa.String, nullable=False, index=True),
    sa.Column("status", sa.Integer),  # null while it is worked on
    sa.Column("media_type", sa.String),
    sa.Column("body", sa.LargeBinary),
)


@dataclass(frozen=True, kw_only=True)
class KeptAnswer:
    """What a request was answered."""

    status: int
    media_type: str | None
    body: bytes


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A key that is being worked on, and by whom."""

    caller: str
    key: str
    holder: str


@dataclass(kw_only=True)
class Work:
    """A request that is being worked on under a key, and the answer that its effect keeps."""

    taken: Taken
    is_sure: bool = True  # that the key could be taken
    is_noted: bool = False  # that there is an effect
    answer: KeptAnswer | None = None  # to be kept by the next commit
    kept: KeptAnswer | None = None


_working_on: ContextVar[Work | None] = ContextVar("keepwell_idempotent_request", default=None)

_is_bookkeeping: ContextVar[bool] = ContextVar("keepwell_bookkeeping", default=False)
"""Taking a key and keeping an answer need not wait for the disk: the effect between them does, and
the disk then holds what was written before it. Without the answer, what was lost is said so."""


def _choose_how_durable(
    connection: DBAPIConnection, entry: ConnectionPoolEntry, _: PoolProxiedConnection
) -> None:
    """As a connection to SQLite is taken: wait for the disk at each commit, but for our own.

    It is asked for where it changes; of a connection that says nothing yet, nothing is known.
    """
    mode = "NORMAL" if _is_bookkeeping.get() else "FULL"
    if entry.info.get("synchronous") != mode:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA synchronous={mode}")
        cursor.close()
        entry.info["synchronous"] = mode


class RequestKeys:
    """The keys of requests, in the database of the ledger, where the effects are."""

    def __init__(self, database: LedgerDatabase, lease: timedelta = LEASE) -> None:
        self._database = database
        self._lease = lease
        self._is_ready = False
        self._forgotten_at: datetime | None = None
        event.listen(database.engine, "commit", self._note_effect)
        if database.engine.dialect.name == "sqlite":
            event.listen(database.engine, "checkout", _choose_how_durable)

    def begin(
        self,
        caller: str,
        key: str,
        fingerprint: str,
        *,
        may_repeat: bool,
        now: datetime,
        holder: str | None = None,
    ) -> Taken | KeptAnswer:
        """Take a key to work on its request, or find what it was answered.

        Raises:
            KeyReusedError: the key came before with another request.
            InFlightError: the request is being worked on.
            AnswerLostError: it was done, and the process ended before it answered.
            LedgerUnreachableError: the database can not be reached.
        """
        taken = Taken(caller=caller, key=key, holder=holder or new_holder())
        with self._writing() as connection:
            self._forget_old(connection, now)
            row = connection.execute(sa.select(REQUESTS).where(_is(taken))).one_or_none()
            if row is None:
                connection.execute(
                    sa.insert(REQUESTS).values(
                        caller=caller,
                        key=key,
                        fingerprint=fingerprint,
                        holder=taken.holder,
                        lease_until=_text(now + self._lease),
                        effects=0,
                        began_at=_text(now),
                    )
                )
                return taken
            if row.fingerprint != fingerprint:
                raise KeyReusedError(
                    f"This {KEY_HEADER} came before with another request. Nothing was done."
                )
            if row.status is not None:
                return KeptAnswer(
                    status=row.status, media_type=row.media_type, body=zlib.decompress(row.body)
                )
            if row.lease_until > _text(now):
                raise InFlightError(
                    "The same request is being worked on.",
                    retry_after=RETRY_SECONDS,
                )
            if row.effects and not may_repeat:
                raise AnswerLostError(
                    "The request was carried out once, and the process that did "
                    "so ended before it could answer. Nothing was done again."
                )
            connection.execute(
                sa.update(REQUESTS)
                .where(_is(taken))
                .values(holder=taken.holder, lease_until=_text(now + self._lease))
            )
            return taken

    def settle(self, taken: Taken, answer: KeptAnswer, now: datetime) -> None:
        """Keep what a request is answered, before it is sent; a refusal that had no effect is not
        kept, and its key is free."""
        kept = _columns(answer)
        with self._writing() as connection:
            if answer.status >= HTTPStatus.BAD_REQUEST and _freed(connection, taken):
                return
            is_known = answer.status < HTTPStatus.INTERNAL_SERVER_ERROR
            connection.execute(
                sa.update(REQUESTS)
                .where(_holds(taken))
                .values(kept if is_known else {"lease_until": _text(now)})
            )

    def renew(self, taken: Taken, now: datetime) -> None:
        """Go on working."""
        with self._writing() as connection:
            connection.execute(
                sa.update(REQUESTS)
                .where(_holds(taken))
                .values(lease_until=_text(now + self._lease))
            )

    def let_go(self, taken: Taken, now: datetime) -> None:
        """Give a key back whose request came to nothing; a noted effect stays noted."""
        with self._writing() as connection:
            if not _freed(connection, taken):
                connection.execute(
                    sa.update(REQUESTS).where(_holds(taken)).values(lease_until=_text(now))
                )

    @contextlib.contextmanager
    def _writing(self) -> Iterator[Connection]:
        token = _is_bookkeeping.set(True)
        try:
            with self._database.writing() as connection:
                if connection.dialect.name == "postgresql":
                    connection.execute(sa.text("SET LOCAL synchronous_commit TO off"))
                if not self._is_ready:
                    METADATA.create_all(connection)
                yield connection
        finally:
            _is_bookkeeping.reset(token)
        self._is_ready = True

    def _forget_old(self, connection: Connection, now: datetime) -> None:
        if self._forgotten_at is None or now - self._forgotten_at >= KEPT / 24:
            connection.execute(
                sa.delete(REQUESTS).where(
                    REQUESTS.c.began_at < _text(now - KEPT), REQUESTS.c.lease_until < _text(now)
                )
            )
            self._forgotten_at = now

    def _note_effect(self, connection: Connection) -> None:
        """Just before a write commits: note it in the row of the request it belongs to."""
        work = _working_on.get()
        if work is None or not connection.get_execution_options().get("keepwell_writes", False):
            return
        kept = {} if work.answer is None else _columns(work.answer)
        noted = (
            0
            if not self._is_ready
            else connection.execute(
                sa.update(REQUESTS)
                .where(_holds(work.taken), REQUESTS.c.status.is_(None))
                .values(effects=REQUESTS.c.effects + 1, **kept)
            ).rowcount
        )
        if noted == 1:
            work.is_noted, work.kept = True, work.answer
            return
        if not work.is_sure:
            raise LedgerUnreachableError(
                "The key of this request could not be noted in time, so nothing was written.",
                retry_after=RETRY_SECONDS,
            )
        raise InFlightError(
            "Another process took the request over. Nothing was written by this one.",
            retry_after=RETRY_SECONDS,
        )


@contextlib.contextmanager
def working_on(taken: Taken, *, is_sure: bool = True) -> Iterator[Work]:
    """What is written to the ledger meanwhile is the effect of this request.

    ``is_sure`` is whether the key was taken: where the ledger could not be reached just then,
    nobody knows, and what can not be noted is not written.
    """
    work = Work(taken=taken, is_sure=is_sure)
    token = _working_on.set(work)
    try:
        yield work
    finally:
        _working_on.reset(token)


def answered_by_commit(answer: BaseModel, status: int = HTTPStatus.OK) -> Response:
    """The answer of a request whose effect is about to be committed, kept by the same commit.

    So nothing is lost where the process is killed between the two, and the effect and its answer
    wait for the disk together.
    """
    response = Response(answer.model_dump_json(), status, media_type="application/json")
    work = _working_on.get()
    if work is not None:
        work.answer = KeptAnswer(
            status=response.status_code,
            body=bytes(response.body),
            media_type=response.headers["content-type"],
        )
    return response


class WrittenOnce:
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
        body = await whole_body(receive)
        if body is None:
            return None
        holder = new_holder()
        try:
            begun = await run_in_threadpool(
                self.keys.begin,
                caller.key_id,
                key,
                fingerprint_of(scope, body),
                may_repeat=need.may_repeat,
                now=self.clock(),
                holder=holder,
            )
        except LedgerUnreachableError:  # away, or busy for long; what needs no ledger may answer
            unsure = Taken(caller=caller.key_id, key=key, holder=holder)
            answered = Answered()
            with working_on(unsure, is_sure=False) as work:
                await self.app(scope, once(body, receive), answered)
            if work.is_noted and answered.kept() != work.kept:  # it was taken after all
                await run_in_threadpool(self.keys.settle, unsure, answered.kept(), self.clock())
            return answered.response()
        if isinstance(begun, KeptAnswer):
            return Response(
                begun.body, begun.status, media_type=begun.media_type, headers={REPLAYED: "true"}
            )
        renewing = asyncio.create_task(self._go_on(begun))
        try:
            answered = Answered()
            with working_on(begun) as work:
                await self.app(scope, once(body, receive), answered)
            if answered.kept() != work.kept:  # else it is kept, with the effect
                await run_in_threadpool(self.keys.settle, begun, answered.kept(), self.clock())
        except Exception:
            await run_in_threadpool(self.keys.let_go, begun, self.clock())
            raise
        finally:
            renewing.cancel()
        return answered.response()

    async def _go_on(self, taken: Taken) -> None:
        while True:
            await asyncio.sleep(self.pause)
            with contextlib.suppress(LedgerError):
                await run_in_threadpool(self.keys.renew, taken, self.clock())


class Answered:
    """An answer held back until it is kept."""

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

    def kept(self) -> KeptAnswer:
        """What of it is kept."""
        return KeptAnswer(
            status=self.status,
            body=bytes(self.body),
            media_type=Headers(raw=self.headers).get("content-type"),
        )

    def response(self) -> Response:
        """The answer, to be sent."""
        response = Response(bytes(self.body), self.status)
        response.raw_headers = self.headers
        return response


async def whole_body(receive: Receive) -> bytes | None:
    """The body of a request; None where the caller went away.

    Raises:
        TooLargeError: it is larger than is read.
    """
    body = bytearray()
    while True:
        try:
            message = await receive()
        except HTTPException as error:  # what the bound of the body raises
            raise TooLargeError(str(error.detail)) from error
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return bytes(body)


def once(body: bytes, receive: Receive) -> Receive:
    """What gives the body that was read already, and then whatever comes."""
    is_given = False

    async def give() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return give


def fingerprint_of(scope: Scope, body: bytes) -> str:
    """The hash by which a repeated request is known; a JSON body may be written otherwise."""
    said = body
    if len(body) <= LARGEST_COMPARED:
        with contextlib.suppress(ValueError, RecursionError):
            said = json.dumps(json.loads(body), sort_keys=True).encode()
    parts = (scope["method"].encode(), scope["path"].encode(), scope.get("query_string", b""), said)
    return hashlib.sha256(b"\0".join(hashlib.sha256(one).digest() for one in parts)).hexdigest()


def new_holder() -> str:
    """A name for who works on a request now."""
    return secrets.token_hex(8)


def _columns(answer: KeptAnswer) -> dict[str, object]:
    return {
        "status": answer.status,
        "media_type": answer.media_type,
        "body": zlib.compress(answer.body, level=1),
    }


def _is(taken: Taken) -> sa.ColumnElement[bool]:
    return sa.and_(REQUESTS.c.caller == taken.caller, REQUESTS.c.key == taken.key)


def _freed(connection: Connection, taken: Taken) -> bool:
    """Forget a key whose request had no effect; whether it had none."""
    return (
        connection.execute(
            sa.delete(REQUESTS).where(_holds(taken), REQUESTS.c.effects == 0)
        ).rowcount
        > 0
    )


def _holds(taken: Taken) -> sa.ColumnElement[bool]:
    return sa.and_(_is(taken), REQUESTS.c.holder == taken.holder)


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
