"""Look up whether an account had the outcome within a horizon of a moment.

Who asks whether a promise was kept has to ask for the event that was promised: a cancellation that
a late renewal follows is none, a pause that lasts is one, and what is not decided yet is not known.
Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import polars as pl

from features.events.schema import UTC_INSTANT
from training.dataset.labels import Label, label_rows

Moment = tuple[str, datetime]
"""An account, and when something was promised of it; it was in the label's cohort then."""


def look_up_outcomes(
    label: Label,
    horizon: int,
    moments: Iterable[Moment],
    events: pl.DataFrame,
    *,
    known_until: datetime,
) -> dict[Moment, bool | None]:
    """Whether the label's outcome came about within ``horizon`` days of each moment; None where
    that is not decided by ``known_until``.

    Args:
        label: whose outcome; of churn and silence, which need no terms of the contract.
        horizon: days, one of the label's.
        moments: each asked about once.
        events: of ``LAKE_SCHEMA``, every kind that the label reads.
        known_until: nothing later is read.
    """
    wanted = sorted(set(moments))
    rows = pl.DataFrame(
        wanted, schema={"account_id": pl.String, "as_of": UTC_INSTANT}, orient="row"
    ).with_columns(pl.lit(None, pl.Float64).alias("mrr"))
    decided = label_rows(label, events, rows, known_until=known_until).frame
    found = {
        (account, as_of): answer
        for account, as_of, answer in decided.select(
            "account_id", "as_of", label.column(horizon)
        ).iter_rows()
    }
    return {moment: found.get(moment) for moment in wanted}
