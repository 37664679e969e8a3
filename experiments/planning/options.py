"""The options of a plan: offers of actions, with the CSMs and pools that could do them.

An offer is an action that the policy would allow for an account now. An option is an offer with
the CSM or pool that would do it. Pure: frames and arrays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from experiments.planning.team import PlanningError, Team

OFFER_SCHEMA = pl.Schema(
    {
        "account_id": pl.String,
        "action_id": pl.String,
        "family": pl.String,  # actions that stand in for each other; null: none
        "role": pl.String,
        "channel": pl.String,
        "value": pl.Float64,  # cautious net value in money, what the hours cost taken off
        "hours": pl.Float64,
        "cost": pl.Float64,
        "csm": pl.String,  # whose account it is; null: nobody's
        "territory": pl.String,
        "tier": pl.String,
    }
)

CSM_ROLE = "csm"
"""The owner role of an action that the account's own CSM carries out."""

MOST_OPTIONS = 2_000_000
"""The most options: more take too much memory and time."""

NOBODY = -1
"""In place of a resource: the action takes no hours."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Every way to carry out an offer, as arrays of one length; offers are rows of ``offers``."""

    offers: pl.DataFrame
    resources: tuple[str, ...]  # CSMs, then pools
    capacity: NDArray[np.float64]  # hours of each resource
    offer: NDArray[np.int64]
    resource: NDArray[np.int64]  # position in resources, or NOBODY
    account: NDArray[np.int64]
    group: NDArray[np.int64]  # at most one option of a group is chosen
    hours: NDArray[np.float64]
    cost: NDArray[np.float64]
    value: NDArray[np.float64]
    accounts: tuple[str, ...]
    tier: NDArray[np.int64]  # of each account: position in the team's care, or -1
    budget: NDArray[np.bool_]  # budgets × options: whether it draws on the budget

    @property
    def without_anybody(self) -> NDArray[np.int64]:
        """Offers that no CSM and no pool can carry out."""
        return np.setdiff1d(np.arange(self.offers.height), self.offer)


def with_csms(offers: pl.DataFrame, team: Team) -> pl.DataFrame:
    """The offers with a CSM for the accounts that have none, where one covers the territory.

    Accounts come in order of what is at stake; each goes to the CSM with the most hours left after
    the CSM's own accounts. The column ``is_new_csm`` marks these accounts.
    """
    wanted = (
        offers.filter(pl.col("role") == CSM_ROLE)
        .group_by("account_id")
        .agg(
            pl.col("hours").max(),
            pl.col("value").max(),
            pl.col("csm").first(),
            pl.col("territory").first(),
        )
        .sort("value", "account_id", descending=[True, False])
    )
    left = {csm.id: csm.hours for csm in team.csms}
    for csm, hours in (
        wanted.drop_nulls("csm").group_by("csm").agg(pl.col("hours").sum()).iter_rows()
    ):
        if csm in left:
            left[csm] -= hours
    chosen: dict[str, str] = {}
    for account, hours, territory in (
        wanted.filter(pl.col("csm").is_null())
        .select("account_id", "hours", "territory")
        .iter_rows()
    ):
        able = [
            m.id
            for m in team.csms
            if CSM_ROLE in m.skills and (not m.territories or territory in m.territories)
        ]
        if able:
            taker = max(able, key=lambda name: (left[name], name))
            left[taker] -= hours
            chosen[account] = taker
    proposed = pl.col("account_id").replace_strict(chosen, default=None, return_dtype=pl.String)
    return offers.with_columns(
        is_new_csm=pl.col("csm").is_null() & proposed.is_not_null(),
        csm=pl.coalesce("csm", proposed),
    )


