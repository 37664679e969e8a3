from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from registry.trees.arrays import TreeArrays
from registry.trees.owen import LeafPaths
from registry.trees.shap import SplitShares
from tests.registry.trees.test_shap import cycled, known_only


def subsets(of: list[int]):
    return (s for size in range(len(of) + 1) for s in itertools.combinations(of, size))


def owen(trees: TreeArrays, row: np.ndarray, themes: np.ndarray) -> list[float]:
    """By definition: over all sets of other themes, and all sets of other features of its own."""

    def weight(size: int, players: int) -> float:
        return math.factorial(size) * math.factorial(players - 1 - size) / math.factorial(players)

    n_themes, found = int(themes.max()) + 1, []
    for feature, theme in enumerate(themes):
        siblings = [j for j in range(len(themes)) if themes[j] == theme and j != feature]
        total = 0.0
        for others in subsets([t for t in range(n_themes) if t != theme]):
            known = {j for j in range(len(themes)) if themes[j] in others}
            for own in subsets(siblings):
                without = frozenset(known | {*own})
                gain = known_only(trees, row, without | {feature}) - known_only(trees, row, without)
                total += weight(len(others), n_themes) * weight(len(own), len(siblings) + 1) * gain
        found.append(total)
    return found


@pytest.mark.parametrize("n_themes", [1, 3, 7])
@pytest.mark.parametrize("kind", ["numbers", "categories", "one feature twice on a path"])
def test_features_have_the_owen_values_by_definition(train_booster, kind, n_themes):
    shape = {
        "numbers": {"n_features": 7, "nan": 0.3},
        "categories": {"n_features": 7, "nan": 0.2, "categorical": True, "cat_smooth": 1.0},
        "one feature twice on a path": {"n_features": 7, "num_leaves": 40, "nan": 0.1},
    }[kind]
    booster, scored = train_booster({"num_leaves": 10, **shape}, rounds=3)
    trees, themes = TreeArrays.from_dump(booster.dump_model()), cycled(7, n_themes)
    rows = scored[[0, 21, 25, 27]]
    for row, values in zip(
        rows, LeafPaths.of(trees, themes).contributions(trees, rows), strict=True
    ):
        np.testing.assert_allclose(values, owen(trees, row, themes), rtol=0, atol=1e-12)


@pytest.mark.parametrize("n_rows", [1, 5, 32])
def test_the_features_of_a_theme_add_up_to_its_shapley_value(train_booster, n_rows):
    booster, scored = train_booster({"n_features": 9, "num_leaves": 31, "nan": 0.2}, rounds=40)
    trees, themes = TreeArrays.from_dump(booster.dump_model()), cycled(scored.shape[1], 4)
    rows = scored[:n_rows]
    values = LeafPaths.of(trees, themes).contributions(trees, rows)
    by_theme = values @ (themes[:, None] == np.arange(4)).astype(float)
    exact = SplitShares.of(trees, themes).contributions(trees, rows)
    np.testing.assert_allclose(by_theme, exact, rtol=0, atol=1e-11)


def test_a_theme_for_each_feature_gives_the_shapley_values_of_features(train_booster):
    booster, scored = train_booster({"n_features": 9, "num_leaves": 31, "nan": 0.2}, rounds=10)
    trees = TreeArrays.from_dump(booster.dump_model())
    values = LeafPaths.of(trees, np.arange(9)).contributions(trees, scored)
    exact = SplitShares.of(trees).contributions(trees, scored)
    np.testing.assert_allclose(values, exact, rtol=0, atol=1e-11)


def test_trees_of_one_leaf_and_no_rows_say_nothing(trained):
    booster, scored = trained
    trees = TreeArrays.from_dump(booster.dump_model())
    paths = LeafPaths.of(trees, np.zeros(scored.shape[1], np.int64))
    assert paths.contributions(trees, scored[:0]).shape == (0, scored.shape[1])
