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
from training.models.boosting import bin_rows, grow_trees
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


@dataclass(frozen=True, kw_only=True, eq=False)
class BinnedRows:
    """Rows of a training set, binned once for all fits to parts of them."""

    dataset: lgb.Dataset
    outcome: NDArray[np.float64]
    place: NDArray[np.int64]  # of each row of the training set among the binned; -1 is not there

    @classmethod
    def of(cls, training: TrainingSet, rows: Bools, columns: list[int]) -> BinnedRows:
        """Bin these rows and columns."""
        outcome = training.outcome[rows]
        return cls(
            dataset=bin_rows(training.part(rows, columns), outcome),
            outcome=outcome,
            place=np.where(rows, np.cumsum(rows) - 1, -1),
        )

    def part(self, rows: Bools) -> lgb.Dataset:
        """The Dataset of these rows, in the bins of all."""
        return self._part(self._places(rows))

    def fitted(self, rows: Bools, parameters: Parameters, *, seed: int) -> FittedModel:
        """The trees of these rows of the training set, or OneClassError."""
        places = self._places(rows)
        refuse_one_class(self.outcome[places])
        return fitted_trees(grow_trees(self._part(places), parameters, seed=seed))

    def _part(self, places: NDArray[np.int64]) -> lgb.Dataset:
        if len(places) == len(self.outcome):
            return self.dataset
        return self.dataset.subset(places.tolist()).construct()

    def _places(self, rows: Bools) -> NDArray[np.int64]:
        places = self.place[rows]
        assert (places >= 0).all(), "every row of a part is among the binned"
        return places
