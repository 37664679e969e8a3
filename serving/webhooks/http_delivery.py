"""One attempt to deliver a webhook: a POST to an address that was checked.

Follows no redirect, reads no body, and is over after a bounded time whatever the receiver does.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from serving.webhooks.url import Target

SECONDS = 10.0
"""An attempt is over after so long."""

LONGEST_WAIT = 86_400.0


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """The result of an attempt: a status, or why there is none; ``wait`` seconds if the receiver asks."""

    status: int | None = None
    problem: str | None = None
    wait: float | None = None

    @property
    def is_delivered(self) -> bool:
        """Whether the receiver has taken it."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def words(self) -> str:
        """A sentence about a failure."""
        if self.status is None:
            return self.problem or "no answer"
        if 300 <= self.status < 400:
            return f"answered {self.status}, a redirect, and redirects are not followed"
        return f"answered {self.status}"


class _Pinned(http.client.HTTPConnection):
    """A connection to the address of a target, whatever its name leads to by now."""

    def __init__(self, target: Target, *, seconds: float, context: ssl.SSLContext) -> None:
        super().__init__(target.host, target.port, timeout=seconds)
        self._target = target
        self._context = context
        self._is_over = False

    def connect(self) -> None:
        """Connect to the address itself; the certificate has to be that of the name."""
        self.sock = socket.create_connection(
            (self._target.address, self._target.port), self.timeout
        )
        if self._is_over:
            raise TimeoutError
        if self._target.is_encrypted:
            self.sock = self._context.wrap_socket(self.sock, server_hostname=self._target.host)

    def end(self) -> None:
        """Break off, from another thread."""
        self._is_over = True
        sock = self.sock
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


def post(
    target: Target,
    body: bytes,
    headers: Mapping[str, str],
    *,
    context: ssl.SSLContext,
    seconds: float = SECONDS,
) -> Attempt:
    """Send a body once."""
    connection = _Pinned(target, seconds=seconds, context=context)
    is_late = threading.Event()

    def give_up() -> None:
        is_late.set()
        connection.end()

    watch = threading.Timer(seconds, give_up)
    watch.daemon = True
    watch.start()
    try:
        connection.request(
            "POST",
            target.path,
            body=body,
            headers={
                "Content-Type": "application/json",
                "User-Agent": "Keepwell",
                "Connection": "close",
                **headers,
            },
        )
        response = connection.getresponse()
        if is_late.is_set():
            raise TimeoutError  # what was cut off reads as if it had ended
        return Attempt(status=response.status, wait=_wait(response.getheader("Retry-After")))
    except (OSError, http.client.HTTPException, ValueError) as error:
        if is_late.is_set() or isinstance(error, TimeoutError):
            return Attempt(problem=f"did not answer within {seconds:g} seconds")
        return Attempt(problem=f"could not be reached ({type(error).__name__})")
    finally:
        watch.cancel()
        connection.close()


def _wait(header: str | None) -> float | None:
    """
    >>> _wait("120"), _wait("Wed, 21 Oct 2026 07:28:00 GMT"), _wait("9" * 30)
    (120.0, None, 86400.0)
    """
    if header is None or not header.isascii() or not header.isdigit():
        return None
    return min(float(header), LONGEST_WAIT)
