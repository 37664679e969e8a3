"""The plan of a week: actions with their CSM and account, and the reasons of the rest.

``make_plan`` turns the offers that the policy allows into whole actions within the hours,
budgets and care of a team, with the bound that no plan can exceed and the price of one more hour.
Pure: the same offers and team give the same plan, and with a key for the last hours the same draw.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import polars as pl

from experiments.planning.infeasibility import explain_conflict, explain_rounding
from experiments.planning.lp_relaxation import Relaxation, ResourceLimits, limit_resources, relax
from experiments.planning.not_planned import explain_not_planned
from experiments.planning.options import Options, build_options
from experiments.planning.rounding import Week, count_tended, round_plan
from experiments.planning.team import Team
from experiments.planning.ties_by_lot import (
    CapacityLottery,
    Lot,
    draw_lots,
    propensities,
    with_lots,
)

PLAN_SCHEMA = pl.Schema(
    {
        "account_id": pl.String,
        "action_id": pl.String,
        "by": pl.String,  # a CSM or a pool; null: no hours of anybody
        "hours": pl.Float64,
        "cost": pl.Float64,
        "value": pl.Float64,
        "is_new_csm": pl.Boolean,
        "csm": pl.String,
        "propensity": pl.Float64,  # of being planned; 1 where no lot was drawn
        "lottery": pl.String,
    }
)


@dataclass(frozen=True, kw_only=True)
class Hours:
    """The week of one CSM or pool; ``price`` is the value of one more hour, in money."""

    id: str
    available: float
    planned: float
    price: float


@dataclass(frozen=True, kw_only=True)
class BudgetUse:
    """One budget; ``price`` is the value of one more unit of money."""

    id: str
    available: float
    planned: float
    price: float


@dataclass(frozen=True, kw_only=True)
class CareUse:
    """Care of one tier: accounts wanted and tended, and the cost of the last of them."""

    tier: str
    asked: int
    tended: int
    price: float


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Whole actions for a week.

    ``value`` is their cautious net value and ``bound`` the most that any plan could reach.
    ``actions`` has ``PLAN_SCHEMA``, most valuable first; ``waiting`` (``WAITING_SCHEMA``) holds
    the offers that would pay and are not in the plan, each with its reason.
    """

    actions: pl.DataFrame
    waiting: pl.DataFrame
    hours: tuple[Hours, ...]
    budgets: tuple[BudgetUse, ...]
    care: tuple[CareUse, ...]
    value: float
    bound: float
    lots: tuple[Lot, ...] = ()

    @property
    def share_of_bound(self) -> float:
        """The share of the bound that the plan reaches; 1 is optimal."""
        return 1.0 if self.bound <= 0 else self.value / self.bound

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "value": self.value,
            "bound": self.bound,
            "share_of_bound": self.share_of_bound,
            "actions": self.actions.to_dicts(),
            "waiting": self.waiting.to_dicts(),
            "hours": [asdict(each) for each in self.hours],
            "budgets": [asdict(each) for each in self.budgets],
            "care": [asdict(each) for each in self.care],
            "lots": [lot.to_dict() for lot in self.lots],
        }


def make_plan(offers: pl.DataFrame, team: Team, *, lottery: CapacityLottery | None = None) -> Plan:
    """The plan of a week.

    Args:
        offers: one row per account and action that is allowed now, columns of ``OFFER_SCHEMA``.
        team: hours, skills, territories, budgets and care.
        lottery: lets chance decide who of nearly equal accounts gets the last hours; None: the
            more valuable ones do.

    Raises:
        ConflictingLimitsError: care does not fit; the message says which limits are in its way.
        PlanningError: the offers cannot be read.
    """
    options = build_options(offers, team)
    limits = limit_resources(options, team)
    relaxed = relax(options, team)
    if relaxed.short.any():
        raise explain_conflict(options, team, relaxed)
    week = round_plan(options, team, limits, relaxed)
    met = tuple(count_tended(week, options, place) for place in range(len(team.care)))
    for care, count in zip(team.care, met, strict=True):
        if count < care.accounts:
            raise explain_rounding(care.tier, care.accounts, count)
    lots = draw_lots(options, week, lottery) if lottery is not None else ()
    return _plan(options, team, limits, relaxed, week, met, lots)


def _plan(
    options: Options,
    team: Team,
    limits: ResourceLimits,
    relaxed: Relaxation,
    week: Week,
    met: tuple[int, ...],
    lots: tuple[Lot, ...],
) -> Plan:
    people = len(options.resources)
    used = limits.most - week.left
    chosen = np.flatnonzero(week.is_chosen)
    names = np.array([*options.resources, ""], dtype=object)
    actions = (
        options.offers[options.offer[chosen]]
        .with_columns(by=pl.Series(names[options.resource[chosen]], dtype=pl.String))
        .with_columns(pl.when(pl.col("by") != "").then(pl.col("by")))
        .join(propensities(lots), on=["account_id", "action_id"], how="left")
        .with_columns(pl.col("propensity").fill_null(1.0))
        .select(PLAN_SCHEMA.names())
        .sort("value", "account_id", "action_id", descending=[True, False, False])
    )
    return Plan(
        actions=actions,
        lots=lots,
        waiting=with_lots(explain_not_planned(options, team, relaxed, week), lots),
        hours=tuple(
            Hours(
                id=name,
                available=float(limits.most[place]),
                planned=float(used[place]),
                price=float(relaxed.hour_price[place]),
            )
            for place, name in enumerate(options.resources)
        ),
        budgets=tuple(
            BudgetUse(
                id=budget.id,
                available=budget.amount,
                planned=float(used[people + place]),
                price=float(relaxed.budget_price[place]),
            )
            for place, budget in enumerate(team.budgets)
        ),
        care=tuple(
            CareUse(
                tier=care.tier,
                asked=care.accounts,
                tended=count,
                price=float(relaxed.care_price[place]),
            )
            for place, (care, count) in enumerate(zip(team.care, met, strict=True))
        ),
        value=float(options.value[chosen].sum()),
        bound=relaxed.bound,
    )
