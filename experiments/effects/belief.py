"""The belief about an action's effect: the prior, mixed with the measured effect.

All are normal distributions over the same number, probability points of the good outcome for one
account; they are mixed by their precision::

    prior       mean  p · m        deviation  p · s       (p: the probability it acts on)
    measured    mean  estimate     variance   error² + doubt · prior variance
    share of data = prior variance / (prior variance + measured variance)

A guess may be simply wrong, so beside that prior stands one that is ten times as wide, with a chance
of a tenth (a robust mixture: Schmidli et al. 2014). What was measured decides between the two: where
it agrees with the guess nothing changes, where it contradicts it the guess gives way. The belief is
never less certain than the narrow prior makes it, but by as far as the measurement moved it.

A measured effect is transferred in proportion to the risk: measured on accounts of which a tenth
would have left, it is half as large, in points, for an account with a risk of a twentieth. And
``m`` is multiplied by the share of the playbook's effects that came true with other actions
(``policy.prior_shrinkage``).

An effect that was followed for fewer than 90 days (``keepwell effects --horizon``) counts for what it
prevented in those days and for nothing after them: its points are a share of the risk of 90 days at
the rate that was measured. That what was prevented by then does not come later is not known, so some
doubt is added to that of its grade.

There is no doubt where chance decided (grade A); where people decided some remains, however many
accounts there were. Without a measurement the belief is the prior, to the bit. Pure; the files are
read and written in ``effects_file.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from math import exp, sqrt

from experiments.effects.action_effect import ActionEffect, GoodOutcome
from registry.playbook.actions import AffectedOutcome, Grade, Prior

EFFECT_HORIZON_DAYS = 90
"""The horizon of the probabilities that effects are added to, and that over which effects are
measured unless another is asked for. Longer ones are not mixed in, shorter ones with care."""

DOUBT: Mapping[Grade, float] = {"A": 0.0, "B": 1 / 16, "C": 1 / 4}
"""Variance that no sample size takes away, as a share of the prior's: data that agree with the guess
count for at most 100, 94 and 80 %. Ours."""

DOUBT_OF_FEWER_DAYS = 1 / 16
"""The same, added where accounts were followed for fewer days than count. Ours."""

WRONG, WIDE = 0.1, 10.0
"""The chance that a guess of the playbook is simply wrong, and how many times wider the effect may
lie then (``docs/decisions/experiments-beliefs.md``)."""

OF_95_PERCENT = 1.96
ONE_SIDED_95_PERCENT = 1.645

GOOD_OUTCOME: Mapping[AffectedOutcome, GoodOutcome] = {
    "churn": "retention",
    "expansion": "expansion",
}


class MeasuredEffectsError(ValueError):
    """Measured effects that cannot be used."""


@dataclass(frozen=True, kw_only=True)
class MeasuredEffects:
    """Effects that were measured, by action and segment; ``problem`` says why there are none."""

    effects: tuple[ActionEffect, ...] = ()
    segment_attribute: str = "segment"
    problem: str | None = None

    def __post_init__(self) -> None:
        seen = set()
        for effect in self.effects:
            key = (effect.action_id, effect.segment, effect.outcome, effect.horizon_days)
            if key in seen:
                raise MeasuredEffectsError(
                    f"The effect of {effect.action_id!r} in {effect.segment or 'all segments'!r} "
                    f"on {effect.outcome} in {effect.horizon_days} days is there twice. Keep one."
                )
            seen.add(key)

    @cached_property
    def _by_key(self) -> Mapping[tuple[str, str | None, str], ActionEffect]:
        return {
            (e.action_id, e.segment, e.outcome): e
            for e in sorted(self.effects, key=lambda e: e.horizon_days)
            if e.is_evidence and e.playbook_share == 0 and e.horizon_days <= EFFECT_HORIZON_DAYS
        }

    @cached_property
    def measured_actions(self) -> frozenset[str]:
        """The actions with a measured effect that counts."""
        return frozenset(action_id for action_id, _, _ in self._by_key)

    @property
    def over_all(self) -> tuple[ActionEffect, ...]:
        """The effects over all segments together that count as evidence, in order."""
        return tuple(e for e in self._by_key.values() if e.segment is None)

    def of(
        self, action_id: str, outcome: GoodOutcome, attributes: Mapping[str, str | None]
    ) -> ActionEffect | None:
        """The effect measured in the account's own segment, else in all of them together."""
        if action_id not in self.measured_actions:
            return None
        segment = attributes.get(self.segment_attribute)
        own = self._by_key.get((action_id, segment, outcome))
        return own if own is not None else self._by_key.get((action_id, None, outcome))

    def for_account(self, attributes: Mapping[str, str | None]) -> MeasuredEffects:
        """The effects that concern an account with these attributes; the answers stay the same."""
        own = (None, attributes.get(self.segment_attribute))
        return replace(self, effects=tuple(e for e in self.effects if e.segment in own))


NO_EFFECTS = MeasuredEffects()


