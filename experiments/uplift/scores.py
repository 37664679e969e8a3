"""This module is about the score of every trial under every action: its part in each effect.

Cross-fitted augmented inverse probability weighting for several arms (Robins, Rotnitzky and Zhao
1994; Chernozhukov et al. 2018). With propensity ``e_a`` and prediction ``m_a`` of arm ``a``::

    score_a = m_a + [arm = a] (Y - m_a) / e_a            effect of a: mean of score_a - score_0

Right when either the propensities or the outcome are predicted well, and only if everything that
drove both the choice and the outcome is among the covariates. Logged propensities are used where
they exist. The weights of each arm are scaled to stand for all trials, so that one trial with a
tiny probability does not decide. Mean effects, segments and learners are all sums of these scores.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from experiments.causal.estimates import effective_size
from experiments.causal.estimators.aipw import CLIP
from experiments.causal.estimators.nuisances import (
    Folds,
    design_matrix,
    predict_arms,
    predict_under_arms,
)
from experiments.causal.sample import Bools, Floats, SampleError
from experiments.uplift.arm_sample import ArmSample

REPEATS = 3
"""Times that the folds are redrawn; the median counts."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What the trials say about every arm: ``score`` is repeats x rows x arms.

    ``propensity`` (unclipped) and ``weight`` are of the first repeat; a row's weight is that of
    the arm it was in.
    """

    sample: ArmSample
    score: Floats
    propensity: Floats
    weight: Floats

    def of(self, action: int) -> Floats:
        """Repeats x rows: the score of an action less that of no action."""
        return np.asarray(self.score[:, :, action] - self.score[:, :, 0])

    def middle(self, action: int) -> Floats:
        """One score per row, the mean over repeats: what learners of single accounts are fitted to."""
        return np.asarray(self.of(action).mean(axis=0))

    def effective_n(self, action: int, rows: Bools | None = None) -> float:
        """Accounts of an even, equally weighted comparison that would be as precise (Kish).

        Over these rows, all by default; both arms have to be among them.
        """
        sizes = []
        for arm in (action, 0):
            chosen = self.sample.arm == arm if rows is None else rows & (self.sample.arm == arm)
            sums = np.bincount(self.sample.cluster[chosen], self.weight[chosen]).astype(float)
            sizes.append(effective_size(sums))
        return 4 / (1 / sizes[0] + 1 / sizes[1])


def cross_fit(
    sample: ArmSample, outcome: Floats, *, rng: np.random.Generator, repeats: int = REPEATS
) -> Scores:
    """The scores of an outcome under all arms; every prediction comes from other accounts.

    Raises:
        SampleError: an outcome that is not known for every trial, or fewer than two accounts.
    """
    if outcome.shape != (len(sample),) or not np.isfinite(outcome).all():
        raise SampleError(
            f"The outcome has to be known for each of the {len(sample)} trials; "
            f"leave trials out whose follow-up is not over."
        )
    if np.unique(sample.cluster).size < 2:
        raise SampleError("All trials belong to one cluster, so nothing can be cross-fitted.")
    matrix = design_matrix(sample.covariates)
    rounds = [_one_round(sample, matrix, outcome, rng) for _ in range(repeats)]
    first = rounds[0]
    return Scores(
        sample=sample,
        score=np.array([score for score, _, _ in rounds]),
        propensity=first[1],
        weight=first[2],
    )


def _one_round(
    sample: ArmSample,
    matrix: Floats,
    outcome: Floats,
    rng: np.random.Generator,
) -> tuple[Floats, Floats, Floats]:
    """Score and propensity of every arm, and the weight of every row in its own."""
    folds = Folds.draw(sample.cluster, sample.arm > 0, rng=rng)
    propensity = sample.propensity.copy()
    predicted = np.empty(propensity.shape)
    unlogged = ~sample.logged
    for fit, predict in folds.splits():
        seed = int(rng.integers(2**31 - 1))
        asked = predict & unlogged
        if asked.any():
            propensity[asked] = predict_arms(
                sample.covariates,
                matrix,
                sample.arm,
                len(sample.arms),
                fit=fit & unlogged,
                predict=asked,
                seed=seed,
            )
        predicted[predict] = predict_under_arms(
            sample.covariates,
            matrix,
            sample.arm,
            len(sample.arms),
            outcome,
            fit=fit,
            predict=predict,
            seed=seed,
        )
    weight = arm_weights(sample, propensity)
    own = np.arange(len(sample)), sample.arm
    score = predicted.copy()
    score[own] += weight * (outcome - predicted[own])
    return score, propensity, weight


def arm_weights(sample: ArmSample, propensity: Floats) -> Floats:
    """One over the clipped chance of the arm that a row was in; each arm sums to all rows."""
    own = np.clip(propensity[np.arange(len(sample)), sample.arm], CLIP, 1.0)
    weight = 1 / own
    totals = np.bincount(sample.arm, weights=weight, minlength=len(sample.arms))
    return np.asarray(weight * len(sample) / totals[sample.arm])
