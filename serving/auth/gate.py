"""The gate in front of every route: who may reach the service, and what browsers may do.

In this order: the Host header names this service (no DNS rebinding), a write does not come from a
page of another site, the key is right where one is needed and its address has not guessed too
often, its role may use the route, it has not written too often, the body is not too large. Behind
the gate the request says who came. Every answer leaves with the same security headers. Keys are
compared in constant time: that of the environment byte by byte, others by a keyed hash, which
nobody without the pepper can steer. No secret is logged.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import logging
import re
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import NamedTuple
from urllib.parse import urlsplit

from fastapi.routing import iter_route_contexts
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.auth.api_keys import ApiKeyError, ApiKeys
from serving.auth.failed_attempts import FREE, FailedAttempts, place_of
from serving.auth.roles import EMBEDDED, OF_THE_ENVIRONMENT, PROBE, Caller, Need, need_of
from serving.auth.write_rate import WriteRate
from serving.http.admission import READS, RouteClass, class_of
from serving.http.headers import SECURITY_HEADERS
from serving.http.problem_details import RETRY_SECONDS, problem_response
from serving.ledger.database.change import WaitBudget
from serving.problems import (
    ForeignOriginError,
    KeysUnreadableError,
    NotAllowedError,
    NotPermittedError,
    ProblemError,
    TooLargeError,
    TooManyAttemptsError,
    TooManyWritesError,
    WrongHostError,
)
from serving.settings import ServiceSettings

log = logging.getLogger("keepwell.serving")

GUARDS = tuple((name.encode(), value.encode()) for name, value in SECURITY_HEADERS.items())
"""The security headers as they go on the wire."""

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Gate:
    """The gate in front of the routes, as ASGI middleware."""

    def __init__(
        self, app: ASGIApp, settings: ServiceSettings, keys: ApiKeys, clock: Callable[[], datetime]
    ) -> None:
        self.app = app
        self.settings = settings
        self.keys = keys
        self.clock = clock
        self.attempts = FailedAttempts()
        self.writes = WriteRate(settings.key_writes_per_second)
        self._routes: tuple[Pattern, ...] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass the request on with a bounded body and a guarded answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = list(message.get("headers", ()))
                names = {name.lower() for name, _ in given}
                message["headers"] = [*given, *(one for one in GUARDS if one[0] not in names)]
            await send(message)

        headers = Headers(scope=scope)
        if self._routes is None:
            self._routes = patterns_of(scope["app"].routes)
        try:
            check_origin(headers, scope["method"], self.settings)
            pattern = matching(self._routes, scope["method"], scope["path"])
            need = None if pattern is None else pattern.need
            caller = self._admitted(scope, headers, pattern)
            check_length(headers, self.settings)
        except ProblemError as refusal:
            await problem_response(refusal, scope["path"])(scope, receive, send_guarded)
            return
        scope.setdefault("state", {}).update(
            caller=caller, need=need, route_class=pattern.route_class if pattern else None
        )
        if need is not None and need.writes:
            scope["state"]["waits"] = WaitBudget(self.settings.ledger_wait_seconds)
        bounded = BoundedBody(receive, self.settings.max_body_bytes)
        await self.app(scope, bounded, send_guarded)

    def _admitted(self, scope: Scope, headers: Headers, pattern: Pattern | None) -> Caller:
        """The caller, if they may use the route; where no route matches they may be told so."""
        if pattern is not None and pattern.need is not None and pattern.need.permission is None:
            return PROBE
        presented, now = presented_key(headers), self.clock()
        try:
            caller = caller_with(presented, self.settings, self.keys, now)
        except ApiKeyError as error:
            raise KeysUnreadableError(
                "The keys of this workspace cannot be read now, so none is taken.",
                headers={"Retry-After": str(RETRY_SECONDS)},
            ) from error
        if presented is not None:
            self._check_attempts(scope, caller, now)
        if caller is None:
            raise NotAllowedError(
                "The request carries no key, or a wrong one.",
                headers={"WWW-Authenticate": 'Basic realm="Keepwell"'},
            )
        if pattern is not None:
            check_permission(pattern.need, caller, f"{scope['method']} {pattern.path}")
            if pattern.need is not None and pattern.need.writes:
                self._check_writes(caller)
        return caller

    def _check_writes(self, caller: Caller) -> None:
        """See that a key does not write more often than one may."""
        seconds = 0 if caller is EMBEDDED else self.writes.seconds_to_wait(caller.key_id)
        if seconds:
            raise TooManyWritesError(
                f"One key may send {self.writes.per_second:g} writes a second here, and this one "
                f"has sent more.",
                headers={"Retry-After": str(seconds)},
            )

    def _check_attempts(self, scope: Scope, caller: Caller | None, now: datetime) -> None:
        """See that an address that presented too many wrong keys waits, whatever it presents."""
        client = scope.get("client")
        address = client[0] if client else None
        seconds = self.attempts.seconds_to_wait(
            address, None if caller is None else caller.key_id, now
        )
        if seconds:
            raise TooManyAttemptsError(
                f"Too many wrong keys came from this address. The next is looked at in "
                f"{seconds} seconds.",
                headers={"Retry-After": str(seconds)},
            )
        if caller is not None:
            self.attempts.came_in(address, caller.key_id)
        elif self.attempts.failed(address, now):
            log.warning("%s presented %d wrong keys, and has to wait now", place_of(address), FREE)


class RouteError(Exception):
    """A route does not declare who may use it."""


class Pattern(NamedTuple):
    """A route: its path with the names of its parts, its methods, who may ask, and with which others
    it shares places."""

    path: str
    methods: frozenset[str]
    address: re.Pattern[str]
    need: Need | None
    route_class: RouteClass = READS


def patterns_of(routes: Iterable[BaseRoute]) -> tuple[Pattern, ...]:
    """Every route of an application, in the order in which they are tried."""
    return tuple(
        Pattern(
            one.path,
            frozenset(one.methods or ()),
            compile_path(one.path)[0],
            need_of(one.endpoint),
            class_of(one.endpoint),
        )
        for one in iter_route_contexts(list(routes))
        if one.path is not None
    )


def declared_needs(routes: Iterable[BaseRoute]) -> dict[str, Need]:
    """What each route needs, by its method and path.

    Raises:
        RouteError: a route declares nothing.
    """
    found: dict[str, Need] = {}
    for pattern in patterns_of(routes):
        for method in sorted(pattern.methods - {"HEAD"}):
            route = f"{method} {pattern.path}"
            if pattern.need is None:
                raise RouteError(
                    f"The route {route} does not declare who may use it. Put @needs(...) of "
                    "serving/auth/roles.py under its @router decorator."
                )
            found[route] = pattern.need
    return found


def matching(routes: Iterable[Pattern], method: str, path: str) -> Pattern | None:
    """The route that answers this method and address; None where nothing does."""
    return next((one for one in routes if method in one.methods and one.address.match(path)), None)


def class_of_address(routes: Iterable[BaseRoute]) -> Callable[[str, str], RouteClass | None]:
    """What says with which others the route of a method and a path shares places.

    None where there is no route.
    """
    patterns = patterns_of(routes)

    def find(method: str, path: str) -> RouteClass | None:
        found = matching(patterns, method, path)
        return None if found is None else found.route_class

    return find


def check_permission(need: Need | None, caller: Caller, route: str) -> None:
    """See that a caller may use a route.

    Raises:
        NotPermittedError: they may not, or nobody said who may.
    """
    if need is None:
        raise NotPermittedError(
            f"Nobody said who may use {route}, so nobody may.",
            next_step="Put @needs(...) of serving/auth/roles.py at its function.",
        )
    refusal = need.refusal(caller)
    if refusal is not None:
        raise NotPermittedError(refusal)


def caller_with(
    presented: str | None, settings: ServiceSettings, keys: ApiKeys, now: datetime
) -> Caller | None:
    """The caller with the presented key; None if the key is not valid.

    Raises:
        ApiKeyError: the keys cannot be read.
    """
    if presented is not None:
        own = settings.api_key
        if own is not None and hmac.compare_digest(presented.encode(), own.encode()):
            return OF_THE_ENVIRONMENT
        caller = keys.caller(presented, now)
        if caller is not None:
            return caller
    return EMBEDDED if settings.api_key is None and not keys.are_used else None


class BoundedBody:
    """A body that stops being read at its bound, whatever its headers promised."""

    def __init__(self, receive: Receive, most_bytes: int) -> None:
        self.receive = receive
        self.most_bytes = most_bytes
        self.seen = 0

    async def __call__(self) -> Message:
        """The next piece of the body."""
        message = await self.receive()
        if message["type"] == "http.request":
            self.seen += len(message.get("body", b""))
            if self.seen > self.most_bytes:
                # FastAPI lets this kind pass while it reads a body and calls any other unreadable
                raise HTTPException(TooLargeError.status, too_large_text(self.most_bytes))
        return message


def check_origin(headers: Headers, method: str, settings: ServiceSettings) -> None:
    """See that a request names us, and is no write by a page of another site.

    Raises:
        WrongHostError: it names another host.
        ForeignOriginError: it is such a write.
    """
    hosts = headers.getlist("host")  # of two, a proxy may read the other
    if len(hosts) != 1 or host_name(hosts[0]) not in settings.allowed_hosts:
        raise WrongHostError("The Host header names a host that this service does not answer for.")
    origin = headers.get("origin")
    if method not in SAFE_METHODS and origin is not None and not _is_of(origin, hosts[0]):
        raise ForeignOriginError("The Origin header names another site.")


def _is_of(origin: str, host: str) -> bool:
    try:
        return urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:  # no address, such as http://[
        return False


def check_length(headers: Headers, settings: ServiceSettings) -> None:
    """See that a body that says its length is not too large.

    Raises:
        TooLargeError: it says more than is read.
    """
    length = headers.get("content-length", "0")
    if length.isascii() and length.isdigit() and int(length[:20]) > settings.max_body_bytes:
        raise TooLargeError(too_large_text(settings.max_body_bytes))


def too_large_text(most_bytes: int) -> str:
    """The message for a body that is too large."""
    return (
        f"The body is larger than {most_bytes:,} bytes, the most this service reads in one request."
    )


def host_name(host: str) -> str:
    """The name in a Host header, without the port.

    >>> host_name("localhost:8000"), host_name("[::1]:8000"), host_name("Keepwell.example")
    ('localhost', '[::1]', 'keepwell.example')
    """
    host = host.strip().lower()
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]


def presented_key(headers: Headers) -> str | None:
    """The key a request carries: bearer token, X-API-Key, or the password of a browser.

    >>> presented_key(Headers({"authorization": "Bearer abc"}))
    'abc'
    >>> presented_key(Headers({"authorization": "Basic YW55Ym9keTphYmM="}))
    'abc'
    """
    if "x-api-key" in headers:
        return headers["x-api-key"]
    scheme, _, rest = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() == "basic":
        try:
            decoded = base64.b64decode(rest, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return None
        return decoded.partition(":")[2]
    return None
