"""What a user could pick instead: the same 61 features by Polars and by DuckDB.

Both are given the same Parquet parts, the same moments and a free hand; both count distinct people
and days by when each was last seen. Neither resolves corrections (there are none in the data), and
an account that a peer leaves out at a moment counts as one that nothing is known of.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import polars as pl
from telemetry_world import ACTIVITY, DAYS, END, KINDS

COLUMNS = ("account_id", "user_id", "kind", "occurred_at", "recorded_at", "event_count", "quantity")
"""The columns that the 61 features need."""

USERS = {
    "active_users": ACTIVITY,
    "session_users": ("user.session",),
    "feature_users": ("feature.used",),
    "error_users": ("error.raised",),
}
SUMS = {"session": "user.session", "feature": "feature.used"}


def word(kind: str) -> str:
    return kind.replace(".", "_")


def by_polars(parts: Sequence[Path], cutoffs: Sequence[datetime]) -> pl.DataFrame:
    """One pass a moment over the 90 days before it: grouped to (account, kind, band) and to
    (account, kind, user), whose newest use says which windows have seen the person."""
    kinds = pl.Enum(list(KINDS))
    events = (
        pl.scan_parquet(parts)
        .select(
            pl.col("account_id").cast(pl.Categorical),
            # As a 64-bit hash: a category for each of 800,000 people costs 5 seconds more.
            pl.when(pl.col("user_id").is_not_null()).then(pl.col("user_id").hash()).alias("user"),
            pl.col("kind").cast(kinds).to_physical().alias("k"),
            "occurred_at",
            "recorded_at",
            pl.col("occurred_at").dt.epoch("d").cast(pl.Int32).alias("day"),
            pl.col("event_count").cast(pl.Int32),
            "quantity",
        )
        .collect()
    )
    events = events.with_columns(pl.col("account_id").to_physical().alias("account"))
    names = events.select("account_id", "account").unique()
    events = events.drop("account_id")
    frames = [_polars_moment(events, cutoff) for cutoff in cutoffs]
    return (
        pl.concat(frames)
        .join(names, on="account")
        .drop("account")
        .with_columns(pl.col("account_id").cast(pl.String))
    )


def _polars_moment(events: pl.DataFrame, cutoff: datetime) -> pl.DataFrame:
    codes = {kind: number for number, kind in enumerate(KINDS)}

    def inside(column: str, days: int) -> pl.Expr:
        return pl.col(column) >= cutoff - timedelta(days=days)

    age = pl.sum_horizontal((~inside("occurred_at", days)).cast(pl.UInt8) for days in DAYS[:-1])
    seen = (
        events.lazy()
        .filter(
            pl.col("occurred_at") < cutoff,
            inside("occurred_at", max(DAYS)),
            pl.col("recorded_at") < cutoff,
        )
        .with_columns(age.alias("band"))
    )
    by_band = seen.group_by("account", "k", "band").agg(
        pl.col("event_count").sum().alias("n"),
        pl.col("quantity").sum().alias("s"),
        pl.col("quantity").count().alias("m"),
        pl.col("occurred_at").max().alias("last"),
    )
    by_user = (
        seen.filter(pl.col("user").is_not_null())
        .group_by("account", "k", "user")
        .agg(pl.col("band").min())
    )
    active = [codes[kind] for kind in ACTIVITY]
    by_person = (
        by_user.filter(pl.col("k").is_in(active))
        .group_by("account", "user")
        .agg(pl.col("band").min())
    )
    by_day = (
        seen.filter(pl.col("k").is_in(active)).group_by("account", "day").agg(pl.col("band").min())
    )
    bands = {days: number for number, days in enumerate(DAYS)}
    totals, people, persons, days_of = [], [], [], []
    for days, band in bands.items():
        inside_band = pl.col("band") <= band
        for kind, code in codes.items():
            here = inside_band & (pl.col("k") == code)
            totals.append((pl.col("n") * here).sum().alias(f"{word(kind)}_count_{days}d"))
        for name, kind in SUMS.items():
            here = inside_band & (pl.col("k") == codes[kind])
            totals += [
                (pl.col("s") * here).sum().alias(f"{name}_sum_{days}d"),
                (pl.col("m") * here).sum().alias(f"{name}_valued_{days}d"),
            ]
        for name, kinds in USERS.items():
            if len(kinds) == 1:
                here = inside_band & (pl.col("k") == codes[kinds[0]])
                people.append(here.sum().alias(f"{name}_{days}d"))
        persons.append(inside_band.sum().alias(f"active_users_{days}d"))
        days_of.append(inside_band.sum().alias(f"active_days_{days}d"))
    totals.append(pl.when(pl.col("k") == codes["user.session"]).then("last").max().alias("last"))
    frame = by_band.group_by("account").agg(totals)
    for more in (
        by_user.group_by("account").agg(people),
        by_person.group_by("account").agg(persons),
        by_day.group_by("account").agg(days_of),
    ):
        frame = frame.join(more, on="account", how="left")
    return _finished(frame.with_columns(pl.lit(cutoff).alias("as_of"))).collect()


def _finished(frame: pl.LazyFrame) -> pl.LazyFrame:
    """The answers under the names and with the meaning of the declared features."""
    columns: list[pl.Expr] = [pl.col("account"), pl.col("as_of")]
    for days in DAYS:
        columns += [pl.col(f"{word(kind)}_count_{days}d").cast(pl.Float64) for kind in KINDS]
        for name, kinds in USERS.items():
            count = pl.sum_horizontal(f"{word(kind)}_count_{days}d" for kind in kinds)
            people = pl.col(f"{name}_{days}d").fill_null(0).cast(pl.Float64)
            # somebody was there, nobody said who
            columns.append(
                pl.when((people > 0) | (count == 0)).then(people).alias(f"{name}_{days}d")
            )
        columns.append(pl.col(f"active_days_{days}d").fill_null(0).cast(pl.Float64))
        columns += [pl.col(f"{name}_sum_{days}d") for name in SUMS]
        valued = pl.col(f"session_valued_{days}d")
        columns.append(
            pl.when(valued > 0)
            .then(pl.col(f"session_sum_{days}d") / valued)
            .alias(f"session_mean_{days}d")
        )
    columns.append(
        ((pl.col("as_of") - pl.col("last")).dt.total_microseconds() / 86_400_000_000).alias(
            "days_since_session_90d"
        )
    )
    return frame.select(columns)


def by_duckdb(parts: Sequence[Path], *, threads: int = 2) -> pl.DataFrame:
    """One statement: events beside the month ends that see them, grouped twice."""
    with _connection(threads) as connection:
        return pl.DataFrame(connection.sql(duckdb_statement(parts)).to_arrow_table())


def duckdb_statement(parts: Sequence[Path]) -> str:
    """Events beside the month ends that see them, grouped by user and kind, then by account."""

    def of(kinds: Sequence[str]) -> str:
        codes = [str(list(KINDS).index(kind)) for kind in kinds]
        return f"kind = {codes[0]}" if len(codes) == 1 else f"kind IN ({', '.join(codes)})"

    def within(days: int) -> str:
        return f"newest <= {DAYS.index(days)}"

    counts, people, final = [], [], []
    for days in DAYS:
        band = f"band <= {DAYS.index(days)}"
        for kind in KINDS:
            name = f"{word(kind)}_count_{days}d"
            counts.append(
                f"coalesce(sum(n) FILTER (WHERE {of([kind])} AND {band}), 0)::DOUBLE AS {name}"
            )
            final.append(name)
        for name, kind in SUMS.items():
            here = f"FILTER (WHERE {of([kind])} AND {band})"
            counts += [
                f"coalesce(sum(s) {here}, 0) AS {name}_sum_{days}d",
                f"sum(m) {here} AS {name}_valued_{days}d",
            ]
            final.append(f"{name}_sum_{days}d")
        final.append(
            f"session_sum_{days}d / nullif(session_valued_{days}d, 0) AS session_mean_{days}d"
        )
        for name, kinds in USERS.items():
            if len(kinds) == 1:
                people.append(
                    f"count(*) FILTER (WHERE {of(kinds)} AND {within(days)}) AS {name}_{days}d"
                )
            seen = " + ".join(f"{word(kind)}_count_{days}d" for kind in kinds)
            known = f"coalesce({name}_{days}d, 0)"
            final.append(
                f"CASE WHEN {known} > 0 OR {seen} = 0 THEN {known}::DOUBLE END AS {name}_{days}d"
            )
        final.append(f"coalesce(active_days_{days}d, 0)::DOUBLE AS active_days_{days}d")
    final.append("(epoch_us(as_of) - epoch_us(last)) / 86400000000.0 AS days_since_session_90d")
    bands = " + ".join(
        f"(occurred_at < as_of - INTERVAL {days} DAY)::TINYINT" for days in DAYS[:-1]
    )
    kinds = ", ".join(f"'{kind}'" for kind in KINDS)
    later = ", ".join(f"month + INTERVAL {months} MONTH" for months in range(1, 5))
    code = f"(enum_code(kind::ENUM ({kinds})))::TINYINT"
    persons = ", ".join(
        f"count(*) FILTER (WHERE {within(days)}) AS active_users_{days}d" for days in DAYS
    )
    dates = ", ".join(
        f"count(*) FILTER (WHERE {within(days)}) AS active_days_{days}d" for days in DAYS
    )
    files = ", ".join(f"'{part}'" for part in parts)
    return f"""
        WITH events AS (
            SELECT account_id, user_id, {code} AS kind, event_count, quantity,
                   (occurred_at AT TIME ZONE 'UTC') AS occurred_at,
                   (recorded_at AT TIME ZONE 'UTC') AS recorded_at
            FROM read_parquet([{files}])),
        moments AS (
            SELECT *, unnest([{later}]) AS as_of
            FROM (SELECT *, date_trunc('month', occurred_at)::TIMESTAMP AS month FROM events)),
        seen AS (
            SELECT *, {bands} AS band FROM moments
            WHERE as_of <= TIMESTAMP '{END:%Y-%m-%d}' AND occurred_at < as_of
                  AND occurred_at >= as_of - INTERVAL {max(DAYS)} DAY AND recorded_at < as_of),
        by_band AS (
            SELECT account_id, as_of, kind, band, sum(event_count) AS n, sum(quantity) AS s,
                   count(quantity) AS m, max(occurred_at) AS last FROM seen GROUP BY ALL),
        by_user AS (
            SELECT account_id, as_of, kind, user_id, min(band) AS newest FROM seen
            WHERE user_id IS NOT NULL GROUP BY ALL),
        by_person AS (
            SELECT account_id, as_of, user_id, min(newest) AS newest FROM by_user
            WHERE {of(ACTIVITY)} GROUP BY ALL),
        by_day AS (
            SELECT account_id, as_of, occurred_at::DATE AS day, min(band) AS newest FROM seen
            WHERE {of(ACTIVITY)} GROUP BY ALL),
        counts AS (
            SELECT account_id, as_of, {", ".join(counts)},
                   max(last) FILTER (WHERE {of(["user.session"])}) AS last
            FROM by_band GROUP BY account_id, as_of),
        people AS (
            SELECT account_id, as_of, {", ".join(people)} FROM by_user GROUP BY account_id, as_of),
        persons AS (
            SELECT account_id, as_of, {persons} FROM by_person GROUP BY account_id, as_of),
        dates AS (
            SELECT account_id, as_of, {dates} FROM by_day GROUP BY account_id, as_of)
        SELECT account_id, as_of AT TIME ZONE 'UTC' AS as_of, {", ".join(final)}
        FROM counts LEFT JOIN people USING (account_id, as_of)
        LEFT JOIN persons USING (account_id, as_of) LEFT JOIN dates USING (account_id, as_of)
    """


def bare_scan(parts: Sequence[Path], *, threads: int = 2) -> tuple[int, ...]:
    """What reading the columns costs: DuckDB counts the known values of each."""
    files = ", ".join(f"'{part}'" for part in parts)
    counts = ", ".join(f"count({column})" for column in COLUMNS)
    with _connection(threads) as connection:
        row = connection.execute(f"SELECT {counts} FROM read_parquet([{files}])").fetchone()
    assert row is not None
    return row


def _connection(threads: int) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute(f"SET threads = {threads}; SET TimeZone = 'UTC'")
    connection.execute("SET preserve_insertion_order = false; SET memory_limit = '8GB'")
    return connection
