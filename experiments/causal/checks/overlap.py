"""This module is about whether the accounts acted on have counterparts that were not."""

from __future__ import annotations

import numpy as np
from scipy import stats

from experiments.causal.checks.check import Check, Evidence, Finding, not_applicable
from experiments.causal.estimates import effective_size

LARGEST_SHARE = 0.10
LEAST_CONTROLS = 30.0


def run(evidence: Evidence) -> Finding:
    """Share of treated trials trimmed, and what the weighted untreated trials are worth."""
    fit, trials = evidence.churn, evidence.trials
    if trials.design.mechanism == "lottery":
        return not_applicable("The lottery gave every account a chance of both arms.")
    treated = int(fit.treated.sum())
    trimmed = int((fit.treated & ~fit.kept).sum())
    interval = stats.binomtest(trimmed, treated).proportion_ci(method="wilson")
    low, high = float(interval.low), float(interval.high)
    worth = effective_size(fit.weight[~fit.treated & fit.kept])
    share = trimmed / treated
    if low > LARGEST_SHARE:
        return Finding(
            verdict="failed",
            statistic=share,
            low=low,
            high=high,
            explanation=f"{share:.0%} of the accounts acted on have no comparable account that "
            f"was not: there is nothing to compare them with.",
        )
    if worth < LEAST_CONTROLS:
        return Finding(
            verdict="failed",
            statistic=share,
            low=low,
            high=high,
            explanation=f"The comparison rests on what amounts to {worth:.0f} untreated accounts; "
            f"below {LEAST_CONTROLS:.0f} a single one can turn it.",
        )
    middle = float(np.median(fit.propensity[fit.treated]))
    return Finding(
        verdict="passed",
        statistic=share,
        low=low,
        high=high,
        explanation=f"{share:.1%} of the trials acted on lack a comparable one and are left out; "
        f"the weighted untreated trials are worth {worth:.0f} equal ones (median "
        f"chance of being acted on, among those that were: {middle:.0%}).",
    )


CHECK = Check(
    name="overlap",
    title="Comparable accounts exist",
    question="Is there an untreated account like each treated one?",
    criterion=f"lower 95 % bound of the share of treated trials without counterpart (propensity "
    f"beyond 1 %–99 %) at most {LARGEST_SHARE:.0%}, and untreated trials worth at least "
    f"{LEAST_CONTROLS:.0f} (Kish)",
    run=run,
)
