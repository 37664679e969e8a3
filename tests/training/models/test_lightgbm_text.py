from __future__ import annotations

import lightgbm as lgb
import numpy as np
import pytest

from registry.trees.arrays import TreeArrays, TreeStructureError
from training.models._lightgbm_text import trees_in


def rows(n: int = 800):
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(n, 6))
    matrix[:, 5] = rng.integers(0, 60, n)
    outcome = (matrix[:, 0] + matrix[:, 5] % 3 + rng.normal(size=n) > 1).astype(float)
    matrix[rng.random(matrix.shape) < 0.2] = np.nan
    matrix[rng.random(matrix.shape) < 0.1] = 0.0
    return matrix, outcome


def grown(rounds: int = 12, categorical: tuple[int, ...] = (), **changed) -> lgb.Booster:
    matrix, outcome = rows()
    settings = {"objective": "binary", "verbosity": -1, "min_data_in_leaf": 5, "seed": 1, **changed}
    data = lgb.Dataset(matrix, outcome, categorical_feature=list(categorical), params=settings)
    return lgb.train(settings, data, rounds)


@pytest.mark.parametrize(
    ("changed", "categorical"),
    [
        ({"num_leaves": 31}, ()),
        ({"num_leaves": 3}, ()),
        ({"num_leaves": 200}, ()),
        ({"zero_as_missing": True}, ()),
        ({"use_missing": False}, ()),
        ({"min_data_in_leaf": 790}, ()),  # no split at all
        ({"min_data_in_leaf": 150, "bagging_fraction": 0.5, "bagging_freq": 1}, ()),
        ({"min_data_per_group": 5}, (5,)),
    ],
    ids=[
        "usual",
        "small",
        "deep",
        "zero missing",
        "nothing missing",
        "one leaf",
        "bags",
        "categories",
    ],
)
def test_trees_from_the_text_are_those_of_the_dump(changed, categorical) -> None:
    booster = grown(categorical=categorical, **changed)
    ours, dumped = trees_in(booster.model_to_string()), TreeArrays.from_dump(booster.dump_model())
    for name, array in dumped.arrays().items():
        np.testing.assert_array_equal(ours.arrays()[name], array, err_msg=name)
        assert ours.arrays()[name].dtype == array.dtype


def test_what_can_not_be_served_is_refused_as_from_the_dump() -> None:
    with pytest.raises(TreeStructureError, match="random forest mode"):
        trees_in(grown(boosting="rf", bagging_fraction=0.5, bagging_freq=1).model_to_string())
    with pytest.raises(TreeStructureError, match="linear leaves"):
        trees_in(grown(linear_tree=True).model_to_string())


def test_a_split_of_the_known_from_the_unknown_is_that_of_the_dump() -> None:
    matrix, outcome = rows()
    outcome = np.isnan(matrix[:, 1]).astype(float)
    booster = lgb.train(
        {"objective": "binary", "verbosity": -1, "num_leaves": 3}, lgb.Dataset(matrix, outcome), 3
    )
    ours, dumped = trees_in(booster.model_to_string()), TreeArrays.from_dump(booster.dump_model())
    np.testing.assert_array_equal(ours.threshold, dumped.threshold)
    assert 1e300 in ours.threshold
