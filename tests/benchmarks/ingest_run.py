"""One ingestion in a process of its own, so that its memory is its own.

    PYTHONPATH=. python tests/benchmarks/ingest_run.py NAME ROWS FOLDER

Prints what it took as one line of JSON. A small file is ingested first, so that code is loaded and
compiled; that is not counted. The files are written, vectorised, when they are first asked for.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
from measured_run import cpu_seconds, peak_megabytes

from features.ingest.run import ingest
from features.workspace import Workspace

SMALL = 20_000
ROWS_AT_ONCE = 500_000
START = np.datetime64("2025-01-01", "us").astype(np.int64)
FORMS = {
    "parquet": "parquet",
    "csv": "csv",
    "without ids": "parquet",
    "again": "parquet",
    "polars": "parquet",
}

MAPPING = """
name = "shop"
complete_until = 2026-06-01T00:00:00Z
[tables.use]
files = ["use*.*"]
kind_column = "what"
kinds = { click = "feature.used", login = "user.session", fault = "error.raised" }
{id}
account = "company"
user = "person"
occurred_at = "at"
recorded_at = "known"
event_count = "n"
quantity = "value"
[tables.use.properties]
name = "feature"
role = "role"
"""


def rows(first: int, count: int) -> pl.DataFrame:
    """Events of 5,000 companies with 20 people each in the order of time; every id is another."""
    rng = np.random.default_rng(first)
    company = rng.integers(0, 5_000, count)
    at = np.sort(rng.integers(0, 86_400_000, count)) * 1_000 + START + first * 2_000_000
    words = {"what": ["click", "login", "fault"], "role": ["admin", "member", "guest"]}
    return pl.DataFrame(
        {
            "company": company,
            "person": rng.integers(0, 20, count),
            "at": at,
            "known": at + rng.integers(0, 3_600_000, count) * 1_000,
            "n": np.ones(count, np.int64),
            "value": np.round(rng.exponential(300.0, count), 1),
            "feature": rng.integers(0, 40, count),
            **{name: rng.integers(0, len(among), count) for name, among in words.items()},
        }
    ).select(
        pl.int_range(first, first + count).cast(pl.String).str.zfill(12).alias("id"),
        pl.format("acct-{}", "company").alias("company"),
        pl.format("u{}-{}", "company", "person").alias("person"),
        pl.col("at", "known").cast(pl.Datetime("us", "UTC")),
        "n",
        "value",
        pl.format("feature_{}", "feature").alias("feature"),
        *(
            pl.col(name).replace_strict(range(len(among)), among, return_dtype=pl.String)
            for name, among in words.items()
        ),
    )


def source(folder: Path, form: str, count: int) -> Path:
    """The file of so many events."""
    path = folder / f"use-{count}.{form}"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        frames = [
            rows(first, min(ROWS_AT_ONCE, count - first)) for first in range(0, count, ROWS_AT_ONCE)
        ]
        whole = pl.concat(frames)
        if form == "csv":
            whole.write_csv(path, datetime_format="%Y-%m-%dT%H:%M:%S%.3fZ")
        else:
            whole.write_parquet(path, row_group_size=ROWS_AT_ONCE)
    return path


def by_polars(path: Path, folder: Path) -> None:
    """The least that any tool does: read, drop repeated ids, order, write."""
    pl.read_parquet(path).unique("id", keep="first").sort("company", "at").write_parquet(
        folder / "rewritten.parquet", compression="zstd", compression_level=1
    )


def ingestion(path: Path, folder: Path, mapping: str) -> Callable[[], None]:
    (folder / "mapping.toml").write_text(mapping)
    workspace = Workspace(folder / "workspace", environment={})

    def run() -> None:
        summary = ingest(workspace, [path], folder / "mapping.toml")
        assert summary.read == summary.landed + summary.duplicates

    return run


def prepared(name: str, path: Path, folder: Path) -> Callable[[], None]:
    """What is to be measured; a file that is ingested again has been ingested before."""
    if name == "polars":
        return lambda: by_polars(path, folder)
    own = "" if name == "without ids" else 'event_id = "id"'
    run = ingestion(path, folder, MAPPING.replace("{id}", own))
    if name == "again":
        run()
    return run


def main(name: str, count: int, data: Path) -> None:
    """Ingest a small file twice, then the large one, and say what that took."""
    form = FORMS[name]
    folder = Path(tempfile.mkdtemp(dir=data))
    try:
        for small in ("small", "small again"):
            (folder / small).mkdir()
            prepared(
                "again" if "again" in small else name, source(data, form, SMALL), folder / small
            )()
        path = source(data, form, count)
        run = prepared(name, path, folder)
        cpu, wall = cpu_seconds(), time.perf_counter()
        run()
        print(
            json.dumps(
                {
                    "cpu": cpu_seconds() - cpu,
                    "wall": time.perf_counter() - wall,
                    "peak_mb": peak_megabytes(),
                }
            )
        )
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
