"""Cache whole answers that follow from the portfolio alone, as the bytes that are sent.

::

    admitted request ─► answered before from the same? ─┬─ yes ─► the same bytes
                                                        └─ no ──► the route ─► cached

A route says what it reads:

- ``@from_portfolio``: nothing but the portfolio, its address and the caller's reach. Its answers are
  dropped when another portfolio is in the place of this one.
- ``@from_score``: nothing but the score of the account in its address, and at its end how fresh the
  sources are. A batch of events puts a portfolio in the place of this one that has the very same
  scores of all accounts it does not touch (``with_scores``); their answers stay, and only their ends
  are those of the new portfolio. What does not end so is cached as the others.

Only good answers are cached, and those asked for longest ago are dropped where they are more than
``MOST_BYTES``. The gate stands in front, so nobody is answered from here whom the route would refuse.
"""

from __future__ import annotations

import threading
import weakref
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal, TypeVar

from pydantic import TypeAdapter
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.api.schemas.scores import FreshnessAnswer
from serving.api.serializers import freshness_answer
from serving.auth.roles import Caller
from serving.scoring.portfolio import Portfolio
from serving.scoring.score import AccountScore
from serving.scoring.visible_accounts import VisibleAccounts

Endpoint = TypeVar("Endpoint", bound=Callable[..., object])

MOST_BYTES = 32_000_000
BYTES_BESIDE = 600
"""What is counted for an address and the place of its answer, beside the body."""

Address = tuple[str, bytes, VisibleAccounts | None]
"""The path, the query as it was sent, and what the caller reaches."""

Source = Literal["portfolio", "score"]
"""What an answer is made of."""

_FRESHNESS = TypeAdapter(list[FreshnessAnswer])


def from_portfolio(endpoint: Endpoint) -> Endpoint:
    """Declare that a route answers from the portfolio, its address and the caller's reach alone."""
    vars(endpoint)["answers_from"] = "portfolio"
    return endpoint


def from_score(endpoint: Endpoint) -> Endpoint:
    """Declare that a route answers from the score of ``account_id`` in its path alone, and ends with
    how fresh the sources are."""
    vars(endpoint)["answers_from"] = "score"
    return endpoint


def source_of(endpoint: object) -> Source | None:
    """What a route declares that it answers from; None where it may read anything."""
    return getattr(endpoint, "answers_from", None)


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedAnswer:
    """A good answer as it was sent, and the route that gave it, which counts it.

    Where it is of a ``score``, the body is without its end, and the headers are without its length.
    """

    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    route: object
    score: weakref.ref[AccountScore] | None = None

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
        self._of_portfolio: set[Address] = set()  # as a whole
        self._paths: Counter[str] = Counter()
        self._ends: dict[VisibleAccounts | None, bytes] = {}  # of this portfolio
        self._turn = threading.Lock()

    def __len__(self) -> int:
        return len(self._answers)

    def holds(self, path: str) -> bool:
        """Whether an answer to this path is cached, for anybody and whatever its query."""
        return self._paths[path] > 0

    def find(self, portfolio: Portfolio | None, address: Address) -> EncodedAnswer | None:
        """The whole answer to an address from this portfolio, if it is cached."""
        if portfolio is None:
            return None
        with self._turn:
            if not self._is_of(portfolio):
                self._go_on_with(portfolio)
            found = self._answers.get(address)
            if found is None:
                return None
            self._drop(address)
            if found.score is not None and not _is_in(portfolio, found.score()):
                return None
            self._keep(address, found)  # at the end: the first is the one to drop
            return found if found.score is None else self._whole(found, portfolio, address[2])

    def add(
        self,
        portfolio: Portfolio,
        address: Address,
        answer: EncodedAnswer,
        score: AccountScore | None = None,
    ) -> None:
        """Cache an answer from a portfolio, or from a score of it, unless another one is served by
        now."""
        with self._turn:
            if not self._is_of(portfolio):
                return
            if score is not None:
                answer = self._without_end(answer, portfolio, address[2], score)
            if answer.size(address) > self.most_bytes:
                return
            if address in self._answers:
                self._drop(address)
            self._keep(address, answer)
            while self.bytes > self.most_bytes:
                self._drop(next(iter(self._answers)))

    def _go_on_with(self, portfolio: Portfolio) -> None:
        """Drop what followed from the whole portfolio of before; scores are compared when asked."""
        self._portfolio, self._ends = weakref.ref(portfolio), {}
        for address in list(self._of_portfolio):
            self._drop(address)

    def _keep(self, address: Address, answer: EncodedAnswer) -> None:
        self._answers[address] = answer
        if answer.score is None:
            self._of_portfolio.add(address)
        self._paths[address[0]] += 1
        self.bytes += answer.size(address)

    def _drop(self, address: Address) -> None:
        self.bytes -= self._answers.pop(address).size(address)
        self._of_portfolio.discard(address)
        self._paths[address[0]] -= 1
        if not self._paths[address[0]]:
            del self._paths[address[0]]

    def _end(self, portfolio: Portfolio, reach: VisibleAccounts | None) -> bytes:
        """What every answer from a score ends with, to a caller with this reach."""
        end = self._ends.get(reach)
        if end is None:
            sources = portfolio.within(reach).freshness
            fresh = _FRESHNESS.dump_json(freshness_answer(sources, portfolio.now))
            end = self._ends[reach] = b',"freshness":' + fresh + b"}"
        return end

    def _without_end(
        self,
        answer: EncodedAnswer,
        portfolio: Portfolio,
        reach: VisibleAccounts | None,
        score: AccountScore,
    ) -> EncodedAnswer:
        end = self._end(portfolio, reach)
        if not answer.body.endswith(end):
            return answer
        return EncodedAnswer(
            headers=tuple(one for one in answer.headers if one[0].lower() != b"content-length"),
            body=answer.body[: -len(end)],
            route=answer.route,
            score=weakref.ref(score),
        )

    def _whole(
        self, answer: EncodedAnswer, portfolio: Portfolio, reach: VisibleAccounts | None
    ) -> EncodedAnswer:
        body = answer.body + self._end(portfolio, reach)
        length = (b"content-length", b"%d" % len(body))
        return EncodedAnswer(headers=(length, *answer.headers), body=body, route=answer.route)

    def _is_of(self, portfolio: Portfolio) -> bool:
        return self._portfolio is not None and self._portfolio() is portfolio


def _is_in(portfolio: Portfolio, score: AccountScore | None) -> bool:
    return score is not None and portfolio.by_id.get(score.account_id) is score


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
        source = source_of(getattr(route, "endpoint", None))
        answer = None if source is None else noted.answer(route)
        if answer is not None and portfolio is not None and self.current() is portfolio:
            named = scope.get("path_params", {}).get("account_id") if source == "score" else None
            self.answers.add(  # the portfolio was served all the while
                portfolio, address, answer, portfolio.by_id.get(named) if named else None
            )


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
