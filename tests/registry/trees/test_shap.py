from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from registry.trees.arrays import TreeArrays, goes_left
from registry.trees.shap import SplitShares
from registry.trees.shap_batch import BatchShares


def test_contributions_are_those_of_lightgbm(trained):
    booster, scored = trained
    trees = TreeArrays.from_dump(booster.dump_model())
    shares = SplitShares.of(trees)
    theirs = booster.predict(scored, pred_contrib=True)
    # LightGBM unwinds polynomials, which loses some digits on deep paths; nothing above is rounding
    assert np.abs(shares.contributions(trees, scored) - theirs[:, :-1]).max() <= 1e-9
    assert abs(shares.base - theirs[0, -1]) <= 1e-9


def test_contributions_and_base_sum_to_the_score(trained):
    booster, scored = trained
    trees = TreeArrays.from_dump(booster.dump_model())
    shares = SplitShares.of(trees)
    sums = shares.contributions(trees, scored).sum(axis=1) + shares.base
    assert np.abs(sums - trees.score(scored)).max() <= 1e-11  # sums of a few hundred terms


def known_only(trees: TreeArrays, row: np.ndarray, known: frozenset[int]) -> float:
    """The game itself: unknown features split a row by the training rows of each branch."""

    def below(tree: int, child: int) -> tuple[float, float]:
        if child < 0:
            leaf = trees.first_leaf[tree] - 1 - child
            return trees.leaf_cover[leaf], trees.leaf_value[leaf]
        i = trees.first_node[tree] + child
        left, right = below(tree, trees.left[i]), below(tree, trees.right[i])
        cover = left[0] + right[0]
        if trees.feature[i] in known:
            left_is_taken = goes_left(
                row[trees.feature[i]], trees.kind[i], trees.threshold[i], trees.category_set[i],
                trees.first_word, trees.category_words,
            )  # fmt: skip
            return cover, (left if left_is_taken else right)[1]
        return cover, (left[0] * left[1] + right[0] * right[1]) / cover

    roots = [0 if n else -1 for n in np.diff(trees.first_node)]
    return sum(below(tree, root)[1] for tree, root in enumerate(roots))


def shapley(trees: TreeArrays, row: np.ndarray, n: int) -> list[float]:
    """By definition: the mean over all subsets of what a feature adds."""
    value = {
        frozenset(s): known_only(trees, row, frozenset(s))
        for size in range(n + 1)
        for s in itertools.combinations(range(n), size)
    }
    weight = [math.factorial(j) * math.factorial(n - 1 - j) / math.factorial(n) for j in range(n)]
    return [
        sum(weight[len(s)] * (value[s | {f}] - value[s]) for s in value if f not in s)
        for f in range(n)
    ]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["numbers", "categories", "one feature twice on a path"])
def test_contributions_are_shapley_values_by_definition(train_booster, kind, seed):
    shape = {
        "numbers": {"n_features": 7, "nan": 0.3},
        "categories": {"n_features": 6, "nan": 0.2, "categorical": True, "cat_smooth": 1.0},
        "one feature twice on a path": {"n_features": 3, "num_leaves": 24, "nan": 0.1},
    }[kind]
    booster, scored = train_booster({"num_leaves": 10, **shape}, seed=seed, rounds=3)
    trees = TreeArrays.from_dump(booster.dump_model())
    shares = SplitShares.of(trees)
    n = scored.shape[1]
    rows = scored[[0, 21, 25, 27, 30, 31]]
    for row, values in zip(rows, shares.contributions(trees, rows), strict=True):
        np.testing.assert_allclose(values, shapley(trees, row, n), rtol=0, atol=1e-12)
        assert known_only(trees, row, frozenset()) == pytest.approx(shares.base, abs=1e-12)


def test_a_path_with_sixty_features_is_still_exact():
    """A chain of splits on 60 features, by the closed form of a game with one winning set."""
    n = 60
    cover = np.arange(1, n + 1, dtype=float)[::-1]
    trees = TreeArrays(
        first_node=np.array([0, n], np.int32), first_leaf=np.array([0, n + 1], np.int32),
        feature=np.arange(n, dtype=np.int32), kind=np.zeros(n, np.uint8),
        threshold=np.zeros(n), category_set=np.full(n, -1, np.int32),
        left=np.append(np.arange(1, n), -1 - n).astype(np.int32),
        right=(-1 - np.arange(n)).astype(np.int32),
        leaf_value=np.append(np.zeros(n), 1.0), leaf_cover=np.append(cover, 1.0),
        first_word=np.zeros(1, np.int32), category_words=np.zeros(0, np.uint32),
    )  # fmt: skip
    shares = SplitShares.of(trees)
    values = shares.contributions(trees, np.full((1, n), -1.0))[0]
    below = np.cumsum(np.append(cover, 1.0)[::-1])[::-1]
    share = below[1:] / below[:-1]
    assert values.sum() == pytest.approx(1.0 - np.prod(share), abs=1e-13)
    # Equal shares would earn equal parts; a feature that keeps fewer rows earns more.
    assert (np.diff(values[np.argsort(share)]) <= 1e-15).all()
    assert (values > 0).all()


