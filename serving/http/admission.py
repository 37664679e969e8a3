"""Admit so many requests of each class at once; refuse the rest at once, before they cost anything.

::

    whole request ─► its class ─┬─ a place is free ──────────► worked on ─► answer begins: place freed
                                ├─ the queue has room ─► waits ─┘
                                └─ else ─► 503 with Retry-After

Each class has places of its own, so plans that take seconds leave pages and health alone, and all
places together are fewer than the threads that work. The class follows from the router of the route
and whether it reads (``serving/api/app.py``). A place is taken when the body is here as a whole and
freed when the answer begins, so that slow clients hold none. A queue is as
long as its requests are quick: what would wait longer than its class allows is refused at once,
since a longer queue lets everybody wait and serves nobody sooner.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.http.problem_details import problem_response
from serving.http.request_body import read_body, replay_body
from serving.problems import ProblemError, TooLargeError, TooManyAtOnceError


@dataclass(frozen=True, kw_only=True)
class RouteClass:
    """Routes that share places: how many are worked on at once, and how many may wait.

    ``at_once`` is None where none is ever refused. One that would wait longer than ``most_wait``
    seconds, going by how long those before it took, is refused as if the queue were full.
    ``retry_seconds`` is what a refusal advises. A body has at most ``most_values`` values, since
    reading them, and saying of each what is wrong with it, holds up every other request.
    """

    name: str
    what: str
    at_once: int | None
    queue: int = 0
    most_wait: float = math.inf
    retry_seconds: int = 1
    most_values: int = 10_000


STATUS = RouteClass(name="status", what="questions about the service", at_once=None)
CONTROLS = RouteClass(name="controls", what="stops and settings", at_once=2, queue=16)
READS = RouteClass(name="reads", what="reads", at_once=2, queue=64, most_wait=0.25)
PAGES = RouteClass(name="pages", what="pages", at_once=2, queue=32, most_wait=0.5)
DECISIONS = RouteClass(
    name="decisions", what="decisions and reports of them", at_once=4, queue=64, most_wait=0.5
)
EVENTS = RouteClass(
    name="events",
    what="batches of events",
    at_once=2,
    queue=32,
    most_wait=1.0,
    most_values=300_000,
)
BATCHES = RouteClass(
    name="batches",
    what="plans and batches of scores",
    at_once=2,
    queue=0,
    retry_seconds=5,
    most_values=50_000,
)

CLASSES = (STATUS, CONTROLS, READS, PAGES, DECISIONS, EVENTS, BATCHES)
"""Every class. Their places together stay well below the 40 threads that work."""

LONGEST_WAIT = 10.0
"""Seconds after which a request that waits is refused, as when a store is locked."""

NEWEST = 0.1
"""The weight of the newest request in how long a place is taken."""

LONGEST_HELD = 2.0
"""Seconds that one request counts for at most, such as one that waited for a lock."""

MOST_BODY_BYTES = 268_435_456
"""Bytes of all bodies together that are held while their requests wait and are worked on."""


def in_class(of: RouteClass, routes: Iterable[BaseRoute]) -> None:
    """Put routes in a class."""
    for route in routes:
        setattr(route.endpoint, "route_class", of)  # type: ignore[attr-defined]  # noqa: B010


def class_of(endpoint: object) -> RouteClass:
    """The class of a route; reads where none was declared."""
    found = getattr(endpoint, "route_class", READS)
    assert isinstance(found, RouteClass)
    return found


class Places:
    """The places of one class, and who waits for one. Safe to use from several event loops."""

    def __init__(self, of: RouteClass) -> None:
        self.of = of
        self.busy = 0
        self.refused = 0
        self.held_seconds = 0.0  # how long a place is taken, of the newest ones most
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._turn = threading.Lock()

    @property
    def is_full(self) -> bool:
        """Whether one more would be refused."""
        most, waiting = self.of.at_once, len(self._waiting)
        if most is None or self.busy < most:
            return False
        return waiting >= self.of.queue or (waiting + 1) * self.held_seconds / most > (
            self.of.most_wait
        )

    def refusal(self) -> ProblemError:
        """Why one more is refused."""
        self.refused += 1
        return TooManyAtOnceError(
            f"{self.of.at_once} {self.of.what} are worked on, and as many wait as may.",
            headers={"Retry-After": str(self.of.retry_seconds)},
        )

    async def take(self) -> None:
        """Take a place, waiting for one if the queue has room.

        Raises:
            TooManyAtOnceError: it has none, or the wait was too long.
        """
        with self._turn:
            if self.of.at_once is None or self.busy < self.of.at_once:
                self.busy += 1
                return
            if self.is_full:
                raise self.refusal()
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
        try:
            await asyncio.wait_for(asyncio.shield(turn), LONGEST_WAIT)
        except (asyncio.CancelledError, TimeoutError) as error:
            with self._turn:
                was_given = turn not in self._waiting
                if not was_given:
                    self._waiting.remove(turn)
            if was_given:
                self.give_back()
            if isinstance(error, TimeoutError):
                raise self.refusal() from error
            raise

    def give_back(self, seconds: float | None = None) -> None:
        """Free a place, for whoever waits longest, after so many seconds of work."""
        with self._turn:
            if seconds is not None:
                self.held_seconds += (min(seconds, LONGEST_HELD) - self.held_seconds) * NEWEST
            if not self._waiting:
                self.busy -= 1
                return
            turn = self._waiting.popleft()
        turn.get_loop().call_soon_threadsafe(_give, turn)


def _give(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)


class Admission:
    """Admits requests by the class of their route, as ASGI middleware behind the gate.

    ``refused`` is called with the name of the class for each refusal.
    """

    def __init__(
        self,
        app: ASGIApp,
        places: Mapping[RouteClass, Places],
        refused: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.app = app
        self.places = places
        self.refused = refused
        self.held_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on when it has a place, or refuse it."""
        of = scope.get("state", {}).get("route_class") if scope["type"] == "http" else None
        if of is None or of.at_once is None:
            await self.app(scope, receive, send)
            return
        places = self.places[of]
        held = 0
        try:
            if places.is_full:
                raise places.refusal()
            if scope["method"] not in ("GET", "HEAD"):
                body = await read_body(receive)
                if body is None:
                    return
                check_values(body, of.most_values)
                held = len(body)
                self.held_bytes += held
                if self.held_bytes > MOST_BODY_BYTES:
                    raise places.refusal()
                receive = replay_body(body, receive)
            await places.take()
        except ProblemError as refusal:
            self.held_bytes -= held
            self.refused(of.name)
            await problem_response(refusal, scope["path"])(scope, receive, send)
            return
        has_place = True
        began = time.monotonic()

        async def send_freeing(message: Message) -> None:
            nonlocal has_place
            if has_place:
                has_place = False
                places.give_back(time.monotonic() - began)
            await send(message)

        try:
            await self.app(scope, receive, send_freeing)
        finally:
            self.held_bytes -= held
            if has_place:
                places.give_back(time.monotonic() - began)


def check_values(body: bytes, most: int) -> None:
    """See that a body of JSON holds no more values than are read; commas in texts count as well.

    >>> check_values(b'{"account_ids": ["a", "b"]}', most=3)

    Raises:
        TooLargeError: it holds more.
    """
    if len(body) > most and sum(map(body.count, (b",", b"[", b"{"))) > most:
        raise TooLargeError(
            f"The body holds more than {most:,} values, the most that is read here in one request."
        )


def places_of_classes() -> dict[RouteClass, Places]:
    """New places of every class, for one application."""
    return {of: Places(of) for of in CLASSES}
