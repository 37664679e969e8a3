"""The service beyond what it can do: what is served, how late, what is refused, and what comes after.

``KEEPWELL_BENCH_WORKSPACE`` names a finished workspace to be copied, such as that of ``make run``; the
small company otherwise. ``KEEPWELL_BENCH_SECONDS`` is the length of each loop, 20 by default.

How it is measured: the service with all its threads and children runs on one core, and the client
on another, so that what the client sends costs the service no more than a network would. Where there
is one core only, they share it, and the figures say so. Other work on the machine still counts. What
a refusal costs is measured while the ledger is locked: every place of decisions is taken and nobody
computes, so all cpu that the service uses is that of refusals.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from interleaved import write_section
from load_client import MOST_CONNECTIONS
from served_process import Served
from small_company import make_workspace
from steady_load import ask
from steady_load import request as request_of

from features.workspace import Workspace

pytestmark = pytest.mark.bench

SECONDS = float(os.environ.get("KEEPWELL_BENCH_SECONDS", "20"))
CALLERS = (4, 16, 32)
TIMES = (1, 2, 5)
CLIENT = Path(__file__).with_name("load_client.py")
MIX = {"score": 60, "next actions": 20, "page": 17, "event": 3}
RECOVERED_SECONDS = 5.0
COMPUTED = ("next actions 200", "page 200", "event 200")
"""Kinds that are worked out each time; a score may come from memory."""

REFUSALS = 3_000
CORES = sorted(os.sched_getaffinity(0))
OF_SERVICE, OF_CLIENT = {CORES[0]}, set(CORES[1:2]) or {CORES[0]}


@dataclass(frozen=True, kw_only=True)
class Target:
    """A running service, its accounts, and requests for them."""

    served: Served
    workspace: Workspace
    accounts: list[str]
    kinds: dict[str, list[Any]]

    def load(self, **plan: float) -> dict[str, Any]:
        """What the client saw of a plan: ``callers`` or ``rate``, for ``seconds``."""
        before, began = self.cpu(), time.monotonic()
        of_client = os.times()
        whole = {"port": self.served.port, "kinds": self.kinds, "seconds": SECONDS, **plan}
        done = subprocess.run(
            [sys.executable, str(CLIENT)],
            input=json.dumps(whole),
            capture_output=True,
            text=True,
            check=True,
        )
        found: dict[str, Any] = json.loads(done.stdout)
        spent, wall, client = self.cpu() - before, time.monotonic() - began, os.times()
        found["per_cpu_second"] = found["served"]["count"] / max(spent, 0.01)
        found["of_core"] = spent / wall
        used = client.children_user + client.children_system
        used -= of_client.children_user + of_client.children_system
        found["of_client_core"] = used / wall
        return found

    def cpu(self) -> float:
        """Cpu seconds of the service so far, with its children."""
        every = (self.served.process, *self.served.process.children(recursive=True))
        return sum(t.user + t.system for t in (one.cpu_times() for one in every))

    def refusal_microseconds(self) -> float:
        """Cpu of the service for one refusal, while nothing else is worked on."""
        body = {"account_ids": self.accounts[:1]}
        decide = request_of("POST", "/v1/next-actions", body)
        with contextlib.closing(
            sqlite3.connect(self.workspace.ledger_db, isolation_level=None)
        ) as ledger:
            ledger.execute("BEGIN IMMEDIATE")
            waiting: list[socket.socket] = []
            while len(waiting) < 200 and not all(map(is_answered, waiting[-5:] or [None])):
                waiting.append(self.served.connect())
                waiting[-1].sendall(decide)
                time.sleep(0.02)
            load = ask(self.served.port, self.served.process, [lambda _: decide], times=REFUSALS)
            ledger.execute("ROLLBACK")
        for connection in waiting:
            connection.close()
        assert load.statuses[503] > 0.95 * REFUSALS, load.statuses
        return load.cpu_ms * 1e3

    def megabytes(self) -> float:
        """Memory that the service holds."""
        return float(self.served.process.memory_info().rss) / 1e6


def is_answered(connection: socket.socket | None) -> bool:
    """Whether something came back on a connection."""
    return connection is not None and bool(select.select([connection], [], [], 0)[0])


def requests_for(accounts: list[str]) -> dict[str, list[Any]]:
    """The mix: each kind with its weight and its requests."""
    head = " HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    write = f"{head}Content-Type: application/json\r\n\r\n"
    event = {"event_id": "load-{n}", "kind": "community.posted"}
    texts = {
        "score": [f"GET /v1/accounts/{one}/score{head}\r\n\r\n" for one in accounts],
        "page": [f"GET /accounts/{one}{head}\r\n\r\n" for one in accounts],
        "next actions": [
            f"POST /v1/next-actions{write}{json.dumps({'account_ids': [one]})}" for one in accounts
        ],
        "event": [
            f"POST /v1/events{write}"
            + json.dumps(
                {"events": [{**event, "account_id": one, "occurred_at": "2022-01-20T10:00:00Z"}]}
            )
            for one in accounts
        ],
    }
    return {
        kind: [MIX[kind], [text.replace("\r\n\r\n\r\n", "\r\n\r\n") for text in texts[kind]]]
        for kind in MIX
    }


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    given = os.environ.get("KEEPWELL_BENCH_WORKSPACE")
    if given is None:
        workspace = make_workspace(tmp_path / "w")
    else:
        shutil.copytree(given, tmp_path / "w")
        workspace = Workspace(tmp_path / "w", environment={})
    everywhere = os.sched_getaffinity(0)
    os.sched_setaffinity(0, OF_SERVICE)  # what is started here stays here, with all its threads
    served = Served(workspace)
    os.sched_setaffinity(0, OF_CLIENT)
    listed = httpx.get(f"{served.url}/v1/accounts?limit=500", timeout=60).json()["items"]
    accounts = [one["account_id"] for one in listed]
    yield Target(
        served=served, workspace=workspace, accounts=accounts, kinds=requests_for(accounts)
    )
    os.sched_setaffinity(0, everywhere)
    served.tell()
    served.ended(within=40)
    served.program.communicate(timeout=10)


def line(name: str, found: dict[str, Any], capacity: float, megabytes: float) -> str:
    served, refused = found["served"], found["refused"]
    return (
        f"| {name} | {found['goodput']:,.0f} | {found['goodput'] / capacity:.0%} | "
        f"{found['per_cpu_second']:,.0f} | {found['of_core']:.0%} | {found['of_client_core']:.0%} | "
        f"{served['p50']:,.0f} | {served['p99']:,.0f} | {refused['count']:,} | "
        f"{refused['p50']:,.1f} | {refused['p99']:,.1f} | {found['lost']} | {megabytes:,.0f} |"
    )


def seconds_to_recover(target: Target, usual: float) -> float:
    """Until three pages in a row take at most twice what they usually take, and at most a second."""
    began, good = time.monotonic(), 0
    path = f"{target.served.url}/readyz", f"{target.served.url}/"
    with httpx.Client(timeout=30) as client:
        while good < 3 and time.monotonic() - began < 60:
            asked = time.monotonic()
            is_well = client.get(path[0]).status_code == client.get(path[1]).status_code == 200
            good = good + 1 if is_well and time.monotonic() - asked < min(2 * usual, 1.0) else 0
    return time.monotonic() - began


def usual_seconds(target: Target) -> float:
    """The longest of five pages while nothing else is asked."""
    times = []
    for _ in range(5):
        began = time.monotonic()
        httpx.get(f"{target.served.url}/readyz")
        httpx.get(f"{target.served.url}/")
        times.append(time.monotonic() - began)
    return max(times)


def test_beyond_capacity(target: Target) -> None:
    target.load(callers=2, seconds=min(SECONDS, 5))  # compiled, cached, connected
    refusal = target.refusal_microseconds()
    usual = usual_seconds(target)
    before = target.megabytes()
    closed = {n: target.load(callers=n) for n in CALLERS}
    capacity = max(found["goodput"] for found in closed.values())
    rows = [
        line(f"{n} callers", found, capacity, target.megabytes()) for n, found in closed.items()
    ]
    opened = {}
    for times in TIMES:
        opened[times] = target.load(rate=times * capacity)
        rows.append(line(f"{times} ×", opened[times], capacity, target.megabytes()))
    recovery = seconds_to_recover(target, usual)
    idle = [socket.create_connection(("127.0.0.1", target.served.port)) for _ in range(2_000)]
    again = target.load(rate=capacity / 2)
    for connection in idle:
        connection.close()
    rows.append(line("½ ×, 2,000 idle connections", again, capacity, target.megabytes()))
    best = max(found["goodput"] for found in (*closed.values(), *opened.values()))
    lasting = opened[5]["goodput"] / best
    lasting_by_cpu = opened[5]["per_cpu_second"] / opened[1]["per_cpu_second"]
    ratio = opened[5]["served"]["p99"] / opened[1]["served"]["p99"]
    computed = {
        times: sum(figures["count"] for kind, figures in found["kinds"].items() if kind in COMPUTED)
        for times, found in opened.items()
    }
    refusing = opened[5]["refused"]["count"] / SECONDS * refusal / 1e6
    by_kind = "; ".join(
        f"{kind} {figures['count']:,} (p99 {figures['p99']:,.0f} ms)"
        for kind, figures in opened[5]["kinds"].items()
    )
    write_section(
        "The service beyond its capacity",
        "\n".join(
            [
                f"{SECONDS:.0f} s each of "
                + ", ".join(f"{share} % {kind}" for kind, share in MIX.items())
                + ": closed loops of callers, then open loops at multiples of the best of them. The "
                "service has one core, and the client "
                + ("another" if OF_CLIENT != OF_SERVICE else "the same")
                + ". Times in ms from when a request was due.",
                "",
                "| loop | served a second | of capacity | a cpu second | of its core | of the "
                "client's | p50 | p99 | refused | p50 | p99 | lost | MB |",
                "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
                *rows,
                "",
                f"At 5 × {lasting:.0%} of the best is served (goal 80 %), {lasting_by_cpu:.0%} for each "
                f"cpu second that the service gets; of what is worked out each time (all but scores) "
                f"{computed[5] / max(computed[1], 1):.0%} of that at 1 ×; p99 is {ratio:.1f} times "
                f"that at 1 × (goal 2), a refusal takes {opened[5]['refused']['p99']:.0f} ms (p99; "
                f"goal 50); usual again after {recovery:.1f} s (goal {RECOVERED_SECONDS:.0f}); "
                f"{before:,.0f} MB before, {target.megabytes():,.0f} MB after. Answers at 5 ×: "
                f"{by_kind}. A refusal costs {refusal:.0f} microseconds of cpu, all of them at 5 × "
                f"{refusing:.0%} of a core. Load average {psutil.getloadavg()[0]:.1f} on "
                f"{os.cpu_count()} cores.",
            ]
        ),
    )
    every = (*closed.values(), *opened.values(), again)
    assert sum(found["without_retry_after"] for found in every) == 0
    assert sum(found["lost"] for found in every) == 0
    codes = {int(kind.rpartition(" ")[2]) for found in every for kind in found["kinds"]}
    assert codes <= {200, 429, 503}
    assert MOST_CONNECTIONS >= 2_000
