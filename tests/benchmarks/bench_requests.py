"""Requests a cpu second of the service: a score, an account, and a decision that is stored.

Over real sockets to ``keepwell serve``; the cpu is that of its process. Every decision is a new one:
before each round the limits of the workspace change a little, so that all is asked anew. What a part
costs is the difference between two requests of which only one has it; the parts of a decision are
timed in one thread without a server. ``KEEPWELL_BENCH_WORKSPACE`` is a workspace that is copied and
served; without it, a small company.
"""

from __future__ import annotations

import itertools
import math
import os
import shutil
import statistics
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from decision_parts import parts_of_a_decision
from interleaved import write_section
from served_process import Served
from small_company import make_workspace
from steady_load import ask, request

from experiments.policy.contact.limits_file import LIMITS_FILE
from features.workspace import Workspace

pytestmark = pytest.mark.bench

ROUNDS = int(os.environ.get("KEEPWELL_BENCH_ROUNDS", "5"))
TIMES = int(os.environ.get("KEEPWELL_BENCH_REQUESTS", "1000"))
LEAST_STORED = 300
"""Decisions of a round, so that the tick of the cpu's clock is no part of the figure."""

GOALS = {"score": 3_000, "decision": 400, "in lists": 400}
AT_ONCE = 20
"""Accounts of a request that asks for several, as an engine does that works through a list."""

STORED = {"decision": 1, "with a key": 1, "in lists": AT_ONCE}
"""Kinds of which every request is so many new decisions: each account is asked about once a round."""


def own_workspace(folder: Path) -> Workspace:
    """The workspace that is served; nobody else writes to it."""
    given = os.environ.get("KEEPWELL_BENCH_WORKSPACE")
    if given is None:
        return make_workspace(folder / "w")
    shutil.copytree(given, folder / "w")
    return Workspace(folder / "w")


def account_ids(url: str) -> list[str]:
    """The accounts of a service that have not left."""
    items = httpx.get(f"{url}/v1/accounts?limit=500", timeout=60).json()["items"]
    return [one["account_id"] for one in items if one["contract_status"] != "cancelled"]


def ask_anew(workspace: Workspace, url: str, account: str, numbers: Iterator[int]) -> None:
    """Change the limits so little that no answer changes, and wait until they are read: the question
    is another one then, and so is each decision."""

    def decided() -> object:
        answer = httpx.post(f"{url}/v1/next-actions", json={"account_ids": [account]}, timeout=60)
        return answer.json()["items"][0]["decision_id"]

    before, until = decided(), time.monotonic() + 60
    limits = f"margin = {0.8 + 1e-9 * next(numbers):.12f}\n"
    (workspace.root / LIMITS_FILE).write_text(limits, encoding="utf-8")
    while decided() == before:
        assert time.monotonic() < until, "the limits were not read again"
        time.sleep(0.1)


def kinds_of(ids: list[str]) -> dict[str, Callable[[int], bytes]]:
    """The requests that are compared, by name."""

    def decided(number: int) -> dict[str, object]:
        return {"account_ids": [ids[number % len(ids)]]}

    def listed(number: int) -> dict[str, object]:
        first = number * AT_ONCE % len(ids)
        return {"account_ids": (ids + ids)[first : first + AT_ONCE]}

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
        "in lists": lambda n: request("POST", address, listed(n)),
    }


def test_requests_a_cpu_second(tmp_path: Path) -> None:
    workspace = own_workspace(tmp_path)
    served, numbers = Served(workspace), itertools.count(1)
    try:
        ids = account_ids(served.url)
        kinds = kinds_of(ids)
        took: dict[str, list[float]] = {name: [] for name in kinds}
        batches = [len(ids)] * math.ceil(LEAST_STORED / len(ids))
        for number in range(ROUNDS + 1):  # the first warms up: what is made once is made
            for name, one in kinds.items():
                loads = []
                for times in batches if name in STORED else [TIMES]:
                    if name in STORED:
                        ask_anew(workspace, served.url, ids[0], numbers)
                    asked = times // STORED.get(name, 1)
                    loads.append(ask(served.port, served.process, [one], times=asked))
                    assert set(loads[-1].statuses) == {200}, loads[-1].statuses
                if number:
                    seconds, requests = (
                        sum(load.cpu for load in loads),
                        sum(load.requests for load in loads),
                    )
                    took[name].append(seconds / requests / STORED.get(name, 1) * 1e3)
    finally:
        served.tell()
        served.ended(60)
        served.program.communicate()
    parts = parts_of_a_decision(workspace, ROUNDS)

    ms = {name: statistics.median(values) for name, values in took.items()}
    lines = [
        f"| {name} | {ms[name]:.2f} ({min(took[name]):.2f} to {max(took[name]):.2f}) "
        f"| {1e3 / ms[name]:,.0f} | {GOALS.get(name, '')} |"
        for name in kinds
    ]
    inside = {part: statistics.median(values) for part, values in parts.items()}
    begun = ms["nobody"] - ms["health"]
    around = ms["decision"] - ms["nobody"] - sum(inside.values())
    shares = [
        f"| {what} | {part:.2f} | {part / ms['with a key']:.0%} |"
        for what, part in (
            ("server, gate, framework and a thread (health)", ms["health"]),
            ("reading and checking the body (nobody, less health)", begun),
            *inside.items(),
            ("several at once instead of one after the other (the rest of decision)", around),
            ("the Idempotency-Key (with a key, less decision)", ms["with a key"] - ms["decision"]),
        )
    ]
    write_section(
        "Requests a cpu second",
        "\n".join(
            [
                f"`keepwell serve` with {len(ids)} accounts asked for in turn, over 4 connections "
                f"that ask again when they are answered; {ROUNDS} × {TIMES:,} requests each after "
                "one round that warms up. A score and an account are asked for again, so they come "
                f"from memory. A decision is a new one each time ({sum(batches)} a round), stored and "
                f"synced; in lists, {AT_ONCE} accounts are asked about in a request, and a row is one of "
                f"the decisions.",
                "",
                "| | cpu ms a request | a cpu second | goal |",
                "|---|---|---|---|",
                *lines,
                "",
                "Where the time of a stored decision under an Idempotency-Key goes; the parts "
                "between reading the body and the key are timed in one thread, without a server:",
                "",
                "| part | cpu ms | share |",
                "|---|---|---|",
                *shares,
            ]
        ),
    )