@dataclass(frozen=True, kw_only=True)
class Belief:
    """The believed effect of an action on one account, in probability points, and its sources.

    ``low`` and ``high`` hold 95 %. ``playbook_share`` and ``data_share`` add to 1. ``n`` and
    ``effective_n`` count the measured trials (0: none); ``strength`` is the prior's, in accounts.
    ``measured`` is the estimate of the data alone, with its interval, on accounts of
    ``measured_risk``. ``kept`` is the share of the prior mean that is counted. ``grade``
    is that of the larger share.
    """

    outcome: AffectedOutcome
    mean: float
    deviation: float
    low: float
    high: float
    grade: Grade
    playbook_share: float
    data_share: float
    prior_mean: float
    strength: float
    n: int = 0
    effective_n: float = 0.0
    measured: float | None = None
    measured_low: float | None = None
    measured_high: float | None = None
    measured_grade: Grade | None = None
    measured_from: datetime | None = None
    measured_to: datetime | None = None
    segment: str | None = None
    source: str | None = None
    measured_risk: float | None = None
    kept: float = 1.0

    @property
    def playbook_cases(self) -> float:
        """How many measured cases of an even comparison would weigh as much as the playbook does.

        0 where nothing was measured, because what a case would say is not known then.
        """
        return self.effective_n * self.playbook_share / self.data_share if self.data_share else 0.0

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in vars(self).items()
        }


def mix_belief(
    prior: Prior, probability: float, effect: ActionEffect | None, kept: float = 1.0
) -> Belief:
    """The prior for an account with this probability, mixed with the measured effect.

    ``kept`` is the share of the playbook's effects that came true with other actions.

    >>> prior = Prior(outcome="churn", mean=0.1, strength=35, grade="E", basis="A guess.")
    >>> round(mix_belief(prior, 0.2, None).mean, 3), round(mix_belief(prior, 0.2, None).deviation, 3)
    (0.02, 0.01)
    """
    mean, deviation = probability * (prior.mean * kept), probability * prior.deviation
    if effect is None or deviation == 0:
        return Belief(
            outcome=prior.outcome,
            mean=mean,
            deviation=deviation,
            low=mean - OF_95_PERCENT * deviation,
            high=mean + OF_95_PERCENT * deviation,
            grade=prior.grade,
            playbook_share=1.0,
            data_share=0.0,
            prior_mean=mean,
            strength=prior.strength,
            kept=kept,
        )
    risk = effect.untouched_risk_over(EFFECT_HORIZON_DAYS)
    scale = 1.0 if risk is None else probability / risk
    doubt = DOUBT[effect.grade]
    if effect.horizon_days < EFFECT_HORIZON_DAYS:
        doubt += DOUBT_OF_FEWER_DAYS
    variance = (scale * effect.standard_error) ** 2 + doubt * deviation**2
    mixed, spread, share = _mix_robustly(mean, deviation, scale * effect.estimate, variance)
    return Belief(
        outcome=prior.outcome,
        mean=mixed,
        deviation=spread,
        low=mixed - OF_95_PERCENT * spread,
        high=mixed + OF_95_PERCENT * spread,
        grade=effect.grade if share >= 0.5 else prior.grade,
        playbook_share=1 - share,
        data_share=share,
        prior_mean=mean,
        strength=prior.strength,
        n=effect.n,
        effective_n=effect.effective_n,
        measured=effect.estimate,
        measured_low=effect.low,
        measured_high=effect.high,
        measured_grade=effect.grade,
        measured_from=effect.measured_from,
        measured_to=effect.measured_to,
        segment=effect.segment,
        source=effect.source,
        measured_risk=effect.untouched_risk,
        kept=kept,
    )


def _mix_robustly(
    mean: float, deviation: float, measured: float, variance: float
) -> tuple[float, float, float]:
    """The believed effect, its deviation, and the share of data in it; see the module's formula."""
    narrow, wide = (
        _normal_mix(mean, deviation * width, measured, variance) for width in (1.0, WIDE)
    )
    off = (measured - mean) ** 2 / 2
    evidence = [
        chance * exp(-off / one.marginal) / sqrt(one.marginal)
        for chance, one in ((1 - WRONG, narrow), (WRONG, wide))
    ]
    # far out both chances come to 0, and there the wide one is right
    is_right = evidence[0] / sum(evidence) if sum(evidence) else 0.0
    mixed = is_right * narrow.mean + (1 - is_right) * wide.mean
    spread = sqrt(
        is_right * (narrow.variance + (narrow.mean - mixed) ** 2)
        + (1 - is_right) * (wide.variance + (wide.mean - mixed) ** 2)
    )
    moved = max(sqrt(narrow.variance), abs(mixed - narrow.mean))
    return mixed, min(spread, moved), is_right * narrow.share + (1 - is_right) * wide.share


@dataclass(frozen=True, kw_only=True)
class _Mixed:
    mean: float
    variance: float
    share: float  # of data
    marginal: float  # variance of what is measured under this prior


def _normal_mix(mean: float, deviation: float, measured: float, variance: float) -> _Mixed:
    """A normal prior and a normal measurement, mixed by precision."""
    marginal = deviation**2 + variance
    share = deviation**2 / marginal
    return _Mixed(
        mean=(1 - share) * mean + share * measured,
        variance=share * variance,
        share=share,
        marginal=marginal,
    )


def most_harm(mean: float, deviation: float) -> float:
    """The upper 95 % bound of the damage, in probability points; below 0 it does good."""
    return ONE_SIDED_95_PERCENT * deviation - mean
