"""The accounts of a large company scored by ``keepwell score``, beside LightGBM on the same model.

python -m pytest tests/benchmarks/bench_many_accounts.py -m bench -s
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import lightgbm as lgb
import numpy as np
import polars as pl
import pytest
from interleaved import ROOT, write_section
from many_accounts_world import bundle, make_workspace, trained

pytestmark = pytest.mark.bench

FEW = 1_000
"""What these take is the start of the command: imports, the store, the model."""

ROUNDS = {
    (FEW, 0): 3,
    (FEW, 5): 3,
    (250_000, 0): 5,
    (250_000, 5): 2,
    (1_000_000, 0): 2,
    (1_000_000, 5): 1,
}
"""By accounts and reasons."""

THEIRS = {0: 10_000, 5: 300}
"""Rows that LightGBM scores or explains; each takes as long as among many."""

MEASURED = """
import json, resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([used.ru_utime + used.ru_stime, used.ru_maxrss]))
"""
"""A small process in between: the peak of a child begins at that of its parent."""

Measured = tuple[float, float]


def ours(root: Path, reasons: int) -> Measured:
    """Cpu seconds and peak MB of the whole command in a process of its own."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            MEASURED,
            sys.executable,
            str(ROOT / "keepwell.py"),
            "score",
            "--out",
            str(root / "scores.parquet"),
            "--reasons",
            str(reasons),
            "-w",
            str(root),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    cpu, peak = json.loads(done.stdout.splitlines()[-1])
    return cpu, peak / 1024


def theirs(booster: lgb.Booster, rows: np.ndarray, reasons: int) -> float:
    """Cpu microseconds a row, from a matrix in memory."""
    n = THEIRS[reasons]
    began = time.process_time()
    booster.predict(rows[:n], pred_contrib=reasons > 0, num_threads=1)
    return (time.process_time() - began) / n * 1e6


def shown(values: list[float], digits: int = 1) -> str:
    middle = f"{statistics.median(values):,.{digits}f}"
    return (
        middle
        if len(values) == 1
        else (f"{middle} ({min(values):,.{digits}f} to {max(values):,.{digits}f})")
    )


def test_the_command_scores_many_accounts(tmp_path: Path) -> None:
    booster, rows = trained()
    served = bundle(booster, rows)
    places = {}
    for size in sorted({size for size, _ in ROUNDS}):
        places[size] = make_workspace(tmp_path / str(size), size, served).root
    lines, start = [], {}
    for (size, reasons), rounds in ROUNDS.items():
        peers, took, peaks = [], [], []
        for number in range(rounds):
            before = theirs(booster, rows, reasons)
            cpu, peak = ours(places[size], reasons)
            peers.append((before + theirs(booster, rows, reasons)) / 2)
            took.append(cpu)
            peaks.append(peak)
            print(
                f"{size:,} accounts, {reasons} reasons, round {number + 1}: {cpu:.1f} s, "
                f"{peak:,.0f} MB; LightGBM {peers[-1]:,.1f} µs a row",
                flush=True,
            )
        if size == FEW:
            start[reasons] = statistics.median(took)
            continue
        each = [(cpu - start[reasons]) / size * 1e6 for cpu in took]
        faster = [peer / one for peer, one in zip(peers, each, strict=True)]
        whole = [peer * size / 1e6 / cpu for peer, cpu in zip(peers, took, strict=True)]
        lines.append(
            f"| {size:,} | {reasons or 'none'} | {shown(peers)} | {shown(each)} | "
            f"{shown(faster)} × | {shown(whole)} × | {shown(peaks, 0)} |"
        )
    written = pl.read_parquet_metadata(places[1_000_000] / "scores.parquet")
    assert written["keepwell.models"]
    write_section(
        "Many accounts",
        "\n".join(
            [
                "`keepwell score` as a process of its own: from the snapshot's Parquet file to the file of "
                "scores, most revenue at risk first, with probabilities at three horizons and an interval "
                "of 200 draws, health, money, tier, and reasons in sentences that compare with similar "
                "accounts. 500 trees of 31 leaves on 100 features of which a tenth is unknown; every value "
                "is another one, so that no sentence is said twice. LightGBM: `predict` and `pred_contrib` "
                "from a matrix in memory, one thread, before and after each run.",
                "",
                f"To start takes {start[0]:.1f} cpu seconds without reasons and {start[5]:.1f} with them "
                f"({FEW:,} accounts): imports and the model. It is left out of the cpu "
                f"of an account and is in that of the whole command. Goals: probabilities 3 ×, reasons "
                f"25 ×, memory that does not grow.",
                "",
                "| accounts | reasons | LightGBM, cpu µs a row | Keepwell, cpu µs an account | faster | "
                "the whole command | peak MB |",
                "|---|---|---|---|---|---|---|",
                *lines,
            ]
        ),
    )
