"""This module is about whom to act on, and with what: the policy that a lottery teaches.

Every account is given the arm whose expected outcome less its cost is largest, or none. That is the
best decision for who believes the expectation, whether or not accounts can be told apart with
confidence: where they can not, the expected effects lie close together, and all are decided alike.

What the policy is worth is told by accounts that it was not learned on, by their scores less the
costs, beside the simplest policy there is: the arm that was best on average, for everybody::

    value = mean of score[decided arm] − cost[decided arm]
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from experiments.effects import CONFIDENCE, clustered_error
from experiments.estimators.nuisances import Folds
from experiments.sample import Bools, Floats, Ints, SampleError
from experiments.uplift.expected_outcomes import expected_outcomes
from experiments.uplift.scores import Scores


@dataclass(frozen=True, kw_only=True)
class HeldOutValue:
    """What the policy brings per trial, beyond costs, on trials of accounts it did not see.

    ``alike`` is what the arm that was best on average brings; ``gain`` the paired difference, with
    its 95 % interval.
    """

    value: float
    alike: float
    gain: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Decided:
    """The arm of every account asked about (0: none), and what each arm would bring it.

    ``gain`` is accounts x arms: the expected outcome less that under none, less the cost.
    """

    arm: Ints
    gain: Floats
    held_out: HeldOutValue


def decide(scores: Scores, outcome: Floats, *, cost: Floats, asked: Floats,
           rng: np.random.Generator, reached: Bools | None = None) -> Decided:
    """Whom to act on, and with what, among accounts with these covariates.

    Args:
        scores: of trials under every arm.
        outcome: of the trials, in units of the costs.
        cost: of every arm, nothing for arm 0.
        asked: covariates of the accounts to decide about.
        rng: of the folds.
        reached: how far each trial came on the way to an outcome, as `expected_outcomes` reads it.

    Raises:
        SampleError: not one cost for every arm, one for none, or stages that can not be.
    """
    sample = scores.sample
    if cost.shape != (len(sample.arms),) or not np.isfinite(cost).all() or cost[0] != 0:
        raise SampleError(f"Give a cost for each of the arms {', '.join(sample.arms)}, 0 for the "
                          f"first.")
    expected = expected_outcomes(sample, outcome, asked=asked, reached=reached)
    gain = expected - expected[:, [0]] - cost
    return Decided(arm=np.asarray(gain.argmax(axis=1)), gain=gain,
                   held_out=_held_out(scores, outcome, cost, rng, reached))


def _held_out(scores: Scores, outcome: Floats, cost: Floats, rng: np.random.Generator,
              reached: Bools | None) -> HeldOutValue:
    sample = scores.sample
    judged = scores.score.mean(axis=0) - cost
    decided, alike = (np.empty(len(sample), dtype=np.int64) for _ in range(2))
    for fit, rest in Folds.draw(sample.cluster, sample.arm > 0, rng=rng).splits():
        decided[rest] = _learned(scores, outcome, cost, fit, rest, reached)
        alike[rest] = judged[fit].mean(axis=0).argmax()
    rows = np.arange(len(sample))
    brought, simply = judged[rows, decided], judged[rows, alike]
    gap = brought - simply
    gain = float(gap.mean())
    error, clusters = clustered_error((gap - gain) / gap.size, sample.cluster)
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, clusters - 1)) * error
    return HeldOutValue(value=float(brought.mean()), alike=float(simply.mean()), gain=gain,
                        low=gain - reach, high=gain + reach)


def _learned(scores: Scores, outcome: Floats, cost: Floats, fit: Bools, rest: Bools,
             reached: Bools | None) -> Ints:
    sample = scores.sample
    expected = expected_outcomes(sample.keep(fit), outcome[fit], asked=sample.covariates[rest],
                                 reached=None if reached is None else reached[fit])
    return np.asarray((expected - cost).argmax(axis=1))
