"""The service beyond what it can do: what is served, how late, what is refused, and what comes after.

``KEEPWELL_BENCH_WORKSPACE`` names a finished workspace to be copied, such as that of ``make run``; the
small company otherwise. ``KEEPWELL_BENCH_SECONDS`` is the length of each loop, 20 by default. Client
and service share the machine, so the service has less of it the more the client sends.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
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

from features.workspace import Workspace

pytestmark = pytest.mark.bench

SECONDS = float(os.environ.get("KEEPWELL_BENCH_SECONDS", "20"))
CALLERS = (4, 16, 32)
TIMES = (1, 2, 5)
CLIENT = Path(__file__).with_name("load_client.py")
MIX = {"score": 60, "next actions": 20, "page": 17, "event": 3}
RECOVERED_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Target:
    """A running service, its accounts, and requests for them."""

    served: Served
    kinds: dict[str, list[Any]]

    def load(self, **plan: float) -> dict[str, Any]:
        """What the client saw of a plan: ``callers`` or ``rate``, for ``seconds``."""
        cpu = self.served.process.cpu_times()
        whole = {"port": self.served.port, "kinds": self.kinds, "seconds": SECONDS, **plan}
        done = subprocess.run(
            [sys.executable, str(CLIENT)],
            input=json.dumps(whole),
            capture_output=True,
            text=True,
            check=True,
        )
        found: dict[str, Any] = json.loads(done.stdout)
        now = self.served.process.cpu_times()
        spent = now.user + now.system - cpu.user - cpu.system
        found["per_cpu_second"] = found["served"]["count"] / max(spent, 0.01)
        return found

    def megabytes(self) -> float:
        """Memory that the service holds."""
        return float(self.served.process.memory_info().rss) / 1e6


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
    served = Served(workspace)
    listed = httpx.get(f"{served.url}/v1/accounts?limit=500", timeout=60).json()["items"]
    yield Target(served=served, kinds=requests_for([one["account_id"] for one in listed]))
    served.tell()
    served.ended(within=40)
    served.program.communicate(timeout=10)


def line(name: str, found: dict[str, Any], capacity: float, megabytes: float) -> str:
    served, refused = found["served"], found["refused"]
    return (
        f"| {name} | {found['goodput']:,.0f} | {found['goodput'] / capacity:.0%} | "
        f"{found['per_cpu_second']:,.0f} | "
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
                + ", asked by a process beside the service: closed loops of callers, then open "
                "loops at multiples of the best of them. Times in ms from when a request was due.",
                "",
                "| loop | served a second | of capacity | a cpu second | p50 | p99 | refused | p50 "
                "| p99 | lost | MB |",
                "|---|---|---|---|---|---|---|---|---|---|---|",
                *rows,
                "",
                f"At 5 × {lasting:.0%} of the best is served (goal 80 %), {lasting_by_cpu:.0%} for each "
                f"cpu second that the service gets; p99 is {ratio:.1f} times "
                f"that at 1 × (goal 2), a refusal takes {opened[5]['refused']['p99']:.0f} ms (p99; "
                f"goal 50); usual again after {recovery:.1f} s (goal {RECOVERED_SECONDS:.0f}); "
                f"{before:,.0f} MB before, {target.megabytes():,.0f} MB after. Answers at 5 ×: "
                f"{by_kind}. Load average {psutil.getloadavg()[0]:.1f} on {os.cpu_count()} cores.",
            ]
        ),
    )
    every = (*closed.values(), *opened.values(), again)
    assert sum(found["without_retry_after"] for found in every) == 0
    assert sum(found["lost"] for found in every) == 0
    codes = {int(kind.rpartition(" ")[2]) for found in every for kind in found["kinds"]}
    assert codes <= {200, 429, 503}
    assert MOST_CONNECTIONS >= 2_000
