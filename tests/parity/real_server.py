"""The service on a real port, as the tests that need sockets run it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.types import ASGIApp

from serving.http.server.limits import ConnectionLimits
from serving.http.server.protocol import Refuses
from serving.http.server.running import server_of

SECONDS_TO_START = 180


@contextmanager
def running(
    app: ASGIApp, limits: ConnectionLimits | None = None, early: Refuses | None = None
) -> Iterator[str]:
    """The address of the application while it is served."""
    server = server_of(app, host="127.0.0.1", port=0, limits=limits, early=early)
    thread = threading.Thread(target=server.run)
    thread.start()
    until = time.monotonic() + SECONDS_TO_START
    while not server.started and time.monotonic() < until:
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=120)
