"""Memory of the service while it answers a mix of requests: it grows to a level and stays there.

``KEEPWELL_BENCH_WORKSPACE`` is a workspace that is copied and served, ``KEEPWELL_BENCH_MIXED`` how
many requests are sent.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import pytest
from bench_requests import account_ids, kinds_of, own_workspace
from interleaved import write_section
from served_process import Served
from steady_load import ask, request

pytestmark = pytest.mark.bench

TIMES = int(os.environ.get("KEEPWELL_BENCH_MIXED", "24000"))
LOOKS = 12
MOST_GROWTH = 1.10
"""Of the second half over its begin: the level is reached, and is kept."""


def test_memory_stays_at_a_level(tmp_path: Path) -> None:
    served = Served(own_workspace(tmp_path))
    try:
        ids = account_ids(served.url)
        kinds = kinds_of(ids)

        def used(number: int) -> bytes:
            event = {
                "account_id": ids[number % len(ids)],
                "event_id": uuid.uuid4().hex,
                "kind": "feature.used",
                "occurred_at": f"2023-03-{1 + number % 28:02d}T{number % 24:02d}:00:00Z",
                "user_id": f"u{number % 5}",
                "properties": {"feature": "search"},
            }
            return request(
                "POST", "/v1/events", {"events": [event]}, Idempotency_Key=uuid.uuid4().hex
            )

        def page(number: int) -> bytes:
            return request("GET", f"/accounts/{ids[number % len(ids)]}", Accept="text/html")

        mix = [
            *(kinds[name] for name in ("score", "decision", "account", "with a key")),
            page,
            page,
            kinds["score"],
            used,
        ]
        load = ask(served.port, served.process, mix, times=TIMES, connections=8, looks=LOOKS)
    finally:
        served.tell()
        served.ended(60)
        served.program.communicate()

    middle = load.megabytes[len(load.megabytes) // 2]
    growth = load.megabytes[-1] / middle
    answered = ", ".join(f"{n:,} × {status}" for status, n in sorted(load.statuses.items()))
    write_section(
        "Memory of the service",
        "\n".join(
            [
                f"`keepwell serve` with {len(ids)} accounts, {TIMES:,} requests as fast as they are "
                "answered over 8 connections: 2 of 8 a score, 2 pages, 1 account, 2 decisions, 1 event "
                f"of use ({answered}).",
                "",
                "| requests | "
                + " | ".join(f"{n * TIMES // LOOKS:,}" for n in range(LOOKS + 1))
                + " |",
                "|---|" + "---|" * (LOOKS + 1),
                "| MB | " + " | ".join(f"{mb:,.0f}" for mb in load.megabytes) + " |",
                "",
                f"The second half over its begin: {growth:.2f} × (goal: at most {MOST_GROWTH:.2f}).",
            ]
        ),
    )
    assert growth <= MOST_GROWTH
