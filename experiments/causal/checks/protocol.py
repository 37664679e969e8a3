"""A check: one way a comparison can be wrong, with a statistical criterion.

A check reads how one action is compared with none, in a sample of two arms or more, and never the
effect itself. Its verdict is passed, failed or not applicable, with its statistic, an interval
where it has one, and a sentence in plain words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from experiments.causal.contrast import Contrast
from experiments.causal.sample import Bools, Floats, Sample

CheckVerdict = Literal["passed", "failed", "not_applicable"]


@dataclass(frozen=True, kw_only=True)
class CheckedComparison:
    """One action against none, without its effect, as input of the checks.

    ``contrast`` is that of the main outcome: checks use its weights and propensities, not its
    effect. ``outcome`` is 1 or 0 per trial, or an amount; ``outcome_words`` are words for both, or for
    an amount that is not the commonest and one that is. ``placebos`` are
    contrasts of values from before the start, in standard deviations. ``is_exposed`` marks trials
    that received an action later, None where that is not recorded. ``excluded`` counts the trials
    left out by reason: (treated, untreated). ``odds_on_record``: a lottery's odds were written down,
    and not read from the sizes of its arms. ``unit`` is what a row is about, in the plural.
    """

    contrast: Contrast
    outcome: Floats
    outcome_words: tuple[str, str] = ("left", "stayed")
    by_lot: bool
    placebos: Mapping[str, Contrast]
    is_exposed: Bools | None = None
    excluded: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    odds_on_record: bool = True
    unit: str = "accounts"

    @property
    def sample(self) -> Sample:
        """The trials of all arms."""
        return self.contrast.sample


@dataclass(frozen=True, kw_only=True)
class CheckFinding:
    """The finding of one run of a check, without the constant texts."""

    verdict: CheckVerdict
    explanation: str
    statistic: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """A check with its finding."""

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
    """A check. ``run`` returns verdict, statistic, interval and explanation."""

    name: str
    title: str
    question: str
    criterion: str
    run: Callable[[CheckedComparison], CheckFinding]

    def __call__(self, compared: CheckedComparison) -> CheckResult:
        """The result of this check on this comparison."""
        found = self.run(compared)
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


def standardise(values: Floats) -> Floats:
    """A placebo in standard deviations, as the checks read it."""
    spread = float(values.std())
    return np.asarray((values - values.mean()) / (spread if spread > 0 else 1.0))


def not_applicable(why: str) -> CheckFinding:
    """The check does not apply to this comparison."""
    return CheckFinding(verdict="not_applicable", explanation=why)
