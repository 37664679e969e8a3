"""Check that the arms were alike before the start, after weighting."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from experiments.causal.checks.protocol import Check, CheckedComparison, CheckFinding
from experiments.causal.contrast import Contrast
from experiments.causal.estimates import clustered_error
from experiments.causal.sample import Bools, Floats, Ints

LARGEST = 0.1
"""Standard deviations; a larger difference is too much to adjust for by modelling."""

FALSE_ALARM = 0.01
"""The chance that a sound comparison fails this check, over all covariates together."""

LEAST_KNOWN = 50


@dataclass(frozen=True, kw_only=True)
class Balance:
    """One covariate: difference of the arms in standard deviations, as is and weighted."""

    covariate: str
    unweighted: float
    weighted: float
    standard_error: float


def balance_table(contrast: Contrast) -> tuple[Balance, ...]:
    """One row per covariate that is known often enough, largest unweighted difference first."""
    rows = []
    sample, weight = contrast.sample, contrast.weight
    both = (contrast.treated, contrast.untreated)
    for name, column in zip(sample.covariate_names, sample.covariates.T, strict=True):
        known = ~np.isnan(column)
        plain_arms = [known & arm for arm in both]
        arms = [arm & (weight > 0) for arm in plain_arms]
        if min(int(arm.sum()) for arm in arms) < LEAST_KNOWN // 2:
            continue
        spread = float(np.sqrt(np.mean([np.var(column[arm]) for arm in plain_arms])))
        if spread == 0:
            continue
        plain, _ = _difference(column, plain_arms, np.ones(len(sample)), sample.cluster)
        weighted, error = _difference(column, arms, weight, sample.cluster)
        rows.append(
            Balance(
                covariate=name,
                unweighted=plain / spread,
                weighted=weighted / spread,
                standard_error=error / spread,
            )
        )
    return tuple(sorted(rows, key=lambda row: -abs(row.unweighted)))


def run(compared: CheckedComparison) -> CheckFinding:
    """A lottery: no difference beyond chance. Judgement: none shown to exceed the bound."""
    table = balance_table(compared.contrast)
    if not table:
        return CheckFinding(
            verdict="failed",
            explanation="No covariate is known often enough in both arms to compare them.",
        )
    reach = float(stats.norm.ppf(1 - FALSE_ALARM / (2 * len(table))))
    bound = 0.0 if compared.by_lot else LARGEST
    worst = max(table, key=lambda row: (abs(row.weighted) - bound) / max(row.standard_error, 1e-12))
    low, high = (
        worst.weighted - reach * worst.standard_error,
        worst.weighted + reach * worst.standard_error,
    )
    name = worst.covariate.replace("_", " ")
    if low > bound or high < -bound:
        return CheckFinding(
            verdict="failed",
            statistic=worst.weighted,
            low=low,
            high=high,
            explanation=f"The arms differ in “{name}” by {worst.weighted:+.2f} standard "
            f"deviations before the start, "
            + ("more than chance gives." if bound == 0 else "even after weighting."),
        )
    end = "within chance" if bound == 0 else f"not shown to exceed the limit of {LARGEST}"
    return CheckFinding(
        verdict="passed",
        statistic=worst.weighted,
        low=low,
        high=high,
        explanation=f"Of {len(table)} facts known before the start “{name}” differs most clearly, "
        f"by {worst.weighted:+.2f} standard deviations, which is {end}.",
    )


def _difference(
    column: Floats,
    arms: list[Bools],
    weight: Floats,
    cluster: Ints,
) -> tuple[float, float]:
    influence = np.zeros(column.shape[0])
    means = []
    for rows, sign in zip(arms, (1.0, -1.0), strict=True):
        total = float(weight[rows].sum())
        mean = float((weight[rows] * column[rows]).sum()) / total
        influence[rows] = sign * weight[rows] * (column[rows] - mean) / total
        means.append(mean)
    return means[0] - means[1], clustered_error(influence, cluster)[0]


CHECK = Check(
    name="balance",
    title="Alike before the start",
    question="Were the two groups alike before anything was done?",
    criterion=f"simultaneous {1 - FALSE_ALARM:.0%} intervals of the differences over all "
    f"covariates: in a lottery each includes 0; after weighting, none lies wholly "
    f"outside ±{LARGEST} standard deviations",
    run=run,
)
