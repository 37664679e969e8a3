"""Judge groups of accounts: by segment, service tier and tenure.

A group is judged only where enough different accounts had the outcome and enough did not: with
fewer its interval would be as wide as the scale, so it gets "too few to judge" and no number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.backtest.run import BacktestRows
from training.metrics import Interval, auc, evaluate, row_log_loss
from training.models.specs import BASE_RATE

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

LEAST_ACCOUNTS = 10
"""The number of accounts with the outcome, and without, needed to judge: with ten, the 95 %
interval of an AUC of 0.7 is already 0.3 wide (Hanley and McNeil 1982)."""

TENURE = "tenure_days"
TENURE_BANDS = (
    (0, "under 90 days"),
    (90, "90 to 179 days"),
    (180, "180 to 364 days"),
    (365, "a year and more"),
)
"""First day of each band, and its name."""

TRAITS = ("segment", "service_tier", TENURE)
"""The traits that rows are grouped by."""

UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class GroupMetrics:
    """The metrics of every contender on a group, and the best one's predicted rate there."""

    metrics: Mapping[str, Mapping[str, Interval]]  # contender, metric
    ranking: Mapping[str, Interval]  # contender: AUC among the accounts of one cutoff
    over_base_rate: Interval  # log loss of the best minus that of the base rate
    promised: float  # mean probability of the best
    observed: Interval  # share with the outcome
    gap: Interval  # observed minus promised


@dataclass(frozen=True, kw_only=True)
class Group:
    """The rows of one group at one horizon; without a verdict, they are too few to judge."""

    dimension: str
    name: str
    horizon: int
    n_rows: int
    n_outcomes: int
    n_accounts: int
    n_accounts_with_outcome: int
    verdict: GroupMetrics | None


def judge_groups(rows: BacktestRows, best: str, draws: Matrix) -> tuple[Group, ...]:
    """Judge every group of every known dimension at every horizon."""
    return tuple(
        judge_group(rows, labels == name, position, best, draws, dimension=dimension, name=name)
        for dimension, labels in dimensions(rows).items()
        for name in _in_order(dimension, labels)
        for position in range(len(rows.horizons))
    )


def judge_group(
    rows: BacktestRows,
    inside: NDArray[np.bool_],
    position: int,
    best: str,
    draws: Matrix,
    *,
    dimension: str,
    name: str,
) -> Group:
    """Judge the rows ``inside`` at the horizon in this position."""
    inside = inside & rows.decided(position)
    y, account = rows.outcomes[inside, position], rows.account[inside]
    happened, spared = np.unique(account[y == 1]), np.unique(account[y == 0])
    verdict = None
    if min(len(happened), len(spared)) >= LEAST_ACCOUNTS:
        p = {contender: every[inside, position] for contender, every in rows.probabilities.items()}
        verdict = GroupMetrics(
            metrics={contender: evaluate(y, p[contender], account, draws) for contender in p},
            ranking={
                contender: auc_at_a_cutoff(y, p[contender], rows.cutoff[inside], account, draws)
                for contender in p
            },
            over_base_rate=mean_over_accounts(
                row_log_loss(y, p[best]) - row_log_loss(y, p[BASE_RATE.name]), account, draws
            ),
            promised=float(p[best].mean()),
            observed=mean_over_accounts(y, account, draws),
            gap=mean_over_accounts(y - p[best], account, draws),
        )
    return Group(
        dimension=dimension,
        name=name,
        horizon=rows.horizons[position],
        n_rows=len(y),
        n_outcomes=int(y.sum()),
        n_accounts=len(np.unique(account)),
        n_accounts_with_outcome=len(happened),
        verdict=verdict,
    )


def dimensions(rows: BacktestRows) -> dict[str, NDArray[np.str_]]:
    """The name of each row's group, by dimension; unknown dimensions are left out."""
    named: dict[str, NDArray[np.str_]] = {}
    for trait, values in rows.traits.items():
        if all(value is None for value in values):
            continue
        names = (
            [_band(value) for value in values]
            if trait == TENURE
            else [UNKNOWN if value is None else str(value) for value in values]
        )
        named[_spoken(trait)] = np.array(names)
    return named


def unknown_dimensions(rows: BacktestRows) -> tuple[str, ...]:
    """A sentence for each dimension that is not known of any account."""
    return tuple(
        _spoken(trait)
        for trait, values in rows.traits.items()
        if all(value is None for value in values)
    )


def auc_at_a_cutoff(
    y: Vector, p: Vector, cutoff: NDArray[np.int64], account: NDArray[np.int64], draws: Matrix
) -> Interval:
    """The share of pairs at one cutoff, one account with the outcome and one without, in order.

    Over all cutoffs at once, a base rate that follows a rising rate has an AUC above 0.5 and
    ranks nobody; a team chooses among accounts of one moment.
    """
    weights = np.concatenate((np.ones((1, draws.shape[1])), draws))[:, account]
    ordered, pairs = np.zeros(len(weights)), np.zeros(len(weights))
    for at in np.unique(cutoff):
        rows = cutoff == at
        w = weights[:, rows]
        there = (w * y[rows]).sum(axis=1) * (w * (1 - y[rows])).sum(axis=1)
        ordered += np.where(there > 0, auc(y[rows], p[rows], w), 0.0) * there
        pairs += there
    if pairs[0] == 0:  # everybody with the outcome at one cutoff, everybody without at others
        return Interval(value=0.5, low=0.0, high=1.0)
    drawn = pairs[1:] > 0
    low, high = np.quantile(ordered[1:][drawn] / pairs[1:][drawn], [0.025, 0.975])
    return Interval(value=float(ordered[0] / pairs[0]), low=float(low), high=float(high))


def mean_over_accounts(x: Vector, account: NDArray[np.int64], draws: Matrix) -> Interval:
    """The mean over rows, with an interval from drawing whole accounts."""
    width = draws.shape[1]
    total, count = np.bincount(account, x, width), np.bincount(account, minlength=width)
    drawn = draws @ count
    means = (draws @ total)[drawn > 0] / drawn[drawn > 0]
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(value=float(x.mean()), low=float(low), high=float(high))


def _spoken(trait: str) -> str:
    return "tenure" if trait == TENURE else trait.replace("_", " ")


def _band(days: str | float | None) -> str:
    if days is None:
        return UNKNOWN
    return [name for first, name in TENURE_BANDS if float(days) >= first][-1]


def _in_order(dimension: str, labels: NDArray[np.str_]) -> list[str]:
    there = [str(name) for name in np.unique(labels)]
    bands = [name for _, name in TENURE_BANDS]
    return sorted(
        there,
        key=lambda name: (
            name == UNKNOWN,
            bands.index(name) if dimension == "tenure" and name in bands else 0,
            name,
        ),
    )
