"""``keepwell serve --workers 2``: one workspace, one port, and the promises of one process."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import httpx
import psutil
import pytest
from keepwell_command import run_keepwell
from served_process import Served

from experiments.policy.contact.limits_file import LIMITS_FILE
from registry.playbook.playbook import load_playbook
from serving.api.idempotency import LEASE
from serving.auth.api_keys import ApiKeys
from serving.cli.conformance.api_client import calls_to
from serving.cli.conformance.conformance import play
from serving.http.server.running import LAST_SECONDS
from serving.http.server.workers import ORPHAN_SECONDS, ListenError, socket_of

WRITES = 60


@pytest.fixture
def served(own_workspace) -> Iterator[Served]:
    service = Served(own_workspace, "--workers", "2")
    yield service
    if service.program.poll() is None:
        os.kill(service.program.pid, signal.SIGTERM)
    service.program.communicate(timeout=60)


def workers_of(served: Served) -> list[psutil.Process]:
    return sorted(
        (one for one in served.process.children() if "serve" in one.cmdline()),
        key=lambda one: one.pid,
    )


def until_both_answer(served: Served) -> str:
    """The figures of both, once both have answered a request."""
    end = time.monotonic() + 180
    while time.monotonic() < end:
        with contextlib.suppress(httpx.TransportError):
            for _ in range(4):
                httpx.get(f"{served.url}/healthz", timeout=60)
            text = httpx.get(f"{served.url}/metrics", timeout=60).text
            if {"1", "2"} <= set(re.findall(r'keepwell_requests_total{.*worker="(\d)"', text)):
                return text
        time.sleep(0.2)
    raise AssertionError("one of them never answered")


def test_two_workers_keep_the_promises_of_one_though_one_is_killed(served, own_workspace):
    figures = until_both_answer(served)
    assert figures.count("# TYPE keepwell_requests_total ") == 1
    decided = httpx.post(f"{served.url}/v1/next-actions", json={"limit": 1}, timeout=60).json()[
        "items"
    ][0]
    path = f"{served.url}/v1/decisions/{decided['decision_id']}/outcomes"

    def report(number: int) -> httpx.Response | None:
        """Each key is sent by two callers, and again by each until it has its answer.

        What the killed worker had begun is held until its lease has ended.
        """
        headers = {"Idempotency-Key": f"k{number // 2}"}
        body = {"kind": "outcome", "result": f"step {number // 2}"}
        end = time.monotonic() + 2 * LEASE.total_seconds() + 30
        while time.monotonic() < end:
            with contextlib.suppress(httpx.TransportError):
                answer = httpx.post(path, json=body, headers=headers, timeout=60)
                if answer.status_code not in (409, 503):
                    return answer
            time.sleep(0.2)
        return None

    killed = workers_of(served)[0]
    with ThreadPoolExecutor(8) as callers:
        answers = [callers.submit(report, number) for number in range(WRITES)]
        while sum(one.done() for one in answers) < WRITES // 4:
            time.sleep(0.01)
        killed.kill()
        found = [one.result() for one in answers]
    assert {one.status_code for one in found if one is not None} == {201}
    assert None not in found
    texts = [one.text for one in found if one is not None]
    assert len(set(texts)) == WRITES // 2
    assert all(texts[n] == texts[n + 1] for n in range(0, WRITES, 2))
    address = f"{served.url}/v1/accounts/{decided['account_id']}/timeline?limit=1000"
    end = time.monotonic() + 120
    while True:
        told = [
            e
            for e in httpx.get(address, timeout=60).json()["items"]
            if e["kind"] == "action.outcome"
        ]
        if len(told) >= WRITES // 2 or time.monotonic() > end:
            break
        time.sleep(0.5)
    assert len(told) == WRITES // 2

    until_both_answer(served)
    workers = workers_of(served)
    assert len(workers) == 2
    assert killed.pid not in {one.pid for one in workers}
    beside = served.process.children(recursive=True)
    served.tell()
    assert served.ended(within=LAST_SECONDS + 30) in (0, -signal.SIGTERM)
    assert not psutil.wait_procs(beside, timeout=60)[1]
    checked = run_keepwell(
        "ledger", "verify", "--workspace", str(own_workspace.root), cwd=own_workspace.root
    )
    assert checked.returncode == 0, checked.stderr


def test_two_workers_keep_every_promise_to_playbook_engines(served):
    until_both_answer(served)
    found = play(calls_to(served.url, None))
    assert [(each.name, each.seen) for each in found if each.verdict != "kept"] == []


def test_what_one_worker_sets_and_claims_counts_for_the_other_at_once(served, own_workspace):
    until_both_answer(served)
    book, numbers = load_playbook(), itertools.count()

    def post(path: str, **body: object) -> httpx.Response:
        """Over a connection of its own, which either worker may take."""
        key = {"Idempotency-Key": f"number {next(numbers)}"}
        return httpx.post(f"{served.url}/v1{path}", json=body, headers=key, timeout=120)

    found = post("/next-actions", limit=48, actions_per_account=9).json()["items"]
    mails = {
        item["decision_id"]: [
            one["action"]
            for one in item["ranked"]
            if one["action"] in book.by_id
            and one["basis"] == "value"
            and book.by_id[one["action"]].channel == "email"
            and not book.by_id[one["action"]].service_message
            and book.by_id[one["action"]].max_autonomy == 4
        ]
        for item in found
    }
    decision, actions = next((d, a) for d, a in mails.items() if len(a) >= 2)
    others = [(d, a) for d, a in mails.items() if a and d != decision]
    assert len(others) >= 6
    for number in range(12):
        level = 3 + number % 2
        assert post("/controls/levels", level=level, reason="so").status_code == 201
        of, names = others[number // 2]
        answer = post(f"/decisions/{of}/claims", by="mailer", lease_seconds=600, action=names[0])
        assert answer.status_code == (201 if level == 4 else 409), (level, answer.text)

    # both workers read the limits anew, which is seen by what they decide
    (own_workspace.root / LIMITS_FILE).write_text(
        "contacts_per_week = 1\nonboarding_contacts_per_week = 1\n", encoding="utf-8"
    )
    until, seen = time.monotonic() + 120, 0
    account = next(one["account_id"] for one in found if one["decision_id"] == decision)
    while seen < 20:
        [item] = post("/next-actions", account_ids=[account]).json()["items"]
        seen = seen + 1 if item["decision_id"] != decision else 0
        assert time.monotonic() < until, "the limits were not read by both"
        time.sleep(0.05)
    with ThreadPoolExecutor(len(actions)) as engines:
        answers = list(
            engines.map(
                lambda action: post(
                    f"/decisions/{decision}/claims", by=action, lease_seconds=600, action=action
                ),
                actions,
            )
        )
    stopped = next(d for d, a in others[6:] if a)
    assert post("/controls/stop", reason="enough").status_code == 201
    for number in range(10):
        refused = post(f"/decisions/{stopped}/claims", by=f"m{number}", lease_seconds=600)
        assert (refused.status_code, refused.json()["type"]) == (409, "/problems#stopped")
    keys = ApiKeys(own_workspace.root)
    made = keys.create(name="k", owner="ann", role="reader", territories=(), now=datetime.now(UTC))
    for with_key, without in ((200, 401), (401, 401)):
        for headers, status in (({"X-API-Key": made.secret}, with_key), ({}, without)):
            for _ in range(10):
                told = httpx.get(f"{served.url}/v1/accounts?limit=1", headers=headers, timeout=60)
                assert told.status_code == status
        keys.revoke(made.key.key_id, now=datetime.now(UTC))
    keys.close()
    statuses = sorted(one.status_code for one in answers)
    assert statuses == [201, *[409] * (len(actions) - 1)], "\n".join(one.text for one in answers)


def test_workers_end_with_a_supervisor_that_is_killed(served):
    until_both_answer(served)
    beside = served.process.children(recursive=True)
    assert len(beside) >= 2
    served.tell(signal.SIGKILL)
    assert not psutil.wait_procs(beside, timeout=ORPHAN_SECONDS + 60)[1]


def test_a_port_that_is_taken_is_said_in_a_sentence():
    bound = socket_of("127.0.0.1", 0)
    bound.listen()
    port = bound.getsockname()[1]
    with pytest.raises(ListenError, match=rf"127\.0\.0\.1:{port} cannot be listened on.*--port"):
        socket_of("127.0.0.1", port)
    bound.close()


def test_a_workspace_that_cannot_be_served_is_said_once(tmp_path):
    (tmp_path / "chance.toml").write_text("no = settings", encoding="utf-8")
    said = run_keepwell(
        "serve", "--workers", "2", "--port", "0", "--workspace", str(tmp_path), cwd=tmp_path
    )
    assert said.returncode == 3
    assert said.stderr.count("chance.toml cannot be read") == 1
    assert "Traceback" not in said.stderr
