"""The estimators of an effect: one file per estimator, all of them in one tuple.

The design names the mechanism, and the mechanism the estimator.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from experiments.causal.contrast import Contrast, Scores
from experiments.causal.design import Mechanism
from experiments.causal.estimators.aipw import REPEATS, cross_fit, estimate_aipw
from experiments.causal.estimators.randomised import estimate_randomised, score_lottery
from experiments.causal.sample import Estimand, Floats, Sample

__all__ = [
    "ESTIMATORS",
    "Estimator",
    "EstimatorFunction",
    "aipw",
    "estimator_for",
    "nuisances",
    "randomised",
]


class EstimatorFunction(Protocol):
    """The arguments of every estimator."""

    def __call__(
        self,
        sample: Sample,
        outcomes: Mapping[str, Floats],
        *,
        estimand: Estimand,
        rng: np.random.Generator,
        action: int = 1,
    ) -> dict[str, Contrast]:
        """One action against none: a contrast per outcome."""
        ...


class ScoringFunction(Protocol):
    """The arguments of an estimator that returns the scores of every arm."""

    def __call__(
        self, sample: Sample, outcome: Floats, *, rng: np.random.Generator, repeats: int = REPEATS
    ) -> Scores:
        """The scores of one outcome."""
        ...


@dataclass(frozen=True, kw_only=True)
class Estimator:
    """A named way from a sample to an effect, and the estimands it is valid for."""

    name: str
    description: str
    mechanism: Mechanism
    estimands: tuple[Estimand, ...]
    estimate: EstimatorFunction
    score: ScoringFunction


ESTIMATORS: tuple[Estimator, ...] = (
    Estimator(
        name="randomised",
        description="Difference in means by logged probability, adjusted by a regression in each "
        "arm on what was known before the start; errors clustered.",
        mechanism="lottery",
        estimands=("ITT",),
        estimate=estimate_randomised,
        score=score_lottery,
    ),
    Estimator(
        name="aipw",
        description="Cross-fitted augmented inverse probability weighting: five folds of whole "
        "accounts, nuisances the mean of a regularised linear model and LightGBM, "
        "median over three redraws of the folds; errors clustered.",
        mechanism="judgement",
        estimands=("ATT", "ATE"),
        estimate=estimate_aipw,
        score=cross_fit,
    ),
)


def estimator_for(mechanism: Mechanism) -> Estimator:
    """The estimator of an assignment mechanism."""
    return next(item for item in ESTIMATORS if item.mechanism == mechanism)
