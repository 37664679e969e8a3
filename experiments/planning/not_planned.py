"""Explain why an offer that would pay is not in the plan.

Pure. The first reason that holds is given, in words for readers of the plan.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from experiments.planning.lp_relaxation import Relaxation
from experiments.planning.options import CSM_ROLE, NOBODY, Options
from experiments.planning.rounding import Week
from experiments.planning.team import Team

WAITING_SCHEMA = pl.Schema(
    {"account_id": pl.String, "action_id": pl.String, "value": pl.Float64, "why": pl.String}
)


def explain_not_planned(
    options: Options, team: Team, relaxed: Relaxation, week: Week
) -> pl.DataFrame:
    """The offers that would pay and are not planned, with the first reason that holds."""
    offers = options.offers
    planned = np.zeros(offers.height, dtype=bool)
    planned[options.offer[week.is_chosen]] = True
    nobody = np.zeros(offers.height, dtype=bool)
    nobody[options.without_anybody] = True
    of_account = pl.Series(options.accounts, dtype=pl.String).search_sorted(offers["account_id"])
    actions = np.bincount(options.account[week.is_chosen], minlength=len(options.accounts))
    # an action that is worth more than those planned waits for hours, not because of them
    least = np.full(len(options.accounts), np.inf)
    np.minimum.at(least, options.account[week.is_chosen], options.value[week.is_chosen])
    is_full = (actions[of_account.to_numpy()] >= team.actions_per_account) & (
        offers["value"].to_numpy() <= least[of_account.to_numpy()]
    )
    family = np.full(int(options.group.max(initial=0)) + 1, -np.inf)
    family[options.group[week.is_chosen]] = options.value[week.is_chosen]
    # of those who could do it, whose hour is cheapest
    price = np.where(options.resource == NOBODY, 0.0, relaxed.hour_price[options.resource])
    order = np.lexsort((price, options.offer))
    first = order[np.unique(options.offer[order], return_index=True)[1]]
    hour, by = np.zeros(offers.height), np.full(offers.height, "", dtype=object)
    hour[options.offer[first]] = price[first]
    has_none = np.zeros(offers.height, dtype=bool)
    has_none[options.offer[first]] = (
        np.append(options.capacity, np.inf)[options.resource[first]] == 0
    )  # NOBODY is the last place
    names = np.array([*options.resources, ""], dtype=object)
    by[options.offer[first]] = names[options.resource[first]]
    stands_in = np.zeros(offers.height, dtype=bool)
    stands_in[options.offer] = family[options.group] >= options.value
    table = offers.with_columns(
        planned=planned,
        nobody=nobody,
        is_full=is_full,
        stands_in=stands_in,
        hour=hour,
        has_none=has_none,
        is_away=(pl.col("role") == CSM_ROLE) & ~pl.col("csm").is_in([csm.id for csm in team.csms]),
        provider=pl.Series(by, dtype=pl.String),
    )
    words = (
        pl.when(pl.col("nobody") & pl.col("is_away"))
        .then(pl.format("Its CSM {} is not in the team, and no pool steps in.", "csm"))
        .when("nobody")
        .then(
            pl.format(
                "Nobody in the team does what “{}” does{}.",
                pl.col("role"),
                pl.when(pl.col("territory").is_not_null())
                .then(pl.format(" in {}", pl.col("territory")))
                .otherwise(pl.lit("")),
            )
        )
        .when("stands_in")
        .then(pl.lit("One of its kind at a time, and another comes first for this account."))
        .when("is_full")
        .then(
            pl.format(
                "At most {} action(s) a week for one account, and better ones take them.",
                pl.lit(team.actions_per_account),
            )
        )
        .when("has_none")
        .then(
            pl.format(
                "{} has no hours this week; here an hour would bring {}.",
                "provider",
                (pl.col("value") / pl.col("hours")).round(0).cast(pl.Int64),
            )
        )
        .when(pl.col("hour") > 0)
        .then(
            pl.format(
                "The hours of {} are taken by more valuable work: {} h here bring {} an hour, "
                "elsewhere the last hour brings {}.",
                "provider",
                pl.col("hours").round(2),
                (pl.col("value") / pl.col("hours")).round(0).cast(pl.Int64),
                pl.col("hour").round(0).cast(pl.Int64),
            )
        )
        .otherwise(pl.lit("It does not fit into what is left of the hours or the budget."))
    )
    return (
        table.filter(~pl.col("planned") & (pl.col("value") > 0))
        .select("account_id", "action_id", "value", why=words)
        .sort("value", "account_id", "action_id", descending=[True, False, False])
    )
