"""This module is about grown trees as arrays, read from the text that LightGBM writes.

``booster.dump_model()`` says the same as JSON and takes five times as long. The text is that of a
booster in this process, never a stored one. LightGBM numbers the nodes of a tree in the order in
which leaves were split; here they come in preorder, as ``TreeArrays`` has them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from registry.tree_structure import DEFAULT_LEFT, NAN_IS_MISSING, ZERO_IS_MISSING
from registry.trees import TreeArrays

NUMERIC_KINDS = np.zeros(16, np.uint8)
"""A node's kind by its decision_type: bits as in LightGBM's include/LightGBM/tree.h."""
for _said, _missing in ((0, 0), (4, ZERO_IS_MISSING), (8, NAN_IS_MISSING)):
    NUMERIC_KINDS[_said], NUMERIC_KINDS[_said + 2] = _missing, _missing | DEFAULT_LEFT

FARTHEST = 1e300
"""LightGBM's dump has no threshold beyond it."""

READ = ("split_feature", "threshold", "decision_type", "left_child", "right_child", "leaf_value",
        "leaf_count")


def trees_of(booster: lgb.Booster) -> TreeArrays:
    """The trees of a booster; equal to ``TreeArrays.from_dump(booster.dump_model())``."""
    head, *trees = booster.model_to_string().partition("\nend of trees")[0].split("\nTree=")
    said = [dict(line.split("=", 1) for line in tree.splitlines()[1:] if "=" in line)
            for tree in trees]
    plain = ("\nnum_tree_per_iteration=1\n" in head and "\naverage_output\n" not in head
             and all(one["num_cat"] == "0" and one["is_linear"] == "0" for one in said))
    if not plain or not said:  # seldom: sets of categories, or what from_dump refuses in words
        return TreeArrays.from_dump(booster.dump_model())
    column = {name: np.array(" ".join(one[name] for one in said).split(), np.float64)
              for name in READ}
    left, right = column["left_child"].astype(int), column["right_child"].astype(int)
    nodes: list[int] = []
    leaves: list[int] = []
    lefts: list[int] = []
    rights: list[int] = []
    first_node, first_leaf = [0], [0]
    for one in said:
        n_leaves = int(one["num_leaves"])
        node_base, leaf_base = first_node[-1], first_leaf[-1]
        order = _preorder(left[node_base:node_base + n_leaves - 1].tolist(),
                          right[node_base:node_base + n_leaves - 1].tolist())
        nodes += [node_base + node for node in order[0]]
        leaves += [leaf_base + leaf for leaf in order[1]]
        lefts += order[2]
        rights += order[3]
        first_node.append(node_base + n_leaves - 1)
        first_leaf.append(leaf_base + n_leaves)
    cover = column["leaf_count"][leaves]
    alone = np.diff(first_leaf) == 1
    cover[np.array(first_leaf[:-1])[alone]] = np.maximum(cover[np.array(first_leaf[:-1])[alone]], 1)
    return TreeArrays(
        first_node=_whole(first_node), first_leaf=_whole(first_leaf),
        feature=_whole(column["split_feature"][nodes]),
        kind=NUMERIC_KINDS[column["decision_type"][nodes].astype(int)],
        # all that is known on one side, nothing on the other: the text says inf, the dump 1e300
        threshold=np.clip(column["threshold"][nodes], -FARTHEST, FARTHEST),
        category_set=np.full(len(nodes), -1, np.int32),
        left=_whole(lefts), right=_whole(rights), leaf_value=column["leaf_value"][leaves],
        leaf_cover=cover, first_word=np.zeros(1, np.int32), category_words=np.empty(0, np.uint32))


def _preorder(
    left: list[int], right: list[int]
) -> tuple[list[int], list[int], list[int], list[int]]:
    """Nodes and leaves of one tree from the root leftwards, and each node's children by place."""
    nodes: list[int] = []
    leaves: list[int] = []
    children: tuple[list[int], list[int]] = ([0] * len(left), [0] * len(left))
    waiting = [(0 if left else -1, -1, 0)]
    while waiting:
        here, parent, side = waiting.pop()
        if here >= 0:
            place = len(nodes)
            nodes.append(here)
            waiting += ((right[here], place, 1), (left[here], place, 0))
        else:
            leaves.append(-1 - here)
            place = -len(leaves)
        if parent >= 0:
            children[side][parent] = place
    return nodes, leaves, children[0], children[1]


def _whole(values: Iterable[Any] | NDArray[Any]) -> NDArray[np.int32]:
    return np.asarray(values, np.int32)
