"""Requests a cpu second of the service: a score, an account, and a decision that is stored.

Over real sockets to ``keepwell serve``; the cpu is that of its process. What a part costs is the
difference between two requests of which only one has it. ``KEEPWELL_BENCH_WORKSPACE`` is a workspace
that is copied and served; without it, a small company.
"""

from __future__ import annotations

import os
import shutil
import statistics
import uuid
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from interleaved import write_section
from served_process import Served
from small_company import make_workspace
from steady_load import ask, request

from features.workspace import Workspace

pytestmark = pytest.mark.bench

ROUNDS = int(os.environ.get("KEEPWELL_BENCH_ROUNDS", "5"))
TIMES = int(os.environ.get("KEEPWELL_BENCH_REQUESTS", "1000"))
GOALS = {"score": 3_000, "decision": 400}


def own_workspace(folder: Path) -> Workspace:
    """The workspace that is served; nobody else writes to it."""
    given = os.environ.get("KEEPWELL_BENCH_WORKSPACE")
    if given is None:
        return make_workspace(folder / "w")
    shutil.copytree(given, folder / "w")
    return Workspace(folder / "w")


def account_ids(url: str) -> list[str]:
    """The accounts of a service that have not left."""
    items = httpx.get(f"{url}/v1/accounts?limit=200", timeout=60).json()["items"]
    return [one["account_id"] for one in items if one["contract_status"] != "cancelled"]


def kinds_of(ids: list[str]) -> dict[str, Callable[[int], bytes]]:
    """The requests that are compared, by name."""

    def decided(number: int) -> dict[str, object]:
        return {"account_ids": [ids[number % len(ids)]]}

    address = "/v1/next-actions"
    return {
        "health": lambda _: request("GET", "/healthz"),
        "score": lambda n: request("GET", f"/v1/accounts/{ids[n % len(ids)]}/score"),
        "account": lambda n: request("GET", f"/v1/accounts/{ids[n % len(ids)]}"),
        "nobody": lambda _: request("POST", address, {"account_ids": ["nobody"]}),
        "decision": lambda n: request("POST", address, decided(n)),
        "with a key": lambda n: request(
            "POST", address, decided(n), Idempotency_Key=uuid.uuid4().hex
        ),
    }


def test_requests_a_cpu_second(tmp_path: Path) -> None:
    served = Served(own_workspace(tmp_path))
    try:
        ids = account_ids(served.url)
        kinds = kinds_of(ids)
        took: dict[str, list[float]] = {name: [] for name in kinds}
        for number in range(ROUNDS + 1):  # the first warms up: what is made once is made
            for name, one in kinds.items():
                load = ask(served.port, served.process, [one], times=TIMES)
                assert set(load.statuses) == {200}, load.statuses
                if number:
                    took[name].append(load.cpu_ms)
    finally:
        served.tell()
        served.ended(60)
        served.program.communicate()

    ms = {name: statistics.median(values) for name, values in took.items()}
    lines = [
        f"| {name} | {ms[name]:.2f} ({min(took[name]):.2f} to {max(took[name]):.2f}) "
        f"| {1e3 / ms[name]:,.0f} | {GOALS.get(name, '')} |"
        for name in kinds
    ]
    parts = (
        ("server, gate, framework and a thread (health)", ms["health"]),
        ("reading and checking the body (nobody, less health)", ms["nobody"] - ms["health"]),
        ("facts, policy, storing, answer (decision, less nobody)", ms["decision"] - ms["nobody"]),
        ("the Idempotency-Key (with a key, less decision)", ms["with a key"] - ms["decision"]),
    )
    shares = [f"| {what} | {part:.2f} | {part / ms['with a key']:.0%} |" for what, part in parts]
    write_section(
        "Requests a cpu second",
        "\n".join(
            [
                f"`keepwell serve` with {len(ids)} accounts asked for in turn, over 4 connections "
                f"that ask again when they are answered; {ROUNDS} × {TIMES:,} requests each after "
                "one round that warms up. A score and an account are asked for again, so they come "
                "from memory. A decision is stored and synced.",
                "",
                "| | cpu ms a request | a cpu second | goal |",
                "|---|---|---|---|",
                *lines,
                "",
                "Where the time of a stored decision under an Idempotency-Key goes:",
                "",
                "| part | cpu ms | share |",
                "|---|---|---|",
                *shares,
            ]
        ),
    )
