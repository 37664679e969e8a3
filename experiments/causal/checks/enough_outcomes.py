"""This module is about whether enough accounts left and stayed for an interval to mean anything."""

from __future__ import annotations

import numpy as np

from experiments.causal.checks.check import Check, Evidence, Finding
from experiments.causal.trials import CHURN

LEAST = 10


def run(evidence: Evidence) -> Finding:
    """Distinct clusters with each result in each arm; the smallest of the four counts decides."""
    outcome, sample = evidence.trials.outcomes[CHURN], evidence.trials.sample
    counts = {
        (arm, result): int(
            np.unique(
                sample.cluster[(sample.treated == (arm == "treated")) & (outcome == value)]
            ).size
        )
        for arm in ("treated", "untreated")
        for result, value in (("left", 1.0), ("stayed", 0.0))
    }
    (arm, result), smallest = min(counts.items(), key=lambda item: item[1])
    if smallest < LEAST:
        return Finding(
            verdict="failed",
            statistic=float(smallest),
            explanation=f"Only {smallest} {arm} accounts {result}; below {LEAST} an interval "
            f"promises more than it can hold.",
        )
    return Finding(
        verdict="passed",
        statistic=float(smallest),
        explanation=f"At least {smallest} accounts left and stayed in each arm.",
    )


CHECK = Check(
    name="enough_outcomes",
    title="Enough outcomes",
    question="Did enough accounts leave and stay, acted on and not?",
    criterion=f"at least {LEAST} accounts that left and {LEAST} that stayed in each arm (below "
    f"that the normal approximation of a share fails)",
    run=run,
)
