from __future__ import annotations

import numpy as np
import pytest

from registry.trees.arrays import TreeArrays, TreeStructureError
from registry.trees.structure import CATEGORICAL, DEFAULT_LEFT, NAN_IS_MISSING, ZERO_IS_MISSING


def test_scores_are_those_of_lightgbm(trained):
    booster, scored = trained
    raw = TreeArrays.from_dump(booster.dump_model()).score(scored)
    # Same leaves added in the same order: only the compiler may differ in the last bits.
    assert np.abs(raw - booster.predict(scored, raw_score=True)).max() <= 1e-12


def test_a_value_at_a_threshold_goes_where_lightgbm_sends_it(trained):
    booster, scored = trained
    trees = TreeArrays.from_dump(booster.dump_model())
    rows = []
    for feature, threshold in zip(trees.feature[:150], trees.threshold[:150], strict=True):
        beside = [np.nextafter(threshold, -np.inf), threshold, np.nextafter(threshold, np.inf)]
        rows += [np.where(np.arange(scored.shape[1]) == feature, v, scored[30]) for v in beside]
    if rows:
        theirs = booster.predict(np.array(rows), raw_score=True)
        assert np.abs(trees.score(np.array(rows)) - theirs).max() <= 1e-12


def test_stored_arrays_give_the_same_trees(trained):
    booster, scored = trained
    trees = TreeArrays.from_dump(booster.dump_model())
    again = TreeArrays.from_arrays({k: a.copy() for k, a in trees.arrays().items()})
    assert (again.score(scored) == trees.score(scored)).all()


@pytest.fixture
def splits(train_booster, shapes):
    return lambda name: TreeArrays.from_dump(train_booster(shapes[name])[0].dump_model())


def test_the_shapes_reach_what_they_are_named_for(splits):
    assert np.diff(splits("deep").first_leaf).max() == 120
    assert not len(splits("single leaves").feature)
    assert np.diff(splits("many categories").first_word).max() > 3  # beyond category 96
    assert (splits("categorical").kind & CATEGORICAL).any()
    assert (splits("one-hot categorical").kind & CATEGORICAL).any()
    assert (splits("zero is missing").kind & ZERO_IS_MISSING).any()
    nan = splits("NaN is missing").kind
    assert {0, 1} == set((nan[(nan & NAN_IS_MISSING) > 0] & DEFAULT_LEFT).tolist())
    assert not (splits("NaN only where it is scored").kind & NAN_IS_MISSING).any()


def test_a_matrix_that_is_too_narrow_is_refused(trained):
    trees = TreeArrays.from_dump(trained[0].dump_model())
    if trees.n_features_read:
        with pytest.raises(TreeStructureError, match="features and the matrix has shape"):
            trees.score(np.zeros((3, trees.n_features_read - 1)))


def test_many_classes_are_refused():
    with pytest.raises(TreeStructureError, match="3 trees per iteration"):
        TreeArrays.from_dump({"num_tree_per_iteration": 3, "tree_info": []})


def test_random_forest_is_refused():
    with pytest.raises(TreeStructureError, match="averages its trees"):
        TreeArrays.from_dump({"average_output": True, "tree_info": []})


def test_linear_leaves_are_refused():
    leaf = {"tree_structure": {"leaf_value": 1.0, "leaf_coeff": [2.0]}}
    with pytest.raises(TreeStructureError, match="linear leaves"):
        TreeArrays.from_dump({"tree_info": [leaf]})


def test_an_unknown_kind_of_split_is_refused():
    split = {"split_feature": 0, "missing_type": "None", "default_left": True}
    split |= {"decision_type": "<", "threshold": 1.0, "left_child": {}, "right_child": {}}
    with pytest.raises(TreeStructureError, match="unknown kind, '<'"):
        TreeArrays.from_dump({"tree_info": [{"tree_structure": split}]})


@pytest.fixture
def arrays(train_booster):
    booster, _ = train_booster({"categorical": True, "nan": 0.2}, rounds=3)
    trees = TreeArrays.from_dump(booster.dump_model())
    return {name: array.copy() for name, array in trees.arrays().items()}


def test_a_missing_array_is_refused(arrays):
    del arrays["left"]
    with pytest.raises(TreeStructureError, match="'left' is missing"):
        TreeArrays.from_arrays(arrays)


@pytest.mark.parametrize("shape", ["type", "dimensions"])
def test_an_array_of_another_form_is_refused(arrays, shape):
    left = arrays["left"]
    arrays["left"] = left.astype(np.int64) if shape == "type" else left[:, None]
    with pytest.raises(TreeStructureError, match="not a list of int32"):
        TreeArrays.from_arrays(arrays)


def edited(arrays, name, index, value):
    arrays[name][index] = value
    return arrays


