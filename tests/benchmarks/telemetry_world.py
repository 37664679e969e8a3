"""Generated telemetry for the benchmarks: a lake of monthly loads, the features and the moments.

Two years, 20,000 accounts of very different size, 12 kinds, 40 users an account, some events late
by days and some without a user. Quantities are multiples of a quarter, so that sums are exact and
the answers of all peers can be compared to the last bit.
"""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from features.catalogue.catalogue import Catalogue
from features.catalogue.feature import Aggregate, Feature
from features.compute.backfill import month_starts
from features.events.schema import EVENT_SCHEMA
from features.kernel.windows import microseconds
from features.lake.lake import Lake
from features.lake.manifest import MANIFEST, Manifest, manifest_json
from features.lake.parts import PART_EVENTS, ROW_GROUP

START = datetime(2024, 1, 1, tzinfo=UTC)
END = datetime(2026, 1, 1, tzinfo=UTC)
ACCOUNTS = 20_000
USERS_PER_ACCOUNT = 40

KINDS = {
    "user.session": 0.25,
    "feature.used": 0.40,
    "error.raised": 0.08,
    "job.retry": 0.04,
    "integration.state": 0.03,
    "ticket.created": 0.03,
    "ticket.resolved": 0.03,
    "nudge.sent": 0.04,
    "nudge.acted": 0.02,
    "recipe.completed": 0.03,
    "deployment.published": 0.03,
    "config.changed": 0.02,
}
"""Kind to its share of the events."""

WITH_QUANTITY = ("user.session", "feature.used", "ticket.created", "ticket.resolved")

ACTIVITY = ("user.session", "feature.used")
DAYS = (7, 28, 90)

CUTOFFS = month_starts(START + timedelta(days=1), END)
"""24 month ends: the first instants of the months after them."""


def features() -> tuple[Feature, ...]:
    """61 features that every peer can compute: counts, people, days, sums, means, recency."""
    asked: list[tuple[str, str, tuple[str, ...], float | None]] = [
        *((f"{_word(kind)}_count", "count", (kind,), 0.0) for kind in KINDS),
        ("active_users", "users", ACTIVITY, 0.0),
        ("session_users", "users", ("user.session",), 0.0),
        ("feature_users", "users", ("feature.used",), 0.0),
        ("error_users", "users", ("error.raised",), 0.0),
        ("active_days", "active_days", ACTIVITY, 0.0),
        ("session_sum", "sum", ("user.session",), 0.0),
        ("feature_sum", "sum", ("feature.used",), 0.0),
        ("session_mean", "mean", ("user.session",), None),
    ]
    windows = [
        _feature(name, operation, reads, days, empty)
        for name, operation, reads, empty in asked
        for days in DAYS
    ]
    return (
        *windows,
        _feature("days_since_session", "days_since_last", ("user.session",), 90, None),
    )


def catalogue(n_features: int = 61) -> Catalogue:
    """The first so many of the features, in an order that keeps the mix of operations."""
    declared = features()
    order = np.random.default_rng(3).permutation(len(declared))[:n_features]
    return Catalogue(features=tuple(declared[i] for i in sorted(order)), attributes=())


def _word(kind: str) -> str:
    return kind.replace(".", "_")


def _feature(
    name: str, operation: str, reads: tuple[str, ...], days: int, empty: float | None
) -> Feature:
    return Feature(
        name=f"{name}_{days}d",
        description="A feature of the benchmark.",
        theme="adoption",
        reads=reads,
        aggregate=Aggregate(operation=operation),
        when_empty=empty,
        unit="",
        phrase="{value}",
        lookback=timedelta(days=days),
    )


