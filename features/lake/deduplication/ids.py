"""Give an event without an id the hash of its content as id.

The id is the hash of a row's content and of its ordinal among equal rows. So two equal rows of one
file are two events, and the same file ingested twice gives the same events. Also computes the
fingerprint of a set of events.
"""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
import polars as pl

from features.lake.deduplication.row_keys import CONTENT_KEY, ID_KEY, mix_bits

ID_BYTES = 16
SEPARATOR = "\x1f"
CONTENT = (
    "account_id",
    "user_id",
    "kind",
    "occurred_at",
    "event_count",
    "user_count",
    "quantity",
    "properties",
)
"""The columns by which two events are equal; ``recorded_at`` is not part of the content."""

OWN = "__own_id"
"""Column: whether the source gave the event an id; otherwise its id is that of its content."""

PLAIN_FLOATS = (1e-3, 1e15)
"""Between these, Polars formats a number as Python does."""


def content_ids(
    events: pl.DataFrame,
    ordinals: pl.Series | int = 0,
) -> pl.Series:
    """The id of each row by its content and its ordinal among equal rows."""
    texts = (
        events.select(
            pl.concat_str(
                "account_id",
                pl.col("user_id").fill_null(""),
                "kind",
                _isoformat(events["occurred_at"]),
                pl.col("event_count").cast(pl.String),
                pl.col("user_count").cast(pl.String),
                _python_floats(events["quantity"]),
                "properties",
                pl.lit(ordinals).cast(pl.String),
                separator=SEPARATOR,
            )
        )
        .to_series()
        .to_list()
    )
    hashed = [blake2b(text.encode(), digest_size=ID_BYTES).hexdigest() for text in texts]
    return pl.Series("event_id", hashed, dtype=pl.String)


def with_first_ids(events: pl.DataFrame) -> pl.DataFrame:
    """The events, each with an id and with ``OWN``.

    A row without an id gets that of its content, as if it were the first of equal rows.
    """
    own = events["event_id"].fill_null("") != ""
    if own.all():
        return events.with_columns(pl.lit(True).alias(OWN))
    made = content_ids(events.filter(~own))
    ids = made if not own.any() else events["event_id"].scatter((~own).arg_true(), made)
    return events.with_columns(ids.alias("event_id"), own.alias(OWN))


def fingerprint(events: pl.DataFrame) -> int:
    """A hash of 128 bits of a set of events with their keys, the same in any order.

    It is a sum over rows, so that new events can be added to it.
    """
    recorded = events["recorded_at"].to_physical().to_numpy().view(np.uint64)
    low = mix_bits(
        mix_bits(mix_bits(recorded) ^ events[CONTENT_KEY].to_numpy()) ^ events[ID_KEY].to_numpy()
    )
    high = mix_bits(low + np.uint64(0x9E3779B97F4A7C15))
    return (int(high.sum(dtype=np.uint64)) << 64) | int(low.sum(dtype=np.uint64))


def _isoformat(times: pl.Series) -> pl.Series:
    """Times in the form of ``datetime.isoformat``: with microseconds only where there are any."""
    time = pl.col(times.name)
    return (
        times.to_frame()
        .select(
            pl.when(time.dt.microsecond() == 0)
            .then(time.dt.to_string("%Y-%m-%dT%H:%M:%S+00:00"))
            .otherwise(time.dt.to_string("%Y-%m-%dT%H:%M:%S%.6f+00:00"))
        )
        .to_series()
    )


def _python_floats(values: pl.Series) -> pl.Series:
    """Numbers in the form of ``repr``: Polars formats 1e16 where Python formats 1e+16."""
    size = pl.col("values").abs()
    frame = pl.DataFrame({"values": values}).with_columns(
        pl.when(size.is_between(*PLAIN_FLOATS) | (size == 0))
        .then(pl.col("values").cast(pl.String))
        .alias("text")
    )
    odd = frame["text"].is_null()
    if odd.any():
        different = values.filter(odd).unique()
        shown = pl.Series([repr(value) for value in different.to_list()], dtype=pl.String)
        frame = frame.with_columns(
            pl.col("text").fill_null(
                values.replace_strict(different, shown, default=None, return_dtype=pl.String)
            )
        )
    return frame["text"]
