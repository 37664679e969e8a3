"""The accounts of a large company scored and explained from its snapshot, a part at a time.

    python -m pytest tests/benchmarks/bench_many_accounts.py -m bench -s
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bench_explanations import FEATURES, model
from interleaved import HERE, ROOT, write_section

from registry.bundle import BundleMetadata, GoldenRows, ModelBundle, ReferenceDistribution
from registry.calibration import Calibration
from registry.contract import ContractFeature, FeatureContract
from registry.trees import TreeArrays

pytestmark = pytest.mark.bench

SIZES = (250_000, 1_000_000)
PART = 50_000
THEIRS = 2_000, 200
"""Rows that LightGBM scores and explains; each takes as long as among many."""


def write_snapshots(path: Path, rows: int) -> None:
    rng = np.random.default_rng(1)
    writer = None
    for start in range(0, rows, PART):
        values = rng.normal(size=(PART, FEATURES)).round(3)
        values[rng.random(values.shape) < 0.1] = np.nan
        table = pa.table({
            "account_id": [f"account-{n}" for n in range(start, start + PART)],
            **{f"f{j}": pa.array(values[:, j], from_pandas=True) for j in range(FEATURES)}})
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    assert writer is not None
    writer.close()


def test_many_accounts_in_parts(tmp_path: Path) -> None:
    booster, rows = model(500, 31)
    golden = rows[:50]
    ModelBundle(
        label="churn", form=TreeArrays.from_dump(booster.dump_model()), base_rates={90: 0.1},
        contract=FeatureContract(
            tuple(ContractFeature(name=f"f{j}", digest="") for j in range(FEATURES))),
        calibration=Calibration(horizons=(90,), slope=0.8, intercepts=(-1.0,),
                                draws=np.tile([0.8, -1.0], (20, 1))),
        metadata=BundleMetadata(as_of=datetime(2026, 1, 1, tzinfo=UTC), data_fingerprint="",
                                code_version="", label_policy={}),
        reference=ReferenceDistribution.of(rows[:1000]),
        golden=GoldenRows(matrix=golden, raw=np.asarray(booster.predict(golden, raw_score=True))),
    ).save(tmp_path / "model")

    def run(size: int, what: str) -> dict[str, float]:
        done = subprocess.run(
            [sys.executable, HERE / "many_accounts_run.py", tmp_path / "model",
             tmp_path / f"{size}.parquet", what], capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)})
        return dict(json.loads(done.stdout.splitlines()[-1]))

    def theirs(what: str) -> float:
        n = THEIRS[what == "reasons"]
        began = time.process_time()
        booster.predict(rows[:n], pred_contrib=what == "reasons", num_threads=1)
        return (time.process_time() - began) / n * 1e6

    lines = []
    for size in SIZES:
        write_snapshots(tmp_path / f"{size}.parquet", size)
        for what in ("probabilities", "reasons"):
            before, ours, after = theirs(what), run(size, what), theirs(what)
            each, lightgbms = ours["cpu"] / ours["rows"] * 1e6, (before + after) / 2
            lines.append(f"| {size:,} | {what} | {lightgbms:,.1f} | {each:,.1f} | "
                         f"{lightgbms / each:.1f} × | {ours['peak_mb']:,.0f} |")
        (tmp_path / f"{size}.parquet").unlink()
    write_section("Many accounts in parts", "\n".join([
        f"500 trees of 31 leaves, {FEATURES} features; ours from Parquet to Parquet, 10,000 "
        f"accounts at a time with the matrix by the model's contract, the calibration and the five "
        f"largest points; LightGBM's from a matrix in memory, one thread, before and after. "
        f"Without sentences. Goals: probabilities 3 ×, reasons 25 ×, memory that does not grow.",
        "", "| accounts | | LightGBM, cpu µs a row | Keepwell, cpu µs a row | faster | peak MB |",
        "|---|---|---|---|---|---|", *lines]))
