"""Many rows at once are explained as one by one, but for rounding, and sum to the score exactly."""

from __future__ import annotations

import numpy as np
import pytest

from registry.trees._threshold_codes import ASKED_BY_VALUE, ThresholdCodes
from registry.trees.arrays import TreeArrays
from registry.trees.shap import SplitShares
from registry.trees.shap_batch import BLOCK, BatchShares


def both(trees: TreeArrays, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    shares = SplitShares.of(trees)
    return (
        shares.contributions(trees, rows),
        BatchShares.of(trees, shares).contributions(trees, rows, trees.score(rows)),
    )


def close(exact: np.ndarray, fast: np.ndarray) -> bool:
    return bool(
        np.abs(exact - fast).max(initial=0.0) <= 1e-6 * max(1.0, np.abs(exact).max(initial=0.0))
    )


@pytest.mark.parametrize("n_rows", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5])
def test_blocks_of_any_size_give_what_one_row_gives(trained, n_rows):
    booster, scored = trained
    trees = TreeArrays.from_dump(booster.dump_model())
    rows = scored[np.arange(n_rows) % len(scored)]
    exact, fast = both(trees, rows)
    assert fast.shape == rows.shape
    assert close(exact, fast)
    sums = fast.sum(axis=1) + SplitShares.of(trees).base
    np.testing.assert_allclose(sums, trees.score(rows), rtol=0, atol=1e-11)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["numbers", "categories", "zero is missing", "deep"])
def test_random_models_are_explained_as_lightgbm_explains_them(train_booster, kind, seed):
    shape = {
        "numbers": {"n_features": 30, "nan": 0.6, "num_leaves": 31},
        "categories": {"n_features": 8, "nan": 0.2, "categorical": True, "cat_smooth": 1.0},
        "zero is missing": {"n_features": 9, "nan": 0.2, "zero_as_missing": True},
        "deep": {"n_features": 40, "nan": 0.3, "num_leaves": 90, "min_data_in_leaf": 1},
    }[kind]
    booster, scored = train_booster(shape, seed=seed, rounds=40)
    trees = TreeArrays.from_dump(booster.dump_model())
    rows = np.vstack(
        [
            scored,
            np.clip(scored, -1e9, 1e9) * 1e9,
            np.zeros_like(scored),
            np.full_like(scored, np.nan),
            -scored,
        ]
    )
    theirs = booster.predict(rows, pred_contrib=True)[:, :-1]
    assert close(theirs, both(trees, rows)[1])


def chain(n: int, kind: list[int]) -> TreeArrays:
    """One tree that splits on n features one after the other, at 0."""
    return TreeArrays(
        first_node=np.array([0, n], np.int32), first_leaf=np.array([0, n + 1], np.int32),
        feature=np.arange(n, dtype=np.int32), kind=np.array(kind, np.uint8),
        threshold=np.zeros(n), category_set=np.full(n, -1, np.int32),
        left=np.append(np.arange(1, n), -1 - n).astype(np.int32),
        right=(-1 - np.arange(n)).astype(np.int32),
        leaf_value=np.linspace(-1.0, 1.0, n + 1),
        leaf_cover=np.append(np.arange(1, n + 1, dtype=float)[::-1], 1.0),
        first_word=np.zeros(1, np.int32), category_words=np.zeros(0, np.uint32),
    )  # fmt: skip


@pytest.mark.parametrize("kind", range(8), ids=lambda bits: f"kind {bits}")
def test_missing_values_and_zeros_go_where_the_split_sends_them(kind):
    trees = chain(3, [kind] * 3)
    values = [np.nan, 0.0, -0.0, 1e-36, -1e-36, 1.0, -1.0, np.inf, -np.inf]
    rows = np.array([[a, b, c] for a in values for b in values for c in values])
    exact, fast = both(trees, rows)
    assert close(exact, fast)


def test_a_feature_whose_splits_disagree_on_what_is_missing_is_asked_by_value():
    trees = TreeArrays.from_arrays({**chain(2, [4, 5]).arrays(), "feature": np.zeros(2, np.int32)})
    assert (ThresholdCodes.of(trees).place == [0, 0]).all()
    other = TreeArrays.from_arrays({**chain(2, [4, 2]).arrays(), "feature": np.zeros(2, np.int32)})
    assert (ThresholdCodes.of(other).place == ASKED_BY_VALUE).all()
    rows = np.array([[np.nan], [0.0], [1.0], [-1.0]])
    for one in (trees, other):
        exact, fast = both(one, rows)
        assert close(exact, fast)


def test_a_path_with_sixty_features_keeps_its_digits():
    rows = np.where(np.random.default_rng(0).random((200, 60)) < 0.9, -1.0, 1.0)
    exact, fast = both(chain(60, [0] * 60), rows)
    assert close(exact, fast)


def test_trees_of_one_leaf_say_nothing():
    leaf = {"tree_structure": {"leaf_value": 0.25, "leaf_count": 0}}
    trees = TreeArrays.from_dump({"tree_info": [leaf, leaf]})
    assert not both(trees, np.ones((20, 2)))[1].any()
