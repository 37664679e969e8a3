"""Peak memory of retention and of an erasure over one large part, beside that of only opening the lake.

``KEEPWELL_BENCH_ROWS`` is how many rows the part has (3 million where it is not set). Half of them are
older than the rule allows; every row names a user and holds a text.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from interleaved import write_section

pytestmark = pytest.mark.bench

ROWS = int(os.environ.get("KEEPWELL_BENCH_ROWS", "3000000"))
MOST_MB = 600
"""More than the process that only opens the lake."""

MAKE = """
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
import numpy as np
import polars as pl
from features.events.schema import EVENT_SCHEMA
from features.lake.lake import Lake
from features.lake import parts

rows, folder = int(sys.argv[1]), Path(sys.argv[2])
parts.PART_EVENTS = rows
draw = np.random.default_rng(1)
number = pl.Series("number", np.arange(rows))
start = datetime(2024, 1, 1, tzinfo=UTC)
seconds = pl.Series(draw.integers(0, 700 * 86_400, rows))
frame = pl.DataFrame({"number": number}).select(
    event_id=pl.format("event-{}", "number"),
    account_id=pl.format("account-{}", pl.col("number") % 5000),
    user_id=pl.format("user-{}@example.org", pl.col("number") % 40_000),
    kind=pl.lit("feature.used"),
    occurred_at=pl.lit(start) + pl.duration(seconds=seconds),
    properties=pl.concat_str(
        pl.lit('{"name":"search","note":"note '), pl.col("number") % 100_000, pl.lit('"}')
    ),
).with_columns(
    recorded_at=pl.col("occurred_at"), event_count=pl.lit(1), user_count=pl.lit(1),
    quantity=pl.lit(None, pl.Float64),
)
frame = frame.select(pl.col(name).cast(dtype) for name, dtype in EVENT_SCHEMA.items())
Lake(folder).append(frame, source="bench", file="one", now=datetime(2026, 1, 1, tzinfo=UTC))
"""

FORGET = """
import resource, sys, time
from pathlib import Path
from features.events.subject import Subject
from features.lake.forget import LakeSubjects
from features.lake.lake import Lake

lake = Lake(Path(sys.argv[1]))
lake.check()
opened = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
began = time.process_time()
touched = LakeSubjects(lake, {}).erase(Subject(kind="account", id="account-7"), grace_seconds=0.0)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(touched, opened // 1024, peak // 1024, round(time.process_time() - began, 1))
"""

RUN = """
import resource, sys, time
from datetime import UTC, datetime
from pathlib import Path
from features.lake.admission.horizons import Horizon
from features.lake.lake import Lake
from features.lake.retention import HeldNames, LakeRetention

lake = Lake(Path(sys.argv[1]))
lake.check()
opened = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
horizon = Horizon(
    kind="feature.used", before=datetime(2024, 12, 16, tzinfo=UTC), rows_stay=True,
    properties=frozenset({"name"}),
)
began = time.process_time()
changed = LakeRetention(lake, {"feature.used": horizon}, HeldNames()).run(grace_seconds=0.0)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(changed.touched, opened // 1024, peak // 1024, round(time.process_time() - began, 1))
"""


def run(code: str, *words: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code, *words], check=True, capture_output=True, text=True
    ).stdout


def test_retention_of_a_large_part_takes_the_memory_of_a_row_group(tmp_path: Path) -> None:
    run(MAKE, str(ROWS), str(tmp_path))
    sizes = [path.stat().st_size for path in tmp_path.glob("*.parquet")]
    touched, opened, peak, seconds = run(RUN, str(tmp_path)).split()
    assert int(touched) > ROWS // 3
    write_section(
        "Memory of retention",
        f"{len(sizes)} part(s) of {ROWS:,} rows ({sum(sizes) / 1e6:.0f} MB), "
        f"{int(touched):,} rows lose their person: the process that opened the lake had "
        f"{opened} MB at most, retention {peak} MB, in {seconds} cpu seconds.",
    )
    assert int(peak) - int(opened) < MOST_MB


def test_an_erasure_from_a_large_part_takes_the_memory_of_a_row_group(tmp_path: Path) -> None:
    run(MAKE, str(ROWS), str(tmp_path))
    touched, opened, peak, seconds = run(FORGET, str(tmp_path)).split()
    assert int(touched) == ROWS // 5000
    write_section(
        "Memory of an erasure",
        f"{int(touched):,} of {ROWS:,} rows of a part go: the process that opened the lake had {opened} MB "
        f"at most, the erasure {peak} MB, in {seconds} cpu seconds.",
    )
    assert int(peak) - int(opened) < MOST_MB
