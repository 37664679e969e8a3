"""How fast files are ingested, validated and told from what was there, and in how much memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from interleaved import DATA, HERE, ROOT, ROUNDS, Took, median, shown, write_section

pytestmark = pytest.mark.bench

ROWS = int(float(os.environ.get("KEEPWELL_BENCH_ROWS", "4e6")))
RUNS = (
    ("parquet", ROWS),
    ("parquet", ROWS // 4),
    ("without ids", ROWS),
    ("again", ROWS),
    ("csv", ROWS),
    ("csv", ROWS // 4),
    ("polars", ROWS),
)


def run(name: str, rows: int) -> Took:
    """One run in its own process, on one core."""
    done = subprocess.run(
        [sys.executable, str(HERE / "ingest_run.py"), name, str(rows), str(DATA)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "POLARS_MAX_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return Took(**json.loads(done.stdout.splitlines()[-1]))


def test_ingestion_is_fast_and_its_memory_flat() -> None:
    DATA.mkdir(parents=True, exist_ok=True)
    took: dict[tuple[str, int], list[Took]] = {one: [] for one in RUNS}
    for number in range(ROUNDS):
        for one in RUNS:
            took[one].append(run(*one))
            print(f"round {number + 1}: {one[0]}, {one[1]:,} rows: {took[one][-1]}", flush=True)
    bare = median(took["polars", ROWS], "cpu")
    lines = [
        "| | rows | cpu seconds | rows a second and core | to Polars | peak MB |",
        "|---|---|---|---|---|---|",
    ]
    for (name, rows), runs in took.items():
        cpu = median(runs, "cpu")
        lines.append(
            f"| {name} | {rows:,} | {shown(runs, 'cpu')} | {rows / cpu:,.0f} | "
            f"{cpu / rows / (bare / ROWS):.2f} × | {shown(runs, 'peak_mb', 0)} |"
        )
    speed = ROWS / median(took["parquet", ROWS], "cpu")
    growth = median(took["parquet", ROWS], "peak_mb") / median(
        took["parquet", ROWS // 4], "peak_mb"
    )
    write_section(
        "Ingestion",
        "\n".join(
            [
                f"Files of {ROWS // 4:,} and {ROWS:,} events, each into an empty lake, on one core; "
                f"*again* is the same file once more. Every row is checked, told from all that is there, "
                f"ordered by account and written. *polars* only reads, drops repeated ids, orders and "
                f"writes, all rows at once.",
                "",
                *lines,
                "",
                "| goal | measured |",
                "|---|---|",
                f"| at least 500,000 rows a second and core from Parquet | {speed:,.0f} |",
                f"| memory flat: four times the rows in the same | {growth:.2f} × |",
            ]
        ),
    )
    assert growth < 1.1
