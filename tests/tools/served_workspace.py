"""Serve a workspace by the real command, and ask it one request of each kind."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from forked_programs import ROOT, Program

SERVE = """
import os
import runpy
import sys
import uvicorn
import keepwell
import serving.api.app
import serving.cli.service
import features.streaming.refresh
from serving.settings import service_settings

log = os.open(sys.argv.pop(1), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
os.dup2(log, 1)
os.dup2(log, 2)
serving.api.app.create_app.__kwdefaults__["refresh_seconds"] = 0.2
runpy.run_path("SCRIPT", run_name="__main__")
""".replace("SCRIPT", str(ROOT / "keepwell.py"))
"""``keepwell serve``, which looks at its workspace more often than it usually does."""

SECONDS_TO_START = 180.0
ACCOUNT = "acct-03"

Ask = Callable[[httpx.Client, int], httpx.Response]

REQUESTS: Mapping[str, Ask] = {
    "score": lambda client, _: client.get(f"/v1/accounts/{ACCOUNT}/score"),
    "page": lambda client, _: client.get("/", headers={"accept": "text/html"}),
    "account page": lambda client, _: client.get(
        f"/accounts/{ACCOUNT}", headers={"accept": "text/html"}
    ),
    "next-actions": lambda client, _: client.post(
        "/v1/next-actions", json={"account_ids": [ACCOUNT]}
    ),
    "timeline": lambda client, _: client.get(f"/v1/accounts/{ACCOUNT}/timeline"),
    "events": lambda client, number: client.post(
        "/v1/events",
        json={
            "events": [
                {
                    "account_id": ACCOUNT,
                    "kind": "user.session",
                    "occurred_at": f"2026-02-27T08:{number % 60:02d}:00Z",
                    "quantity": 60.0 + number,
                }
            ]
        },
    ),
    "stop": lambda client, number: client.post(
        "/v1/controls/stop",
        json={"reason": f"reason {number}", "action": "success_call"},
        headers={"Idempotency-Key": f"stop-{number}"},
    ),
    "models": lambda client, _: client.get("/v1/models"),
    "models page": lambda client, _: client.get("/models", headers={"accept": "text/html"}),
    "report": lambda client, _: client.get("/v1/reports/success-calls"),
    "report page": lambda client, _: client.get("/reports/success-calls"),
    "reports page": lambda client, _: client.get("/reports", headers={"accept": "text/html"}),
    "healthz": lambda client, _: client.get("/healthz"),
    "readyz": lambda client, _: client.get("/readyz"),
}
"""One request of each kind; the number makes those different that have to be."""


@dataclass
class Served:
    """A running service, and how to ask it."""

    address: str
    program: Program
    log: Path
    key: str | None = None
    asked: int = 0

    def client(self, seconds: float = 30) -> httpx.Client:
        """A client of it."""
        headers = {} if self.key is None else {"X-API-Key": self.key}
        return httpx.Client(base_url=self.address, timeout=seconds, headers=headers)

    def ask(self, kind: str, *, seconds: float = 30) -> httpx.Response:
        """The answer to one request."""
        self.asked += 1
        with self.client(seconds) as client:
            return REQUESTS[kind](client, self.asked)

    def statuses(self, *, seconds: float = 30) -> dict[str, int]:
        """The status of each kind of request, 200 for any success; 0: no answer in that time."""
        found = {}
        for kind in REQUESTS:
            try:
                answer = self.ask(kind, seconds=seconds)
                found[kind] = 200 if answer.is_success else answer.status_code
            except httpx.TimeoutException:
                found[kind] = 0
        return found


class StartRefusedError(Exception):
    """The command ended before it served; the message is what it said."""

    def __init__(self, said: str, exit_code: int | None) -> None:
        super().__init__(said)
        self.exit_code = exit_code


@contextmanager
def served(root: Path, *, key: str | None = None, **environment: str) -> Iterator[Served]:
    """The service of a workspace, by ``keepwell serve``, until the block ends.

    Requests are made with ``key``, where there is one.

    Raises:
        StartRefusedError: it ended before it answered.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = root.parent / f"{root.name}.log"
    log.unlink(missing_ok=True)
    words = (str(log), "serve", "--port", str(port), "--workspace", str(root))
    program = Program(
        SERVE,
        *words,
        cwd=root.parent,
        env={
            "PATH": "/usr/bin:/bin",
            "COLUMNS": "200",
            "NO_COLOR": "1",
            "HOME": str(root.parent),
            "PYTHONPATH": str(ROOT),
            "KEEPWELL_LOTTERY_KEY": "ab" * 32,  # for those that ask for draws
            **environment,
        },
    )
    service = Served(address=f"http://127.0.0.1:{port}", program=program, log=log, key=key)
    try:
        _wait(service)
        yield service
    finally:
        if program.poll() is None:
            program.kill()
            program.wait()
        program.close()


def _wait(service: Served) -> None:
    until = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < until:
        if service.program.poll() is not None:
            said = service.log.read_text(encoding="utf-8")
            raise StartRefusedError(said, service.program.poll())
        try:
            with service.client() as client:
                if "being scored" not in client.get("/readyz").text:
                    return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise TimeoutError(f"no answer in {SECONDS_TO_START:g} s")
