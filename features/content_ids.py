"""This module is about ids from content: what a row is called that came without an id.

The whole-frame form of ``telemetry.content_id``: the hash of a row's content and of its ordinal
among equal rows, so that two equal rows of one file are two events, and the same file twice is
the same events. Also the fingerprint of a set of events, whatever order they came in.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import polars as pl

SEPARATOR = "\x1f"
CONTENT = ("account_id", "user_id", "kind", "occurred_at", "event_count", "user_count",
           "quantity", "properties")
"""The columns that make two events equal; when it was recorded is no part of the content."""


def with_ids(events: pl.DataFrame) -> pl.DataFrame:
    """The events with an id for each, and ``digest``: 32 hex digits of id and content.

    A row with an empty or no ``event_id`` gets its digest as its id.
    """
    content = pl.concat_str(
        "account_id",
        pl.col("user_id").fill_null(""),
        "kind",
        _isoformat("occurred_at"),
        pl.col("event_count").cast(pl.String),
        pl.col("user_count").cast(pl.String),
        _python_floats(events["quantity"]),
        "properties",
        separator=SEPARATOR,
    )
    given = pl.col("event_id").fill_null("")
    keyed = events.with_columns(content.alias("digest"))
    if keyed["digest"].is_duplicated().any():
        keyed = keyed.with_columns(
            pl.int_range(pl.len()).over("digest", given).alias("__ordinal"))
    else:
        keyed = keyed.with_columns(pl.lit(0).alias("__ordinal"))
    text = keyed.select(
        pl.when(given == "")
        .then(pl.concat_str("digest", pl.col("__ordinal").cast(pl.String), separator=SEPARATOR))
        .otherwise(pl.concat_str(given, "digest", separator=SEPARATOR))
    ).to_series()
    hashed = hashlib.blake2b
    digests = pl.Series("digest", [hashed(row.encode(), digest_size=16).hexdigest()
                                   for row in text.to_list()], dtype=pl.String)
    return keyed.drop("__ordinal").with_columns(digests).with_columns(
        pl.when(given == "").then("digest").otherwise("event_id").alias("event_id"))


def fingerprint(events: pl.DataFrame) -> int:
    """128 bits of a set of events with their digests: the same in any order, added over parts.

    A sum over rows, so that it can be kept up to date by adding what landed.
    """
    if events.is_empty():
        return 0
    halves = np.frombuffer(bytes.fromhex("".join(events["digest"].to_list())), dtype=">u8")
    recorded = events["recorded_at"].to_physical().to_numpy().astype(np.uint64)
    mixed = _mix(halves.astype(np.uint64).reshape(-1, 2) ^ _mix(recorded)[:, None])
    low, high = (int(half) for half in mixed.sum(axis=0, dtype=np.uint64))
    return (high << 64) | low


def _mix(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of splitmix64 (Steele, Lea and Flood, 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _isoformat(name: str) -> pl.Expr:
    """As ``datetime.isoformat`` writes it: microseconds only where there are any."""
    time = pl.col(name)
    return (pl.when(time.dt.microsecond() == 0)
            .then(time.dt.to_string("%Y-%m-%dT%H:%M:%S+00:00"))
            .otherwise(time.dt.to_string("%Y-%m-%dT%H:%M:%S%.6f+00:00")))


def _python_floats(values: pl.Series) -> pl.Series:
    """As ``repr`` writes them; Polars would write 1e16 where Python writes 1e+16."""
    different = values.unique()
    return values.replace_strict(
        different, pl.Series([repr(value) for value in different.to_list()], dtype=pl.String),
        return_dtype=pl.String)
