"""The online store beside Feast's own: 100,000 accounts with 100 features, written and read.

Every round writes the same rows to a new file of each store, by Feast's `materialize` and by what
is under it, and reads them; the stores take turns. Printed are the medians and what they are to
each other. That Feast's store needs its rows as protobuf is not counted against its own write.
Fewer accounts by KEEPWELL_BENCH_ACCOUNTS.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Float64
from interleaved import write_section

pytestmark = [pytest.mark.bench, pytest.mark.filterwarnings("ignore")]

ACCOUNTS = int(os.environ.get("KEEPWELL_BENCH_ACCOUNTS", "100000"))
FEATURES = 100
ROUNDS = int(os.environ.get("KEEPWELL_BENCH_ROUNDS", "5"))
ROWS_AT_ONCE = 10_000
"""Rows that Feast turns into protobuf before it writes them, for either store; bounds memory."""
UNKNOWN_SHARE = 0.1
AS_OF = datetime(2024, 1, 1, tzinfo=UTC)
NAMES = [f"feature_{number}" for number in range(FEATURES)]
SQLITE, PACKED = "sqlite", "features.store.packed.PackedOnlineStore"

Times = dict[str, list[tuple[float, float]]]

GOALS = {
    "write, Arrow path": ("write sqlite", "write packed", 20.0, "times faster"),
    "write, Feast's materialize": ("materialize sqlite", "materialize packed", 3.0, "times faster"),
    "read one account": ("read 1 packed", "read 1 sqlite", 0.5, "of its time"),
    "read 1,000 accounts": ("read 1000 packed", "read 1000 sqlite", 0.2, "of its time"),
}
"""By measure: what is divided by what, and what the quotient has to reach."""


def feature_table(rng: np.random.Generator) -> pl.DataFrame:
    numbers = rng.lognormal(2, 3, (ACCOUNTS, FEATURES))
    numbers[rng.random(numbers.shape) < UNKNOWN_SHARE] = np.nan
    return (
        pl.DataFrame(numbers, schema=NAMES)
        .fill_nan(None)
        .with_columns(
            account_id=pl.Series([f"account-{number:06d}" for number in range(ACCOUNTS)]),
            as_of=pl.lit(AS_OF, pl.Datetime("us", "UTC")),
        )
    )


def feast_on(folder: Path, store: str, source: Path) -> FeatureStore:
    """A new store with one view applied."""
    folder.mkdir(parents=True)
    account = Entity(name="account", join_keys=["account_id"], value_type=ValueType.STRING)
    view = FeatureView(
        name="wide",
        entities=[account],
        ttl=timedelta(days=3650),
        online=True,
        schema=[Field(name=name, dtype=Float64) for name in NAMES],
        source=FileSource(path=str(source), timestamp_field="as_of"),
    )
    made = FeatureStore(
        config=RepoConfig(
            project="bench",
            provider="local",
            registry=str(folder / "registry.db"),
            offline_store={"type": "duckdb"},
            entity_key_serialization_version=3,
            materialization={"online_write_batch_size": ROWS_AT_ONCE},
            batch_engine=(
                "local" if store == SQLITE else "features.store.packed_engine.PackedComputeEngine"
            ),
            online_store={"type": store, "path": str(folder / "online.db")},
        )
    )
    made.apply([account, view])
    return made


def protobuf_rows(table: pl.DataFrame) -> list[tuple[EntityKey, dict[str, Value], datetime, None]]:
    """What Feast hands to a store."""
    return [
        (
            EntityKey(join_keys=["account_id"], entity_values=[Value(string_val=account_id)]),
            {
                name: Value() if cell is None else Value(double_val=cell)
                for name, cell in zip(NAMES, cells, strict=True)
            },
            AS_OF,
            None,
        )
        for account_id, *cells in table.select("account_id", *NAMES).iter_rows()
    ]


def say(text: str) -> None:
    sys.stdout.write(f"\n{text}\n")
    sys.stdout.flush()


def measure(times: Times, name: str, step: Callable[[], Any]) -> None:
    """Wall and processor seconds of a step, without letting go of its answer."""
    wall, cpu = time.perf_counter(), time.process_time()
    answer = step()
    times.setdefault(name, []).append((time.perf_counter() - wall, time.process_time() - cpu))
    del answer


def read_both(times: Times, stores: dict[str, FeatureStore], rng: np.random.Generator) -> None:
    """One account and 1,000, by both stores in turn; both give the same values."""
    chosen = rng.choice(ACCOUNTS, min(1000, ACCOUNTS), replace=False)
    keys = [
        EntityKey(
            join_keys=["account_id"], entity_values=[Value(string_val=f"account-{number:06d}")]
        )
        for number in chosen
    ]

    online = {
        name: (store._get_provider().online_store, store.config, store.get_feature_view("wide"))
        for name, store in stores.items()
    }

    def read(name: str, asked: list[EntityKey]) -> list[Any]:
        store, config, view = online[name]
        return store.online_read(config, view, asked, NAMES)

    assert read("packed", keys) == read("sqlite", keys)
    for asked, label in [*(([key], "read 1") for key in keys[:100]), *[(keys, "read 1000")] * 5]:
        for name in stores:  # what one store gave is let go of before the next is asked
            measure(times, f"{label} {name}", lambda n=name, k=asked: read(n, k))


def write_by_feast(times: Times, store: FeatureStore, table: pl.DataFrame) -> None:
    """Feast's own store writes rows that are protobuf already; only its writing counts."""
    online, view = store._get_provider().online_store, store.get_feature_view("wide")
    parts: Times = {}
    for part in table.iter_slices(ROWS_AT_ONCE):
        rows = protobuf_rows(part)
        measure(
            parts,
            "part",
            lambda rows=rows: online.online_write_batch(store.config, view, rows, None),
        )
    wall, cpu = zip(*parts["part"], strict=True)
    times.setdefault("write sqlite", []).append((sum(wall), sum(cpu)))


