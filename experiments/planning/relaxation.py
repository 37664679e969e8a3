"""This module is about the best plan in which actions may be done in part: a bound, and prices.

A linear programme over all options at once, solved by HiGHS. Pure and without chance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import linprog

from experiments.planning.offers import NOBODY, Options
from experiments.planning.team import PlanningError, Team

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

ROUNDING = 1e-7
A_LITTLE_MORE = 1e-5
"""Hours, money and leeway of care besides what there is: where a limit is met exactly its price
could be that of one hour less, and what is asked for is that of one more."""


@dataclass(frozen=True, kw_only=True)
class Relaxation:
    """The best plan in parts.

    ``share`` is how much of each option is done; ``hour_price`` what one more hour of each
    resource would add, ``budget_price`` one more unit of money, ``care_price`` what the last
    account of each tier's care costs; ``worth`` of each option is its value at these prices.
    """

    bound: float
    share: Floats
    hour_price: Floats
    budget_price: Floats
    care_price: Floats
    worth: Floats
    short: Floats  # accounts that each tier's care lacks; 0 where the limits allow it


@dataclass(frozen=True, kw_only=True)
class Limited:
    """The limits of a team over its options: rows of ``matrix @ share <= most``."""

    matrix: sparse.csc_array
    most: Floats
    budgets: int


def limited(options: Options, team: Team) -> Limited:
    """Hours of everybody, then budgets, as one sparse matrix over the options."""
    places = np.flatnonzero(options.resource != NOBODY)
    hours = sparse.csc_array(
        (options.hours[places], (options.resource[places], places)),
        shape=(len(options.resources), len(options.offer)))
    money = sparse.csc_array(options.budget * options.cost)
    return Limited(
        matrix=sparse.vstack([hours, money], format="csc"),
        most=np.concatenate([options.capacity, [budget.amount for budget in team.budgets]]),
        budgets=len(team.budgets))


def relax(options: Options, team: Team, *, care_only: bool = False) -> Relaxation:
    """The best plan in parts of the options, within the team's limits.

    Where the care of a tier does not fit, it is met as far as possible (``short``): an account of
    care outweighs any value. With ``care_only`` nothing but care counts, and the prices say which
    limits stand in its way.

    Raises:
        PlanningError: the solver found no answer.
    """
    limits = limited(options, team)
    value = np.zeros_like(options.value) if care_only else options.value
    penalty = 1.0 if care_only else _outweighs(options)
    care = np.array([each.accounts for each in team.care], dtype=float)
    cared = (options.tier >= 0) & (care[options.tier] > 0) if len(care) else (
        np.zeros(len(options.accounts), dtype=bool))
    columns = np.flatnonzero((value > 0) | cared[options.account])
    return _solve(options, team, limits, value, columns, penalty, cared, care)


def _outweighs(options: Options) -> float:
    return 1.0 + 10.0 * float(np.abs(options.value).max(initial=0.0))


def _solve(options: Options, team: Team, limits: Limited, value: Floats, columns: Places,
           penalty: float, cared: NDArray[np.bool_], care: Floats) -> Relaxation:
    """The programme over these options; the others could not be part of its answer."""
    account, group = options.account[columns], options.group[columns]
    n = len(columns)
    tended = np.unique(account[cared[account]])
    tiers = len(care)
    width = n + len(tended) + tiers  # shares, whether an account is tended, what care lacks
    people = len(options.resources)
    if not width:  # nothing could pay; HiGHS refuses an empty programme
        nothing = np.zeros(len(options.offer))
        return Relaxation(bound=0.0, share=nothing, hour_price=np.zeros(people),
                          budget_price=np.zeros(limits.budgets), care_price=np.zeros(0),
                          worth=nothing, short=np.zeros(0))
    rows: list[sparse.csc_array] = []
    most: list[Floats] = []

    def add(matrix: sparse.csc_array, bound: Floats) -> None:
        rows.append(sparse.hstack(
            [matrix, sparse.csc_array((matrix.shape[0], width - matrix.shape[1]))], format="csc"))
        most.append(bound)

    add(limits.matrix[:, columns], limits.most + A_LITTLE_MORE)
    for of, cap in ((account, float(team.actions_per_account)), (group, 1.0)):
        if of is group and team.actions_per_account == 1:
            break
        names, place = np.unique(of, return_inverse=True)
        add(sparse.csc_array((np.ones(n), (place, np.arange(n))), shape=(len(names), n)),
            np.full(len(names), cap))
    if len(tended):
        theirs = np.flatnonzero(cared[account])
        done = sparse.csc_array(
            (-np.ones(len(theirs)), (np.searchsorted(tended, account[theirs]), theirs)),
            shape=(len(tended), n))
        add(sparse.hstack([done, sparse.eye_array(len(tended))], format="csc"),
            np.zeros(len(tended)))
    if tiers:
        tier = options.tier[tended]
        met = sparse.csc_array((-np.ones(len(tended)), (tier, n + np.arange(len(tended)))),
                               shape=(tiers, n + len(tended)))
        add(sparse.hstack([met, -sparse.eye_array(tiers)], format="csc"), A_LITTLE_MORE - care)
    gain = np.concatenate([value[columns], np.zeros(len(tended)), np.full(tiers, -penalty)])
    upper = np.concatenate([np.ones(n + len(tended)), np.full(tiers, np.inf)])
    answer = linprog(-gain, A_ub=sparse.vstack(rows, format="csc"), b_ub=np.concatenate(most),
                     bounds=np.column_stack([np.zeros(width), upper]), method="highs-ds")
    if answer.status != 0:
        raise PlanningError(f"The solver found no plan: {answer.message}")
    prices = -np.asarray(answer.ineqlin.marginals)
    share = np.zeros(len(options.offer))
    share[columns] = np.clip(answer.x[:n], 0.0, 1.0)
    short = answer.x[n + len(tended):]
    hour_price = np.maximum(prices[:people], 0.0)
    budget_price = np.maximum(prices[people:people + limits.budgets], 0.0)
    return Relaxation(
        bound=float(-answer.fun + penalty * short.sum()), share=share, hour_price=hour_price,
        budget_price=budget_price,
        care_price=np.maximum(prices[len(prices) - tiers:], 0.0) if tiers else np.zeros(0),
        worth=options.value - limits.matrix.T @ np.concatenate([hour_price, budget_price]),
        short=np.where(short > ROUNDING, short, 0.0))
