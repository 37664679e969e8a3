"""Check that enough accounts have either outcome in each arm for an interval to mean anything."""

from __future__ import annotations

import numpy as np

from experiments.causal.checks.protocol import Check, CheckedComparison, CheckFinding

LEAST = 10


def run(compared: CheckedComparison) -> CheckFinding:
    """Distinct clusters with each outcome in each arm; the smallest of the four counts decides."""
    contrast = compared.contrast
    yes, no = compared.outcome_words
    counts = {
        (arm, words): int(np.unique(contrast.cluster[rows & (compared.outcome == value)]).size)
        for arm, rows in (("treated", contrast.treated), ("untreated", contrast.untreated))
        for words, value in ((yes, 1.0), (no, 0.0))
    }
    (arm, words), smallest = min(counts.items(), key=lambda item: item[1])
    if smallest < LEAST:
        return CheckFinding(
            verdict="failed",
            statistic=float(smallest),
            explanation=f"Only {smallest} {arm} accounts {words}; below {LEAST} an interval "
            f"promises more than it can hold.",
        )
    return CheckFinding(
        verdict="passed",
        statistic=float(smallest),
        explanation=f"In each group at least {smallest} accounts {yes} and at least {smallest} {no}.",
    )


CHECK = Check(
    name="enough_outcomes",
    title="Enough outcomes",
    question="Did enough accounts leave and stay, acted on and not?",
    criterion=f"at least {LEAST} accounts with each outcome (left and stayed) in each arm (below "
    f"that the normal approximation of a share fails)",
    run=run,
)
