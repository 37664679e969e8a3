"""The effects by segment that the ranking counts on, so that a report states the same ones.

A segment by itself has few cases, and the most striking of several is mostly luck. The ranking reads
effects that are drawn toward that of all segments (``effects.json``), and the report says those, with
what a segment comes to alone beside them. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from experiments.causal.analysis import DesignResult
from experiments.causal.estimates import Verdict
from experiments.effects.action_effect import ActionEffect
from experiments.effects.belief import MeasuredEffects


@dataclass(frozen=True, kw_only=True)
class CountedEffect:
    """The effect on leaving in one segment, as shares, with its interval and its cases.

    ``alone`` is the estimate from the segment's cases without all others.
    """

    segment: str
    estimate: float
    low: float
    high: float
    n: int
    alone: float

    @property
    def verdict(self) -> Verdict:
        """What the whole interval says."""
        if self.high < 0:
            return "works"
        return "harms" if self.low > 0 else "unknown"


def counted_effects(result: DesignResult, evidence: MeasuredEffects) -> tuple[CountedEffect, ...]:
    """The effect of each segment of a result as the ranking counts it.

    None at all where one segment was not measured on the same cases: then the file of effects is of
    other cases, or the result of another design.
    """
    measured: Mapping[str | None, ActionEffect] = {
        effect.segment: effect
        for effect in evidence.effects
        if effect.action_id == result.design.action
        and effect.outcome == "retention"
        and effect.horizon_days == result.design.horizon_days
    }
    counted = []
    for item in result.segments:
        effect = measured.get(item.segment)
        if effect is None or effect.n != item.estimate.n:
            return ()
        counted.append(
            CountedEffect(
                segment=item.segment,
                estimate=-effect.estimate,
                low=-effect.high,
                high=-effect.low,
                n=effect.n,
                alone=item.estimate.estimate,
            )
        )
    return tuple(counted)
