"""Check that the untreated stayed untreated while they were followed."""

from __future__ import annotations

from scipy import stats

from experiments.causal.checks.protocol import (
    Check,
    CheckedComparison,
    CheckFinding,
    not_applicable,
)

LARGEST_SHARE = 0.20


def run(compared: CheckedComparison) -> CheckFinding:
    """Share of untreated trials that received an action during the follow-up."""
    if compared.is_exposed is None:
        return not_applicable("It is not recorded who received an action later.")
    untreated = compared.contrast.untreated
    exposed, count = int((untreated & compared.is_exposed).sum()), int(untreated.sum())
    interval = stats.binomtest(exposed, count).proportion_ci(method="wilson")
    low, high = float(interval.low), float(interval.high)
    share = exposed / count
    words = f"{share:.1%} of the untreated trials received the action later in their follow-up"
    if low > LARGEST_SHARE:
        return CheckFinding(
            verdict="failed",
            statistic=share,
            low=low,
            high=high,
            explanation=f"{words}: the groups differ too little in what they received.",
        )
    return CheckFinding(
        verdict="passed",
        statistic=share,
        low=low,
        high=high,
        explanation=f"{words}"
        + ("." if exposed == 0 else ", so the effect shown is a little too small."),
    )


CHECK = Check(
    name="control_exposure",
    title="The untreated stayed untreated",
    question="Did the comparison group receive the action after all?",
    criterion=f"lower 95 % bound of the share of untreated trials that received the action during "
    f"the follow-up at most {LARGEST_SHARE:.0%}",
    run=run,
)
