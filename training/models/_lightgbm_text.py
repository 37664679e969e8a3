"""This module is about grown trees as arrays, read from the text that LightGBM writes.

``booster.dump_model()`` says the same as JSON and takes five times as long. The text is that of a
booster in this process, never a stored one. LightGBM numbers the nodes of a tree in the order in
which leaves were split; here they come in preorder, as ``TreeArrays`` has them.
"""

from __future__ import annotations

import lightgbm as lgb
import numpy as np
import polars as pl

from registry.trees.arrays import Floats, Ints, TreeArrays
from registry.trees.numba_cache import compiled
from registry.trees.structure import DEFAULT_LEFT, NAN_IS_MISSING, ZERO_IS_MISSING

NUMERIC_KINDS = np.zeros(16, np.uint8)
"""A node's kind by its decision_type: bits as in LightGBM's include/LightGBM/tree.h."""
for _said, _missing in ((0, 0), (4, ZERO_IS_MISSING), (8, NAN_IS_MISSING)):
    NUMERIC_KINDS[_said], NUMERIC_KINDS[_said + 2] = _missing, _missing | DEFAULT_LEFT

FARTHEST = 1e300
"""LightGBM's dump has no threshold beyond it."""


def trees_in(text: str) -> TreeArrays:
    """The trees in a booster's text; equal to ``TreeArrays.from_dump(booster.dump_model())``."""
    head, _, said = text.partition("\n\n")
    said = said.partition("\nend of trees")[0]
    plain = (
        "\nnum_tree_per_iteration=1\n" in head
        and "\naverage_output\n" not in head
        and not _whole(said, "num_cat").any()
        and not _whole(said, "is_linear").any()
    )
    n_leaves = _whole(said, "num_leaves")
    if not plain or not len(n_leaves):  # seldom: categories, or what from_dump refuses in words
        return TreeArrays.from_dump(lgb.Booster(model_str=text).dump_model())
    first_leaf = np.append(0, np.cumsum(n_leaves)).astype(np.int32)
    first_node = (first_leaf - np.arange(len(first_leaf))).astype(np.int32)
    nodes, leaves, left, right = _in_preorder(
        first_node, first_leaf, _whole(said, "left_child"), _whole(said, "right_child")
    )
    cover = _whole(said, "leaf_count")[leaves].astype(np.float64)
    alone = first_leaf[:-1][n_leaves == 1]
    cover[alone] = np.maximum(cover[alone], 1)
    return TreeArrays(
        first_node=first_node,
        first_leaf=first_leaf,
        feature=_whole(said, "split_feature")[nodes],
        kind=NUMERIC_KINDS[_whole(said, "decision_type")[nodes]],
        # all that is known on one side, nothing on the other: the text says inf, the dump 1e300
        threshold=np.clip(_floats(said, "threshold")[nodes], -FARTHEST, FARTHEST),
        category_set=np.full(len(nodes), -1, np.int32),
        left=left,
        right=right,
        leaf_value=_floats(said, "leaf_value")[leaves],
        leaf_cover=cover,
        first_word=np.zeros(1, np.int32),
        category_words=np.empty(0, np.uint32),
    )


def _lines(said: str, name: str) -> str:
    """What all trees say on their lines of this name."""
    return " ".join(rest[: rest.index("\n")] for rest in said.split(f"\n{name}=")[1:])


def _whole(said: str, name: str) -> Ints:
    return np.fromstring(_lines(said, name), np.int64, sep=" ").astype(np.int32)


def _floats(said: str, name: str) -> Floats:
    # Polars rounds as Python and takes a sixth of the time
    return pl.Series(_lines(said, name).split(), dtype=pl.String).cast(pl.Float64).to_numpy()


@compiled
def _in_preorder(
    first_node: Ints, first_leaf: Ints, left: Ints, right: Ints
) -> tuple[Ints, Ints, Ints, Ints]:
    """Nodes and leaves of each tree from the root leftwards, and each node's children by place."""
    nodes, leaves = np.empty_like(left), np.empty(first_leaf[-1], np.int32)
    children = np.zeros((2, left.shape[0]), np.int32)
    # a stack of nodes and leaves, with the place of their parent and which side of it is theirs
    waiting, parent, on_side = np.empty((3, left.shape[0] + 2), np.int32)
    for tree in range(first_node.shape[0] - 1):
        base, leaf_base = first_node[tree], first_leaf[tree]
        n_nodes, n_leaves, n_waiting = 0, 0, 1
        waiting[0] = 0 if first_node[tree + 1] > base else -1
        parent[0] = -1
        while n_waiting:
            n_waiting -= 1
            here, above, side = waiting[n_waiting], parent[n_waiting], on_side[n_waiting]
            if here >= 0:
                place = n_nodes
                n_nodes += 1
                nodes[base + place] = base + here
                waiting[n_waiting], on_side[n_waiting] = right[base + here], 1
                waiting[n_waiting + 1], on_side[n_waiting + 1] = left[base + here], 0
                parent[n_waiting : n_waiting + 2] = place
                n_waiting += 2
            else:
                leaves[leaf_base + n_leaves] = leaf_base - 1 - here
                n_leaves += 1
                place = -n_leaves
            if above >= 0:
                children[side, base + above] = place
    return nodes, leaves, children[0], children[1]
