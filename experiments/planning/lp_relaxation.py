"""The best plan in which actions may be done in part: a bound, and prices.

A linear programme over all options at once, solved by HiGHS. Pure and without chance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import linprog

from experiments.planning.options import NOBODY, Options
from experiments.planning.team import PlanningError, Team

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

MOST_SECONDS = 120.0
"""The solver's time limit; 20,000 accounts with five offers each take one second."""

ROUNDING = 1e-7
A_LITTLE_MORE = 1e-5
"""A little is added to every limit: a limit that is met exactly could have the price of one hour
less, and the price of one more is wanted."""


@dataclass(frozen=True, kw_only=True)
class Relaxation:
    """The best plan in parts.

    ``share`` is the part of each option that is done; ``hour_price`` the value of one more hour of
    each resource, ``budget_price`` that of one more unit of money, ``care_price`` the cost of the
    last account of each tier's care; ``worth`` of each option is its value at these prices.
    """

    bound: float
    share: Floats
    hour_price: Floats
    budget_price: Floats
    care_price: Floats
    worth: Floats
    short: Floats  # accounts that each tier's care lacks; 0 where the limits allow it


@dataclass(frozen=True, kw_only=True)
class ResourceLimits:
    """The limits of a team over its options: rows of ``matrix @ share <= most``."""

    matrix: sparse.csc_array
    most: Floats
    budgets: int


def limit_resources(options: Options, team: Team) -> ResourceLimits:
    """Hours of everybody, then budgets, as one sparse matrix over the options."""
    places = np.flatnonzero(options.resource != NOBODY)
    hours = sparse.csc_array(
        (options.hours[places], (options.resource[places], places)),
        shape=(len(options.resources), len(options.offer)),
    )
    money = sparse.csc_array(options.budget * options.cost)
    return ResourceLimits(
        matrix=sparse.vstack([hours, money], format="csc"),
        most=np.concatenate([options.capacity, [budget.amount for budget in team.budgets]]),
        budgets=len(team.budgets),
    )


def relax(options: Options, team: Team, *, care_only: bool = False) -> Relaxation:
    """The best plan in parts of the options, within the team's limits.

    Where the care of a tier does not fit, it is met as far as possible (``short``): an account of
    care outweighs any value. With ``care_only`` nothing but care counts, and the prices show the
    limits that prevent it.

    Raises:
        PlanningError: the solver found no answer.
    """
    limits = limit_resources(options, team)
    value = np.zeros_like(options.value) if care_only else options.value
    columns = _columns(options, team, value)
    if not columns.width:  # no option could pay; HiGHS refuses an empty programme
        return _nothing(options, limits)
    rows = [
        _limit_rows(columns, limits),
        *_once_rows(columns, team),
        *_care_rows(columns, options, team),
    ]
    penalty = 1.0 if care_only else _outweighs(options)
    gain = np.concatenate(
        [value[columns.option], np.zeros(len(columns.tended)), np.full(columns.tiers, -penalty)]
    )
    upper = np.concatenate(
        [np.ones(columns.n + len(columns.tended)), np.full(columns.tiers, np.inf)]
    )
    answer = linprog(
        -gain,
        A_ub=sparse.vstack([_widened(each.matrix, columns.width) for each in rows], format="csc"),
        b_ub=np.concatenate([each.most for each in rows]),
        bounds=np.column_stack([np.zeros(columns.width), upper]),
        method="highs-ds",
        options={"time_limit": MOST_SECONDS},
    )
    if answer.status != 0:
        raise PlanningError(f"The solver found no plan: {answer.message}")
    short = answer.x[columns.n + len(columns.tended) :]
    return _read(
        options,
        columns,
        limits,
        answer.x,
        -np.asarray(answer.ineqlin.marginals),
        bound=float(-answer.fun + penalty * short.sum()),
    )


@dataclass(frozen=True, kw_only=True)
class ProgrammeRows:
    """Some rows of the programme: ``matrix @ x <= most``, columns beyond the matrix are 0."""

    matrix: sparse.csc_array
    most: Floats


@dataclass(frozen=True, kw_only=True)
class ProgrammeColumns:
    """The variables of the programme: shares of options, whether an account is tended, and the
    missing care of each tier, in this order. Only options that could be part of an answer."""

    option: Places
    account: Places  # of each option here
    group: Places
    cared: NDArray[np.bool_]  # of each account: its tier is owed care
    tended: Places  # the accounts of these options that are owed care
    tiers: int

    @property
    def n(self) -> int:
        """The number of options."""
        return len(self.option)

    @property
    def width(self) -> int:
        """The number of columns."""
        return self.n + len(self.tended) + self.tiers


