"""Serve an application until a signal, and end within a stated time.

::

    first SIGTERM or SIGINT ─► no new connections; half-sent requests refused; whole ones answered
        after DRAIN_SECONDS ─► what is still worked on is cancelled and answered with 503
        after LAST_SECONDS  ─► the process ends, whatever a thread or a store is doing
    second signal           ─► the process ends at once

An end at any moment loses nothing that was acknowledged: the ledger and the lake commit first.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
import threading
from functools import partial
from pathlib import Path
from types import FrameType
from typing import cast

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.http.headers import SECURITY_HEADERS
from serving.http.problem_details import problem_response
from serving.http.server.limits import ConnectionLimits, limits_of_this_process
from serving.http.server.protocol import LOOK_SECONDS, RETRY_SECONDS, Connection, Refuses
from serving.problems import InternalError, ProblemError, StoppingError

DRAIN_SECONDS = 20
"""How long requests that have come as a whole may take to be answered after the first signal."""

LAST_SECONDS = 30
"""After so long from the first signal the process ends."""

BACKLOG = 1_024

SWITCH_SECONDS = 0.001
"""How long a thread that computes may keep the interpreter from the one that reads and refuses."""

log = logging.getLogger("keepwell.serving")


class Server(uvicorn.Server):
    """uvicorn's server with bounds on connections and on its own end."""

    ready_file: Path | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End in time at the first signal, at once at the second."""
        if self.should_exit:
            os._exit(128 + sig)
        super().handle_exit(sig, frame)
        bound = threading.Timer(LAST_SECONDS, _end_now, args=(sig,))
        bound.daemon = True
        bound.start()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and look after the connections."""
        await super().startup(sockets=sockets)
        if self.ready_file is not None:
            self.ready_file.touch()
        self._looking = asyncio.create_task(self._look())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, and stop looking."""
        try:
            await super().shutdown(sockets=sockets)
        finally:
            self._looking.cancel()

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            now = loop.time()
            for connection in list(self.server_state.connections):
                with contextlib.suppress(RuntimeError, OSError):  # its transport has just gone
                    cast("Connection", connection).look(now)


def _end_now(sig: int) -> None:
    log.error(
        "not ended within %d seconds of the signal; what is still worked on is left", LAST_SECONDS
    )
    os._exit(128 + sig)


class AnswerMiddleware:
    """Lets every request end with an answer of our shape, as the outermost ASGI application.

    A request that is cancelled while the service stops is answered so.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; where it ends without an answer, give one."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        is_begun = is_whole = False

        async def send_noted(message: Message) -> None:
            nonlocal is_begun, is_whole
            is_begun = True
            is_whole = message["type"] == "http.response.body" and not message.get("more_body")
            await send(message)

        problem: ProblemError
        try:
            await self.app(scope, receive, send_noted)
        except asyncio.CancelledError:
            if is_begun:
                raise
            problem = StoppingError(
                "The service is being stopped, and this request took longer than it waits.",
                headers={"Retry-After": RETRY_SECONDS},
            )
        except Exception:
            if is_whole:  # it was answered and logged where it was caught, and raised on
                return
            if is_begun:
                raise
            log.exception("a request ended without an answer")
            problem = InternalError("The request failed.")
        else:
            return
        problem.headers.update(SECURITY_HEADERS)
        await problem_response(problem, scope["path"])(scope, receive, send)


def server_of(
    app: ASGIApp,
    *,
    host: str,
    port: int,
    limits: ConnectionLimits | None = None,
    early: Refuses | None = None,
) -> Server:
    """The server of an application, not yet listening; ``early`` refuses what has no place."""
    bounds = limits or limits_of_this_process()
    return Server(
        uvicorn.Config(
            AnswerMiddleware(app),
            host=host,
            port=port,
            http=partial(Connection, limits=bounds, early=early),  # type: ignore[arg-type]
            ws="none",
            log_level="warning",
            log_config=None,  # the lines of the whole command
            access_log=False,
            server_header=False,
            backlog=BACKLOG,
            timeout_keep_alive=bounds.idle_seconds,
            timeout_graceful_shutdown=DRAIN_SECONDS,
        )
    )


def serve_until_signal(
    app: ASGIApp,
    bound: socket.socket,
    *,
    early: Refuses | None = None,
    ready_file: Path | None = None,
) -> None:
    """Serve an application on a bound socket until this process is told to end.

    ``early`` refuses what has no place, and ``ready_file`` is made when the service answers.
    """
    server = server_of(app, host="", port=0, early=early)
    server.ready_file = ready_file
    sys.setswitchinterval(SWITCH_SECONDS)
    server.run([bound])
