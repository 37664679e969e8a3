"""Bin rows once for all fits to parts of them.

A training grows trees from many parts of the same rows: the folds of the study and of the
calibration, the fit that is judged, and refits for the stability of explanations. The rows are
binned once, and each part uses those bins. Bin edges depend on features, not on outcomes, and never
on rows of the test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from training.dataset.training_set import TrainingSet
from training.models.boosting import GrowthRules, RenewalStep, bin_rows, grow_trees
from training.models.fit import FittedModel, fitted_trees, refuse_one_class
from training.models.specs import Parameters

Bools = NDArray[np.bool_]


class Grower(Protocol):
    """Grows trees from parts of the rows that it was made for."""

    def fitted(self, rows: Bools, parameters: Parameters, *, seed: int) -> FittedModel:
        """The trees of these rows of the training set, or OneClassError."""
        ...


MakeGrower = Callable[[TrainingSet, Bools, list[int]], Grower]
"""Makes a grower of these rows and columns of a training set."""


def rules_of(training: TrainingSet, columns: list[int]) -> GrowthRules:
    """The rules for trees of these columns of a training set, at its longest horizon."""
    names = [training.names[column] for column in columns]
    return GrowthRules.of(names, training.label, training.label.lead_days + training.horizons[-1])


@dataclass(frozen=True, kw_only=True, eq=False)
class BinnedRows:
    """Rows of a training set, binned once for all fits to parts of them."""

    dataset: lgb.Dataset
    matrix: NDArray[np.float64]
    outcome: NDArray[np.float64]
    rules: GrowthRules
    place: NDArray[np.int64]  # of each row of the training set among the binned; -1 is not there

    @classmethod
    def of(cls, training: TrainingSet, rows: Bools, columns: list[int]) -> BinnedRows:
        """Bin these rows and columns."""
        matrix, outcome = training.part(rows, columns), training.outcome[rows]
        rules = rules_of(training, columns)
        return cls(
            dataset=bin_rows(matrix, outcome, rules),
            matrix=matrix,
            outcome=outcome,
            rules=rules,
            place=np.where(rows, np.cumsum(rows) - 1, -1),
        )

    def part(self, rows: Bools) -> tuple[lgb.Dataset, RenewalStep | None]:
        """The Dataset of these rows in the bins of all, and the step that its trees start from."""
        return self._part(self._places(rows))

    def fitted(self, rows: Bools, parameters: Parameters, *, seed: int) -> FittedModel:
        """The trees of these rows of the training set, or OneClassError."""
        places = self._places(rows)
        refuse_one_class(self.outcome[places])
        dataset, step = self._part(places)
        return fitted_trees(grow_trees(dataset, parameters, seed=seed), step)

    def _part(self, places: NDArray[np.int64]) -> tuple[lgb.Dataset, RenewalStep | None]:
        is_whole = len(places) == len(self.outcome)
        dataset = self.dataset if is_whole else self.dataset.subset(places.tolist()).construct()
        matrix = self.matrix if is_whole else self.matrix[places]
        step = self.rules.step(matrix, self.outcome[places])
        if step is not None:
            dataset.set_init_score(step.scores(matrix))
        return dataset, step

    def _places(self, rows: Bools) -> NDArray[np.int64]:
        places = self.place[rows]
        assert (places >= 0).all(), "every row of a part is among the binned"
        return places
