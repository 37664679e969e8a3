"""Decide the arm of every account: the policy that is learned from a lottery.

Two policies come from the same expected outcomes. One decides by account: each gets the arm with
the largest expected outcome less its cost, or none. The other is the simplest: everybody gets the
arm for which that is largest on average. Their values are estimated on held-out trials, by the
scores less the costs::

    value = mean of score[decided arm] − cost[decided arm]

Accounts are decided one by one if that brought more there than the same for everybody. Proof is not
needed: a decision is due, and waiting for proof costs more than a wrong choice. If the expected
differences do not show on held-out trials, everybody gets the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from experiments.causal.contrast import Scores
from experiments.causal.estimates import CONFIDENCE, clustered_error
from experiments.causal.estimators.nuisances import Folds
from experiments.causal.sample import Bools, Floats, Ints, SampleError
from experiments.targeting.outcome_model import expected_outcomes


@dataclass(frozen=True, kw_only=True)
class HeldOutValue:
    """The value per trial of deciding by account, beyond costs, on held-out trials.

    ``alike`` is the value of the arm that was expected to be best on average for everybody;
    ``gain`` is the paired difference, with its 95 % interval.
    """

    value: float
    alike: float
    gain: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class ArmDecisions:
    """The arm of every account (0: none), and the expected gain of each arm.

    ``told_apart`` is the arm that gains most for each account, ``alike`` the one that gains most
    on average over the trials. ``gain`` is accounts x arms: the expected
    outcome less that under none, less the cost.
    """

    told_apart: Ints
    alike: int
    gain: Floats
    held_out: HeldOutValue

    @property
    def tells_apart(self) -> bool:
        """Whether each account gets its own arm, because that brought more on held-out trials."""
        return self.held_out.gain > 0

    @property
    def arm(self) -> Ints:
        """The decided arm of each account."""
        return self.told_apart if self.tells_apart else np.full_like(self.told_apart, self.alike)


def decide_arms(
    scores: Scores,
    outcome: Floats,
    *,
    cost: Floats,
    asked: Floats,
    rng: np.random.Generator,
    reached: Bools | None = None,
) -> ArmDecisions:
    """Decide the arm of accounts with these covariates.

    Args:
        scores: of trials under every arm.
        outcome: of the trials, in units of the costs.
        cost: of every arm, nothing for arm 0.
        asked: covariates of the accounts to decide about.
        rng: of the folds.
        reached: how far each trial came on the way to an outcome, as `expected_outcomes` reads it.

    Raises:
        SampleError: costs that do not fit the arms, or invalid stages.
    """
    sample = scores.sample
    if cost.shape != (len(sample.arms),) or not np.isfinite(cost).all() or cost[0] != 0:
        raise SampleError(
            f"Give a cost for each of the arms {', '.join(sample.arms)}, 0 for the first."
        )
    both = np.vstack([asked, sample.covariates])
    expected = expected_outcomes(sample, outcome, asked=both, reached=reached)
    every = expected - expected[:, [0]] - cost
    gain, of_trials = every[: len(asked)], every[len(asked) :]
    held_out = held_out_gains(scores, outcome, rng, reached)
    return ArmDecisions(
        told_apart=np.asarray(gain.argmax(axis=1)),
        gain=gain,
        alike=int(of_trials.mean(axis=0).argmax()),
        held_out=held_out_value(scores, held_out, cost),
    )


@dataclass(frozen=True, kw_only=True)
class HeldOutGains:
    """The expected gain of each arm in every trial, learned from other accounts, and the trial's fold."""

    gain: Floats  # trials x arms, costs not counted
    fold: Ints


def held_out_gains(
    scores: Scores, outcome: Floats, rng: np.random.Generator, reached: Bools | None = None
) -> HeldOutGains:
    """The expected outcome of every trial under every arm, learned from trials of other accounts.

    The arguments are those of `decide_arms`.
    """
    sample = scores.sample
    gain, fold = np.empty((len(sample), len(sample.arms))), np.empty(len(sample), dtype=np.int64)
    folds = Folds.draw(sample.cluster, sample.arm > 0, rng=rng)
    for number, (fit, rest) in enumerate(folds.splits()):
        expected = expected_outcomes(
            sample.keep(fit),
            outcome[fit],
            asked=sample.covariates[rest],
            reached=None if reached is None else reached[fit],
        )
        gain[rest], fold[rest] = expected - expected[:, [0]], number
    return HeldOutGains(gain=gain, fold=fold)


def held_out_value(scores: Scores, expected: HeldOutGains, cost: Floats) -> HeldOutValue:
    """The value of deciding by account with these gains, beside the same for everybody."""
    judged, gain = scores.score.mean(axis=0) - cost, expected.gain - cost
    alike = np.array(
        [
            gain[expected.fold == fold].mean(axis=0).argmax()
            for fold in range(int(expected.fold.max()) + 1)
        ]
    )[expected.fold]
    rows = np.arange(len(judged))
    brought, simply = judged[rows, gain.argmax(axis=1)], judged[rows, alike]
    gap = brought - simply
    mean = float(gap.mean())
    error, clusters = clustered_error((gap - mean) / gap.size, scores.sample.cluster)
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, clusters - 1)) * error
    return HeldOutValue(
        value=float(brought.mean()),
        alike=float(simply.mean()),
        gain=mean,
        low=mean - reach,
        high=mean + reach,
    )
