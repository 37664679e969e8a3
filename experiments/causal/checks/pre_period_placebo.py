"""This module is about time: an action can not change what happened before it.

The same estimator, on what was measured a horizon before the start. An effect there is a
difference between the groups that the adjustment did not remove, and the same difference is then
in the number after the start.
"""

from __future__ import annotations

from experiments.causal.checks.check import Check, Evidence, Finding, not_applicable
from experiments.causal.estimates import estimate_of

NEGLIGIBLE = 0.05
"""Standard deviations: an interval wholly inside this is no cause for alarm, however narrow."""


def run(evidence: Evidence) -> Finding:
    """The placebo whose interval is furthest from zero, in standard deviations, decides."""
    if not evidence.placebos:
        return not_applicable("Nothing was measured long enough before the start.")
    count = len(evidence.placebos)
    found = {
        name: estimate_of(fit, comparisons=count).scaled(1 / evidence.placebo_spread[name])
        for name, fit in evidence.placebos.items()
    }
    name, worst = max(
        found.items(), key=lambda item: abs(item[1].estimate) / max(item[1].standard_error, 1e-12)
    )
    words = name.replace("_", " ")
    negligible = worst.low > -NEGLIGIBLE and worst.high < NEGLIGIBLE
    excludes_zero = worst.low > 0 or worst.high < 0
    interval = (
        f"{worst.estimate:+.2f} standard deviations (interval {worst.low:+.2f} to "
        f"{worst.high:+.2f})"
    )
    if excludes_zero and not negligible:
        return Finding(
            verdict="failed",
            statistic=worst.estimate,
            low=worst.low,
            high=worst.high,
            explanation=f"The groups already differed before anything was done: “{words}” by "
            f"{interval}. Whatever caused that is in the effect too.",
        )
    return Finding(
        verdict="passed",
        statistic=worst.estimate,
        low=worst.low,
        high=worst.high,
        explanation=f"Before the start there is no effect, as it must be: “{words}” differs by "
        f"{interval}" + (f", the clearest of {count}." if count > 1 else "."),
    )


CHECK = Check(
    name="pre_period_placebo",
    title="No effect before the start",
    question="Does the same method find an effect where none can be: before the start?",
    criterion=f"no placebo's 95 % interval (Bonferroni over placebos) excludes 0, unless it lies "
    f"wholly inside ±{NEGLIGIBLE} standard deviations",
    run=run,
)
