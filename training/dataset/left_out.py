"""Count the rows that a training leaves out, each with its reason in words.

An account may be known at a cutoff and yet not be asked about: its contract had ended, or was paused, or
began later. Of the rows that are asked about, some are not decided. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import polars as pl

from features.events.schema import CONTRACT_TERMS, UTC_INSTANT
from features.events.visibility import visible_events
from training.dataset.labels import ROW, Label

NOT_YET = "of accounts that came later"

BY_STATUS = {
    "contract.cancelled": "of accounts whose contract had ended",
    "contract.paused": "of accounts whose contract was paused",
    **dict.fromkeys((*CONTRACT_TERMS, "contract.resumed"), "of accounts that had a contract"),
    "trial.started": "of accounts that were in a trial",
    "trial.ended": "of accounts whose trial had ended",
}
"""The last contract event known at a cutoff to the words for a row of that account."""

UNDECIDED = {
    "immature": "whose label window has not closed",
    "decided before the window": "whose contract had ended already, which became known later",
    "MRR not known": "whose MRR is not known or 0",
    "paused": "of paused accounts, undecided",
}
"""The reason of a label to the words for a row that it does not decide."""


def rows_not_asked_about(
    label: Label, events: pl.DataFrame, asked: pl.DataFrame, as_ofs: tuple[datetime, ...]
) -> dict[str, int]:
    """Rows of accounts with events at some time that are outside of the cohort, by reason.

    Args:
        label: whose cohort it is.
        events: the events of the kinds that the label reads.
        asked: account and cutoff of the rows in the cohort.
        as_ofs: the cutoffs.
    """
    cutoffs = pl.LazyFrame({"as_of": list(as_ofs)}, schema={"as_of": UTC_INSTANT})
    read = events.lazy().filter(pl.col("kind").is_in(label.reads))
    last = (
        visible_events(read.join(cutoffs, how="cross"), pl.col("as_of"))
        .sort("occurred_at", "recorded_at")
        .group_by(ROW)
        .agg(pl.col("kind").last())
    )
    rows = read.select("account_id").unique().join(cutoffs, how="cross")
    left = rows.join(last, on=ROW, how="left").join(asked.lazy().select(ROW), on=ROW, how="anti")
    known = (
        pl.col("kind").replace_strict(
            BY_STATUS, default=f"of accounts that were not {label.cohort}"
        )
        if label.rule not in ("use_stops", "no_use")
        else pl.lit("of accounts without use before the cutoff, for too long")
    )
    reason = pl.when(pl.col("kind").is_null()).then(pl.lit(NOT_YET)).otherwise(known)
    counted = left.group_by(reason.alias("reason")).len().sort("reason").collect()
    return dict(counted.iter_rows())


def left_out_sentence(
    excluded: Mapping[str, int], not_asked: Mapping[str, int], horizon: int
) -> str | None:
    """How many rows were left out, and why; None where none was.

    >>> left_out_sentence({"immature": 1200}, {"of accounts that came later": 3}, 90)
    'Left out: 1,200 rows whose label window has not closed (90 days); not asked about: 3 rows of \
accounts that came later.'
    """
    undecided = ", ".join(
        f"{n:,} row{'s' * (n != 1)} {UNDECIDED.get(why, why)}" for why, n in excluded.items()
    )
    others = ", ".join(f"{n:,} row{'s' * (n != 1)} {why}" for why, n in not_asked.items())
    parts = [
        *([f"{undecided} ({horizon} days)"] if undecided else []),
        *([f"not asked about: {others}"] if others else []),
    ]
    return f"Left out: {'; '.join(parts)}." if parts else None
