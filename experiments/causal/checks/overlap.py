"""Check that the accounts that the effect is about have counterparts in the other arm."""

from __future__ import annotations

import numpy as np
from scipy import stats

from experiments.causal.checks.protocol import Check, CheckedComparison, CheckFinding
from experiments.causal.contrast import Contrast, effective_clusters
from experiments.causal.sample import Bools

LARGEST_SHARE = 0.10
LEAST_ACCOUNTS = 30.0


def run(compared: CheckedComparison) -> CheckFinding:
    """The share of trials without counterpart, and the effective size of the weighted arms."""
    contrast = compared.contrast
    asked = contrast.treated if contrast.estimand == "ATT" else np.ones(len(contrast.sample), bool)
    lacking, count = int((asked & ~contrast.comparable).sum()), int(asked.sum())
    interval = stats.binomtest(lacking, count).proportion_ci(method="wilson")
    share, low, high = lacking / count, float(interval.low), float(interval.high)
    worth, arm = min(_worth(contrast))
    whose = "trials acted on" if contrast.estimand == "ATT" else "trials"

    def finding(explanation: str, *, passed: bool) -> CheckFinding:
        return CheckFinding(
            verdict="passed" if passed else "failed",
            statistic=share,
            low=low,
            high=high,
            explanation=explanation,
        )

    if low > LARGEST_SHARE:
        return finding(
            f"{share:.0%} of the {whose} have no comparable one in the other group: there is "
            f"nothing to compare them with.",
            passed=False,
        )
    if worth < LEAST_ACCOUNTS:
        return finding(
            f"The effect rests on what amounts to {worth:.0f} {arm} accounts; below "
            f"{LEAST_ACCOUNTS:.0f} a single one can turn it.",
            passed=False,
        )
    return finding(
        f"{f'{share:.1%}' if lacking else 'None'} of the {whose} lack a comparable one in the other "
        f"group; after weighting the {arm} count as {worth:,.0f} accounts (median chance of being "
        f"acted on, among those that were: "
        f"{float(np.median(contrast.chance[contrast.treated])):.0%}).",
        passed=True,
    )


def _worth(contrast: Contrast) -> list[tuple[float, str]]:
    """The effective number of accounts of each weighted arm; in an ATT the treated
    have weight 1."""
    arms: list[tuple[Bools, str]] = [(contrast.untreated, "untreated")]
    if contrast.estimand != "ATT":
        arms.append((contrast.treated, "treated"))
    return [
        (effective_clusters(contrast.cluster, contrast.weight, rows & contrast.kept), name)
        for rows, name in arms
    ]


CHECK = Check(
    name="overlap",
    title="Comparable accounts exist",
    question="Is there an account in the other arm like each one that the effect is about?",
    criterion=f"lower 95 % bound of the share of trials (ATT: of treated ones) without counterpart "
    f"(chance of an arm below 1 %, or of fewer than three trials in it) at most "
    f"{LARGEST_SHARE:.0%}, and each weighted arm worth at least {LEAST_ACCOUNTS:.0f} accounts "
    f"(Kish)",
    run=run,
)
