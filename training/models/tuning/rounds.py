"""Learn how many trees to grow, from scores of accounts that no tree has seen.

::

    fold 1     accounts of 4 fifths ─► 30, 60, 90 … trees ─► scores of the last fifth
    …                                                          loss after each number, all fifths
    fold 5     accounts of 4 fifths ─► 30, 60, 90 … trees ─► scores of the last fifth

All five grow together, and end once more trees have not helped for a while: where little can be
learned few trees are the best, and a fixed number fits chance.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.dataset.training_set import FIFTHS, TrainingSet
from training.models.binned_rows import BinnedRows
from training.models.boosting import staged_scores
from training.models.specs import Parameters
from training.models.tuning.tune import levelled_rows

ROUNDS = (15, 30, 45, 60, 90, 120, 180, 240, 320, 400)
"""Numbers of trees that are tried."""

PATIENCE = 2
"""Growth ends after as many numbers in a row that are no better than the best."""


def learn_rounds(
    training: TrainingSet,
    rows: NDArray[np.bool_],
    columns: list[int],
    parameters: Parameters,
    *,
    seed: int,
    bins: BinnedRows,
) -> Parameters:
    """The parameters with the number of trees whose held-out log loss is the lowest.

    Where a fifth of the accounts leaves rows of one class only, the number stays as it is.

    Args:
        training: the rows.
        rows: those that are fitted.
        columns: what the trees read.
        parameters: of the spec.
        seed: of everything random.
        bins: of these rows.
    """
    fifth, outcome = training.fifth, training.outcome
    masks = [rows & (fifth == out) for out in range(FIFTHS)]
    if any(not 0 < outcome[rows & ~out].sum() < (rows & ~out).sum() for out in masks):
        return parameters
    growths = []
    for out in masks:
        part, step = bins.part(rows & ~out)
        growths.append(
            staged_scores(
                part, parameters, training.part(out, columns), ROUNDS, seed=seed, step=step
            )
        )
    held_out = np.concatenate([outcome[out] for out in masks])
    best, lowest, worse = int(parameters["rounds"]), np.inf, 0
    for rounds, scores in zip(ROUNDS, zip(*growths, strict=True), strict=True):
        loss = float(levelled_rows(np.concatenate(scores), held_out).mean())
        worse = worse + 1 if loss >= lowest else 0
        if loss < lowest:
            best, lowest = rounds, loss
        if worse >= PATIENCE:
            break
    return {**parameters, "rounds": best}
