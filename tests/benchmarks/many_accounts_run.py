"""One run over the snapshot of many accounts, a part at a time: cpu seconds and peak memory.

Takes a model, a Parquet file of snapshots, and what to make of it: probabilities or reasons.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from registry.bundle import ModelBundle

PART = 10_000
TOP = 5
HORIZON = 90


def told(model: ModelBundle, frame: pl.DataFrame, what: str) -> pl.DataFrame:
    """Each account with its probability and, where asked, its five largest points by name."""
    accounts = frame.select("account_id")
    matrix = model.matrix(frame)
    if what == "probabilities":
        return accounts.with_columns(p=pl.Series(model.probability(matrix, HORIZON)))
    explained = model.explain(matrix, HORIZON)
    points = explained.points
    names = np.array([feature.name for feature in model.contract.features])
    top = np.argpartition(-np.abs(points), TOP, axis=1)[:, :TOP]
    values = np.take_along_axis(points, top, axis=1)
    order = np.argsort(-np.abs(values), axis=1)
    top, values = np.take_along_axis(top, order, axis=1), np.take_along_axis(values, order, axis=1)
    return accounts.with_columns(
        p=pl.Series(explained.probability),
        **{f"reason_{n + 1}": pl.Series(names[top[:, n]]) for n in range(TOP)},
        **{f"points_{n + 1}": pl.Series(values[:, n]) for n in range(TOP)})


def main(folder: str, snapshots: str, what: str) -> None:
    model = ModelBundle.load(Path(folder))
    file, writer = pq.ParquetFile(snapshots), None
    first = next(file.iter_batches(batch_size=100))
    told(model, pl.DataFrame(pl.from_arrow(first)), what)  # compiled
    began, rows = time.process_time(), 0
    with Path(snapshots).with_suffix(f".{what}").open("wb") as out:
        for batch in file.iter_batches(batch_size=PART):
            answer = told(model, pl.DataFrame(pl.from_arrow(batch)), what).to_arrow()
            writer = writer or pq.ParquetWriter(pa.PythonFile(out), answer.schema)
            writer.write_table(answer)
            rows += len(answer)
        assert writer is not None
        writer.close()
    print(json.dumps({
        "cpu": time.process_time() - began, "rows": rows,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


if __name__ == "__main__":
    main(*sys.argv[1:])
