"""Scores while events come in: Python's threads switched every 0.5 ms, or every 5 ms as usual.

    PYTHONPATH=. python -m pytest tests/benchmarks/bench_switch_interval.py -m bench -s

Two services side by side, asked in turns: what one answers while it takes in events.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
import pytest
import uvicorn
from interleaved import ROUNDS, write_section
from small_company import AS_OF, make_store, make_workspace

import serving.api.app
from serving.api.garbage_collection import freeze_loaded_objects
from serving.settings import ServiceSettings

pytestmark = pytest.mark.bench

PYTHONS = 0.005
SECONDS = 8
SCORES_A_SECOND, POSTS_A_SECOND, EVENTS_A_POST = 25, 5, 400


def serve(folder: Path, port: int, switch_seconds: float) -> None:
    """The service in a process of its own, whose threads switch so often."""
    serving.api.app.SWITCH_SECONDS = switch_seconds
    workspace = make_workspace(folder)
    began = time.time()
    app = serving.api.app.create_app(
        workspace,
        store=make_store(workspace),
        settings=ServiceSettings(),
        now=lambda: datetime.fromtimestamp(AS_OF.timestamp() + time.time() - began, UTC),
    )
    freeze_loaded_objects()
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


@contextmanager
def service(folder: Path, switch_seconds: float) -> Iterator[str]:
    """The address of a service."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    process = multiprocessing.get_context("spawn").Process(
        target=serve, args=(folder, port, switch_seconds)
    )
    process.start()
    until = time.monotonic() + 180
    while True:
        with socket.socket() as asked:
            if asked.connect_ex(("127.0.0.1", port)) == 0:
                break
        assert time.monotonic() < until, "the service did not start"
        time.sleep(0.2)
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.join(timeout=30)


async def scored(address: str, turn: int) -> list[float]:
    """Milliseconds from when a score was due, while posts of events come in."""
    times: list[float] = []
    async with httpx.AsyncClient(base_url=address, timeout=60) as client:

        async def score(number: int, due: float) -> None:
            names = [f"acct-{number % 46:02d}"]
            answer = await client.post("/v1/scores", json={"account_ids": names})
            assert answer.json()["items"][0]["reasons"]
            times.append((time.perf_counter() - due) * 1e3)

        async def post(number: int) -> None:
            moment = (AS_OF - timedelta(minutes=1)).isoformat()
            events = [
                {
                    "event_id": f"{turn}-{number}-{event}",
                    "account_id": f"acct-{event % 46:02d}",
                    "kind": "feature.used",
                    "occurred_at": moment,
                }
                for event in range(EVENTS_A_POST)
            ]
            answer = await client.post("/v1/events", json={"events": events})
            assert answer.status_code < 300, answer.text

        running, began = [], time.perf_counter()
        for number in range(SECONDS * SCORES_A_SECOND):
            due = began + number / SCORES_A_SECOND
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            running.append(asyncio.create_task(score(number, due)))
            if number % (SCORES_A_SECOND // POSTS_A_SECOND) == 0:
                running.append(asyncio.create_task(post(number)))
        await asyncio.gather(*running)
    return times


def test_scores_while_events_come_in(tmp_path: Path) -> None:
    ours = serving.api.app.SWITCH_SECONDS
    found: dict[float, list[list[float]]] = {ours: [], PYTHONS: []}
    with ExitStack() as open_services:
        addresses = {
            seconds: open_services.enter_context(service(tmp_path / str(seconds), seconds))
            for seconds in found
        }
        for turn in range(ROUNDS + 1):
            for seconds, address in addresses.items():
                times = asyncio.run(scored(address, turn))
                if turn:
                    found[seconds].append(times)
    rows = [
        f"| {seconds * 1e3:g} ms | {statistics.median(map(statistics.median, turns)):.1f} ms | "
        f"{statistics.median(float(np.quantile(t, 0.9)) for t in turns):.1f} ms | "
        f"{statistics.median(float(np.quantile(t, 0.99)) for t in turns):.1f} ms |"
        for seconds, turns in found.items()
    ]
    write_section(
        "Scores while events come in",
        "\n".join(
            [
                f"{SCORES_A_SECOND} scores a second while {POSTS_A_SECOND} posts of {EVENTS_A_POST} events "
                f"come in; medians of {ROUNDS} turns of {SECONDS} s, from when a score was due.",
                "",
                "| threads switch every | p50 | p90 | p99 |",
                "|---|---|---|---|",
                *rows,
            ]
        ),
    )
