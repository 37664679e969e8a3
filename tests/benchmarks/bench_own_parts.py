"""Our own parts of ingestion, encoding and the stores beside what a library does in their place.

    PYTHONPATH=. python -m pytest tests/benchmarks/bench_own_parts.py -m bench -s

A part is kept where it is at least about twice as fast in what somebody waits for. Both forms run in
turns; the table holds cpu seconds. Fewer rows by KEEPWELL_BENCH_ROWS.
"""

from __future__ import annotations

import gc
import importlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import ingest_run
import library_forms
import pytest
import telemetry_world as world
from feast.protos.feast.types.Value_pb2 import Value
from interleaved import DATA, ROOT, ROUNDS, write_section

from features.compute.encode import columns_read, encode_timelines
from features.ingest.run import ingest_rows
from features.lake.lake import Lake
from features.store._packed_rows import pack_values, unpack_values
from features.workspace import Workspace

pytestmark = pytest.mark.bench

ROWS = int(float(os.environ.get("KEEPWELL_BENCH_ROWS", "1e6")))
ENCODED = 300_000
NOW = datetime(2026, 6, 1, tzinfo=UTC)


def in_turns(own: Callable[[], object], library: Callable[[], object]) -> tuple[float, float]:
    """Median cpu seconds of both; the first run of each is not counted."""
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(ROUNDS + 1):
        for run, took in zip((own, library), times, strict=True):
            began = time.process_time()
            run()
            if number:
                took.append(time.process_time() - began)
    return statistics.median(times[0]), statistics.median(times[1])


def one_post_of_events(folder: Path) -> tuple[float, float]:
    """One event of a program into a lake of so many."""
    path = ingest_run.source(DATA, "parquet", ROWS)
    ingest_run.ingestion(path, folder, ingest_run.MAPPING.replace("{id}", 'event_id = "id"'))()
    lake = Lake(Workspace(folder / "workspace", environment={}).events_dir)
    sent = 0

    def post() -> None:
        nonlocal sent
        sent += 1
        row = {
            "event_id": f"sent-{sent}",
            "account_id": "acct-1",
            "kind": "feature.used",
            "occurred_at": "2026-03-01T00:00:00Z",
        }
        ingest_rows(lake, [row], now=NOW, source="api")

    def post_without_index() -> None:
        with library_forms.ids_looked_up_in_parquet():
            post()

    return in_turns(post, post_without_index)


def encoding_of_events() -> tuple[float, float]:
    """Events of whole accounts as arrays for the sweep."""
    catalogue = world.catalogue()
    columns = [*columns_read(catalogue), "event_id"]
    frame = world.lake_of(DATA, ROWS).scan().select(columns).head(ENCODED).collect().rechunk()

    def by_polars() -> None:
        with library_forms.encoded_by_polars():
            encode_timelines(frame, catalogue)

    return in_turns(lambda: encode_timelines(frame, catalogue), by_polars)


def import_of_feast() -> tuple[float, float]:
    """The start of a command that reads features."""

    def imported(module: str) -> float:
        code = f"import time; import {module}; print(time.process_time())"
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        return float(done.stdout)

    took = [(imported("features.store._feast_import"), imported("feast")) for _ in range(ROUNDS)]
    return statistics.median(own for own, _ in took), statistics.median(one for _, one in took)


def read_of_packed_rows() -> tuple[float, float]:
    """The values of 1,000 accounts with 100 features each, out of the online store's bytes."""
    packed = [pack_values([Value(double_val=float(number)) for number in range(100)])] * 1_000
    importlib.import_module("serving.api.app")  # objects among which the collector would look
    importlib.import_module("mlflow")

    def read() -> None:
        list(unpack_values(packed))

    def without_collector() -> None:
        gc.disable()
        try:
            read()
        finally:
            gc.enable()

    return in_turns(without_collector, read)


def test_own_parts_beside_a_library(tmp_path: Path) -> None:
    DATA.mkdir(parents=True, exist_ok=True)
    measured = {
        f"one event posted into a lake of {ROWS:,}: key index, or ids scanned in Parquet": (
            one_post_of_events(tmp_path)
        ),
        f"{ENCODED:,} events encoded: string views and ordering, or Polars": encoding_of_events(),
        "`import feast`: without, or with its checks at run time": import_of_feast(),
        "1,000 accounts read: collector off, or on": read_of_packed_rows(),
    }
    write_section(
        "Own parts beside a library",
        "\n".join(
            [
                f"Median cpu seconds of {ROUNDS} runs in turns; the first of each is not counted.",
                "",
                "| what | own | library | times |",
                "|---|---|---|---|",
                *(
                    f"| {what} | {own:.3f} | {library:.3f} | {library / own:.1f} |"
                    for what, (own, library) in measured.items()
                ),
            ]
        ),
    )
    assert all(library > 1.5 * own for own, library in measured.values())
