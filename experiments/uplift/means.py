"""This module is about the mean effect of every action, over everybody or over a segment.

The median over the repeats of the folds, with the spread between repeats in the error (Chernozhukov
et al. 2018, definition 3.3); errors clustered by account. Arrays in, values out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from experiments.causal.estimates import CONFIDENCE, clustered_error
from experiments.causal.sample import Bools, Floats, Ints, SampleError
from experiments.uplift.scores import Scores


@dataclass(frozen=True, kw_only=True)
class MeanEffect:
    """The mean effect of one action against none, in units of the outcome.

    ``n`` counts the trials averaged over, ``n_treated`` and ``n_untouched`` those in the two arms,
    ``n_clusters`` accounts.
    """

    action: str
    estimate: float
    standard_error: float
    low: float
    high: float
    p_value: float
    n: int
    n_treated: int
    n_untouched: int
    n_clusters: int


def mean_effects(scores: Scores) -> tuple[MeanEffect, ...]:
    """The mean effect of every action over all trials, in the order of the arms."""
    everybody = np.ones(len(scores.sample), dtype=bool)
    return tuple(
        mean_effect(scores, number, everybody) for number in range(1, len(scores.sample.arms))
    )


def mean_effect(scores: Scores, action: int, rows: Bools) -> MeanEffect:
    """The mean effect of one action over these trials.

    Raises:
        SampleError: no variation between accounts, so that no error can be estimated.
    """
    sample = scores.sample
    arm = sample.arm[rows]
    value, error, clusters = mean_and_error(scores.of(action)[:, rows], sample.cluster[rows])
    if error == 0:
        raise SampleError(
            f"{sample.arms[action]!r}: every one of {int(rows.sum())} trials says the same, so no "
            f"error can be estimated. Wait until accounts have left and stayed."
        )
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, clusters - 1)) * error
    return MeanEffect(
        action=sample.arms[action],
        estimate=value,
        standard_error=error,
        low=value - reach,
        high=value + reach,
        p_value=float(2 * stats.t.sf(abs(value) / error, clusters - 1)),
        n=int(rows.sum()),
        n_treated=int((arm == action).sum()),
        n_untouched=int((arm == 0).sum()),
        n_clusters=clusters,
    )


def mean_and_error(scores: Floats, cluster: Ints) -> tuple[float, float, int]:
    """Median over repeats (rows of ``scores``) of the mean, its error, and the clusters."""
    values = scores.mean(axis=1)
    errors, clusters = [], 0
    for value, row in zip(values, scores, strict=True):
        error, clusters = clustered_error((row - value) / row.size, cluster)
        errors.append(error)
    middle = float(np.median(values))
    spread = np.square(errors) + (values - middle) ** 2
    return middle, math.sqrt(float(np.median(spread))), clusters
