"""Check that enough accounts have either outcome in each arm for an interval to mean anything.

An outcome in amounts counts by whether it is the commonest amount, mostly nothing, or another.
"""

from __future__ import annotations

import numpy as np

from experiments.causal.checks.protocol import Check, CheckedComparison, CheckFinding

LEAST = 10


def run(compared: CheckedComparison) -> CheckFinding:
    """Distinct clusters with each outcome in each arm; the smallest of the four counts decides."""
    contrast = compared.contrast
    yes, no = compared.outcome_words
    outcome, kinds = compared.outcome, {yes: compared.outcome == 1, no: compared.outcome == 0}
    if not np.isin(outcome, (0.0, 1.0)).all():
        amounts, times = np.unique(outcome, return_counts=True)
        usual = outcome == amounts[np.argmax(times)]
        kinds = {yes: ~usual, no: np.ones(len(outcome), dtype=bool)}
    counts = {
        (arm, words): int(np.unique(contrast.cluster[rows & kind]).size)
        for arm, rows in (("treated", contrast.treated), ("untreated", contrast.untreated))
        for words, kind in kinds.items()
    }
    (arm, words), smallest = min(counts.items(), key=lambda item: item[1])
    if smallest < LEAST:
        return CheckFinding(
            verdict="failed",
            statistic=float(smallest),
            explanation=f"Only {smallest} {arm} {compared.unit} {words}; below {LEAST} an interval "
            f"promises more than it can hold.",
        )
    return CheckFinding(
        verdict="passed",
        statistic=float(smallest),
        explanation=f"In each group at least {smallest} {compared.unit} {yes} and at least {smallest} {no}.",
    )


CHECK = Check(
    name="enough_outcomes",
    title="Enough outcomes",
    question="Did enough accounts leave and stay, acted on and not?",
    criterion=f"at least {LEAST} accounts with each outcome (left and stayed) in each arm (below "
    f"that the normal approximation of a share fails)",
    run=run,
)