@pytest.mark.parametrize("place", [0, 1, 3])
def test_a_tree_of_one_leaf_among_others_adds_to_the_base_alone(trained, place):
    booster, scored = trained
    dump = booster.dump_model()
    plain = TreeArrays.from_dump({"tree_info": dump["tree_info"][:3]})
    leaf = {"tree_structure": {"leaf_value": 0.25, "leaf_count": 0}}
    some = dump["tree_info"][:3]
    more = TreeArrays.from_dump({"tree_info": [*some[:place], leaf, leaf, *some[place:]]})
    shares, plain_shares = SplitShares.of(more), SplitShares.of(plain)
    assert shares.base == pytest.approx(plain_shares.base + 0.5, abs=1e-12)
    values = shares.contributions(more, scored)
    np.testing.assert_array_equal(values, plain_shares.contributions(plain, scored))
    np.testing.assert_allclose(more.score(scored), plain.score(scored) + 0.5, atol=1e-12)


def test_contributions_of_no_rows_are_no_rows(trained):
    booster, scored = trained
    trees = TreeArrays.from_dump(booster.dump_model())
    assert SplitShares.of(trees).contributions(trees, scored[:0]).shape == (0, scored.shape[1])
    assert trees.score(scored[:0]).shape == (0,)


def shapley_of_themes(trees: TreeArrays, row: np.ndarray, themes: np.ndarray) -> list[float]:
    """By definition: the mean over all coalitions of themes of what one more theme adds."""
    n = int(themes.max()) + 1
    value = {
        frozenset(s): known_only(trees, row, frozenset(np.flatnonzero(np.isin(themes, s)).tolist()))
        for size in range(n + 1)
        for s in itertools.combinations(range(n), size)
    }
    weight = [math.factorial(j) * math.factorial(n - 1 - j) / math.factorial(n) for j in range(n)]
    return [
        sum(weight[len(s)] * (value[s | {t}] - value[s]) for s in value if t not in s)
        for t in range(n)
    ]


def cycled(n_features: int, n_themes: int) -> np.ndarray:
    return np.arange(n_features) % n_themes


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("n_themes", [2, 3, 5])
def test_themes_have_the_shapley_values_of_their_own_game(train_booster, n_themes, seed):
    booster, scored = train_booster(
        {"n_features": 9, "num_leaves": 16, "nan": 0.2}, seed=seed, rounds=4
    )
    trees = TreeArrays.from_dump(booster.dump_model())
    themes = cycled(scored.shape[1], n_themes)
    shares = SplitShares.of(trees, themes)
    values = shares.contributions(trees, scored[:6])
    assert values.shape == (6, n_themes)
    for row, found in zip(scored, values, strict=False):
        assert found == pytest.approx(shapley_of_themes(trees, row, themes), abs=1e-12)


def test_themes_and_base_sum_to_the_score_one_by_one_and_in_blocks(train_booster):
    booster, scored = train_booster({"n_features": 9, "num_leaves": 31, "nan": 0.2}, rounds=40)
    trees = TreeArrays.from_dump(booster.dump_model())
    shares = SplitShares.of(trees, cycled(scored.shape[1], 4))
    raw, values = trees.score(scored), shares.contributions(trees, scored)
    assert values.sum(axis=1) + shares.base == pytest.approx(raw, abs=1e-11)
    of_many = BatchShares.of(trees, shares).contributions(trees, scored, raw)
    assert of_many == pytest.approx(values, abs=1e-6)


def test_a_theme_of_one_feature_each_is_the_game_of_features(train_booster):
    booster, scored = train_booster({"n_features": 5, "num_leaves": 16}, rounds=5)
    trees = TreeArrays.from_dump(booster.dump_model())
    alone = SplitShares.of(trees, np.arange(scored.shape[1])).contributions(trees, scored)
    assert alone == pytest.approx(SplitShares.of(trees).contributions(trees, scored), abs=1e-14)


def test_a_feature_that_comes_twice_moves_no_theme(train_booster):
    """Every second split asks a copy instead: features share the credit, the theme keeps it."""
    booster, scored = train_booster({"n_features": 6, "num_leaves": 16}, rounds=20)
    trees = TreeArrays.from_dump(booster.dump_model())
    n = scored.shape[1]
    twice = np.column_stack((scored, scored))
    feature = trees.feature.copy()
    feature[::2] += n
    copied = TreeArrays.from_arrays({**trees.arrays(), "feature": feature})
    themes = cycled(n, 3)
    before = SplitShares.of(trees, themes).contributions(trees, scored)
    after = SplitShares.of(copied, np.tile(themes, 2)).contributions(copied, twice)
    assert after == pytest.approx(before, abs=1e-12)
    by_feature = SplitShares.of(copied).contributions(copied, twice)
    moved = np.abs(by_feature[:, :n] - SplitShares.of(trees).contributions(trees, scored))
    assert moved.max() > 0.1 * np.abs(before).max()


@pytest.mark.parametrize("n_themes", [7, 3])
def test_what_a_player_adds_alone_is_told_by_no_other(train_booster, n_themes):
    booster, scored = train_booster({"num_leaves": 10, "n_features": 7, "nan": 0.3}, rounds=3)
    trees = TreeArrays.from_dump(booster.dump_model())
    themes = cycled(7, n_themes)
    batch = BatchShares.of(trees, SplitShares.of(trees, themes))
    rows = scored[[0, 21, 25, 27]]
    for row, values in zip(rows, batch.alone(trees, rows), strict=True):
        by_definition = [
            known_only(trees, row, frozenset(np.nonzero(themes == one)[0].tolist()))
            - batch.shares.base
            for one in range(n_themes)
        ]
        np.testing.assert_allclose(values, by_definition, rtol=0, atol=1e-6)  # 24 bits a leaf
