"""Shrink the playbook's priors by how much of them came true where it was measured.

The playbook's effects are guesses of the same people, so what was measured of some actions tells
something of the others: if four promises of a tenth turn out as nothing, the fifth is worth less.
Every measured effect, relative to the risk it was measured at, is a noisy multiple of its promise::

    relative effect_a ~ N(kept · promised_a, error_a² + deviation_a²)      kept ~ N(1, 0.5²)

All actions are held against the same accounts that were left alone, so the errors have a part in
common (``SHARED``), and four broken promises are not four witnesses.

``kept`` is the posterior mean, between 0 and 1; an action that does far worse or better than
promised counts as ``FAR`` deviations off, so that one surprise does not decide. A measurement so
noisy that it would hardly count in the belief about its own action (``LEAST_SHARE``) says nothing
of the others. What an action's own measurement says is left out of its own ``kept``: it is mixed
in where beliefs are made.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from math import hypot

from experiments.effects.measured import DOUBT, GOOD_OUTCOME, MeasuredEffects
from experiments.policy.derived_values import DerivedValues
from registry.playbook.playbook import Playbook

DEVIATION = 0.5
"""How far off the playbook as a whole may be, before looking: promises half kept are no surprise.
Chosen on simulated companies (``bench_policy_worlds.py``)."""

FAR = 2.5

LEAST_SHARE = 0.05
"""Share of data that a measurement has in the belief about its own action, at least. After 500
simulated account-quarters chance is several promises large; held against the other actions it cost
6 and 1 USD an account and year where one harms and where effects drift (``docs/decisions``)."""

SHARED = 0.25
"""Share of the variance of a measured effect that it has in common with those of other actions. In
60 simulated histories in which no action does anything effects correlate by .06 to .27, in 40 in
which they drift by .17 to .55 (``bench_policy_worlds.py``). Of draws that share no account it is
too much, which is on the side of the playbook."""


@dataclass(frozen=True, kw_only=True)
class MeasuredPrior:
    """What was measured of one promise, both relative to the risk.

    ``apart`` is the variance that no other action has, ``shared`` the deviation that all have.
    """

    promised: float
    measured: float
    apart: float
    shared: float


@dataclass(frozen=True, kw_only=True)
class PriorShrinkage:
    """The share of the playbook's promises to count on: in general, and for measured actions."""

    kept: float = 1.0
    measured: int = 0
    share_without: Mapping[str, float] | None = None

    def of(self, action_id: str) -> float:
        """The share for one action, by what was measured of the others."""
        return (self.share_without or {}).get(action_id, self.kept)


NO_SHRINKAGE = PriorShrinkage()
"""Nothing was measured: the playbook is taken at its word."""


def estimate_shrinkage(evidence: MeasuredEffects, playbook: Playbook) -> PriorShrinkage:
    """What the measured actions say of the playbook as a whole.

    >>> from registry.playbook.playbook import load_playbook
    >>> estimate_shrinkage(MeasuredEffects(), load_playbook()).kept
    1.0
    """
    seen: dict[str, MeasuredPrior] = {}
    for effect in evidence.over_all:
        action = playbook.by_id.get(effect.action_id)
        if (
            action is None
            or effect.untouched_risk is None
            or action.prior.mean == 0
            or GOOD_OUTCOME.get(action.prior.outcome) != effect.outcome
        ):
            continue
        promised, apart = action.prior.mean, action.prior.deviation
        chance = effect.standard_error / effect.untouched_risk
        error = hypot(chance, apart * (1 + DOUBT[effect.grade]) ** 0.5)
        if apart**2 < LEAST_SHARE * error**2:
            continue
        off = (effect.estimate / effect.untouched_risk - promised) / error
        seen[action.id] = MeasuredPrior(
            promised=promised,
            measured=promised + max(-FAR, min(FAR, off)) * error,
            apart=error**2 - SHARED * chance**2,
            shared=SHARED**0.5 * chance,
        )
    if not seen:
        return NO_SHRINKAGE
    return PriorShrinkage(
        kept=_posterior_share(seen.values()),
        measured=len(seen),
        share_without={
            action_id: _posterior_share([one for name, one in seen.items() if name != action_id])
            for action_id in seen
        },
    )


def shrinkage_for(evidence: MeasuredEffects, playbook: Playbook) -> PriorShrinkage:
    """The same, found once for the same evidence and playbook: every account asks for it."""
    if not evidence.effects:
        return NO_SHRINKAGE
    return _PROMISES.of(evidence).of(playbook)


def _posterior_share(seen: Collection[MeasuredPrior]) -> float:
    """The posterior mean, by the inverse of a diagonal and a rank one (Sherman and Morrison)."""
    common = 1 + sum(one.shared**2 / one.apart for one in seen)
    leaning = sum(one.promised * one.shared / one.apart for one in seen) / common

    def weighed(of: Callable[[MeasuredPrior], float]) -> float:
        return sum(of(one) * (one.promised - leaning * one.shared) / one.apart for one in seen)

    before = DEVIATION**-2
    return max(
        0.0,
        min(
            1.0,
            (before + weighed(lambda one: one.measured))
            / (before + weighed(lambda one: one.promised)),
        ),
    )


def _promises_for(evidence: MeasuredEffects) -> DerivedValues[Playbook, PriorShrinkage]:
    return DerivedValues(partial(estimate_shrinkage, evidence))


_PROMISES = DerivedValues(_promises_for)
