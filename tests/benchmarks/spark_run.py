"""One backfill of the whole catalogue in a process of its own, on one machine or on Spark.

    PYTHONPATH=. python tests/benchmarks/spark_run.py ENGINE FOLDER LOG

Prints what it took as one line of JSON. Spark's processor seconds are those of its Java and Python
processes together, which are waited for; its bytes are what it says it shuffled, in its event log.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import time
from pathlib import Path

from measured_run import cpu_seconds
from telemetry_world import CUTOFFS

from features.compute.backfill import backfill
from features.compute.spark import backfill_on_spark, spark_session
from features.workspace import Workspace

PR_SET_CHILD_SUBREAPER = 36
MOMENTS = CUTOFFS[-12:]


def on_spark(place: Workspace, log: Path) -> None:
    """The backfill on two cores, until the last process of Spark has gone."""
    from pyspark import SparkContext

    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # Spark's workers outlive its Java
    settings = {
        "spark.eventLog.enabled": "true",
        "spark.eventLog.dir": log.as_uri(),
        "spark.eventLog.compress": "false",
        "spark.eventLog.rolling.enabled": "false",
        "spark.sql.shuffle.partitions": "16",
        "spark.driver.memory": "4g",
    }
    with spark_session("local[2]", settings) as session:
        backfill_on_spark(session, place, MOMENTS)
    gateway = SparkContext._gateway
    assert gateway is not None
    gateway.shutdown()
    gateway.proc.stdin.close()
    gateway.proc.wait()
    while True:
        try:
            os.wait()
        except ChildProcessError:
            return


def shuffled(log: Path) -> int:
    """Bytes that Spark's tasks wrote for other tasks."""
    [file] = [path for path in log.iterdir() if path.is_file() and path.suffix != ".crc"]
    with file.open(encoding="utf-8") as lines:
        tasks = [json.loads(line).get("Task Metrics") or {} for line in lines]
    return sum(
        task.get("Shuffle Write Metrics", {}).get("Shuffle Bytes Written", 0) for task in tasks
    )


def main(engine: str, folder: Path, log: Path) -> None:
    """Make the snapshots of twelve moments, and say what that took."""
    place = Workspace(folder, environment={})
    cpu, wall = cpu_seconds(), time.perf_counter()
    if engine == "spark":
        on_spark(place, log)
    else:
        backfill(place, MOMENTS)
    print(
        json.dumps(
            {
                "cpu": cpu_seconds() - cpu,
                "wall": time.perf_counter() - wall,
                "moved": shuffled(log) if engine == "spark" else 0,
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
