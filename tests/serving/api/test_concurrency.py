"""Many callers at once, over real sockets: one effect per key, nothing lost, no 500.

Each is asked of one process and of two workers that share a workspace.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from real_server import running
from served_process import Served

from features.workspace import Workspace
from serving.api.app import create_app

CALLERS = 16
PATIENCE = 120.0


def sent(send: Callable[[], httpx.Response]) -> int:
    """The status of a request; refused for now (503, with Retry-After), it is sent again, as callers do."""
    until = time.monotonic() + PATIENCE
    while (answer := send()).status_code == 503 and time.monotonic() < until:
        time.sleep(float(answer.headers["Retry-After"]))
    return answer.status_code


@pytest.fixture(scope="module")
def two_workers(untouched_workspace, tmp_path_factory) -> Iterator[str]:
    """``keepwell serve --workers 2``, once both have answered."""
    root = tmp_path_factory.mktemp("two") / "own"
    shutil.copytree(untouched_workspace.root, root)
    service = Served(Workspace(root, environment={}), "--workers", "2")
    until = time.monotonic() + 180
    while (
        len(set(re.findall(r'worker="(\d)"', httpx.get(f"{service.url}/metrics", timeout=60).text)))
        < 2
    ):
        assert time.monotonic() < until, "one of them never answered"
        time.sleep(0.1)
    yield service.url
    service.tell()
    service.program.communicate(timeout=120)


@pytest.fixture(params=["one process", "two workers"])
def address(request, own_workspace, store, as_of) -> Iterator[str]:
    if request.param == "two workers":
        yield request.getfixturevalue("two_workers")
        return
    app = create_app(own_workspace, store=store, now=lambda: as_of, refresh_seconds=0.2)
    with running(app) as address:
        yield address


def test_one_key_from_many_callers_is_one_outcome(address):
    decided = httpx.post(f"{address}/v1/next-actions", json={"limit": 1}, timeout=60).json()[
        "items"
    ][0]
    path = f"{address}/v1/decisions/{decided['decision_id']}/outcomes"

    def report(_: int) -> httpx.Response:
        return httpx.post(
            path, json={"kind": "executed"}, headers={"Idempotency-Key": "same"}, timeout=120
        )

    with ThreadPoolExecutor(CALLERS) as callers:
        answers = list(callers.map(report, range(CALLERS)))
    assert {a.status_code for a in answers} <= {201, 409}  # 409: while the first is worked on
    assert len({a.text for a in answers if a.status_code == 201}) == 1
    assert report(0).headers["idempotency-replayed"] == "true"
    told = httpx.get(
        f"{address}/v1/accounts/{decided['account_id']}/timeline?limit=1000", timeout=60
    ).json()
    assert sum(e["kind"] == "action.executed" for e in told["items"]) == 1


def test_different_keys_from_many_callers_are_all_kept(address):
    decided = httpx.post(f"{address}/v1/next-actions", json={"limit": 1}, timeout=60).json()[
        "items"
    ][0]
    path = f"{address}/v1/decisions/{decided['decision_id']}/outcomes"

    def report(number: int) -> int:
        return sent(
            lambda: httpx.post(
                path,
                json={"kind": "outcome", "result": f"step {number}"},
                headers={"Idempotency-Key": f"k{number}"},
                timeout=60,
            )
        )

    with ThreadPoolExecutor(CALLERS) as callers:
        assert set(callers.map(report, range(CALLERS))) == {201}


def test_readers_and_writers_together_get_no_failure(address):
    def call(number: int) -> int:
        if number % 3 == 0:
            event = {
                "event_id": f"n{number}",
                "account_id": "acct-01",
                "kind": "community.posted",
                "occurred_at": "2026-02-20T10:00:00Z",
            }
            return sent(
                lambda: httpx.post(f"{address}/v1/events", json={"events": [event]}, timeout=60)
            )
        if number % 3 == 1:
            return sent(
                lambda: httpx.post(f"{address}/v1/next-actions", json={"limit": 3}, timeout=60)
            )
        return sent(lambda: httpx.get(f"{address}/accounts/acct-01", timeout=60))

    with ThreadPoolExecutor(8) as callers:
        assert set(callers.map(call, range(24))) == {200}
    kinds = [
        e["event_id"]
        for e in httpx.get(f"{address}/v1/accounts/acct-01/timeline?limit=1000", timeout=60).json()[
            "items"
        ]
    ]
    assert {f"n{n}" for n in range(0, 24, 3)} <= set(kinds)
