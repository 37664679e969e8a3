"""Check that the method finds no effect before the start, where none can be.

The same estimator, on values from a horizon before the start. An effect there is a difference
between the groups that the adjustment did not remove, and it biases the number after the start
too.
"""

from __future__ import annotations

from experiments.causal.checks.protocol import (
    Check,
    CheckedComparison,
    CheckFinding,
    not_applicable,
)
from experiments.causal.estimates import estimate_of

NEGLIGIBLE = 0.05
"""Standard deviations: an interval wholly inside this passes, however narrow."""


def run(compared: CheckedComparison) -> CheckFinding:
    """The placebo whose interval is furthest from zero, in standard deviations, decides."""
    if not compared.placebos:
        return not_applicable("Nothing was measured long enough before the start.")
    count = len(compared.placebos)
    looks = count * (len(compared.sample.arms) - 1)
    found = {
        name: estimate_of(contrast, comparisons=looks)
        for name, contrast in compared.placebos.items()
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
        return CheckFinding(
            verdict="failed",
            statistic=worst.estimate,
            low=worst.low,
            high=worst.high,
            explanation=f"The groups already differed before anything was done: “{words}” by "
            f"{interval}. Whatever caused that is in the effect too.",
        )
    return CheckFinding(
        verdict="passed",
        statistic=worst.estimate,
        low=worst.low,
        high=worst.high,
        explanation=f"Before the start the method finds no effect: “{words}” differs by "
        f"{interval}" + (f", the clearest of {count}." if count > 1 else "."),
    )


CHECK = Check(
    name="pre_period_placebo",
    title="No effect before the start",
    question="Does the same method find an effect where none can be: before the start?",
    criterion=f"no placebo's 95 % interval (Bonferroni over placebos and actions) excludes 0, unless it lies "
    f"wholly inside ±{NEGLIGIBLE} standard deviations",
    run=run,
)
