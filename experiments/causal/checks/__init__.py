"""The checks of a causal claim: one file per check, all of them in one tuple.

The first check that fails silences the headline.
"""

from __future__ import annotations

from experiments.causal.checks import (
    balance,
    control_exposure,
    enough_outcomes,
    even_exclusion,
    overlap,
    pre_period_placebo,
    sample_ratio,
)
from experiments.causal.checks.protocol import Check

__all__ = [
    "CHECKS",
    "balance",
    "control_exposure",
    "enough_outcomes",
    "even_exclusion",
    "overlap",
    "pre_period_placebo",
    "protocol",
    "sample_ratio",
]

CHECKS: tuple[Check, ...] = (
    enough_outcomes.CHECK,
    sample_ratio.CHECK,
    even_exclusion.CHECK,
    balance.CHECK,
    overlap.CHECK,
    pre_period_placebo.CHECK,
    control_exposure.CHECK,
)
"""In order of importance: the first check that fails silences the headline."""
