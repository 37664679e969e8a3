"""The results of an estimator: scores of every trial under every arm, and contrasts of two arms.

A ``Contrast`` holds, for every row, the two numbers whose sums give the effect of one action
against none, so that the effect of any part of the rows (a segment) is a second sum and not a
second fit::

    effect = sum(numerator) / sum(denominator)

``Scores`` hold a score of every row under every arm: the contrast of an action is its score less
that of no action. Values only; estimates nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from experiments.causal.sample import Bools, Estimand, Floats, Ints, Sample

CLIP = 0.01
"""Propensities are clipped this far from 0 and 1; `has_counterparts` decides which rows compare."""

LEAST_COUNTERPARTS = 3
"""A row needs this many rows of the other arm with a propensity at least as extreme. A bound on the
propensity alone is not enough, because a model smooths over regions without such rows."""


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """One action against none, for one outcome: per repeat and row, numerator and denominator.

    ``propensity`` and ``weight`` are of the first repeat: the probability of each arm that was
    used, and the weight with which a row enters the comparison (0 when trimmed). ``comparable``
    are the rows of the estimand that have counterparts; ``kept`` are the rows that enter.
    """

    sample: Sample
    action: int
    estimand: Estimand
    numerator: Floats  # repeats x rows
    denominator: Floats  # repeats x rows
    propensity: Floats  # rows x arms
    weight: Floats
    comparable: Bools
    kept: Bools

    @property
    def treated(self) -> Bools:
        """Rows that received the action."""
        return np.asarray(self.sample.arm == self.action)

    @property
    def untreated(self) -> Bools:
        """Rows that received no action."""
        return np.asarray(self.sample.arm == 0)

    @property
    def cluster(self) -> Ints:
        """The clusters of the errors."""
        return self.sample.cluster

    @property
    def chance(self) -> Floats:
        """Probability of the action, given that it is the action or none."""
        return pair_chance(self.propensity, self.action)

    @property
    def n_trimmed(self) -> int:
        """Rows without comparable rows in the other arm, left out."""
        return int((~self.kept).sum())


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The scores of the trials under every arm: ``score`` is repeats x rows x arms.

    ``propensity`` (unclipped) and ``weight`` are of the first repeat; a row's weight is that of
    the arm it was in.
    """

    sample: Sample
    score: Floats
    propensity: Floats
    weight: Floats

    def of(self, action: int) -> Floats:
        """Repeats x rows: the score of an action less that of no action."""
        return np.asarray(self.score[:, :, action] - self.score[:, :, 0])

    def middle(self, action: int) -> Floats:
        """One score per row, the mean over repeats, to which learners of single accounts are fitted."""
        return np.asarray(self.of(action).mean(axis=0))

    def contrast(self, action: int, estimand: Estimand = "ATE") -> Contrast:
        """The action against none, over all trials."""
        rows, repeats = len(self.sample), self.score.shape[0]
        arm = self.sample.arm
        return Contrast(
            sample=self.sample,
            action=action,
            estimand=estimand,
            numerator=self.of(action),
            denominator=np.ones((repeats, rows)),
            propensity=self.propensity,
            weight=self.weight,
            comparable=has_counterparts(self.propensity, arm, action)
            & has_counterparts(self.propensity, arm, 0),
            kept=np.ones(rows, dtype=bool),
        )

    def effective_n(self, action: int, rows: Bools | None = None) -> float:
        """The accounts of an even, equally weighted comparison with the same precision (Kish).

        Over these rows, all by default; both arms have to be among them.
        """
        everybody = np.ones(len(self.sample), dtype=bool) if rows is None else rows
        sizes = [
            effective_clusters(
                self.sample.cluster, self.weight, everybody & (self.sample.arm == arm)
            )
            for arm in (action, 0)
        ]
        return 4 / (1 / sizes[0] + 1 / sizes[1])


def pair_chance(propensity: Floats, action: int) -> Floats:
    """Probability of the action given that it is the action or none; propensity is rows x arms."""
    either = propensity[:, action] + propensity[:, 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(propensity[:, action] / either)


def has_counterparts(propensity: Floats, in_arm: Ints, arm: int) -> Bools:
    """Whether enough rows of this arm had no larger chance of it than each row."""
    chance = propensity[:, arm]
    received = np.sort(chance[in_arm == arm])
    least = float(received[min(LEAST_COUNTERPARTS, len(received)) - 1])
    return np.asarray(chance >= max(least, CLIP))


def effective_size(weight: Floats) -> float:
    """The number of equally weighted rows with the same precision (Kish).

    >>> effective_size(np.array([1.0, 1.0, 1.0, 1.0])), effective_size(np.array([1.0, 0.0]))
    (4.0, 1.0)
    """
    squares = float(np.sum(weight**2))
    return float(np.sum(weight)) ** 2 / squares if squares > 0 else 0.0


def effective_clusters(cluster: Ints, weight: Floats, rows: Bools) -> float:
    """The number of equally weighted clusters with the same precision, among these rows."""
    if not rows.any():
        return 0.0
    return effective_size(np.bincount(cluster[rows], weight[rows]).astype(float))
