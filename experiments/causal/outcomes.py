"""The outcomes of an account after a moment: left or stayed, and its revenue.

From contract events alone. An account has left when no contract runs at the end of the follow-up;
a paused one has not left but pays nothing. Revenue is the MRR that ran over time, in months of
365.25 / 12 days. Pure; says nothing about causes.
"""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from features.events.schema import CONTRACT_TERMS, UTC_INSTANT

DAYS_A_MONTH = 365.25 / 12

STATE_OF_KIND: dict[str, str] = {
    "contract.cancelled": "ended",
    "contract.paused": "paused",
    "contract.resumed": "active",
    **dict.fromkeys(CONTRACT_TERMS, "active"),
}
AT_THE_SAME_INSTANT = tuple(STATE_OF_KIND)
"""Order of kinds at one instant: an end and a new start together leave the account running."""

RUNNING = ("active", "paused")

CONTRACT_SCHEMA = {
    "account_id": pl.String,
    "at": UTC_INSTANT,
    "state": pl.String,
    "mrr": pl.Float64,
    "earned": pl.Float64,
}


def contract_states(events: pl.DataFrame) -> pl.DataFrame:
    """Per account and contract event: the state and MRR from then on, and what was earned before.

    ``earned`` is the revenue from the account's first contract event to this one.
    """
    order = pl.col("kind").replace_strict(
        {kind: rank for rank, kind in enumerate(AT_THE_SAME_INSTANT)}, default=None
    )
    terms = pl.col("kind").is_in([*CONTRACT_TERMS, "contract.resumed"])
    months = (pl.col("at") - pl.col("at").shift(1)).dt.total_seconds() / 86_400 / DAYS_A_MONTH
    return (
        events.filter(pl.col("kind").is_in(list(STATE_OF_KIND)))
        .with_columns(order.alias("order"), pl.col("occurred_at").alias("at"))
        .sort("account_id", "at", "order", "recorded_at")
        .with_columns(
            pl.when(terms)
            .then(pl.col("quantity"))
            .forward_fill()
            .over("account_id")
            .alias("agreed")
        )
        .with_columns(
            pl.col("kind").replace_strict(STATE_OF_KIND, default=None).alias("state"),
        )
        .with_columns(
            pl.when(pl.col("state") == "active").then(pl.col("agreed")).otherwise(0.0).alias("mrr")
        )
        .with_columns(
            (pl.col("mrr").shift(1) * months)
            .fill_null(0.0)
            .cum_sum()
            .over("account_id")
            .alias("earned")
        )
        .select(list(CONTRACT_SCHEMA))
        .sort("at", maintain_order=True)
    )


def state_at(moments: pl.DataFrame, states: pl.DataFrame, *, at: str, name: str) -> pl.DataFrame:
    """Add ``<name>_state``, ``<name>_mrr`` and ``<name>_earned`` as they were just before ``at``.

    Null for an account whose first contract event is not before that moment.
    """
    right = states.select(
        "account_id",
        pl.col("at").alias("since"),
        pl.col("state").alias(f"{name}_state"),
        pl.col("mrr").alias(f"{name}_mrr"),
        pl.col("earned"),
    )
    months = (pl.col(at) - pl.col("since")).dt.total_seconds() / 86_400 / DAYS_A_MONTH
    return (
        moments.with_row_index("_row")
        .sort(at)
        .join_asof(
            right,
            left_on=at,
            right_on="since",
            by="account_id",
            allow_exact_matches=False,
            check_sortedness=False,
        )
        .with_columns((pl.col("earned") + pl.col(f"{name}_mrr") * months).alias(f"{name}_earned"))
        .sort("_row")
        .drop("_row", "since", "earned")
    )


def add_outcomes(trials: pl.DataFrame, states: pl.DataFrame, *, horizon: timedelta) -> pl.DataFrame:
    """Add what is needed of the past and what happened in ``[followed_from, + horizon)``.

    ``was_customer`` (a contract ran at ``start``), ``is_customer`` (and still at
    ``followed_from``), ``churn`` (0 or 1),
    ``revenue`` (earned in the follow-up), ``mrr_after`` (at its end), ``mrr_before``, and
    ``past_revenue`` (over an equal span before ``start``; null for younger accounts).
    """
    framed = trials.with_columns(
        (pl.col("followed_from") + horizon).alias("followed_to"),
        (pl.col("start") - horizon).alias("past_from"),
    )
    for at, name in (
        ("start", "start"),
        ("followed_from", "from"),
        ("followed_to", "to"),
        ("past_from", "past"),
    ):
        framed = state_at(framed, states, at=at, name=name)
    ran = pl.col("start_state").is_in(RUNNING).fill_null(False)
    return framed.with_columns(
        ran.alias("was_customer"),
        (ran & pl.col("from_state").is_in(RUNNING).fill_null(False)).alias("is_customer"),
        (pl.col("to_state") == "ended").cast(pl.Float64).alias("churn"),
        (pl.col("to_earned") - pl.col("from_earned")).alias("revenue"),
        pl.col("to_mrr").alias("mrr_after"),
        pl.col("from_mrr").alias("mrr_before"),
        (pl.col("start_earned") - pl.col("past_earned")).alias("past_revenue"),
    ).drop(
        [
            f"{name}_{part}"
            for name in ("start", "from", "to", "past")
            for part in ("state", "mrr", "earned")
        ]
    )
