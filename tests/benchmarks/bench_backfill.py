"""61 features of 20,000 accounts at 24 month ends, out of 20 million events, by whoever can.

make bench                                                   the whole of it
KEEPWELL_BENCH_EVENTS=1e6 pytest -m bench tests/benchmarks   in minutes
"""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from interleaved import EVENTS, ROUNDS, Took, in_turn, median, run, shown, write_section
from polars.testing import assert_frame_equal
from telemetry_world import features

pytestmark = pytest.mark.bench

ANSWERING = ("keepwell", "polars", "duckdb")
PEERS = (*ANSWERING, "scan", "keepwell on one core")


def same_answers(folder: Path) -> int:
    """How many rows all peers agree on. Differences below 1e-12 are of dividing, in days."""
    names = [feature.name for feature in features()]
    answers = {}
    for name in ANSWERING:
        run(name, EVENTS, folder / f"{name}.parquet")
        answers[name] = (
            pl.scan_parquet(folder / f"{name}.parquet")
            .select(
                "account_id",
                pl.col("as_of").cast(pl.Datetime("us", "UTC")),
                *(pl.col(column).cast(pl.Float64).fill_nan(None) for column in names),
            )
            .sort("account_id", "as_of")
            .collect()
        )
    keys = answers["polars"].select("account_id", "as_of")
    ours = answers.pop("keepwell").join(keys, on=["account_id", "as_of"], how="semi")
    for answer in answers.values():
        assert_frame_equal(
            ours.sort("account_id", "as_of"),
            answer,
            check_exact=False,
            rel_tol=1e-12,
            abs_tol=1e-10,
        )
    return keys.height


def test_backfill_beside_its_peers(tmp_path: Path) -> None:
    rows = same_answers(tmp_path)
    took = {name: runs for (name, _), runs in in_turn([(n, EVENTS) for n in PEERS]).items()}
    write_section(f"Backfill of {EVENTS:,} events", table(took, rows))


def table(took: dict[str, list[Took]], rows: int) -> str:
    ours, scan = took["keepwell"], took["scan"]
    lines = ["| | cpu seconds | to Keepwell | wall seconds | peak MB |", "|---|---|---|---|---|"]
    for name, runs in took.items():
        times = median(runs, "cpu") / median(ours, "cpu")
        lines.append(
            f"| {name} | {shown(runs, 'cpu')} | {times:.2f} × | {shown(runs, 'wall')} | "
            f"{shown(runs, 'peak_mb', 0)} |"
        )
    wall = median(ours, "wall") / median(took["keepwell on one core"], "wall")
    lines += ["", "| goal | measured |", "|---|---|"]
    for goal, measured in {
        "at least 4 × less cpu than Polars": f"{median(took['polars'], 'cpu') / median(ours, 'cpu'):.1f} ×",
        "at least 10 × less cpu than DuckDB": f"{median(took['duckdb'], 'cpu') / median(ours, 'cpu'):.1f} ×",
        "at most 5 × the bare scan": f"{median(ours, 'cpu') / median(scan, 'cpu'):.1f} ×",
        "peak memory at most 1 GB": f"{median(ours, 'peak_mb'):,.0f} MB",
        "wall at most 0.6 × one core's": f"{wall:.2f} ×",
    }.items():
        lines.append(f"| {goal} | {measured} |")
    return "\n".join(
        [
            f"61 features over 7, 28 and 90 days at 24 month ends, {EVENTS:,} events of 20,000 "
            f"accounts; {ROUNDS} interleaved rounds, each run in a process of its own. Keepwell, "
            f"Polars and DuckDB gave equal answers for all {rows:,} rows first. The scan counts the "
            "known values of the columns that are read.",
            "",
            *lines,
        ]
    )
