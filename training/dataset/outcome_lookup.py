"""Look up whether an account had the outcome within a horizon of a moment.

A prediction has to be compared with the outcome that it predicted: a cancellation followed by a
late renewal is no churn, a pause that lasts is churn, and an open window is unknown. So the label's
own rules decide. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import polars as pl

from features.events.schema import UTC_INSTANT
from training.dataset.labels import Label, label_rows

Moment = tuple[str, datetime]
"""An account and the moment of a prediction; it was in the label's cohort then."""


def look_up_outcomes(
    label: Label,
    horizon: int,
    moments: Iterable[Moment],
    events: pl.DataFrame,
    *,
    known_until: datetime,
) -> dict[Moment, bool | None]:
    """Whether the outcome came within ``horizon`` days of each moment; None if not yet decided.


    Args:
        label: churn or silence, because these need no terms of the contract.
        horizon: days, one of the label's.
        moments: accounts with moments; repeats are looked up once.
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
