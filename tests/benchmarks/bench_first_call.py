"""How long a second process takes from its imports to its first values."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from interleaved import ROOT, ROUNDS, write_section

pytestmark = pytest.mark.bench

PROGRAM = """
import json, time
import numpy as np
from datetime import UTC, datetime
from features.catalogue.catalogue import load_catalogue
from features.kernel.sweep import sweep
from features.events.schema import Event, events_frame
from features.compute.encode import encode_timelines
wall, cpu = time.perf_counter(), time.process_time()
start = datetime(2024, 1, 1, tzinfo=UTC)
frame = events_frame([Event(event_id="a", account_id="a", kind="feature.used", occurred_at=start,
                            recorded_at=start)])
timelines = encode_timelines(frame, load_catalogue())
values = sweep(timelines.events, timelines.items, np.array([2 * 10**15]))
print(json.dumps([time.perf_counter() - wall, time.process_time() - cpu]))
"""


def first_values() -> list[float]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    found: list[float] = json.loads(done.stdout)
    return found


def test_a_second_process_starts_at_once() -> None:
    first_values()
    took = np.array([first_values() for _ in range(max(ROUNDS, 5))])
    (wall, cpu), (low, _), (high, _) = np.median(took, axis=0), took.min(axis=0), took.max(axis=0)
    write_section(
        "First call",
        "\n".join(
            [
                "From import to the first values of the whole catalogue in a new process, with the "
                "compiled kernel on disk.",
                "",
                "| wall seconds | cpu seconds | goal |",
                "|---|---|---|",
                f"| {wall:.2f} ({low:.2f} to {high:.2f}) | {cpu:.2f} | at most 1 s |",
            ]
        ),
    )