def _columns(options: Options, team: Team, value: Floats) -> ProgrammeColumns:
    asked = np.array([each.accounts for each in team.care], dtype=float)
    cared = (
        (options.tier >= 0) & (asked[options.tier] > 0)
        if len(asked)
        else (np.zeros(len(options.accounts), dtype=bool))
    )
    option = np.flatnonzero((value > 0) | cared[options.account])
    account = options.account[option]
    return ProgrammeColumns(
        option=option,
        account=account,
        group=options.group[option],
        cared=cared,
        tended=np.unique(account[cared[account]]),
        tiers=len(asked),
    )


def _limit_rows(columns: ProgrammeColumns, limits: ResourceLimits) -> ProgrammeRows:
    """Hours of everybody, then budgets: the first rows, where prices are read."""
    return ProgrammeRows(matrix=limits.matrix[:, columns.option], most=limits.most + A_LITTLE_MORE)


def _once_rows(columns: ProgrammeColumns, team: Team) -> list[ProgrammeRows]:
    """The actions per account, and at most one of each group of substitutes."""
    each = [(columns.account, float(team.actions_per_account))]
    if team.actions_per_account > 1:  # else the account's row says it already
        each.append((columns.group, 1.0))
    rows = []
    for of, cap in each:
        names, place = np.unique(of, return_inverse=True)
        rows.append(
            ProgrammeRows(
                matrix=sparse.csc_array(
                    (np.ones(columns.n), (place, np.arange(columns.n))),
                    shape=(len(names), columns.n),
                ),
                most=np.full(len(names), cap),
            )
        )
    return rows


def _care_rows(columns: ProgrammeColumns, options: Options, team: Team) -> list[ProgrammeRows]:
    """An account is tended by its own options; then the care of each tier: the last rows."""
    rows = []
    n, tended = columns.n, len(columns.tended)
    if tended:
        theirs = np.flatnonzero(columns.cared[columns.account])
        place = np.searchsorted(columns.tended, columns.account[theirs])
        done = sparse.csc_array((-np.ones(len(theirs)), (place, theirs)), shape=(tended, n))
        rows.append(
            ProgrammeRows(
                matrix=sparse.hstack([done, sparse.eye_array(tended)], format="csc"),
                most=np.zeros(tended),
            )
        )
    if columns.tiers:
        tier = options.tier[columns.tended]
        met = sparse.csc_array(
            (-np.ones(tended), (tier, n + np.arange(tended))), shape=(columns.tiers, n + tended)
        )
        asked = np.array([each.accounts for each in team.care], dtype=float)
        rows.append(
            ProgrammeRows(
                matrix=sparse.hstack([met, -sparse.eye_array(columns.tiers)], format="csc"),
                most=A_LITTLE_MORE - asked,
            )
        )
    return rows


def _widened(matrix: sparse.csc_array, width: int) -> sparse.csc_array:
    missing = sparse.csc_array((matrix.shape[0], width - matrix.shape[1]))
    return sparse.hstack([matrix, missing], format="csc")


def _read(
    options: Options,
    columns: ProgrammeColumns,
    limits: ResourceLimits,
    x: Floats,
    prices: Floats,
    *,
    bound: float,
) -> Relaxation:
    """The solver's answer for every option and limit."""
    share = np.zeros(len(options.offer))
    share[columns.option] = np.clip(x[: columns.n], 0.0, 1.0)
    short = x[columns.n + len(columns.tended) :]
    people = len(options.resources)
    hour_price = np.maximum(prices[:people], 0.0)
    budget_price = np.maximum(prices[people : people + limits.budgets], 0.0)
    return Relaxation(
        bound=bound,
        share=share,
        hour_price=hour_price,
        budget_price=budget_price,
        care_price=np.maximum(prices[len(prices) - columns.tiers :], 0.0),
        worth=options.value - limits.matrix.T @ np.concatenate([hour_price, budget_price]),
        short=np.where(short > ROUNDING, short, 0.0),
    )


def _nothing(options: Options, limits: ResourceLimits) -> Relaxation:
    none = np.zeros(len(options.offer))
    return Relaxation(
        bound=0.0,
        share=none,
        hour_price=np.zeros(len(options.resources)),
        budget_price=np.zeros(limits.budgets),
        care_price=np.zeros(0),
        worth=none,
        short=np.zeros(0),
    )


def _outweighs(options: Options) -> float:
    """The penalty of a missing account of care: more than any value."""
    return 1.0 + 10.0 * float(np.abs(options.value).max(initial=0.0))
