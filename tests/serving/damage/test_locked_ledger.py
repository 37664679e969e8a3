"""While another program holds the ledger's lock: health answers, writes end in time, reads go on."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from real_server import running
from small_company import AS_OF

from features.workspace import Workspace
from registry.store.store import MemoryModelStore
from serving.api.app import create_app
from serving.ledger.database.change import LEAST_WAIT, WaitBudget
from serving.settings import ServiceSettings

WAIT = 1.0
WRITERS = 40
QUICK = 3.0
"""Seconds within which health answers on a machine that is busy with other tests; alone it is ms."""

HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""

OLD = datetime.now(UTC) - AS_OF


@contextmanager
def locked_by_another(place: Path) -> Iterator[None]:
    """The lock of the file, held by another process while the block lasts."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(place)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        try:
            yield
        finally:
            holder.communicate()


@pytest.fixture
def app(own_workspace: Workspace, store: MemoryModelStore) -> FastAPI:
    return create_app(
        own_workspace,
        store=store,
        now=lambda: datetime.now(UTC) - OLD,
        refresh_seconds=0.2,
        settings=ServiceSettings(ledger_wait_seconds=WAIT),
    )


def timed(ask: Callable[[], httpx.Response]) -> tuple[float, httpx.Response]:
    began = time.monotonic()
    answer = ask()
    return time.monotonic() - began, answer


def test_health_answers_and_writes_end_in_time_while_the_ledger_is_locked(
    app: FastAPI, own_workspace: Workspace
) -> None:
    with running(app) as address, httpx.Client(base_url=address, timeout=60) as client:
        decided = client.post("/v1/next-actions", json={"account_ids": ["acct-01"]}).json()
        [item] = decided["items"]

        def claim(number: int) -> tuple[float, httpx.Response]:
            return timed(
                lambda: httpx.post(
                    f"{address}/v1/decisions/{item['decision_id']}/approvals",
                    json={"verdict": "approved"},
                    headers={"Idempotency-Key": f"k-{number}"},
                    timeout=60,
                )
            )

        before = threading.active_count()
        with locked_by_another(own_workspace.ledger_db), ThreadPoolExecutor(WRITERS) as callers:
            waiting = [callers.submit(claim, number) for number in range(WRITERS)]
            time.sleep(WAIT / 2)
            for path in ("/healthz", "/readyz", "/v1/accounts/acct-01", "/"):
                took, answer = timed(lambda path=path: client.get(path))
                assert answer.status_code == 200, (path, answer.text)
                if path == "/healthz":
                    assert took < QUICK
                assert took < WAIT + QUICK, path
            ended = [one.result() for one in waiting]
        for took, answer in ended:
            assert answer.status_code == 503, answer.text
            assert "retry-after" in answer.headers
            assert took < 15  # 41 s before; a busy machine needs more than the wait itself
        assert threading.active_count() < before + 40  # the pool of threads, and nothing beside it
        until = time.monotonic() + 120
        while client.post(
            "/v1/next-actions", json={"account_ids": ["acct-02"]}, headers={"Idempotency-Key": "a"}
        ).headers.get("retry-after"):
            assert time.monotonic() < until
        assert app.state.service.ledger.verify().finding is None


def test_a_service_that_starts_while_the_ledger_is_locked_serves_scores_and_stores_later(
    own_workspace: Workspace, store: MemoryModelStore
) -> None:
    with closing(sqlite3.connect(own_workspace.ledger_db)) as made:
        made.execute("PRAGMA journal_mode=WAL")
    with locked_by_another(own_workspace.ledger_db):
        began = time.monotonic()
        app = create_app(
            own_workspace,
            store=store,
            now=lambda: datetime.now(UTC) - OLD,
            refresh_seconds=0.2,
            settings=ServiceSettings(ledger_wait_seconds=0.3),
        )
        assert time.monotonic() - began < 10
        with running(app) as address:
            assert httpx.get(f"{address}/v1/accounts/acct-01", timeout=120).status_code == 200
            assert httpx.get(f"{address}/healthz", timeout=60).status_code == 200
            ready = httpx.get(f"{address}/readyz", timeout=120)
            assert (ready.status_code, ready.json()["status"]) == (503, "failing")


def test_only_waiting_is_charged_and_a_moment_is_always_left() -> None:
    waits = WaitBudget(10)
    with waits.charged():
        time.sleep(0.02)
    assert 9 < waits.left < 9.99
    time.sleep(0.02)  # working
    left = waits.left
    waits.charge_since_arrival()
    assert waits.left < left - 0.03
    assert WaitBudget(0).left == LEAST_WAIT