def run(folder: Path, rounds: int = ROUNDS) -> Times:
    """Steps and their seconds, one pair a round."""
    rng = np.random.default_rng(20_261_121)
    table = feature_table(rng)
    source = folder / "features.parquet"
    table.write_parquet(source)
    times: Times = {}
    for number in range(rounds):
        whole, bare = (
            {
                name: feast_on(folder / f"{number}-{way}-{name}", kind, source)
                for name, kind in (("sqlite", SQLITE), ("packed", PACKED))
            }
            for way in ("materialized", "written")
        )
        for name, store in whole.items():
            measure(
                times,
                f"materialize {name}",
                lambda s=store: s.materialize(
                    AS_OF - timedelta(days=1),
                    AS_OF + timedelta(days=1),
                    disable_event_timestamp=False,
                ),
            )
        write_by_feast(times, bare["sqlite"], table)
        packed = bare["packed"]
        measure(
            times,
            "write packed",
            lambda s=packed: s._get_provider().online_store.online_write_table(
                s.config, [s.get_feature_view("wide")], table
            ),
        )
        read_both(times, whole, rng)
        read_both(times, bare, rng)
        say(f"round {number + 1} of {rounds}: {time.process_time():.0f} cpu seconds so far")
        for place in folder.glob(f"{number}-*"):
            shutil.rmtree(place)
    return times


def summary(times: Times) -> str:
    """The tables of RESULTS.md."""
    lines = [
        f"{ACCOUNTS:,} accounts × {FEATURES} features, medians; stores take turns.",
        "",
        "| step | rounds | wall s | cpu s |",
        "|---|---|---|---|",
    ]
    middle = {
        name: [statistics.median(column) for column in zip(*measured, strict=True)]
        for name, measured in times.items()
    }
    lines += [
        f"| {name} | {len(times[name])} | {wall:.6g} | {cpu:.6g} |"
        for name, (wall, cpu) in middle.items()
    ]
    lines += ["", "| measure | wall | cpu | has to reach |", "|---|---|---|---|"]
    for measure_name, (above, below, goal, unit) in GOALS.items():
        wall, cpu = (a / b for a, b in zip(middle[above], middle[below], strict=True))
        bound = "at least" if unit == "times faster" else "at most"
        lines.append(f"| {measure_name} | {wall:.3g} | {cpu:.3g} | {bound} {goal:g} {unit} |")
    return "\n".join(lines)


def test_the_online_store_beside_feasts_own(tmp_path: Path) -> None:
    times = run(tmp_path)
    write_section("The online store beside Feast's own", summary(times))
    middle = {
        name: statistics.median(wall for wall, _ in measured) for name, measured in times.items()
    }
    for above, below, goal, unit in GOALS.values():
        quotient = middle[above] / middle[below]
        assert quotient >= goal if unit == "times faster" else quotient <= goal
