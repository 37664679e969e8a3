"""Decide whom to act on, and with what: the policy that a lottery teaches.

Two policies come from the same expected outcomes. One tells accounts apart: each gets the arm whose
expected outcome less its cost is largest, or none. The other is the simplest there is: everybody
gets the arm for which that is largest on average. What they are worth is told by trials of accounts
that were not learned from, by their scores less the costs::

    value = mean of score[decided arm] − cost[decided arm]

Accounts are told apart where that brought more there than the same for everybody. It need not be
proven to: a decision is wanted, and waiting for proof costs more than a wrong look. Where what is
taken for differences does not come true, though, everybody gets the same.
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
    """What telling apart brings per trial, beyond costs, on trials of accounts it did not see.

    ``alike`` is what the arm that was expected to be best on average brings everybody; ``gain`` the
    paired difference, with its 95 % interval.
    """

    value: float
    alike: float
    gain: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class ArmDecisions:
    """The arm of every account asked about (0: none), and what each arm would bring it.

    ``told_apart`` is the arm that gains most for each account, ``alike`` the one that gains most
    on average over the trials, whoever is asked about. ``gain`` is accounts x arms: the expected
    outcome less that under none, less the cost.
    """

    told_apart: Ints
    alike: int
    gain: Floats
    held_out: HeldOutValue

    @property
    def tells_apart(self) -> bool:
        """Whether each account gets its own arm: that brought more where it was held out."""
        return self.held_out.gain > 0

    @property
    def arm(self) -> Ints:
        """What is to be done with each account."""
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
    """Whom to act on, and with what, among accounts with these covariates.

    Args:
        scores: of trials under every arm.
        outcome: of the trials, in units of the costs.
        cost: of every arm, nothing for arm 0.
        asked: covariates of the accounts to decide about.
        rng: of the folds.
        reached: how far each trial came on the way to an outcome, as `expected_outcomes` reads it.

    Raises:
        SampleError: not one cost for every arm, one for none, or stages that cannot be.
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
    """What each arm is expected to add to every trial, by other accounts, and the trial's fold."""

    gain: Floats  # trials x arms, costs not counted
    fold: Ints


def held_out_gains(
    scores: Scores, outcome: Floats, rng: np.random.Generator, reached: Bools | None = None
) -> HeldOutGains:
    """The expected outcome of every trial under every arm, learned from trials of other accounts.

    The arguments are those of `decide`.
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
    """What telling accounts apart by these gains brings beside the same for everybody."""
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
