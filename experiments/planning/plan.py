"""This module is about the plan of a week: who does what for which account, and why not the rest.

``make_plan`` turns the offers that the policy allows into whole actions within the hours,
budgets and care of a team, with the bound that no plan can exceed and the price of one more hour.
Pure and without chance: the same offers and team give the same plan.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import polars as pl

from experiments.planning.offers import NOBODY, Options, options_of
from experiments.planning.relaxation import Limited, Relaxation, limited, relax
from experiments.planning.rounding import Week, round_plan, tended
from experiments.planning.team import PlanningError, Team

PLAN_SCHEMA = pl.Schema({
    "account_id": pl.String, "action_id": pl.String,
    "by": pl.String,  # a CSM or a pool; null: no hours of anybody
    "hours": pl.Float64, "cost": pl.Float64, "value": pl.Float64,
    "is_new_csm": pl.Boolean, "csm": pl.String,
})
WAITING_SCHEMA = pl.Schema({
    "account_id": pl.String, "action_id": pl.String, "value": pl.Float64, "why": pl.String})


class ConflictingLimitsError(PlanningError):
    """The care that is asked for does not fit into the hours and budgets."""


@dataclass(frozen=True, kw_only=True)
class Hours:
    """The week of one CSM or pool; ``price`` is what one more hour would add, in money."""

    id: str
    available: float
    planned: float
    price: float


@dataclass(frozen=True, kw_only=True)
class Money:
    """One budget; ``price`` is what one more unit of money would add."""

    id: str
    available: float
    planned: float
    price: float


@dataclass(frozen=True, kw_only=True)
class Tended:
    """Care of one tier: accounts asked for and tended, and what the last of them costs."""

    tier: str
    asked: int
    tended: int
    price: float


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Whole actions for a week.

    ``value`` is their cautious net value and ``bound`` what no plan within the limits can exceed.
    ``actions`` has ``PLAN_SCHEMA``, most valuable first; ``waiting`` (``WAITING_SCHEMA``) holds
    the offers that would pay and are not in the plan, each with its reason.
    """

    actions: pl.DataFrame
    waiting: pl.DataFrame
    hours: tuple[Hours, ...]
    budgets: tuple[Money, ...]
    care: tuple[Tended, ...]
    value: float
    bound: float

    @property
    def share_of_bound(self) -> float:
        """How much of the bound the plan reaches: 1 is as good as can be."""
        return 1.0 if self.bound <= 0 else self.value / self.bound

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "value": self.value, "bound": self.bound, "share_of_bound": self.share_of_bound,
            "actions": self.actions.to_dicts(), "waiting": self.waiting.to_dicts(),
            "hours": [asdict(each) for each in self.hours],
            "budgets": [asdict(each) for each in self.budgets],
            "care": [asdict(each) for each in self.care],
        }


def make_plan(offers: pl.DataFrame, team: Team) -> Plan:
    """The plan of a week.

    Args:
        offers: one row per account and action that is allowed now, columns of ``OFFER_SCHEMA``.
        team: hours, skills, territories, budgets and care.

    Raises:
        ConflictingLimitsError: care does not fit; the message says which limits are in its way.
        PlanningError: the offers can not be read.
    """
    options = options_of(offers, team)
    limits = limited(options, team)
    relaxed = relax(options, team)
    if relaxed.short.any():
        raise ConflictingLimitsError(_conflict(options, team, relaxed))
    week = round_plan(options, team, limits, relaxed)
    met = tuple(tended(week, options, place) for place in range(len(team.care)))
    for care, count in zip(team.care, met, strict=True):
        if count < care.accounts:
            raise ConflictingLimitsError(
                f"Care of tier {care.tier!r} asks for {care.accounts} accounts. Whole actions "
                f"within the hours and budgets reach {count}: lower the care, or add hours.")
    return _plan(options, team, limits, relaxed, week, met)


