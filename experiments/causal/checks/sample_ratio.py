"""Check that the arms have the sizes that the logged odds imply."""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from experiments.causal.checks.protocol import (
    Check,
    CheckedComparison,
    CheckFinding,
    not_applicable,
)

LEAST_P = 0.001


def run(compared: CheckedComparison) -> CheckFinding:
    """Treated minus expected, against the variance of independent draws (never too small)."""
    sample = compared.sample
    if not compared.by_lot:
        return not_applicable("No lottery was held, so no ratio was promised.")
    if not compared.odds_on_record:
        return not_applicable(
            "The odds of the lottery are not on record, so no ratio was promised."
        )
    chance = sample.propensity[:, compared.contrast.action]
    expected = float(chance.sum())
    error = math.sqrt(float(np.sum(chance * (1 - chance))))
    treated = int(compared.contrast.treated.sum())
    p_value = float(2 * stats.norm.sf(abs(treated - expected) / error))
    share, half = treated / len(sample), stats.norm.ppf(0.975) * error / len(sample)
    words = (
        f"{treated:,} of {len(sample):,} trials were drawn ({share:.1%}); the odds on record "
        f"promise {expected:,.0f} ({expected / len(sample):.1%})"
    )
    if p_value < LEAST_P:
        return CheckFinding(
            verdict="failed",
            statistic=p_value,
            low=share - half,
            high=share + half,
            explanation=f"{words}. Chance does not do that: trials were lost or added on one side.",
        )
    return CheckFinding(
        verdict="passed",
        statistic=p_value,
        low=share - half,
        high=share + half,
        explanation=f"{words}, which is within chance.",
    )


CHECK = Check(
    name="sample_ratio",
    title="Arms as large as drawn",
    question="Are the arms as large as the lottery promised?",
    criterion=f"p-value of the treated count against the logged propensities at least {LEAST_P} "
    f"(two-sided; interval: treated share, 95%)",
    run=run,
)
