"""Peers that are too slow for the whole: Featuretools computing, and Feast joining, a small part.

Featuretools computes counts, sums, means and distinct users over the three windows from the same
events; it is run where it is installed. Feast computes nothing: it joins 61 ready-made features to
accounts and moments, point in time, which is what it would add to any of the others.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from interleaved import DATA, ROUNDS, Took, median, shown, write_section
from telemetry_world import CUTOFFS, DAYS, KINDS, catalogue, features, lake_of

from features.compute.encode import encode_timelines
from features.kernel.sweep import sweep
from features.kernel.windows import microseconds

pytestmark = [pytest.mark.bench, pytest.mark.filterwarnings("ignore")]

EVENTS, ACCOUNTS = 24_000, 200
Answer = Callable[[], pl.DataFrame]


@pytest.fixture(scope="module")
def events() -> pl.DataFrame:
    """The small lake without what was recorded late: Featuretools knows no recorded_at."""
    frame = lake_of(DATA, EVENTS, ACCOUNTS).scan().collect()
    return frame.filter(
        pl.col("recorded_at").dt.truncate("1mo") == pl.col("occurred_at").dt.truncate("1mo")
    )


def by_keepwell(events: pl.DataFrame) -> pl.DataFrame:
    timelines = encode_timelines(events, catalogue())
    cutoffs = np.array([microseconds(cutoff) for cutoff in CUTOFFS])
    values = sweep(timelines.events, timelines.items, cutoffs)
    return pl.DataFrame(
        {
            "account_id": np.repeat(np.array(timelines.account_ids), len(cutoffs)),
            "as_of": pl.Series(np.tile(cutoffs, len(timelines.account_ids))).cast(
                pl.Datetime("us", "UTC")
            ),
            **{
                feature.name: values[:, :, number].reshape(-1)
                for number, feature in enumerate(features())
            },
        }
    )


def by_featuretools(events: pd.DataFrame) -> dict[int, pd.DataFrame]:
    import featuretools

    entities = featuretools.EntitySet("telemetry")
    entities.add_dataframe(
        dataframe_name="events",
        dataframe=events.copy(),
        index="number",
        time_index="occurred_at",
        logical_types=dict.fromkeys(("account_id", "user_id", "kind"), "Categorical"),
    )
    entities.normalize_dataframe("events", "accounts", "account_id", make_time_index=False)
    entities.add_interesting_values(dataframe_name="events", values={"kind": list(KINDS)})
    moments = pd.DataFrame(
        [
            (account, cutoff.replace(tzinfo=None))
            for cutoff in CUTOFFS
            for account in sorted(events["account_id"].unique())
        ],
        columns=["account_id", "time"],
    )
    primitives = ["count", "sum", "mean", "num_unique"]
    return {
        days: featuretools.dfs(
            entityset=entities,
            target_dataframe_name="accounts",
            cutoff_time=moments,
            training_window=f"{days} days",
            agg_primitives=primitives,
            where_primitives=primitives,
            max_depth=1,
            include_cutoff_time=False,
            cutoff_time_in_index=True,
        )[0]
        for days in DAYS
    }


def took_in_turn(work: dict[str, Callable[[], Any]]) -> dict[str, list[Took]]:
    found: dict[str, list[Took]] = {name: [] for name in work}
    for _ in range(ROUNDS):
        for name, run in work.items():
            cpu, wall = time.process_time(), time.perf_counter()
            run()
            found[name].append(
                Took(cpu=time.process_time() - cpu, wall=time.perf_counter() - wall, peak_mb=0)
            )
    return found


def lines(found: dict[str, list[Took]], rows: int) -> list[str]:
    return [
        "| | cpu seconds | microseconds a row |",
        "|---|---|---|",
        *(
            f"| {name} | {shown(runs, 'cpu', 2)} | {median(runs, 'cpu') / rows * 1e6:,.0f} |"
            for name, runs in found.items()
        ),
    ]


def test_featuretools_on_a_small_part(events: pl.DataFrame) -> None:
    if find_spec("featuretools") is None:
        pytest.skip("featuretools is not installed")
    plain = (
        events.select(
            "account_id",
            "user_id",
            "kind",
            "event_count",
            "quantity",
            pl.col("occurred_at").dt.replace_time_zone(None),
        )
        .with_row_index("number")
        .to_pandas()
    )
    ours, theirs = by_keepwell(events), by_featuretools(plain)
    for days, answer in theirs.items():
        counts = answer["COUNT(events WHERE kind = feature.used)"].reset_index()
        both = (
            ours.select(
                "account_id",
                pl.col("as_of").dt.replace_time_zone(None),
                f"feature_used_count_{days}d",
            )
            .to_pandas()
            .merge(counts, left_on=["account_id", "as_of"], right_on=["account_id", "time"])
        )
        assert len(both) == ours.height
        assert (both.iloc[:, 2] == both.iloc[:, -1]).all()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = took_in_turn(
            {
                "keepwell": lambda: by_keepwell(events),
                "featuretools": lambda: by_featuretools(plain),
            }
        )
    times = median(found["featuretools"], "cpu") / median(found["keepwell"], "cpu")
    write_section(
        "Featuretools on a small part",
        "\n".join(
            [
                f"{events.height:,} events of {ACCOUNTS} accounts, {ours.height:,} rows, similar features; "
                f"the counts are equal. Featuretools took {times:,.0f} × the cpu of Keepwell.",
                "",
                *lines(found, ours.height),
            ]
        ),
    )


def test_feasts_own_join(events: pl.DataFrame, tmp_path: Path) -> None:
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast.types import Float64

    ours = by_keepwell(events)
    ours.write_parquet(tmp_path / "features.parquet")
    account = Entity(name="account", join_keys=["account_id"], value_type=ValueType.STRING)
    names = [feature.name for feature in features()]
    view = FeatureView(
        name="all",
        entities=[account],
        ttl=timedelta(days=40),
        online=False,
        schema=[Field(name=name, dtype=Float64) for name in names],
        source=FileSource(path=str(tmp_path / "features.parquet"), timestamp_field="as_of"),
    )
    store = FeatureStore(
        config=RepoConfig(
            project="bench",
            provider="local",
            registry=str(tmp_path / "registry.db"),
            offline_store={"type": "duckdb"},
            entity_key_serialization_version=3,
        )
    )
    store.apply([account, view])
    asked = ours.select("account_id", pl.col("as_of").alias("event_timestamp")).to_pandas()
    wanted = [f"all:{name}" for name in names]

    def by_feast() -> pd.DataFrame:
        joined: pd.DataFrame = store.get_historical_features(asked, wanted).to_df()
        return joined

    joined = pl.from_pandas(by_feast()).sort("account_id", "event_timestamp")
    ordered = ours.sort("account_id", "as_of")
    for name in names:
        assert np.array_equal(
            joined[name].fill_null(np.nan), ordered[name].fill_null(np.nan), equal_nan=True
        )
    found = took_in_turn(
        {
            "keepwell, from the events": lambda: by_keepwell(events),
            "feast, joining what is there": by_feast,
        }
    )
    write_section(
        "Feast's own point-in-time join",
        "\n".join(
            [
                f"61 features of {ACCOUNTS} accounts at 24 moments, {ours.height:,} rows. Feast is given "
                "the features ready-made; its rows are equal to ours.",
                "",
                *lines(found, ours.height),
            ]
        ),
    )
