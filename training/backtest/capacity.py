"""Measure the revenue that a team reaches if it can act on some accounts at every cutoff.

At each cutoff the accounts are ordered by the MRR that is expected to go (or to come): probability
times MRR. Revenue captured is the share of the MRR lost that belonged to the first ``capacity``
accounts; lift is their outcome rate divided by that of all accounts. Accounts with equal scores
share the last places.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.metrics import Interval

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class CapturedShare:
    """The revenue captured and the lift of the first accounts of every cutoff."""

    share: Interval  # of the MRR that went
    lift: Interval


def captured_share(
    y: Vector,
    value: Vector,
    score: Vector,
    cutoff: NDArray[np.int64],
    account: NDArray[np.int64],
    draws: Matrix,
    *,
    capacity: int,
) -> CapturedShare:
    """The share captured by the ``capacity`` highest scores of every cutoff, with intervals over
    accounts.

    Args:
        y: 0 or 1 per row.
        value: MRR that goes with the outcome, per row.
        score: the order of the accounts, highest first.
        cutoff: the moment when the team chooses among the accounts.
        account: of each row, a position in the draws.
        draws: from ``account_draws``.
        capacity: accounts that can be called at a cutoff.
    """
    weights = np.concatenate((np.ones((1, draws.shape[1])), draws))[:, account]
    sums = np.zeros((4, len(weights)))  # value and outcomes reached, rows reached, all value
    for at in np.unique(cutoff):
        rows = cutoff == at
        sums += _reached(y[rows], value[rows], score[rows], weights[:, rows], capacity)
    share = _over(sums[0], sums[3])
    rate = _over((weights * y).sum(axis=1), weights.sum(axis=1))
    return CapturedShare(
        share=_interval(share), lift=_interval(_over(_over(sums[1], sums[2]), rate))
    )


def _reached(y: Vector, value: Vector, score: Vector, w: Matrix, capacity: int) -> Matrix:
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    weight = w[:, order]
    total, happened, money = (
        np.add.reduceat(weight * part[order], starts, axis=1)
        for part in (np.ones_like(y), y, y * value)
    )
    before = np.cumsum(total, axis=1) - total
    taken = np.clip(capacity - before, 0, total)
    part = _over(taken, total)
    part[np.isnan(part)] = 0.0
    return np.stack(
        (
            (money * part).sum(axis=1),
            (happened * part).sum(axis=1),
            taken.sum(axis=1),
            money.sum(axis=1),
        )
    )


def _over(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    result = np.full(a.shape, np.nan)
    np.divide(a, b, out=result, where=b > 0)
    return result


def _interval(of: Vector) -> Interval:
    low, high = np.nanquantile(of[1:], [0.025, 0.975])
    return Interval(value=float(of[0]), low=float(low), high=float(high))
