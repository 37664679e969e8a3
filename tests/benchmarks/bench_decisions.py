"""One decision at 50 requests a second, ten thousand in one call: written durably, on SQLite."""

from __future__ import annotations

import asyncio
import gc
import itertools
import multiprocessing
import os
import socket
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import numpy as np
import pytest
import uvicorn
from interleaved import write_section
from small_company import AS_OF, make_store, make_workspace

from features.garbage_collection import freeze_loaded_objects
from serving.api.app import create_app
from serving.recommendations.recommend import decide, decide_and_store
from serving.settings import ServiceSettings
from serving.state.service_state import ServiceState

pytestmark = pytest.mark.bench

RATE, SECONDS = 50, int(os.environ.get("KEEPWELL_BENCH_SECONDS", "20"))
WARM_UP = 100
BATCH = 10_000


def serve(folder: Path, port: int) -> None:
    """The service in a process of its own, with a clock that moves."""
    workspace = make_workspace(folder)
    began = time.time()
    app = create_app(
        workspace,
        store=make_store(workspace),
        settings=ServiceSettings(),
        now=lambda: datetime.fromtimestamp(AS_OF.timestamp() + time.time() - began, UTC),
    )
    freeze_loaded_objects()  # as keepwell serve does
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[tuple[str, int]]:
    """The address of the service, and its process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    process = multiprocessing.get_context("spawn").Process(
        target=serve, args=(tmp_path / "w", port)
    )
    process.start()
    until = time.monotonic() + 180
    while True:
        with socket.socket() as asked:
            if asked.connect_ex(("127.0.0.1", port)) == 0:
                break
        assert time.monotonic() < until, "the service did not start"
        time.sleep(0.2)
    assert process.pid is not None
    yield f"http://127.0.0.1:{port}", process.pid
    process.terminate()
    process.join(timeout=30)


@dataclass(kw_only=True)
class Asked:
    """Times in ms from when a request was due, cpu ms of the service a request, actions seen."""

    decided: list[float] = field(default_factory=list)
    scored: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    actions: list[int] = field(default_factory=list)


async def asked_steadily(address: str, process: int, seconds: float) -> Asked:
    """Decisions, then scores with reasons, in requests that begin at a fixed rate."""
    asked = Asked()

    async with httpx.AsyncClient(
        base_url=address,
        timeout=60,
        limits=httpx.Limits(max_connections=40, max_keepalive_connections=40, keepalive_expiry=2),
    ) as client:  # before the service lets go of it at 5 s

        async def one(number: int, due: float) -> None:
            account = f"acct-{number % 46:02d}"
            answer = await client.post("/v1/next-actions", json={"account_ids": [account]})
            asked.decided.append((time.perf_counter() - due) * 1e3)
            assert answer.status_code == 200, answer.text
            [item] = answer.json()["items"]
            assert item["decision_id"] is not None
            asked.actions.append(len(item["ranked"]) + len(item["withheld"]))

        async def score(number: int, due: float) -> None:
            answer = await client.post(
                "/v1/scores", json={"account_ids": [f"acct-{number % 46:02d}"]}
            )
            assert answer.json()["items"][0]["reasons"]
            asked.scored.append((time.perf_counter() - due) * 1e3)

        for work in (one, score):
            before = cpu_seconds(process)
            began, running = time.perf_counter(), []
            for number in range(int(seconds * RATE)):
                due = began + number / RATE
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                running.append(asyncio.create_task(work(number, due)))
            await asyncio.gather(*running)
            asked.cpu.append((cpu_seconds(process) - before) / len(running) * 1e3)
    return asked


def line(name: str, times: list[float], cpu: float, note: str = "") -> str:
    return (
        f"| {name} | {len(times):,} | {statistics.median(times):.1f} ms | "
        f"{np.quantile(times, 0.9):.1f} ms | {np.quantile(times, 0.99):.1f} ms | {cpu:.1f} | "
        f"{note} |"
    )


def cpu_seconds(process: int) -> float:
    """What a process has used up to now, of all its threads."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cpu_of(work: object, times: int) -> float:
    """Milliseconds of this process's cpu a call."""
    assert callable(work)
    work()
    began = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - began) / times * 1e3


def test_decisions_at_a_rate_and_in_one_call(service: tuple[str, int], tmp_path: Path) -> None:
    gc.disable()  # who asks has loaded as much as who answers, and would be late while it collects
    asyncio.run(asked_steadily(*service, WARM_UP / RATE))
    asked = asyncio.run(asked_steadily(*service, SECONDS))
    gc.enable()
    looked_at = statistics.mean(asked.actions)

    workspace = make_workspace(tmp_path / "batch")
    app = create_app(
        workspace, store=make_store(workspace), now=lambda: AS_OF, settings=ServiceSettings()
    )
    service = app.state.service
    assert isinstance(service, ServiceState)
    there = [score for score in service.portfolio.scores if not score.has_left]
    many = [
        replace(score, account_id=f"copy-{number}")
        for number, score in zip(range(BATCH), itertools.cycle(there), strict=False)
    ]
    cpu, wall = time.process_time(), time.perf_counter()
    stored = decide_and_store(service, many, proposed_by="bench")
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    assert len(stored) == BATCH
    one = there[:1]
    asking = cpu_of(lambda: decide(service, one), 50)
    storing = cpu_of(
        lambda: service.ledger.append_decisions(
            [replace(stored[0][1], decision_id=os.urandom(8).hex())]
        ),
        50,
    )
    service.close()

    write_section(
        "Decisions, written durably",
        "\n".join(
            [
                f"One account a request over HTTP to a service in a process of its own, {RATE} requests a "
                f"second begun whether or not earlier ones were answered, {SECONDS} s; on average "
                f"{looked_at:.0f} actions came up for an account. SQLite, every commit synced; a decision "
                "with its whole question and its link. Times from when a request was due.",
                "",
                "| | requests | p50 | p90 | p99 | cpu ms of the service a request | goal |",
                "|---|---|---|---|---|---|---|",
                line("decision", asked.decided, asked.cpu[0], "p50 10 ms, p99 40 ms"),
                line("scores with reasons", asked.scored, asked.cpu[1]),
                "",
                f"{BATCH:,} accounts in one call: {wall:.1f} s, {cpu:.1f} cpu s (goal 20 s). Of one "
                f"decision in the process, asking the policy takes {asking:.2f} cpu ms and storing it "
                f"{storing:.2f}. Wall times on a machine that others use "
                f"(load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores).",
            ]
        ),
    )
