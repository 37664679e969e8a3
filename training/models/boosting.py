"""Grow trees with LightGBM; its only home beside the tuning study and the Dask cluster.

Same rows, settings and seed, same trees to the bit: one thread on small data (it is also faster
there) and LightGBM's deterministic mode.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from training.models.specs import Parameters

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

CELLS_PER_THREAD = 20_000_000
"""With fewer cells a second thread costs more than it saves."""


def bin_rows(matrix: Matrix, outcome: Vector) -> lgb.Dataset:
    """The rows in LightGBM's bins, ready for any parameters that do not alter binning."""
    return lgb.Dataset(matrix, outcome, params=_fixed(matrix)).construct()


def grow_trees(dataset: lgb.Dataset, parameters: Parameters, *, seed: int) -> lgb.Booster:
    """Grow the trees; the booster references the Dataset, its text does not."""
    # with this LightGBM does not write and read the model once more to free the Dataset
    return lgb.train(
        settings_of(dataset, parameters, seed=seed),
        dataset,
        num_boost_round=int(parameters["rounds"]),
        keep_training_booster=True,
    )


def staged_scores(
    dataset: lgb.Dataset,
    parameters: Parameters,
    matrix: Matrix,
    rounds: Sequence[int],
    *,
    seed: int,
) -> Iterator[Vector]:
    """Raw scores of other rows after each of these numbers of trees, which rise.

    Trees are grown only when their scores are iterated, and each is scored once.
    """
    booster = lgb.Booster(settings_of(dataset, parameters, seed=seed), dataset)
    scores, ended = np.zeros(len(matrix)), False
    for upto in rounds:
        before = booster.num_trees()
        while not ended and booster.current_iteration() < upto:
            ended = booster.update()
        if booster.num_trees() > before:
            scores = scores + booster.predict(
                matrix,
                raw_score=True,
                num_threads=1,
                start_iteration=before,
                num_iteration=upto - before,
            )
        yield scores


def settings_of(dataset: lgb.Dataset, parameters: Parameters, *, seed: int) -> dict[str, Any]:
    """LightGBM's settings for these parameters of a spec."""
    chosen: dict[str, Any] = {name: value for name, value in parameters.items() if name != "rounds"}
    for name in ("num_leaves", "min_data_in_leaf"):
        chosen[name] = int(parameters[name])
    return {**(dataset.params or {}), **chosen, "bagging_freq": 1, "seed": seed}


def raw_scores(booster: lgb.Booster, matrix: Matrix, *, rounds: int | None = None) -> Vector:
    """LightGBM's own raw scores, of the first ``rounds`` trees."""
    scores = booster.predict(matrix, raw_score=True, num_iteration=rounds, num_threads=1)
    return np.asarray(scores, dtype=np.float64)


def _fixed(matrix: Matrix) -> dict[str, Any]:
    threads = 1 if matrix.size < CELLS_PER_THREAD else 2  # of the data, not of the machine
    return {
        "objective": "binary",
        "verbosity": -1,
        "deterministic": True,
        "force_col_wise": True,
        "num_threads": threads,
        "feature_pre_filter": False,
    }
