"""Runs of several peers in turn, and the table that says what they took."""

from __future__ import annotations

import json
import os
import platform
import re
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RESULTS = HERE / "RESULTS.md"
EVENTS = int(float(os.environ.get("KEEPWELL_BENCH_EVENTS", "20e6")))
ROUNDS = int(os.environ.get("KEEPWELL_BENCH_ROUNDS", "5"))
DATA = Path(os.environ.get("KEEPWELL_BENCH_DATA", ROOT / ".keepwell-bench"))


@dataclass(frozen=True, kw_only=True)
class Took:
    """What one run took."""

    cpu: float
    wall: float
    peak_mb: float


def run(name: str, n_events: int, answer: Path | None = None) -> Took:
    """One run in its own process, in the group of this one."""
    command = [sys.executable, str(HERE / "measured_run.py"), name, str(n_events), str(DATA)]
    done = subprocess.run(
        [*command, *([str(answer)] if answer else [])],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return Took(**json.loads(done.stdout.splitlines()[-1]))


def in_turn(
    runs: Sequence[tuple[str, int]],
    rounds: int = ROUNDS,
) -> dict[tuple[str, int], list[Took]]:
    """Every (peer, events) once a round, so that what else the machine does meets all alike."""
    for size in sorted({size for _, size in runs}):
        run("scan", size)  # makes the lake where there is none: that would count as memory
    took: dict[tuple[str, int], list[Took]] = {one: [] for one in runs}
    for number in range(rounds):
        for one in runs:
            took[one].append(run(*one))
            print(f"round {number + 1}: {one[0]}, {one[1]:,} events: {took[one][-1]}", flush=True)
    return took


def median(took: Sequence[Took], what: str) -> float:
    return statistics.median(getattr(one, what) for one in took)


def shown(took: Sequence[Took], what: str, digits: int = 1) -> str:
    """The median and, in brackets, the smallest and the largest."""
    values = [getattr(one, what) for one in took]
    if len(values) == 1:
        return f"{values[0]:,.{digits}f} (one run)"
    return (
        f"{statistics.median(values):,.{digits}f} "
        f"({min(values):,.{digits}f} to {max(values):,.{digits}f})"
    )


def machine() -> str:
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    return (
        f"{os.cpu_count()} cores, {model.group(1) if model else platform.machine()}, "
        f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GB, "
        f"Python {platform.python_version()}; shared with other work, so cpu seconds and "
        f"ratios count, not wall times"
    )


def write_section(title: str, body: str) -> None:
    """Put a section into the results, in the place of its older version."""
    text = (
        RESULTS.read_text(encoding="utf-8")
        if RESULTS.exists()
        else (
            "# Results\n\nWritten by `make bench`, section by section. Times are medians with the "
            "smallest and the largest; estimates have their 95 % interval.\n"
        )
    )
    section = f"## {title}\n\n{body.strip()}\n\nMachine: {machine()}.\n"
    old = re.compile(rf"## {re.escape(title)}\n.*?(?=\n## |\Z)", flags=re.DOTALL)
    text = old.sub(lambda _: section, text) if old.search(text) else f"{text}\n{section}"
    RESULTS.write_text(text, encoding="utf-8")
    print(section)
