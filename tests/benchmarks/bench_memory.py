"""Memory of the service while it answers a mix of requests: it grows to a level and stays there.

``KEEPWELL_BENCH_WORKSPACE`` is a workspace that is copied and served, ``KEEPWELL_BENCH_MIXED`` how
many requests are sent, and ``KEEPWELL_BENCH_RATE`` how many a second (as fast as they are answered
where it is not set): an hour of 40 a second is 144000 at 40. The slope is a straight line through the
second half, with the interval of least squares; looks that follow each other are alike, so the true
interval is wider.
"""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path

import numpy as np
import pytest
from bench_requests import account_ids, kinds_of, own_workspace
from interleaved import write_section
from served_process import Served
from steady_load import ask, request

pytestmark = pytest.mark.bench

TIMES = int(os.environ.get("KEEPWELL_BENCH_MIXED", "24000"))
RATE = float(os.environ.get("KEEPWELL_BENCH_RATE", "0")) or None
LOOKS = 12 if RATE is None else 120
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
        began = time.monotonic()
        load = ask(
            served.port, served.process, mix, times=TIMES, connections=8, looks=LOOKS, rate=RATE
        )
        hours = (time.monotonic() - began) / 3_600
    finally:
        served.tell()
        served.ended(60)
        served.program.communicate()

    second = np.array(load.megabytes[len(load.megabytes) // 2 :])
    at = np.linspace(0, hours / 2, len(second))
    (slope, _), covariance = np.polyfit(at, second, 1, cov=True)
    margin = 1.96 * float(np.sqrt(covariance[0][0]))
    shown = range(0, len(load.megabytes), max(1, len(load.megabytes) // 12))
    middle = load.megabytes[len(load.megabytes) // 2]
    growth = load.megabytes[-1] / middle
    answered = ", ".join(f"{n:,} × {status}" for status, n in sorted(load.statuses.items()))
    write_section(
        "Memory of the service",
        "\n".join(
            [
                f"`keepwell serve` with {len(ids)} accounts, {TIMES:,} requests "
                + ("as fast as they are answered" if RATE is None else f"at {RATE:.0f} a second")
                + f" in {60 * hours:.0f} minutes over 8 connections: 2 of 8 a score, "
                f"2 pages, 1 account, 2 decisions, 1 event of use ({answered}).",
                "",
                "| requests | " + " | ".join(f"{n * TIMES // LOOKS:,}" for n in shown) + " |",
                "|---|" + "---|" * len(shown),
                "| MB | " + " | ".join(f"{load.megabytes[n]:,.0f}" for n in shown) + " |",
                "",
                f"The second half over its begin: {growth:.2f} × (goal: at most {MOST_GROWTH:.2f}); its "
                f"slope is {slope:+.0f} MB an hour ({slope - margin:+.0f} to {slope + margin:+.0f}).",
            ]
        ),
    )
    assert growth <= MOST_GROWTH