def cut(arrays, *names):
    return {k: a[:-1] if k in names else a for k, a in arrays.items()}


DAMAGE = {
    "a list of splits is short": (lambda a: cut(a, "threshold"), "'threshold' has"),
    "a list of leaves is short": (lambda a: cut(a, "leaf_cover"), "'leaf_cover' has"),
    "no trees": (
        lambda a: {**a, "first_node": a["first_node"][:1], "first_leaf": a["first_leaf"][:1]},
        "there are 0 trees",
    ),
    "trees without leaves": (lambda a: cut(a, "first_leaf"), "there are 3 trees of nodes and 2"),
    "the last tree is not all": (lambda a: edited(a, "first_node", -1, 5), "'first_node' does not"),
    "trees overlap": (lambda a: edited(a, "first_leaf", 1, 10**6), "'first_leaf' does not rise"),
    "trees do not start at zero": (lambda a: edited(a, "first_word", 0, 1), "'first_word' does"),
    "no start at all": (
        lambda a: {**a, "first_word": a["first_word"][:0]}, "'first_word' does not rise",
    ),
    "a leaf more": (lambda a: edited(a, "first_leaf", 1, a["first_leaf"][1] + 1), "one leaf more"),
    "an infinite leaf": (lambda a: edited(a, "leaf_value", 0, np.inf), "not a finite number"),
    "a threshold that is no number": (lambda a: edited(a, "threshold", 0, np.nan), "not a finite"),
    "a leaf without rows": (lambda a: edited(a, "leaf_cover", 0, 0.0), "by no training row"),
    "a leaf of infinite rows": (lambda a: edited(a, "leaf_cover", 0, np.inf), "no training row"),
    "a negative feature": (lambda a: edited(a, "feature", 0, -1), "with a negative number"),
    "an unknown kind": (lambda a: edited(a, "kind", 0, 16), "of an unknown kind"),
    "a child beyond its tree": (lambda a: edited(a, "left", 0, 10**6), "outside its tree"),
    "a leaf beyond its tree": (lambda a: edited(a, "right", 0, -(10**6)), "outside its tree"),
    "a child just beyond its tree": (
        lambda a: edited(a, "left", 0, int(a["first_node"][1])), "outside its tree",
    ),
    "a leaf just beyond its tree": (
        lambda a: edited(a, "right", 0, -2 - int(a["first_node"][1])), "outside its tree",
    ),
    "a node is its own child": (lambda a: edited(a, "left", 0, 0), "run in a circle"),
    "a child before its parent": (lambda a: edited(a, "left", 2, 1), "run in a circle"),
    "a node has two parents": (
        lambda a: edited(a, "left", 1, int(a["first_node"][1]) - 1), "exactly one node",
    ),
    "a leaf has two parents": (lambda a: edited(a, "left", int(a["first_node"][1]) - 1, -1),
                               "exactly one node"),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_trees_are_refused(arrays, case):
    damage, reason = DAMAGE[case]
    with pytest.raises(TreeStructureError, match=reason):
        TreeArrays.from_arrays(damage(arrays))


def test_a_split_with_another_trees_categories_is_refused(arrays):
    categorical = np.flatnonzero(arrays["category_set"] >= 0)[0]
    for value in (-1, 10**6):
        with pytest.raises(TreeStructureError, match="categories that does not exist"):
            TreeArrays.from_arrays(edited(dict(arrays), "category_set", categorical, value))
    arrays["category_set"][categorical] = 0
    numeric = np.flatnonzero(arrays["category_set"] < 0)[0]
    with pytest.raises(TreeStructureError, match="numeric split names a set"):
        TreeArrays.from_arrays(edited(arrays, "category_set", numeric, 0))


def test_no_single_edit_makes_scoring_hang_or_read_outside(arrays):
    """Whatever one number of the structure becomes, the trees are refused or still score."""
    rng = np.random.default_rng(5)
    scored = rng.normal(size=(5, 7))
    refused = 0
    for _ in range(600):
        name = rng.choice(["first_node", "first_leaf", "feature", "kind", "category_set", "left",
                           "right", "first_word"])  # fmt: skip
        damaged = {k: a.copy() for k, a in arrays.items()}
        spot = rng.integers(len(damaged[name]))
        value = rng.choice([-(2**31), -2, -1, 0, 1, 2, 3, 7, 40, 255, 2**31 - 1])
        damaged[name][spot] = np.int64(value).astype(damaged[name].dtype)
        try:
            trees = TreeArrays.from_arrays(damaged)
        except TreeStructureError:
            refused += 1
            continue
        if trees.n_features_read <= 7:
            assert np.isfinite(trees.score(scored)).all()
    assert refused > 300
