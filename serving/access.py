"""This module is about who may reach the service, and what a browser may do with its answers.

One gate in front of every route, in this order: the Host header names us (no DNS rebinding), a
write does not come from a page of another site, the key is right where one is set, the body is
not too large. Every answer leaves with the same security headers. Compares keys in constant
time; logs no secret.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.errors import (
    ForeignOriginError,
    NotAllowedError,
    ProblemError,
    TooLargeError,
    WrongHostError,
    problem_response,
)
from serving.response_headers import SECURITY_HEADERS
from serving.settings import ServiceSettings

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
"""Probes: they say whether the service works and nothing about accounts."""

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Gate:
    """The gate in front of the routes, as ASGI middleware."""

    def __init__(self, app: ASGIApp, settings: ServiceSettings) -> None:
        self.app = app
        self.settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass the request on with a bounded body and a guarded answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        headers = Headers(scope=scope)
        refusal = refusal_of(headers, scope["method"], scope["path"], self.settings)
        if refusal is not None:
            await problem_response(refusal, scope["path"])(scope, receive, send_guarded)
            return
        bounded = BoundedBody(receive, self.settings.max_body_bytes)
        await self.app(scope, bounded, send_guarded)


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


def refusal_of(headers: Headers, method: str, path: str, settings: ServiceSettings
               ) -> ProblemError | None:
    """Why a request is refused by its headers alone; None when it may pass."""
    if host_name(headers.get("host", "")) not in settings.allowed_hosts:
        return WrongHostError("The Host header names a host that this service does not answer for.")
    origin = headers.get("origin")
    foreign = origin is not None and urlsplit(origin).netloc.lower() != headers["host"].lower()
    if method not in SAFE_METHODS and foreign:
        return ForeignOriginError("The Origin header names another site.")
    if settings.api_key is not None and path not in OPEN_PATHS:
        key = presented_key(headers)
        if key is None or not hmac.compare_digest(key.encode(), settings.api_key.encode()):
            return NotAllowedError("The request carries no key, or a wrong one.",
                                   headers={"WWW-Authenticate": 'Basic realm="Keepwell"'})
    length = headers.get("content-length", "0")
    if length.isascii() and length.isdigit() and int(length) > settings.max_body_bytes:
        return TooLargeError(too_large_text(settings.max_body_bytes))
    return None


def too_large_text(most_bytes: int) -> str:
    """What is wrong with a body past the bound."""
    return (f"The body is larger than {most_bytes:,} bytes, the most this service reads in one "
            f"request.")


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
