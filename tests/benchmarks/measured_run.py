"""One run of one peer in a process of its own, so that its memory is its own.

    PYTHONPATH=. python tests/benchmarks/measured_run.py PEER EVENTS FOLDER [ANSWER.parquet]

Prints what it took as one line of JSON. The peer first answers for a small lake, so that code is
loaded and compiled; that is not counted.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import peers
import polars as pl
import telemetry_world as world

from features.catalogue.catalogue import Catalogue
from features.compute.account_ranges import AccountRanges
from features.compute.backfill import EVENTS_AT_ONCE
from features.compute.encode import columns_read, encode_timelines
from features.kernel.sweep import sweep
from features.kernel.windows import microseconds
from features.lake.lake import Lake

SMALL = 24_000


def by_keepwell(lake: Lake, catalogue: Catalogue, *, threads: int) -> pl.DataFrame:
    """The answers as one frame, made as the backfill makes them: range by range of accounts."""
    cutoffs = np.array([microseconds(cutoff) for cutoff in world.CUTOFFS])

    def answers(events: pl.DataFrame, _: pl.DataFrame) -> pl.DataFrame:
        timelines = encode_timelines(events, catalogue)
        values = sweep(timelines.events, timelines.items, cutoffs)
        columns = {
            feature.name: values[:, :, number].reshape(-1)
            for number, feature in enumerate(catalogue.primitives)
        }
        ids = pl.Series(timelines.account_ids, dtype=pl.String)
        return pl.DataFrame(
            {
                "account_id": ids.gather(np.repeat(np.arange(len(ids)), len(cutoffs))),
                "as_of": pl.Series(np.tile(cutoffs, len(ids))).cast(pl.Datetime("us", "UTC")),
                **columns,
            }
        )

    ranges = AccountRanges(
        lake, columns_read(catalogue), events_at_once=EVENTS_AT_ONCE, threads=threads
    )
    return pl.concat(list(ranges.map_ranges(answers)))


def on_one_core(lake: Lake) -> pl.DataFrame:
    """The answers without any other core, Polars' own threads included."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    return by_keepwell(lake, world.catalogue(), threads=1)


def parts_of(lake: Lake) -> list[Path]:
    return [lake.folder / name for name in lake.manifest.parts]


PEERS: dict[str, Callable[[Lake], object]] = {
    "keepwell": lambda lake: by_keepwell(lake, world.catalogue(), threads=2),
    "keepwell on one core": on_one_core,
    "keepwell, half the features": lambda lake: by_keepwell(lake, world.catalogue(31), threads=2),
    "polars": lambda lake: peers.by_polars(parts_of(lake), world.CUTOFFS),
    "duckdb": lambda lake: peers.by_duckdb(parts_of(lake)),
    "scan": lambda lake: peers.bare_scan(parts_of(lake)),
}


def cpu_seconds() -> float:
    """User and system time of this process and the children it has waited for."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def peak_megabytes() -> float:
    """Most memory of this program; what getrusage says is at least what its parent had."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def main(name: str, n_events: int, folder: Path, answer: Path | None) -> None:
    """Answer for the small lake, then for the large one, and say what that took."""
    PEERS[name](world.lake_of(folder, SMALL, 200))
    lake = world.lake_of(folder, n_events)
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # forget the peak so far
    cpu, wall = cpu_seconds(), time.perf_counter()
    made = PEERS[name](lake)
    print(
        json.dumps(
            {
                "cpu": cpu_seconds() - cpu,
                "wall": time.perf_counter() - wall,
                "peak_mb": peak_megabytes(),
            }
        )
    )
    if answer is not None and isinstance(made, pl.DataFrame):
        made.write_parquet(answer)


if __name__ == "__main__":
    main(
        sys.argv[1],
        int(sys.argv[2]),
        Path(sys.argv[3]),
        Path(sys.argv[4]) if len(sys.argv) > 4 else None,
    )
