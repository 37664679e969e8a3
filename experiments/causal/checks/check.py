"""This module is about what a check is: a named doubt with a criterion in statistical terms.

A check reads the evidence of a report, never the effect itself, and says passed, failed or not
applicable, with its statistic, an interval where it has one, and a sentence in plain words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from experiments.causal.sample import Fit
from experiments.causal.trials import Trials

CheckVerdict = Literal["passed", "failed", "not_applicable"]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What a check may look at.

    ``churn`` is the fit of the main outcome (its weights and propensities are of interest, not its
    effect); ``placebos`` are fits of what was measured before the start, with the spread of each.
    """

    trials: Trials
    churn: Fit
    placebos: Mapping[str, Fit]
    placebo_spread: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """What a check found."""

    name: str
    title: str
    verdict: CheckVerdict
    statistic: float | None
    low: float | None
    high: float | None
    criterion: str
    explanation: str


@dataclass(frozen=True, kw_only=True)
class Check:
    """A named doubt. ``run`` returns verdict, statistic, interval and explanation."""

    name: str
    title: str
    question: str
    criterion: str
    run: Callable[[Evidence], Finding]

    def __call__(self, evidence: Evidence) -> CheckResult:
        """The result of this check on this evidence."""
        found = self.run(evidence)
        return CheckResult(
            name=self.name,
            title=self.title,
            verdict=found.verdict,
            statistic=found.statistic,
            low=found.low,
            high=found.high,
            criterion=self.criterion,
            explanation=found.explanation,
        )


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one run of a check says, without the words that never change."""

    verdict: CheckVerdict
    explanation: str
    statistic: float | None = None
    low: float | None = None
    high: float | None = None


def not_applicable(why: str) -> Finding:
    """The check does not apply to this evidence."""
    return Finding(verdict="not_applicable", explanation=why)
