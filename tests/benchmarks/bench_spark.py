"""What the Spark engine costs an event: processor seconds, and bytes moved between machines.

Both engines make the same 12 monthly snapshots of the whole catalogue from the same lake, each in a
process of its own. The cost of a further event is that between two sizes of lake with the same
accounts, so that what is paid once, or for each account and moment, does not count.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from interleaved import DATA, HERE, ROOT, ROUNDS, write_section
from telemetry_world import ACCOUNTS, lake_of

pytestmark = [pytest.mark.bench, pytest.mark.spark]

SMALL, LARGE = (
    int(float(size)) for size in os.environ.get("KEEPWELL_BENCH_SPARK_EVENTS", "1e6,4e6").split(",")
)
FEW_ACCOUNTS = ACCOUNTS // 10
RUNS = ((SMALL, ACCOUNTS), (LARGE, ACCOUNTS), (SMALL, FEW_ACCOUNTS))
ENGINES = ("one machine", "spark")
MOMENTS = 12

MANY, EXECUTORS, CORES, GIGABITS = 100e9, 100, 8, 10


@dataclass(frozen=True, kw_only=True)
class Took:
    """What one run took."""

    cpu: float
    wall: float
    moved: int


def run(engine: str, events: int, accounts: int, log: Path) -> Took:
    """One run in its own process, on two cores."""
    lake = lake_of(DATA, events, accounts)
    log.mkdir()
    done = subprocess.run(
        [sys.executable, str(HERE / "spark_run.py"), engine, str(lake.folder.parent), str(log)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE)])},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return Took(**json.loads(done.stdout.splitlines()[-1]))


def middle(runs: Sequence[Took], what: str) -> float:
    return float(statistics.median(getattr(one, what) for one in runs))


def test_the_cost_of_an_event_on_spark(tmp_path: Path) -> None:
    DATA.mkdir(parents=True, exist_ok=True)
    took: dict[tuple[str, int, int], list[Took]] = {}
    for number in range(ROUNDS):
        for size in RUNS:
            for engine in ENGINES:
                made = run(engine, *size, tmp_path / f"log-{number}-{engine}-{size}")
                took.setdefault((engine, *size), []).append(made)
                print(f"round {number + 1}: {engine}, {size[0]:,} events: {made}", flush=True)
    lines = [
        "| engine | events | accounts | cpu seconds | bytes shuffled an event |",
        "|---|---|---|---|---|",
    ]
    for (engine, events, accounts), runs in took.items():
        cpu = [one.cpu for one in runs]
        lines.append(
            f"| {engine} | {events:,} | {accounts:,} | {statistics.median(cpu):.1f} "
            f"({min(cpu):.1f} to {max(cpu):.1f}) | {middle(runs, 'moved') / events:.1f} |"
        )
    costs = []
    for engine in ENGINES:
        small, large, few = (middle(took[engine, *size], "cpu") for size in RUNS)
        event = (large - small) / (LARGE - SMALL)
        row = (small - few) / ((ACCOUNTS - FEW_ACCOUNTS) * MOMENTS)
        once = few - SMALL * event - FEW_ACCOUNTS * MOMENTS * row
        costs.append((event, row))
        lines.append(
            f"\n{engine}: {event * 1e6:.2f} microseconds of cpu a further event, "
            f"{row * 1e6:.0f} a further row of a snapshot, {once:.1f} s once."
        )
    event, _ = costs[-1]
    moved = middle(took["spark", LARGE, ACCOUNTS], "moved") / LARGE
    computing = event * MANY / (EXECUTORS * CORES)
    sent = moved * MANY / EXECUTORS
    wire = sent / (GIGABITS / 8 * 1e9)
    lines.append(
        f"\n{MANY / 1e9:.0f} billion events on {EXECUTORS} executors of {CORES} cores at these "
        f"costs, if work divides evenly: {computing / 60:.0f} minutes of computing for the events, "
        f"{moved * MANY / 1e12:.1f} TB shuffled, {sent / 1e9:.0f} GB an executor, which is "
        f"{wire:.0f} seconds of a network of {GIGABITS} Gbit/s."
    )
    write_section(
        "Spark",
        "\n".join(
            [
                f"{MOMENTS} monthly snapshots of the whole catalogue, Spark as local[2] against one "
                f"process on the same 2 cores, equal byte for byte. Spark's processor seconds are those "
                f"of Java and Python together.",
                "",
                *lines,
            ]
        ),
    )
    assert all(one.moved > 0 for key, runs in took.items() if key[0] == "spark" for one in runs)