def _plan(options: Options, team: Team, limits: Limited, relaxed: Relaxation, week: Week,
          met: tuple[int, ...]) -> Plan:
    people = len(options.resources)
    used = limits.most - week.left
    chosen = np.flatnonzero(week.is_chosen)
    names = np.array([*options.resources, ""], dtype=object)
    actions = (
        options.offers[options.offer[chosen]]
        .with_columns(by=pl.Series(names[options.resource[chosen]], dtype=pl.String))
        .with_columns(pl.when(pl.col("by") != "").then(pl.col("by")))
        .select(PLAN_SCHEMA.names())
        .sort("value", "account_id", "action_id", descending=[True, False, False])
    )
    return Plan(
        actions=actions, waiting=_waiting(options, team, relaxed, week),
        hours=tuple(
            Hours(id=name, available=float(limits.most[place]), planned=float(used[place]),
                  price=float(relaxed.hour_price[place]))
            for place, name in enumerate(options.resources)),
        budgets=tuple(
            Money(id=budget.id, available=budget.amount, planned=float(used[people + place]),
                  price=float(relaxed.budget_price[place]))
            for place, budget in enumerate(team.budgets)),
        care=tuple(
            Tended(tier=care.tier, asked=care.accounts, tended=count,
                   price=float(relaxed.care_price[place]))
            for place, (care, count) in enumerate(zip(team.care, met, strict=True))),
        value=float(options.value[chosen].sum()), bound=relaxed.bound)


def _waiting(options: Options, team: Team, relaxed: Relaxation, week: Week) -> pl.DataFrame:
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
        offers["value"].to_numpy() <= least[of_account.to_numpy()])
    family = np.full(int(options.group.max(initial=0)) + 1, -np.inf)
    family[options.group[week.is_chosen]] = options.value[week.is_chosen]
    # of those who could do it, whose hour is cheapest
    price = np.where(options.resource == NOBODY, 0.0, relaxed.hour_price[options.resource])
    order = np.lexsort((price, options.offer))
    first = order[np.unique(options.offer[order], return_index=True)[1]]
    hour, by = np.zeros(offers.height), np.full(offers.height, "", dtype=object)
    hour[options.offer[first]] = price[first]
    names = np.array([*options.resources, ""], dtype=object)
    by[options.offer[first]] = names[options.resource[first]]
    stands_in = np.zeros(offers.height, dtype=bool)
    stands_in[options.offer] = family[options.group] >= options.value
    table = offers.with_columns(
        planned=planned, nobody=nobody, is_full=is_full, stands_in=stands_in, hour=hour,
        provider=pl.Series(by, dtype=pl.String))
    words = (
        pl.when("nobody").then(pl.format(
            "Nobody in the team does what “{}” does{}.", pl.col("role"),
            pl.when(pl.col("territory").is_not_null())
            .then(pl.format(" in {}", pl.col("territory"))).otherwise(pl.lit(""))))
        .when("stands_in").then(pl.lit(
            "One of its kind at a time, and another comes first for this account."))
        .when("is_full").then(pl.format(
            "At most {} action(s) a week for one account, and better ones take them.",
            pl.lit(team.actions_per_account)))
        .when(pl.col("hour") > 0).then(pl.format(
            "The hours of {} are taken by more valuable work: {} h here bring {} an hour, "
            "elsewhere the last hour brings {}.", "provider", pl.col("hours").round(2),
            (pl.col("value") / pl.col("hours")).round(0).cast(pl.Int64),
            pl.col("hour").round(0).cast(pl.Int64)))
        .otherwise(pl.lit("It does not fit into what is left of the hours or the budget."))
    )
    return (table.filter(~pl.col("planned") & (pl.col("value") > 0))
            .select("account_id", "action_id", "value", why=words)
            .sort("value", "account_id", "action_id", descending=[True, False, False]))


def _conflict(options: Options, team: Team, relaxed: Relaxation) -> str:
    """Which care can not be met, and which limits stand in its way."""
    only = relax(options, team, care_only=True)
    sentences = []
    for place, care in enumerate(team.care):
        if relaxed.short[place] <= 0:
            continue
        possible = int((options.tier[np.unique(options.account)] == place).sum())
        if possible < care.accounts:
            sentences.append(
                f"Care of tier {care.tier!r} asks for {care.accounts} accounts, and only "
                f"{possible} have an action that is allowed and that somebody can do.")
            continue
        reached = int(np.floor(care.accounts - relaxed.short[place] + 1e-6))
        sentences.append(f"Care of tier {care.tier!r} asks for {care.accounts} accounts, and only "
                         f"{reached} fit.")
    people = len(options.resources)
    full = [f"the {options.capacity[place]:g} hours of {options.resources[place]}"
            for place in np.flatnonzero(only.hour_price[:people] > 0)]
    full += [f"the {budget.amount:,.0f} of budget {budget.id!r}" for budget, price
             in zip(team.budgets, only.budget_price, strict=True) if price > 0]
    if full:
        shown = ", ".join(full[:6]) + (f" and {len(full) - 6} more" if len(full) > 6 else "")
        sentences.append(f"In the way: {shown}.")
    sentences.append("Lower the care, or add hours or money there.")
    return " ".join(sentences)
