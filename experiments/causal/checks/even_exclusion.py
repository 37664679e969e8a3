"""Check that trials were left out of both arms alike: losses on one side undo a lottery."""

from __future__ import annotations

import math

from scipy import stats

from experiments.causal.checks.protocol import (
    Check,
    CheckedComparison,
    CheckFinding,
    not_applicable,
)

LEAST_P = 0.001


def run(compared: CheckedComparison) -> CheckFinding:
    """Difference of the shares left out, treated minus untreated (immature ones apart)."""
    if not compared.by_lot:
        return not_applicable("Arms were not drawn, so losses need not be even between them.")
    lost = [
        sum(arms[side] for reason, arms in compared.excluded.items() if reason != "immature")
        for side in (0, 1)
    ]
    used = [int(rows.sum()) for rows in (compared.contrast.treated, compared.contrast.untreated)]
    total = [used[side] + lost[side] for side in (0, 1)]
    shares = [lost[side] / total[side] for side in (0, 1)]
    pooled = sum(lost) / sum(total)
    if pooled == 0:
        return CheckFinding(
            verdict="passed", statistic=0.0, explanation="No trial of either arm was left out."
        )
    error = math.sqrt(pooled * (1 - pooled) * (1 / total[0] + 1 / total[1]))
    difference = shares[0] - shares[1]
    p_value = float(2 * stats.norm.sf(abs(difference) / error)) if error > 0 else 1.0
    reach = float(stats.norm.ppf(0.975)) * error
    words = (
        f"{shares[0]:.1%} of the drawn and {shares[1]:.1%} of the other trials could not be used"
    )
    verdict, end = (
        ("failed", ": more than chance leaves out of one arm.")
        if (p_value < LEAST_P)
        else ("passed", ", evenly enough for chance.")
    )
    return CheckFinding(
        verdict="failed" if verdict == "failed" else "passed",
        statistic=difference,
        low=difference - reach,
        high=difference + reach,
        explanation=words + end,
    )


CHECK = Check(
    name="even_exclusion",
    title="Left out evenly",
    question="Were trials left out of both arms alike?",
    criterion=f"p-value of the difference between the shares left out at least {LEAST_P} "
    f"(two-sided; interval: the difference, 95%)",
    run=run,
)