def build_options(offers: pl.DataFrame, team: Team) -> Options:
    """Every offer with each CSM and pool that could carry it out.

    Args:
        offers: columns of ``OFFER_SCHEMA``, one row per account and action.
        team: the CSMs and pools.

    Raises:
        PlanningError: a column is missing, a number is not one, or a row is there twice.
    """
    offers = _checked(offers)
    offers = with_csms(offers, team).with_row_index("offer")
    resources = (*(m.id for m in team.csms), *(p.id for p in team.pools))
    places = pl.DataFrame(
        {"name": resources, "resource": np.arange(len(resources))},
        schema={"name": pl.String, "resource": pl.Int64},
    )
    free = offers.filter(pl.col("hours") == 0).select("offer", resource=pl.lit(NOBODY, pl.Int64))
    paid = offers.filter(pl.col("hours") > 0)
    skilled = pl.DataFrame(
        [(m.id, skill) for m in team.csms for skill in m.skills],
        schema={"csm": pl.String, "role": pl.String},
        orient="row",
    )
    own = (
        paid.join(skilled, on=["csm", "role"])
        .join(places, left_on="csm", right_on="name")
        .select("offer", "resource")
    )
    parts = [free, own]
    for pool in team.pools:
        covered = pl.col("role").is_in(pool.skills)
        if pool.territories:
            covered &= pl.col("territory").is_in(pool.territories)
        parts.append(
            paid.filter(covered.fill_null(value=False)).select(
                "offer", resource=pl.lit(resources.index(pool.id), pl.Int64)
            )
        )
    pairs = pl.concat(parts, how="vertical_relaxed").sort("offer", "resource")
    if pairs.height > MOST_OPTIONS:
        raise PlanningError(
            f"There are {pairs.height:,} ways to carry the offers out, and a plan "
            f"chooses among {MOST_OPTIONS:,} at most. List fewer pools that do the "
            f"same, or plan fewer accounts at once."
        )
    rows = pairs.join(offers, on="offer", maintain_order="left")
    accounts = offers["account_id"].unique().sort()
    # an offer outside every family stands for itself
    group = offers.select(
        pl.struct(
            "account_id",
            pl.coalesce(pl.lit("f:") + pl.col("family"), pl.lit("a:") + pl.col("action_id")),
        ).rank("dense")
    )
    tiers = {care.tier: place for place, care in enumerate(team.care)}
    tier = (
        offers.unique("account_id")
        .sort("account_id")["tier"]
        .replace_strict(tiers, default=-1, return_dtype=pl.Int64)
    )
    budget = np.zeros((len(team.budgets), rows.height), dtype=bool)
    for place, limit in enumerate(team.budgets):
        drawn = pl.col("cost") > 0
        if limit.channels:
            drawn &= pl.col("channel").is_in(limit.channels)
        if limit.territories:
            drawn &= pl.col("territory").is_in(limit.territories).fill_null(value=False)
        budget[place] = rows.select(drawn).to_series().to_numpy()
    return Options(
        offers=offers,
        resources=resources,
        capacity=np.array([*(m.hours for m in team.csms), *(p.hours for p in team.pools)]),
        offer=rows["offer"].cast(pl.Int64).to_numpy(),
        resource=rows["resource"].to_numpy(),
        account=accounts.search_sorted(rows["account_id"]).to_numpy().astype(np.int64),
        group=group.to_series().to_numpy().astype(np.int64)[rows["offer"].to_numpy()],
        hours=rows["hours"].to_numpy(),
        cost=rows["cost"].to_numpy(),
        value=rows["value"].to_numpy(),
        accounts=tuple(accounts),
        tier=tier.to_numpy(),
        budget=budget,
    )


def _checked(offers: pl.DataFrame) -> pl.DataFrame:
    lacking = [name for name in OFFER_SCHEMA if name not in offers.columns]
    if lacking:
        raise PlanningError(f"The offers lack the column(s) {', '.join(lacking)}.")
    offers = offers.select(pl.col(name).cast(kind) for name, kind in OFFER_SCHEMA.items())
    for name in ("value", "hours", "cost"):
        if not offers[name].is_finite().fill_null(value=False).all():
            raise PlanningError(f"An offer's {name} is not a number. Leave such offers out.")
    if (offers["hours"] < 0).any() or (offers["cost"] < 0).any():
        raise PlanningError("An offer takes negative hours or costs a negative amount.")
    twice = offers.filter(offers.select("account_id", "action_id").is_duplicated())
    if not twice.is_empty():
        account, action = twice.select("account_id", "action_id").row(0)
        raise PlanningError(f"Action {action!r} is offered twice to account {account!r}.")
    return offers.sort("account_id", "action_id")
