"""Cache whole answers that follow from the portfolio alone, as the bytes that are sent.

::

    admitted request ─► answered before from the same portfolio? ─┬─ yes ─► the same bytes
                                                                  └─ no ──► the route ─► cached

A route that reads nothing but the portfolio says so with ``@from_portfolio``. Its answer to an
address stays the same for everybody with the same reach, until another portfolio is in the place of
this one; then all of them are dropped. Only good answers are cached, and those asked for longest ago
are dropped where they are more than ``MOST_BYTES``. The gate stands in front, so nobody is answered
from here whom the route would refuse.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.auth.roles import Caller
from serving.scoring.portfolio import Portfolio
from serving.scoring.visible_accounts import VisibleAccounts

Endpoint = TypeVar("Endpoint", bound=Callable[..., object])

MOST_BYTES = 32_000_000
BYTES_BESIDE = 600
"""What is counted for an address and the place of its answer, beside the body."""

Address = tuple[str, bytes, VisibleAccounts | None]
"""The path, the query as it was sent, and what the caller reaches."""


def from_portfolio(endpoint: Endpoint) -> Endpoint:
    """Declare that a route answers from the portfolio, its address and the caller's reach alone."""
    vars(endpoint)["is_from_portfolio"] = True
    return endpoint


def is_from_portfolio(endpoint: object) -> bool:
    """Whether a route declares that it answers from the portfolio."""
    return getattr(endpoint, "is_from_portfolio", False) is True


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedAnswer:
    """A good answer as it was sent, and the route that gave it, which counts it."""

    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    route: object

    def size(self, address: Address) -> int:
        """The bytes that it is counted with."""
        return len(self.body) + len(address[0]) + len(address[1]) + BYTES_BESIDE


class EncodedAnswers:
    """The cached answers of one portfolio. Safe to use from several event loops."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.most_bytes = most_bytes
        self.bytes = 0
        self._portfolio: weakref.ref[Portfolio] | None = None  # no older one stays for this
        self._answers: dict[Address, EncodedAnswer] = {}
        self._turn = threading.Lock()

    def __len__(self) -> int:
        return len(self._answers)

    def find(self, portfolio: Portfolio | None, address: Address) -> EncodedAnswer | None:
        """The answer to an address from this portfolio, if it is cached."""
        if portfolio is None:
            return None
        with self._turn:
            if not self._is_of(portfolio):
                self._answers, self.bytes, self._portfolio = {}, 0, weakref.ref(portfolio)
            found = self._answers.pop(address, None)
            if found is not None:
                self._answers[address] = found  # at the end: the first is the one to drop
            return found

    def add(self, portfolio: Portfolio, address: Address, answer: EncodedAnswer) -> None:
        """Cache an answer from a portfolio, unless another one is served by now."""
        size = answer.size(address)
        with self._turn:
            if not self._is_of(portfolio) or size > self.most_bytes:
                return
            before = self._answers.pop(address, None)
            self._answers[address] = answer
            self.bytes += size - (before.size(address) if before else 0)
            while self.bytes > self.most_bytes:
                oldest = next(iter(self._answers))
                self.bytes -= self._answers.pop(oldest).size(oldest)

    def _is_of(self, portfolio: Portfolio) -> bool:
        return self._portfolio is not None and self._portfolio() is portfolio


class AnswerFromCache:
    """Answers from the cache where it can, as ASGI middleware behind the gate.

    Args:
        app: what answers otherwise.
        answers: the cache.
        current: the portfolio that is served now; None while there is none.
    """

    def __init__(
        self, app: ASGIApp, answers: EncodedAnswers, current: Callable[[], Portfolio | None]
    ) -> None:
        self.app = app
        self.answers = answers
        self.current = current

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer from the cache, or pass the request on and cache what it is answered."""
        caller = scope.get("state", {}).get("caller") if scope["type"] == "http" else None
        if scope.get("method") != "GET" or not isinstance(caller, Caller):
            await self.app(scope, receive, send)
            return
        address = (scope["path"], scope["query_string"], caller.reach)
        portfolio = self.current()
        found = self.answers.find(portfolio, address)
        if found is not None:
            scope["route"] = found.route
            await send(
                {
                    "type": "http.response.start",
                    "status": HTTPStatus.OK.value,
                    "headers": list(found.headers),
                }
            )
            await send({"type": "http.response.body", "body": found.body})
            return
        noted = _NotedAnswer(send)
        await self.app(scope, receive, noted)
        route = scope.get("route")
        endpoint = getattr(route, "endpoint", None)
        answer = noted.answer(route) if is_from_portfolio(endpoint) else None
        if answer is not None and portfolio is not None and self.current() is portfolio:
            self.answers.add(portfolio, address, answer)  # it was served all the while


class _NotedAnswer:
    """Sends an answer on, and remembers one that is good and came in one piece."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._body: bytes | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = {**message, "headers": list(message.get("headers", ()))}
        elif message.get("more_body") or self._body is not None:
            self._start = None  # in pieces
        else:
            self._body = message.get("body", b"")
        await self._send(message)

    def answer(self, route: object) -> EncodedAnswer | None:
        """The whole answer; None where it is not to be cached."""
        if self._start is None or self._body is None or self._start["status"] != HTTPStatus.OK:
            return None
        return EncodedAnswer(
            headers=tuple((bytes(name), bytes(value)) for name, value in self._start["headers"]),
            body=self._body,
            route=route,
        )
