"""The power of an experiment before it is run, and the cheapest sufficient one.

A lottery draws k of n eligible accounts, once a horizon, for a number of draws; the accounts that
are left are drawn from again. With base rate p and N trials over all draws, k/n of them treated,
the smallest fall that is found with the given power is (normal approximation, two-sided test)::

    (z_{1 - alpha/2} + z_{power}) · sqrt(p (1 - p) (1/N_treated + 1/N_untreated))

New accounts and the help of covariates are left out: both make the plan cautious.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl
from scipy import stats

from experiments.causal.outcomes import add_outcomes, contract_states
from features.events.visibility import visible_events

POWER = 0.8
ALPHA = 0.05
MOST_DRAWS = 4
"""A year of quarterly draws; a longer experiment is not proposed."""

DAYS_A_WEEK = 7


class PowerError(ValueError):
    """Numbers that no experiment can be planned from."""


@dataclass(frozen=True, kw_only=True)
class ExperimentCandidate:
    """An action that could be drawn by lot: eligible accounts, cost and believed effect.

    ``prior_effect`` is the believed fall in churn probability (0-1) over the horizon.
    """

    action: str
    name: str
    eligible: str  # in words: which accounts
    n_eligible: int
    cost_per_account: float
    prior_effect: float
    base_rate: float


@dataclass(frozen=True, kw_only=True)
class ExperimentPlan:
    """The smallest lottery that would show the believed effect, or the largest there is."""

    candidate: ExperimentCandidate
    k: int
    draws: int
    horizon_days: int
    n_treated: int
    n_control: int
    smallest_effect: float
    power: float
    cost: float
    is_sufficient: bool

    @property
    def weeks(self) -> int:
        """From the first draw to the end of the last follow-up."""
        return math.ceil(self.draws * self.horizon_days / DAYS_A_WEEK)

    @property
    def needed_for_belief(self) -> int:
        """Accounts in each of two equal arms that would show the believed effect."""
        return needed_per_arm(
            base_rate=self.candidate.base_rate, effect=self.candidate.prior_effect, power=self.power
        )

    @property
    def sentence(self) -> str:
        """The proposal in one sentence, without the money."""
        item = self.candidate
        times = "once" if self.draws == 1 else f"{self.draws} times, {self.horizon_days} days apart"
        tail = (
            f"enough to show a fall of {item.prior_effect * 100:.1f} points, the effect it is "
            f"believed to have"
            if self.is_sufficient
            else f"not enough for the {item.prior_effect * 100:.1f} points that it is believed to "
            f"have, which would take about {self.needed_for_belief:,} accounts in each group"
        )
        return (
            f"Draw {self.k} of {item.n_eligible} eligible accounts ({item.eligible}) by lot for "
            f"“{item.name}”, {times}, and leave the others alone. After {self.weeks} weeks a fall "
            f"in churn of {self.smallest_effect * 100:.1f} points or more, from "
            f"{item.base_rate * 100:.1f}%, would be seen with a chance of "
            f"{self.power * 100:.0f}%: {tail}."
        )


def smallest_detectable(
    *,
    base_rate: float,
    n_treated: float,
    n_control: float,
    power: float = POWER,
    alpha: float = ALPHA,
) -> float:
    """The smallest difference in a share that a two-sided test finds with this power.

    >>> round(smallest_detectable(base_rate=0.1, n_treated=500, n_control=500), 4)
    0.0532

    Raises:
        PowerError: a rate or size that is not possible.
    """
    if not 0 < base_rate < 1:
        raise PowerError(f"The base rate is {base_rate}; it must lie strictly between 0 and 1.")
    if n_treated <= 0 or n_control <= 0:
        raise PowerError(
            f"{n_treated} treated and {n_control} untreated accounts: both must be positive."
        )
    z = float(stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(power))
    return z * math.sqrt(base_rate * (1 - base_rate) * (1 / n_treated + 1 / n_control))


def needed_per_arm(
    *,
    base_rate: float,
    effect: float,
    power: float = POWER,
    alpha: float = ALPHA,
) -> int:
    """Accounts in each of two equal arms that show this effect.

    >>> needed_per_arm(base_rate=0.1, effect=0.05)
    566
    """
    if effect <= 0:
        raise PowerError(f"The effect to show is {effect}; it must be positive.")
    one = smallest_detectable(
        base_rate=base_rate, n_treated=1, n_control=1, power=power, alpha=alpha
    )
    return math.ceil((one / effect) ** 2)


def lottery_plan(
    candidate: ExperimentCandidate,
    *,
    horizon_days: int,
    power: float = POWER,
    most_draws: int = MOST_DRAWS,
) -> ExperimentPlan:
    """The cheapest lottery for one action: least money, then fewest draws.

    Where none is large enough, half of the eligible accounts in every draw.

    Raises:
        PowerError: fewer than two eligible accounts, or no believed effect.
    """
    if candidate.n_eligible < 2:
        raise PowerError(
            f"{candidate.action!r} has {candidate.n_eligible} eligible account(s); a lottery needs "
            f"two."
        )
    if candidate.prior_effect <= 0:
        raise PowerError(
            f"{candidate.action!r} is not believed to lower churn (prior {candidate.prior_effect});"
            f" there is nothing to size a lottery by."
        )
    half = candidate.n_eligible // 2
    plans = []
    for draws in range(1, most_draws + 1):
        if _plan(candidate, half, draws, horizon_days, power).is_sufficient:
            few, many = 1, half  # the smallest sufficient k, by bisection: it only gets easier
            while few < many:
                middle = (few + many) // 2
                if _plan(candidate, middle, draws, horizon_days, power).is_sufficient:
                    many = middle
                else:
                    few = middle + 1
            plans.append(_plan(candidate, few, draws, horizon_days, power))
    if not plans:
        return _plan(candidate, half, most_draws, horizon_days, power)
    return min(plans, key=lambda plan: (plan.cost, plan.draws))


def cheapest_experiment(
    candidates: Sequence[ExperimentCandidate],
    *,
    horizon_days: int,
    power: float = POWER,
) -> ExperimentPlan | None:
    """The least costly sufficient lottery; without one, the lottery nearest to its believed effect.

    None when no candidate can be drawn by lot at all.
    """
    plans = [
        lottery_plan(item, horizon_days=horizon_days, power=power)
        for item in candidates
        if item.n_eligible >= 2 and item.prior_effect > 0 and 0 < item.base_rate < 1
    ]
    if not plans:
        return None
    return min(
        plans,
        key=lambda plan: (
            not plan.is_sufficient,
            plan.cost if plan.is_sufficient else plan.smallest_effect / plan.candidate.prior_effect,
            plan.weeks,
            plan.candidate.action,
        ),
    )


@dataclass(frozen=True, kw_only=True)
class BaseRate:
    """How many accounts leave within the horizon, from the last mature cutoffs."""

    rate: float
    n_accounts: int  # account and cutoff pairs
    n_left: int
    cutoffs: tuple[datetime, ...]
    running_now: tuple[str, ...]  # accounts under contract as of the report


def churn_base_rate(
    events: pl.DataFrame,
    *,
    as_of: datetime,
    horizon_days: int,
    cutoffs: int = 6,
    step_days: int = 30,
) -> BaseRate:
    """The share of running contracts that end within the horizon, over recent cutoffs.

    Raises:
        PowerError: no contract ran at any cutoff whose horizon is over.
    """
    known = visible_events(events, as_of)
    states = contract_states(known)
    horizon = timedelta(days=horizon_days)
    moments = tuple(as_of - horizon - timedelta(days=step_days * back) for back in range(cutoffs))
    accounts = states.select("account_id").unique()
    grid = accounts.join(
        pl.DataFrame({"start": [*moments, as_of]}, schema={"start": states["at"].dtype}),
        how="cross",
    ).with_columns(pl.col("start").alias("followed_from"))
    found = add_outcomes(grid, states, horizon=horizon).filter("is_customer")
    past = found.filter(pl.col("start") < as_of)
    if past.is_empty():
        raise PowerError(
            f"No contract ran at any of the {cutoffs} cutoffs up to {moments[0]:%Y-%m-%d}, so the "
            f"share that leaves within {horizon_days} days is not known. Ingest contract events "
            f"that reach further back."
        )
    left = int(past["churn"].sum())
    return BaseRate(
        rate=left / past.height,
        n_accounts=past.height,
        n_left=left,
        cutoffs=moments,
        running_now=tuple(sorted(found.filter(pl.col("start") == as_of)["account_id"])),
    )


def _plan(
    candidate: ExperimentCandidate, k: int, draws: int, horizon_days: int, power: float
) -> ExperimentPlan:
    stay = 1 - candidate.base_rate
    share = k / candidate.n_eligible
    trials = [candidate.n_eligible * stay**draw for draw in range(draws)]
    n_treated, n_control = sum(trials) * share, sum(trials) * (1 - share)
    smallest = smallest_detectable(
        base_rate=candidate.base_rate, n_treated=n_treated, n_control=n_control, power=power
    )
    return ExperimentPlan(
        candidate=candidate,
        k=k,
        draws=draws,
        horizon_days=horizon_days,
        n_treated=math.floor(n_treated),
        n_control=math.floor(n_control),
        smallest_effect=smallest,
        power=power,
        cost=n_treated * candidate.cost_per_account,
        is_sufficient=smallest <= candidate.prior_effect,
    )
