"""``keepwell serve`` as a process of its own, to be told to end, or killed."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from contextlib import closing

import httpx
import psutil
from forked_programs import Program
from keepwell_command import COMMAND

from features.workspace import Workspace


def free_port() -> int:
    """A port that nobody listens on now."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Served:
    """A service that runs as a process."""

    def __init__(self, workspace: Workspace, *more: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        words = ("serve", "--workspace", str(workspace.root), "--port", str(self.port), *more)
        environment = {"COLUMNS": "200", "NO_COLOR": "1", "HOME": str(workspace.root)}
        self.program = Program(COMMAND, *words, env={**os.environ, **environment})
        self.process = psutil.Process(self.program.pid)
        until = time.monotonic() + 180
        while time.monotonic() < until:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/readyz", timeout=60).status_code == 200:
                    return
            time.sleep(0.05)
        raise AssertionError("it did not start")

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def tell(self, sig: int = signal.SIGTERM) -> float:
        os.kill(self.program.pid, sig)
        return time.monotonic()

    def ended(self, within: float) -> int:
        until = time.monotonic() + within
        while self.program.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        code = self.program.poll()
        assert code is not None, f"it runs on after {within} seconds"
        return code
