"""Check that stored arrays are trees before anything walks them.

Every index lies inside its tree, every child comes after its parent, and every node but the root is
the child of exactly one other: so each tree is connected, without circles, and walking it ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from registry.trees.arrays import TreeArrays

# What a node asks, as bits of `kind`.
DEFAULT_LEFT = 1  # a missing value goes left
ZERO_IS_MISSING = 2
NAN_IS_MISSING = 4
CATEGORICAL = 8  # left when the category is in the node's set


def structure_problem(trees: TreeArrays) -> str | None:
    """The first thing that is wrong with the structure, in words; None when it is sound."""
    n_trees = len(trees.first_node) - 1
    nodes, leaves = len(trees.feature), len(trees.leaf_value)
    for name in ("kind", "threshold", "category_set", "left", "right"):
        if len(getattr(trees, name)) != nodes:
            return f"{name!r} has {len(getattr(trees, name))} entries for {nodes} nodes"
    if len(trees.leaf_cover) != leaves:
        return f"'leaf_cover' has {len(trees.leaf_cover)} entries for {leaves} leaves"
    if n_trees < 1 or len(trees.first_leaf) != n_trees + 1:
        return f"there are {n_trees} trees of nodes and {len(trees.first_leaf) - 1} of leaves"
    for name, end in (("first_node", nodes), ("first_leaf", leaves),
                      ("first_word", len(trees.category_words))):  # fmt: skip
        starts = getattr(trees, name)
        if not len(starts) or starts[0] != 0 or starts[-1] != end or (np.diff(starts) < 0).any():
            return f"{name!r} does not rise from 0 to {end}"
    if (np.diff(trees.first_leaf) != np.diff(trees.first_node) + 1).any():
        return "a tree does not have one leaf more than it has splits"
    if not np.isfinite(trees.leaf_value).all() or not np.isfinite(trees.threshold).all():
        return "a leaf value or a threshold is not a finite number"
    if not (np.isfinite(trees.leaf_cover).all() and (trees.leaf_cover > 0).all()):
        return "a leaf was reached by no training row"
    if (trees.feature < 0).any():
        return "a split reads a feature with a negative number"
    if (trees.kind > (CATEGORICAL | NAN_IS_MISSING | ZERO_IS_MISSING | DEFAULT_LEFT)).any():
        return "a split is of an unknown kind"
    is_categorical = (trees.kind & CATEGORICAL) > 0
    sets = trees.category_set[is_categorical]
    if (sets < 0).any() or (sets >= len(trees.first_word) - 1).any():
        return "a categorical split names a set of categories that does not exist"
    if (trees.category_set[~is_categorical] != -1).any():
        return "a numeric split names a set of categories"
    return _shape_problem(trees)


def _shape_problem(trees: TreeArrays) -> str | None:
    """Each node and leaf but the root is the child of exactly one earlier node of its tree."""
    sizes = np.diff(trees.first_node)
    node_base = np.repeat(trees.first_node[:-1], sizes).astype(np.int64)
    leaf_base = np.repeat(trees.first_leaf[:-1], sizes).astype(np.int64)
    n_nodes = np.repeat(sizes, sizes)
    own = np.arange(len(trees.feature)) - node_base
    times_node = np.zeros(len(trees.feature), np.int64)
    times_leaf = np.zeros(len(trees.leaf_value), np.int64)
    for child in (trees.left.astype(np.int64), trees.right.astype(np.int64)):
        inner = child >= 0
        if (child >= n_nodes).any() or (-1 - child > n_nodes).any():
            return "a child lies outside its tree"
        if (child <= own)[inner].any():
            return "a child does not come after its parent, so the tree could run in a circle"
        np.add.at(times_node, (node_base + child)[inner], 1)
        np.add.at(times_leaf, (leaf_base - 1 - child)[~inner], 1)
    expected = np.ones_like(times_node)
    expected[trees.first_node[:-1][sizes > 0]] = 0  # a root is nobody's child
    has_parent = np.repeat(sizes > 0, sizes + 1).astype(np.int64)
    if (times_node != expected).any() or (times_leaf != has_parent).any():
        return "a node or leaf is not the child of exactly one node"
    return None
