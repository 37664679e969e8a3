"""Judge whether a horizon beyond 90 days is served, and what it must beat.

Each long horizon is judged on its own test rows, of the score that serves, the health formula and
the base rate. It is served only if it is better than the base rate in most draws of accounts: noise
alone would let half of the useless ones pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.dataset.training_set import TrainingSet
from training.metrics import Interval, evaluate, row_log_loss
from training.models.long_horizons import LongHorizonLabels, long_horizon_probability
from training.models.specs import BASE_RATE, ModelSpec, Parameters

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

BETTER_IN = 0.8
"""A long horizon is served where it is better than the base rate in this share of the draws."""


@dataclass(frozen=True, kw_only=True)
class JudgedLongHorizons:
    """The numbers of each contender at each long horizon, and the horizons that are refused."""

    metrics: Mapping[int, Mapping[str, Mapping[str, Interval]]]  # horizon, contender, metric
    refused: Mapping[int, str]


def judge_long_horizons(
    training: TrainingSet,
    long_horizons: LongHorizonLabels,
    best: ModelSpec,
    contenders: Sequence[tuple[ModelSpec, Parameters]],
    draws: Matrix,
    *,
    seed: int,
) -> JudgedLongHorizons:
    """Judge the best, beside others, at every long horizon that the data can judge.

    Args:
        training: rows at the shorter horizons.
        long_horizons: the outcomes, and the cutoffs that judge.
        best: whose score serves; among the contenders, as is the base rate.
        contenders: specs with their parameters.
        draws: of accounts, behind every interval.
        seed: of everything random.
    """
    metrics: dict[int, dict[str, Mapping[str, Interval]]] = {}
    refused: dict[int, str] = {}
    for horizon in long_horizons.horizons:
        test, outcome = long_horizons.test[horizon], long_horizons.outcomes[horizon]
        rows = training.rows_at(test) & ~np.isnan(outcome)
        y, account = outcome[rows], training.account[rows]
        known = {
            h: o for h, o in long_horizons.outcomes.items() if h <= horizon and h not in refused
        }
        probabilities = {
            spec.name: long_horizon_probability(
                spec, training, known, rows, parameters, at=test[0], seed=seed
            )[horizon]
            for spec, parameters in contenders
        }
        metrics[horizon] = {
            name: evaluate(y, p, account, draws) for name, p in probabilities.items()
        }
        gained = row_log_loss(y, probabilities[BASE_RATE.name]) - row_log_loss(
            y, probabilities[best.name]
        )
        better = _share_better(gained, account, draws)
        if better < BETTER_IN:
            own, base = (
                metrics[horizon][name]["log_loss"].value for name in (best.name, BASE_RATE.name)
            )
            refused[horizon] = (
                f"On later rows its log loss is {own:.4f} there and that of the base rate "
                f"{base:.4f}; it is better in {better:.0%} of the draws of accounts, and "
                f"{BETTER_IN:.0%} are required."
            )
    return JudgedLongHorizons(metrics=metrics, refused=refused)


def _share_better(gained: Vector, account: NDArray[np.int64], draws: Matrix) -> float:
    """In how many draws of accounts the mean gain is above zero."""
    sums = np.bincount(account, weights=gained, minlength=draws.shape[1])
    return float(((draws @ sums) > 0).mean())
