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

Places and queue are those of one caller, which is a key. Each class has one place more, which a
caller who has all of theirs cannot take, and of those who wait the one with the fewest places is
next: whoever floods the service with one key waits for themselves.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.http.problem_details import problem_response
from serving.http.request_body import read_body, replay_body
from serving.problems import ProblemError, TooLargeError, TooManyAtOnceError

RawHeaders = Iterable[tuple[bytes, bytes]]


@dataclass(frozen=True, kw_only=True)
class RouteClass:
    """Routes that share places: how many of a caller are worked on at once, and how many may wait.

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
READS = RouteClass(name="reads", what="reads", at_once=1, queue=64, most_wait=0.25)
PAGES = RouteClass(name="pages", what="pages", at_once=1, queue=32, most_wait=0.5)
DECISIONS = RouteClass(
    name="decisions", what="decisions and reports of them", at_once=1, queue=64, most_wait=1.0
)
EVENTS = RouteClass(
    name="events",
    what="batches of events",
    at_once=1,
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
"""Every class. Their places and those for others together stay well below the 40 threads that work."""

FOR_OTHERS = 1
"""Places of each class beside those that one caller may have."""

LONGEST_WAIT = 10.0
"""Seconds after which a request that waits is refused, as when a store is locked."""

NEWEST = 0.1
"""The weight of the newest request in how long a place is taken."""

LONGEST_HELD = 2.0
"""Seconds that one request counts for at most, such as one that waited for a lock."""

MOST_BODY_BYTES = 268_435_456
"""Bytes of all bodies together that are held while they come, wait and are worked on; one caller
may have half of them."""


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
    """The places of one class, and who waits for one. Safe to use from several event loops.

    A caller is named by what their requests have in common; ``""`` is one who is not known.
    """

    def __init__(self, of: RouteClass) -> None:
        self.of = of
        self.busy = 0
        self.refused = 0
        self.held_seconds = 0.0  # how long a place is taken, of the newest ones most
        self._held: Counter[str] = Counter()  # places of each caller
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self._turn = threading.Lock()

    def _is_free(self, caller: str) -> bool:
        """Whether there is a place that this caller may take now."""
        most = self.of.at_once
        if most is None:
            return True
        own = self.busy - self._held.total() + self._held[caller]
        return own < most and self.busy < most + FOR_OTHERS

    def is_full(self, caller: str = "") -> bool:
        """Whether one more of this caller would be refused."""
        most, seconds = self.of.at_once, self.held_seconds
        if most is None or self._is_free(caller):
            return False
        own, of_all = len(self._waiting.get(caller, ())), sum(map(len, self._waiting.values()))
        return (
            own >= self.of.queue
            or (own + 1) * seconds / most > self.of.most_wait
            or of_all >= 2 * self.of.queue
            or (of_all + 1) * seconds / (most + FOR_OTHERS) > 2 * self.of.most_wait
        )

    def refusal(self) -> ProblemError:
        """Why one more is refused."""
        self.refused += 1
        return TooManyAtOnceError(
            f"{self.of.at_once} {self.of.what} are worked on, and as many wait as may.",
            headers={"Retry-After": str(self.of.retry_seconds)},
        )

    async def take(self, caller: str = "") -> None:
        """Take a place, waiting for one if the queue has room.

        Raises:
            TooManyAtOnceError: it has none, or the wait was too long.
        """
        with self._turn:
            if self._is_free(caller):
                self._take(caller)
                return
            if self.is_full(caller):
                raise self.refusal()
            turn = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(caller, deque()).append(turn)
        try:
            await asyncio.wait_for(asyncio.shield(turn), LONGEST_WAIT)
        except (asyncio.CancelledError, TimeoutError) as error:
            with self._turn:
                waiting = self._waiting.get(caller, deque())
                was_given = turn not in waiting
                if not was_given:
                    waiting.remove(turn)
                    self._forget(caller)
            if was_given:
                self.give_back(caller=caller)
            if isinstance(error, TimeoutError):
                raise self.refusal() from error
            raise

    def give_back(self, seconds: float | None = None, *, caller: str = "") -> None:
        """Free a place after so many seconds of work, for whoever has the fewest and waits longest."""
        with self._turn:
            if seconds is not None:
                self.held_seconds += (min(seconds, LONGEST_HELD) - self.held_seconds) * NEWEST
            self.busy -= 1
            self._held[caller] -= 1
            self._held = +self._held
            able = [one for one in self._waiting if self._is_free(one)]
            if not able:
                return
            following = min(able, key=self._held.__getitem__)
            turn = self._waiting[following].popleft()
            self._forget(following)
            self._take(following)
        turn.get_loop().call_soon_threadsafe(_give, turn)

    def _take(self, caller: str) -> None:
        self.busy += 1
        self._held[caller] += 1

    def _forget(self, caller: str) -> None:
        if not self._waiting[caller]:
            del self._waiting[caller]


def _give(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)


class Admission:
    """Admits requests by the class of their route, as ASGI middleware behind the gate.

    ``refused`` is called with the name of the class for each refusal, and ``knows`` with the
    headers of one and the caller it is of.
    """

    def __init__(
        self,
        app: ASGIApp,
        places: Mapping[RouteClass, Places],
        refused: Callable[[str], None] = lambda _: None,
        knows: Callable[[RawHeaders, str], None] = lambda _, __: None,
    ) -> None:
        self.app = app
        self.places = places
        self.refused = refused
        self.knows = knows
        self.held_bytes: Counter[str] = Counter()  # of each caller

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on when it has a place, or refuse it."""
        of = scope.get("state", {}).get("route_class") if scope["type"] == "http" else None
        if of is None or of.at_once is None:
            await self.app(scope, receive, send)
            return
        places = self.places[of]
        caller = getattr(scope["state"].get("caller"), "key_id", "")
        held = 0

        def hold(number: int) -> None:
            nonlocal held
            held += number
            self.held_bytes[caller] += number
            if (
                self.held_bytes[caller] > MOST_BODY_BYTES // 2
                or self.held_bytes.total() > MOST_BODY_BYTES
            ):
                raise places.refusal()

        try:
            await self._admit(scope, receive, send, places, caller, hold)
        finally:
            self.held_bytes[caller] -= held
            self.held_bytes = +self.held_bytes

    async def _admit(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        places: Places,
        caller: str,
        hold: Callable[[int], None],
    ) -> None:
        of = places.of
        try:
            if places.is_full(caller):
                raise places.refusal()
            if scope["method"] not in ("GET", "HEAD"):
                body = await read_body(receive, hold)
                if body is None:
                    return
                check_values(body, of.most_values)
                receive = replay_body(body, receive)
            await places.take(caller)
        except ProblemError as refusal:
            self.refused(of.name)
            self.knows(scope["headers"], caller)
            await problem_response(refusal, scope["path"])(scope, receive, send)
            return
        has_place = True
        began = time.monotonic()

        async def send_freeing(message: Message) -> None:
            nonlocal has_place
            if has_place:
                has_place = False
                places.give_back(time.monotonic() - began, caller=caller)
            await send(message)

        try:
            await self.app(scope, receive, send_freeing)
        finally:
            if has_place:
                places.give_back(time.monotonic() - began, caller=caller)


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
