"""Coded trees give the score of the trees that they were made of, row by row and in blocks.

To the last bit: a score must be the same number in a request for one account and in a file of all.
Beside LightGBM's own prediction a tolerance is enough, whose additions may come in another order.
"""

from __future__ import annotations

import numpy as np
import pytest

from registry.trees.arrays import TreeArrays, TreeStructureError
from registry.trees.batch_scoring import BLOCK, MANY, CodedTrees
from registry.trees.structure import DEFAULT_LEFT, NAN_IS_MISSING


@pytest.mark.parametrize("n_rows", [0, 1, MANY - 1, MANY, BLOCK, BLOCK + 1, 2 * BLOCK + 3])
def test_scores_are_those_of_the_plain_trees_and_of_lightgbm(trained, n_rows):
    booster, scored = trained
    trees = TreeArrays.from_dump(booster.dump_model())
    rows = scored[np.arange(n_rows) % len(scored)]
    found = CodedTrees.of(trees).score(rows)
    np.testing.assert_array_equal(found, trees.score(rows))
    if n_rows:
        theirs = booster.predict(rows, raw_score=True)
        np.testing.assert_allclose(found, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("leaves", [31, 32, 33, 63, 64, 65, 120])
def test_trees_of_any_size_are_scored(train_booster, leaves):
    booster, scored = train_booster(
        {"num_leaves": leaves, "min_data_in_leaf": 1, "nan": 0.2, "n_features": 12}, rounds=6
    )
    trees = TreeArrays.from_dump(booster.dump_model())
    assert np.diff(trees.first_leaf).max() == leaves
    np.testing.assert_array_equal(CodedTrees.of(trees).score(scored), trees.score(scored))


@pytest.mark.parametrize("kind", range(8), ids=lambda bits: f"kind {bits}")
def test_what_is_missing_goes_where_its_split_sends_it(kind):
    trees = TreeArrays(
        first_node=np.array([0, 2], np.int32), first_leaf=np.array([0, 3], np.int32),
        feature=np.array([0, 1], np.int32), kind=np.full(2, kind, np.uint8),
        threshold=np.array([0.0, -0.5]), category_set=np.full(2, -1, np.int32),
        left=np.array([1, -1], np.int32), right=np.array([-3, -2], np.int32),
        leaf_value=np.array([1.0, 2.0, 4.0]), leaf_cover=np.ones(3),
        first_word=np.zeros(1, np.int32), category_words=np.zeros(0, np.uint32),
    )  # fmt: skip
    values = [np.nan, 0.0, -0.0, 1e-36, -1e-36, 1.0, -1.0, np.inf, -np.inf]
    rows = np.array([[a, b] for a in values for b in values])
    np.testing.assert_array_equal(CodedTrees.of(trees).score(rows), trees.score(rows))


def test_leaves_that_are_not_numbered_from_left_to_right_are_found_by_walking():
    trees = TreeArrays(
        first_node=np.array([0, 2], np.int32), first_leaf=np.array([0, 3], np.int32),
        feature=np.array([0, 1], np.int32), kind=np.zeros(2, np.uint8), threshold=np.zeros(2),
        category_set=np.full(2, -1, np.int32), left=np.array([1, -3], np.int32),
        right=np.array([-1, -2], np.int32), leaf_value=np.array([1.0, 2.0, 4.0]),
        leaf_cover=np.ones(3), first_word=np.zeros(1, np.int32),
        category_words=np.zeros(0, np.uint32),
    )  # fmt: skip
    rows = np.array([[a, b] for a in (-1.0, 1.0) for b in (-1.0, 1.0)] * MANY)
    np.testing.assert_array_equal(CodedTrees.of(trees).score(rows), trees.score(rows))
    assert set(trees.score(rows)) == {1.0, 2.0, 4.0}


@pytest.mark.parametrize("kind", [0, DEFAULT_LEFT, NAN_IS_MISSING, DEFAULT_LEFT | NAN_IS_MISSING])
def test_a_feature_with_more_thresholds_than_codes_is_asked_by_value(kind):
    n = 70_000
    stump = {
        "kind": np.full(n, kind, np.uint8), "category_set": np.full(n, -1, np.int32),
        "left": np.full(n, -1, np.int32), "right": np.full(n, -2, np.int32),
        "first_word": np.zeros(1, np.int32), "category_words": np.zeros(0, np.uint32),
        "first_node": np.arange(n + 1, dtype=np.int32), "leaf_cover": np.ones(2 * n),
        "first_leaf": np.arange(0, 2 * n + 1, 2, dtype=np.int32),
        "leaf_value": np.arange(2 * n, dtype=float),
        "feature": np.append(np.zeros(n - 1), 1).astype(np.int32),
        "threshold": np.append(np.arange(n - 1), 0.5),
    }  # fmt: skip
    trees = TreeArrays.from_arrays(stump)
    rows = np.random.default_rng(0).random((MANY, 2)) * [n, 1]
    rows[::5] = np.nan
    np.testing.assert_array_equal(CodedTrees.of(trees).score(rows), trees.score(rows))


def test_splits_that_do_not_agree_on_what_is_missing_are_asked_by_value():
    """As of trees that were grown on, from rows of which other values were missing."""
    kinds = [DEFAULT_LEFT, DEFAULT_LEFT | NAN_IS_MISSING, 0, NAN_IS_MISSING]
    n = len(kinds)
    trees = TreeArrays.from_arrays({
        "kind": np.array(kinds, np.uint8), "category_set": np.full(n, -1, np.int32),
        "left": np.full(n, -1, np.int32), "right": np.full(n, -2, np.int32),
        "first_word": np.zeros(1, np.int32), "category_words": np.zeros(0, np.uint32),
        "first_node": np.arange(n + 1, dtype=np.int32), "leaf_cover": np.ones(2 * n),
        "first_leaf": np.arange(0, 2 * n + 1, 2, dtype=np.int32),
        "leaf_value": 2.0 ** np.arange(2 * n), "feature": np.zeros(n, np.int32),
        "threshold": np.array([0.5, 0.25, -0.5, 0.0]),
    })  # fmt: skip
    rows = np.random.default_rng(0).normal(size=(BLOCK + 3, 1))
    rows[::7] = np.nan
    rows[::11] = 0.0
    np.testing.assert_array_equal(CodedTrees.of(trees).score(rows), trees.score(rows))


def test_a_matrix_that_is_too_narrow_is_refused(trained):
    booster, scored = trained
    coded = CodedTrees.of(TreeArrays.from_dump(booster.dump_model()))
    if coded.trees.n_features_read:
        with pytest.raises(TreeStructureError, match=r"The trees read .* features and the matrix"):
            coded.score(scored[:, :0])