def lake_of(folder: Path, n_events: int, n_accounts: int = ACCOUNTS) -> Lake:
    """The lake of so many events, generated once and kept."""
    lake = Lake(folder / f"lake-{n_events}-{n_accounts}" / "events")
    if (lake.folder / MANIFEST).exists():
        return lake
    lake.folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(2024)
    size = rng.lognormal(0.0, 0.8, n_accounts)
    share = np.cumsum(size / size.sum())
    months = [START, *CUTOFFS]
    parts, late, written = [], pl.DataFrame(), 0
    for number, (opens, closes) in enumerate(itertools.pairwise(months)):
        until = round(n_events * (number + 1) / len(CUTOFFS))
        drawn = (
            pl.concat([late, _month(rng, opens, closes, written, until, share)], how="vertical")
            if late.height
            else _month(rng, opens, closes, written, until, share)
        )
        is_last = number == len(CUTOFFS) - 1
        arrived = drawn if is_last else drawn.filter(pl.col("recorded_at") < closes)
        late = drawn.filter(pl.col("recorded_at") >= closes)
        written = until
        # As the lake writes a load that came by time: parts of a good size, each by account.
        arrived = arrived.sort("recorded_at")
        for part, start in enumerate(range(0, arrived.height, PART_EVENTS)):
            parts.append(f"{number + 1:06d}-{part}.parquet")
            arrived.slice(start, PART_EVENTS).sort("account_id", "occurred_at").write_parquet(
                lake.folder / parts[-1],
                compression="zstd",
                compression_level=1,
                row_group_size=ROW_GROUP,
            )
    manifest = Manifest(
        generation=len(parts),
        parts=tuple(parts),
        rows=n_events,
        events=n_events,
        fingerprint=n_events,
        first_recorded=dict.fromkeys(KINDS, START),
        last_recorded=dict.fromkeys(KINDS, END),
    )
    (lake.folder / MANIFEST).write_bytes(manifest_json(manifest))
    return lake


def _month(
    rng: np.random.Generator,
    opens: datetime,
    closes: datetime,
    first: int,
    end: int,
    share: np.ndarray,
) -> pl.DataFrame:
    n = end - first
    account = np.minimum(np.searchsorted(share, rng.random(n)), len(share) - 1)
    user = np.minimum(
        (USERS_PER_ACCOUNT * rng.random(n) ** 1.7).astype(np.int64), USERS_PER_ACCOUNT - 1
    )
    kind = rng.choice(len(KINDS), size=n, p=list(KINDS.values()))
    names = np.array(list(KINDS))
    occurred = rng.integers(microseconds(opens), microseconds(closes), n)
    delay = rng.exponential(60e6, n).astype(np.int64)  # a minute, mostly
    delay = np.where(rng.random(n) < 0.1, rng.integers(0, 12 * 3600 * 10**6, n), delay)
    delay = np.where(rng.random(n) < 0.005, rng.integers(0, 40 * 86400 * 10**6, n), delay)
    has_quantity = np.isin(names, WITH_QUANTITY)[kind] & (rng.random(n) > 0.02)
    quantity = np.where(has_quantity, np.round(rng.exponential(300.0, n) * 4) / 4, np.nan)
    frame = pl.DataFrame(
        {
            "number": np.arange(first, end),
            "account": account,
            "user": user,
            "has_user": rng.random(n) > 0.02,
            "kind": kind,
            "occurred": occurred,
            "delay": delay,
            "quantity": quantity,
            "name": rng.integers(0, 30, n),
        }
    )
    account_id = pl.format("acct-{}", pl.col("account").cast(pl.String).str.zfill(6))
    moment = pl.Datetime("us")
    return frame.select(
        (pl.col("number").hash(7).cast(pl.String).str.zfill(20)).alias("event_id"),
        account_id.alias("account_id"),
        pl.when("has_user")
        .then(
            pl.format(
                "user-{}-{}",
                pl.col("account").cast(pl.String).str.zfill(6),
                pl.col("user").cast(pl.String).str.zfill(2),
            )
        )
        .alias("user_id"),
        pl.lit(pl.Series(list(KINDS))).gather(pl.col("kind")).alias("kind"),
        pl.col("occurred").cast(moment).dt.replace_time_zone("UTC").alias("occurred_at"),
        (pl.col("occurred") + pl.col("delay"))
        .cast(moment)
        .dt.replace_time_zone("UTC")
        .alias("recorded_at"),
        pl.lit(1, pl.Int64).alias("event_count"),
        pl.lit(1, pl.Int64).alias("user_count"),
        pl.col("quantity").fill_nan(None),
        pl.when(pl.lit(list(KINDS).index("feature.used")) == pl.col("kind"))
        .then(pl.concat_str(pl.lit('{"name":"feature-'), pl.col("name"), pl.lit('"}')))
        .otherwise(pl.lit("{}"))
        .alias("properties"),
    ).select(*EVENT_SCHEMA)
