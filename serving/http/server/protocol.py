"""HTTP on one connection: uvicorn's on httptools, with bounds and with refusals of our shape.

::

    bytes ─► head (bounded in size and time) ─► body (bounded in time) ─► the application ─► answer

What cannot become a request is refused here: no HTTP, a head that is too large or too slow, a body
that is too slow, one connection too many. A refusal stands behind the answers to requests that came
before it on the same connection, which ends with it. Time is looked at once a second for all
connections (``look``), so a request sets no timer. An upgrade, to a WebSocket say, is not taken: the
request is answered as if it had not asked, and the connection ends.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.server import ServerState

from serving.http.admission import RawHeaders
from serving.http.headers import SECURITY_HEADERS
from serving.http.problem_details import MEDIA_TYPE, problem_content
from serving.http.server.limits import ConnectionLimits
from serving.problems import (
    AddressTooLongError,
    HeadTooLargeError,
    NotHttpError,
    ProblemError,
    StoppingError,
    TooManyConnectionsError,
    TooSlowError,
)

Part = Literal["head", "body"]

Refuses = Callable[[str, str, RawHeaders], bytes | None]
"""What refuses a request by its method, path and headers: the headers and body of a 503, or None."""

RETRY_SECONDS = "5"
GONE = "handler is closed"
"""What uvloop says of a connection that has ended, before it says so to the protocol."""

LOOK_SECONDS = 1.0
LINGER_SECONDS = 2.0
"""After a refusal the other side has so long to read it and to close, and what it sends is dropped."""


def refusal_bytes(error: ProblemError, more: Mapping[str, str] | None = None) -> bytes:
    """A refusal as it goes on the wire; the connection ends with it."""
    body = json.dumps(problem_content(error, "")).encode()
    headers = {
        **(more or {}),
        "content-type": MEDIA_TYPE,
        "content-length": str(len(body)),
        **{name.lower(): value for name, value in error.headers.items()},
        **SECURITY_HEADERS,
        "connection": "close",
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return STATUS_LINE[error.status] + lines.encode("latin-1") + b"\r\n" + body


class Connection(HttpToolsProtocol):
    """One connection to the service."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: ConnectionLimits,
        early: Refuses | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.limits = limits
        self._early = early
        self._awaits: Part | None = "head"
        self._since = self.loop.time()
        self._bytes = 0  # of this part
        self._is_silent = True  # no byte ever came
        self._is_answering = False
        self._refusal: ProblemError | None = None  # to be sent behind the answers before it
        self._ended_at: float | None = None  # when the last of our bytes were handed over
        self._unread = 0  # bytes of answers that wait for their reader
        self._unread_since = 0.0

    # What asyncio calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, or refuse it where there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            self._refuse(
                TooManyConnectionsError(
                    f"{self.limits.connections:,} connections are open, the most that are held.",
                    headers={"Retry-After": RETRY_SECONDS},
                )
            )

    def data_received(self, data: bytes) -> None:
        """Parse what came, and refuse what is no request."""
        if self._refusal is not None or self.transport.is_closing():
            return  # read on so that the refusal is not lost with what is unread
        self._unset_keepalive_if_required()
        self._bytes += len(data)
        self._is_silent = False
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.cycle.keep_alive = False  # what follows is in no protocol that is spoken here
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._refuse(
                cause
                if isinstance(cause, ProblemError)
                else NotHttpError("What came is not a request of HTTP/1.1.")
            )
        else:
            if self._awaits == "head" and self._bytes > self.limits.head_bytes:
                self._refuse(self._too_large())

    # What the parser calls

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._await("head")

    def on_url(self, url: bytes) -> None:
        """A piece of the address.

        Raises:
            AddressTooLongError: it is longer than is read.
        """
        super().on_url(url)
        if len(self.url) > self.limits.address_bytes:
            raise AddressTooLongError(
                f"The address has more than {self.limits.address_bytes:,} bytes."
            )

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; what comes behind a body in chunks is none, though the parser calls it one.

        A proxy passes it on as it came, so it would say what only the proxy may say.
        """
        if self._awaits == "head":
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole: hand the request to the application.

        Raises:
            HeadTooLargeError: it is larger than is read.
            NotHttpError: the body is in a coding that is not read here.
        """
        codings = [value for name, value in self.headers if name == b"transfer-encoding"]
        if codings and [one.strip().lower() for one in codings] != [b"chunked"]:
            raise NotHttpError("A body is read as it is or in chunks, and in no other coding.")
        if sum(len(n) + len(v) + 4 for n, v in self.headers) > self.limits.head_bytes:
            raise self._too_large()
        super().on_headers_complete()
        self._await("body")

    def on_message_complete(self) -> None:
        """The request is whole."""
        super().on_message_complete()
        self._awaits = None

    # What the application's answers call

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._is_answering = True
        if self._early is not None:
            refused = self._early(
                cycle.scope["method"], cycle.scope["path"], cycle.scope["headers"]
            )
            if refused is not None:
                self._answer_at_once(cycle, refused)
                return
        super()._start_asgi_task(cycle, partial(self._answer_while_open, cycle, app))

    async def _answer_while_open(
        self,
        cycle: RequestResponseCycle,
        app: ASGI3Application,
        scope: Any,
        receive: Any,
        send: Any,
    ) -> None:
        """Let an answer go nowhere whose connection is gone: that is no fault of the application."""

        async def send_while_open(message: Any) -> None:
            try:
                await send(message)
            except RuntimeError as error:
                if GONE not in str(error):
                    raise
                cycle.disconnected = True

        await app(scope, receive, send_while_open)

    def _answer_at_once(self, cycle: RequestResponseCycle, refused: bytes) -> None:
        """Answer 503 without the application; a body that follows is read and dropped."""
        lines = b"".join(b"%s: %s\r\n" % one for one in self.server_state.default_headers)
        ending = b"" if cycle.keep_alive else b"connection: close\r\n"
        self.transport.write(STATUS_LINE[503] + lines + ending + refused)
        cycle.response_started = cycle.response_complete = True
        if not cycle.keep_alive:
            self.transport.close()
        if self.pipeline:  # one at a time: each would call the next from within
            self.loop.call_soon(self.on_response_complete)
        else:
            self.on_response_complete()

    def on_response_complete(self) -> None:
        """An answer is sent: go on with the next request, or with the refusal behind it."""
        self._is_answering = False
        super().on_response_complete()
        if self._refusal is not None and not self._is_answering:
            self._end_with_refusal()

    # Time

    def look(self, now: float) -> None:
        """See that the other side takes no longer than it may; called once a second."""
        self._give_up_unread(now)
        if self._ended_at is not None and now - self._ended_at > LINGER_SECONDS:
            self.transport.close()
        if self.transport.is_closing() or self._refusal is not None:
            return
        waited = now - self._since
        if self._awaits == "head" and waited > self.limits.head_seconds:
            if self._is_silent:
                self.transport.close()
            else:
                self._refuse(self._too_slow("head", self.limits.head_seconds))
        elif self._awaits == "body":
            if self.flow.read_paused:  # we are the slow side
                self._since += LOOK_SECONDS
                return
            most = self.limits.body_seconds + self._bytes / self.limits.body_bytes_per_second
            if waited > most:
                self._refuse(self._too_slow("body", most))

    def shutdown(self) -> None:
        """The service stops: whole requests are answered, half-sent ones are refused."""
        if self._awaits is not None and not self._is_silent and self._refusal is None:
            self._refuse(
                StoppingError(
                    "The service is being stopped, and this request had not come as a whole.",
                    headers={"Retry-After": RETRY_SECONDS},
                )
            )
        if self._refusal is None:
            super().shutdown()

    # Refusing

    def _await(self, part: Part) -> None:
        self._awaits, self._since, self._bytes = part, self.loop.time(), 0

    def _refuse(self, error: ProblemError) -> None:
        """Refuse what is being received, behind the answers to what came before it."""
        is_in_body = self._awaits == "body"
        self._refusal, self._awaits = error, None
        if is_in_body:
            if self.pipeline and self.pipeline[0][0] is self.cycle:
                self.pipeline.popleft()  # it was not begun
            elif self.cycle.response_started:  # this request has its answer
                self.transport.close()
                return
            else:
                self.cycle.disconnected = True
                self.cycle.message_event.set()
                self._is_answering = False
        if not self._is_answering:
            self._end_with_refusal()

    def _end_with_refusal(self) -> None:
        assert self._refusal is not None
        if self.transport.is_closing() or self._ended_at is not None:
            return
        self._unset_keepalive_if_required()
        date = {name.decode(): value.decode() for name, value in self.server_state.default_headers}
        self.transport.write(refusal_bytes(self._refusal, date))
        self._ended_at = self.loop.time()
        self.transport.write_eof()
        self.flow.resume_reading()

    def _give_up_unread(self, now: float) -> None:
        unread = self.transport.get_write_buffer_size()
        if unread == 0 or unread != self._unread:
            self._unread, self._unread_since = unread, now
        elif now - self._unread_since > self.limits.answer_seconds:
            self.transport.abort()

    def _too_large(self) -> ProblemError:
        return HeadTooLargeError(
            f"The headers have more than {self.limits.head_bytes:,} bytes together."
        )

    def _too_slow(self, part: Part, seconds: float) -> ProblemError:
        return TooSlowError(f"The {part} of the request did not come within {seconds:.0f} seconds.")
