"""Shrink the playbook's priors by how much of them came true where it was measured.

The playbook's effects are guesses of the same people, so what was measured of some actions says
something about the others: if four actions that should change a tenth change nothing, the fifth is
worth less too. Every measured effect, relative to the risk at which it was measured, is a noisy
multiple of its prior mean::

    relative effect_a ~ N(share · prior_a, error_a² + deviation_a²)      share ~ N(1, 0.5²)

All actions are compared with the same untreated accounts, so part of their errors is common
(``SHARED``), and four wrong priors are not four independent observations.

``share`` is the posterior mean, between 0 and 1. An action that does far worse or better than its
prior counts as ``FAR`` deviations off, so that one surprise does not decide. A measurement that is
too noisy to count in the belief about its own action (``LEAST_SHARE``) does not count for others.
The share of an action is computed without its own measurement, which ``experiments.effects.belief``
mixes in.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from math import hypot

from experiments.effects.belief import DOUBT, EFFECT_HORIZON_DAYS, GOOD_OUTCOME, MeasuredEffects
from experiments.policy.derived_values import DerivedValues
from registry.playbook.playbook import Playbook

DEVIATION = 0.5
"""Prior standard deviation of the share: that half of the playbook's effects come true is no surprise.
Chosen on simulated companies (``bench_policy_worlds.py``)."""

FAR = 2.5

LEAST_SHARE = 0.05
"""Share of data that a measurement has in the belief about its own action, at least. After 500
simulated account-quarters the error is several prior means large; counted against the other actions
it cost 6 and 1 USD an account and year where one harms and where effects drift
(``docs/decisions``)."""

SHARED = 0.25
"""Share of the variance of a measured effect that it has in common with those of other actions. In
60 simulated histories in which no action does anything the effects correlate by .06 to .27, in 40 in
which they drift by .17 to .55 (``bench_policy_worlds.py``). It is too much for lotteries that share
no account, which errs towards the playbook."""


@dataclass(frozen=True, kw_only=True)
class MeasuredPrior:
    """The prior mean and the measured effect of one action, both relative to the risk.

    ``own_variance`` is independent of other actions, ``shared_deviation`` is common to all.
    """

    prior_mean: float
    measured: float
    own_variance: float
    shared_deviation: float


@dataclass(frozen=True, kw_only=True)
class PriorShrinkage:
    """The share of the playbook's effects to count on: in general, and by measured action."""

    share: float = 1.0
    measured: int = 0
    share_without: Mapping[str, float] | None = None

    def of(self, action_id: str) -> float:
        """The share for one action, from the measurements of the others."""
        return (self.share_without or {}).get(action_id, self.share)


NO_SHRINKAGE = PriorShrinkage()
"""Nothing was measured, so every prior counts in full."""


def estimate_shrinkage(evidence: MeasuredEffects, playbook: Playbook) -> PriorShrinkage:
    """The shrinkage that the measured actions imply for the playbook as a whole.

    >>> from registry.playbook.playbook import load_playbook
    >>> estimate_shrinkage(MeasuredEffects(), load_playbook()).share
    1.0
    """
    seen: dict[str, MeasuredPrior] = {}
    for effect in evidence.over_all:
        action = playbook.by_id.get(effect.action_id)
        if (
            action is None
            or effect.untouched_risk is None
            or effect.horizon_days != EFFECT_HORIZON_DAYS  # the playbook's effects are of 90 days
            or action.prior.mean == 0
            or GOOD_OUTCOME.get(action.prior.outcome) != effect.outcome
        ):
            continue
        mean, deviation = action.prior.mean, action.prior.deviation
        chance = effect.standard_error / effect.untouched_risk
        error = hypot(chance, deviation * (1 + DOUBT[effect.grade]) ** 0.5)
        if deviation**2 < LEAST_SHARE * error**2:
            continue
        off = (effect.estimate / effect.untouched_risk - mean) / error
        seen[action.id] = MeasuredPrior(
            prior_mean=mean,
            measured=mean + max(-FAR, min(FAR, off)) * error,
            own_variance=error**2 - SHARED * chance**2,
            shared_deviation=SHARED**0.5 * chance,
        )
    if not seen:
        return NO_SHRINKAGE
    return PriorShrinkage(
        share=_posterior_share(seen.values()),
        measured=len(seen),
        share_without={
            action_id: _posterior_share([one for name, one in seen.items() if name != action_id])
            for action_id in seen
        },
    )


def shrinkage_for(evidence: MeasuredEffects, playbook: Playbook) -> PriorShrinkage:
    """As ``estimate_shrinkage``, computed once for the same effects and playbook."""
    if not evidence.effects:
        return NO_SHRINKAGE
    return _SHRINKAGES.of(evidence).of(playbook)


def _posterior_share(seen: Collection[MeasuredPrior]) -> float:
    """The posterior mean, by the inverse of a diagonal and a rank one (Sherman and Morrison)."""
    common = 1 + sum(one.shared_deviation**2 / one.own_variance for one in seen)
    leaning = sum(one.prior_mean * one.shared_deviation / one.own_variance for one in seen) / common

    def weighed(of: Callable[[MeasuredPrior], float]) -> float:
        return sum(
            of(one) * (one.prior_mean - leaning * one.shared_deviation) / one.own_variance
            for one in seen
        )

    before = DEVIATION**-2
    return max(
        0.0,
        min(
            1.0,
            (before + weighed(lambda one: one.measured))
            / (before + weighed(lambda one: one.prior_mean)),
        ),
    )


def _shrinkage_of_playbooks(evidence: MeasuredEffects) -> DerivedValues[Playbook, PriorShrinkage]:
    return DerivedValues(partial(estimate_shrinkage, evidence))


_SHRINKAGES = DerivedValues(_shrinkage_of_playbooks)
