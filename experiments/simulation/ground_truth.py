"""The truth that only the simulation knows: true chances and true effects.

The product never reads this. For every decision both futures are computed, with and without the
action, along the same paths and the same announced intentions; they differ only in the factor on
the chance to leave. So the true effect of a group of decisions is an exact mean, without noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from experiments.effects.belief import EFFECT_HORIZON_DAYS
from experiments.simulation.accounts import SEGMENTS
from experiments.simulation.hazards import CERTAIN

TERM_KINDS = ("contract.started", "contract.changed", "contract.renewed", "contract.resumed")


@dataclass(frozen=True, kw_only=True)
class Truth:
    """The truth of a world; four tables.

    ``accounts``: one row each, with hidden traits and the day it left.
    ``chances``: running account and month start: the chance to leave in 30, 60 and 90 days that
    the best forecaster could have known.
    ``decisions``: one row each: both futures, assignment, receipt and result.
    ``effects``: intervention and segment: the true effects on retention and on revenue kept.
    """

    accounts: pl.DataFrame
    chances: pl.DataFrame
    decisions: pl.DataFrame
    effects: pl.DataFrame


def add_potential_outcomes(decisions: pl.DataFrame, exits: pl.DataFrame) -> pl.DataFrame:
    """Add the chance to be there 90 days after, without and with the action.

    And the days of the 90 for which a contract runs, as expected in both futures.

    ``exits`` holds account, day and chance of every moment at which somebody could leave.
    """
    during = (
        decisions.select("decision_id", "account", "factor", from_day="day")
        .join(exits, on="account")
        .filter(
            (pl.col("day") > pl.col("from_day"))
            & (pl.col("day") < pl.col("from_day") + EFFECT_HORIZON_DAYS)
        )
    )
    chances = {
        "without": pl.col("chance"),
        "with": (pl.col("chance") * pl.col("factor")).clip(upper_bound=CERTAIN),
    }
    left_over = pl.col("from_day") + EFFECT_HORIZON_DAYS - pl.col("day")
    during = during.sort("decision_id", "day").with_columns(
        (1 - chance).cum_prod().over("decision_id").alias(f"there_{arm}")
        for arm, chance in chances.items()
    )
    stays = during.group_by("decision_id").agg(
        *(pl.col(f"there_{arm}").last().alias(f"retained_{arm}") for arm in chances),
        *(
            (
                EFFECT_HORIZON_DAYS
                - (
                    (pl.col(f"there_{arm}").shift(1, fill_value=1.0) - pl.col(f"there_{arm}"))
                    * left_over
                ).sum()
            ).alias(f"days_{arm}")
            for arm in chances
        ),
    )
    return decisions.join(stays, on="decision_id", how="left", maintain_order="left").with_columns(
        pl.col("^retained_.*$").fill_null(1.0), pl.col("^days_.*$").fill_null(EFFECT_HORIZON_DAYS)
    )


def mrr_at(decisions: pl.DataFrame, log: pl.DataFrame, offset_days: int) -> pl.Series:
    """MRR so many days after each decision, had the account stayed."""
    terms = (
        log.filter(pl.col("kind").is_in(TERM_KINDS))
        .select("account", "mrr", at=pl.col("day") * 86_400 + pl.col("second"))
        .sort("at")
    )
    asked = decisions.select("account", at=(pl.col("day") + offset_days) * 86_400).with_row_index()
    found = asked.sort("at").join_asof(terms, on="at", by="account", check_sortedness=False)
    return found.sort("index")["mrr"]


def true_effects(decisions: pl.DataFrame) -> pl.DataFrame:
    """True effects per intervention, over all segments and by segment, on mature decisions.

    ``ate``: of receiving the action, over everybody who was decided about. ``att``: the same over
    those who were assigned to it. ``itt``: of being assigned, given who would receive what. Each on
    the share retained at 90 days (``…_retention``), on MRR kept at 90 days (``…_revenue``) and on
    days under contract within the 90 (``…_days``).
    """
    mature = decisions.filter("is_mature").with_columns(
        gain=pl.col("retained_with") - pl.col("retained_without")
    )
    mature = mature.with_columns(
        money=pl.col("gain") * pl.col("mrr_at_90d"),
        days=pl.col("days_with") - pl.col("days_without"),
        taken=pl.col("carried_out") - pl.col("leaks"),
    )
    treated = pl.col("arm") == "treated"

    def summary(by: list[str]) -> pl.DataFrame:
        return mature.group_by(by).agg(
            n=pl.len(),
            n_treated=treated.sum(),
            retained_without=pl.col("retained_without").mean(),
            retained_with=pl.col("retained_with").mean(),
            ate_retention=pl.col("gain").mean(),
            ate_revenue=pl.col("money").mean(),
            att_retention=pl.col("gain").filter(treated).mean(),
            att_revenue=pl.col("money").filter(treated).mean(),
            itt_retention=(pl.col("gain") * pl.col("taken")).mean(),
            itt_revenue=(pl.col("money") * pl.col("taken")).mean(),
            ate_days=pl.col("days").mean(),
            att_days=pl.col("days").filter(treated).mean(),
            itt_days=(pl.col("days") * pl.col("taken")).mean(),
        )

    keys = ["intervention", "action", "segment"]
    overall = summary(["intervention", "action"]).with_columns(segment=pl.lit("all"))
    return pl.concat(
        [overall.select(*keys, pl.exclude(keys)), summary(keys).select(*keys, pl.exclude(keys))]
    ).sort("intervention", pl.col("segment").cast(pl.Enum(["all", *SEGMENTS])))
