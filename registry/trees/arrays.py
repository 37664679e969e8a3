"""Boosted trees as plain arrays, checked in structure before they are scored.

LightGBM's own model text is never parsed here: a damaged one can end the process. Training hands
over arrays, or ``from_dump`` makes them of ``booster.dump_model()``; they are stored and scored.
Node ids are per tree and in preorder, so a child always comes after its parent; a child ``c < 0``
is the leaf ``-1 - c``. Imports no LightGBM.

::

    first_node   0 ── 3 ── 5 …      tree t owns nodes first_node[t] : first_node[t + 1]
    first_leaf   0 ──── 4 ─── 7 …   and leaves      first_leaf[t] : first_leaf[t + 1]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from registry.trees.numba_cache import compiled
from registry.trees.structure import (
    CATEGORICAL,
    DEFAULT_LEFT,
    NAN_IS_MISSING,
    ZERO_IS_MISSING,
    structure_problem,
)

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int32]
Words = npt.NDArray[np.uint32]
Kinds = npt.NDArray[np.uint8]

# LightGBM's kZeroThreshold (include/LightGBM/meta.h), a 32-bit number: what it takes for zero.
ZERO = float(np.float32(1e-35))


class TreeStructureError(Exception):
    """The arrays or the dump are not one acyclic, finite tree each."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TreeArrays:
    """All trees of a model, end to end in flat arrays; checked when made.

    ``category_set[i]`` is the node's set (-1 for a numeric split): the categories are the bits of
    ``category_words[first_word[s] : first_word[s + 1]]``. Covers are training rows.
    """

    first_node: Ints
    first_leaf: Ints
    feature: Ints
    kind: Kinds
    threshold: Floats
    category_set: Ints
    left: Ints
    right: Ints
    leaf_value: Floats
    leaf_cover: Floats
    first_word: Ints
    category_words: Words

    def __post_init__(self) -> None:
        problem = structure_problem(self)
        if problem is not None:
            raise TreeStructureError(f"These trees cannot be scored: {problem}.")

    @property
    def n_trees(self) -> int:
        """How many trees."""
        return len(self.first_node) - 1

    @property
    def n_features_read(self) -> int:
        """The smallest width of a matrix that holds every feature the trees read."""
        return int(self.feature.max()) + 1 if len(self.feature) else 0

    def score(self, matrix: Floats) -> Floats:
        """The raw score (log-odds) of each row, as LightGBM's ``predict(raw_score=True)``."""
        if matrix.ndim != 2 or matrix.shape[1] < self.n_features_read:
            raise TreeStructureError(
                f"The trees read {self.n_features_read} features and the matrix has shape "
                f"{matrix.shape}. Make it with the model's feature contract."
            )
        return _score(np.ascontiguousarray(matrix), *self.arrays().values())

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays by name, in the order of the kernels' arguments."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> TreeArrays:
        """Checked trees from stored arrays; a missing array or another type is refused."""
        checked = {}
        for field in fields(cls):
            array = arrays.get(field.name)
            if array is None:
                raise TreeStructureError(
                    f"These trees cannot be scored: the array {field.name!r} is missing."
                )
            if array.dtype != _DTYPES[field.name] or array.ndim != 1:
                raise TreeStructureError(
                    f"These trees cannot be scored: {field.name!r} is a {array.ndim}-dimensional "
                    f"array of {array.dtype}, not a list of {_DTYPES[field.name]}."
                )
            checked[field.name] = array
        return cls(**checked)

    @classmethod
    def from_dump(cls, dump: Mapping[str, Any]) -> TreeArrays:
        """The trees of ``booster.dump_model()``."""
        if dump.get("num_tree_per_iteration", 1) != 1:
            raise TreeStructureError(
                f"The dump has {dump['num_tree_per_iteration']} trees per iteration; only models "
                "of one score per row can be served. Train with a binary or regression objective."
            )
        if dump.get("average_output"):
            raise TreeStructureError(
                "The dump averages its trees (random forest mode); train with boosting='gbdt'."
            )
        building = _Building()
        for tree in dump["tree_info"]:
            building.add(tree["tree_structure"])
        return building.finish()


_DTYPES: dict[str, np.dtype[Any]] = {
    "first_node": np.dtype(np.int32), "first_leaf": np.dtype(np.int32),
    "feature": np.dtype(np.int32), "kind": np.dtype(np.uint8),
    "threshold": np.dtype(np.float64), "category_set": np.dtype(np.int32),
    "left": np.dtype(np.int32), "right": np.dtype(np.int32),
    "leaf_value": np.dtype(np.float64), "leaf_cover": np.dtype(np.float64),
    "first_word": np.dtype(np.int32), "category_words": np.dtype(np.uint32),
}  # fmt: skip


class _Building:
    """Trees under construction: lists that grow node by node."""

    def __init__(self) -> None:
        self.lists: dict[str, list[Any]] = {name: [] for name in _DTYPES}
        for starts in ("first_node", "first_leaf", "first_word"):
            self.lists[starts].append(0)

    def add(self, root: Mapping[str, Any]) -> None:
        """Append one tree, its nodes in preorder; recursion-free, so depth is no limit."""
        to = self.lists
        node_base, leaf_base = len(to["feature"]), len(to["leaf_value"])
        waiting: list[tuple[Mapping[str, Any], int, str]] = [(root, -1, "")]
        while waiting:
            node, parent, side = waiting.pop()
            if "leaf_value" in node:
                number = -1 - (len(to["leaf_value"]) - leaf_base)
                if "leaf_coeff" in node:
                    raise TreeStructureError(
                        "The dump has linear leaves, which cannot be served; train with "
                        "linear_tree=False."
                    )
                to["leaf_value"].append(float(node["leaf_value"]))
                # A tree of one leaf has no count in some dumps; any positive cover is right.
                to["leaf_cover"].append(float(node.get("leaf_count", 1) or 0))
                if parent < 0:
                    to["leaf_cover"][-1] = max(to["leaf_cover"][-1], 1.0)
            else:
                number = len(to["feature"]) - node_base
                self._split(node)
                waiting.append((node["right_child"], number, "right"))
                waiting.append((node["left_child"], number, "left"))
            if parent >= 0:
                to[side][node_base + parent] = number
        to["first_node"].append(len(to["feature"]))
        to["first_leaf"].append(len(to["leaf_value"]))

    def _split(self, node: Mapping[str, Any]) -> None:
        to = self.lists
        to["feature"].append(int(node["split_feature"]))
        to["left"].append(0)
        to["right"].append(0)
        missing = {"None": 0, "Zero": ZERO_IS_MISSING, "NaN": NAN_IS_MISSING}
        kind = missing[node["missing_type"]] | (DEFAULT_LEFT if node["default_left"] else 0)
        if node["decision_type"] == "==":
            to["kind"].append(kind | CATEGORICAL)
            to["threshold"].append(0.0)
            to["category_set"].append(len(to["first_word"]) - 1)
            to["category_words"].extend(_bitset([int(c) for c in node["threshold"].split("||")]))
            to["first_word"].append(len(to["category_words"]))
        elif node["decision_type"] == "<=":
            to["kind"].append(kind)
            to["threshold"].append(float(node["threshold"]))
            to["category_set"].append(-1)
        else:
            raise TreeStructureError(
                f"The dump has a split of an unknown kind, {node['decision_type']!r}; "
                "'<=' and '==' are known."
            )

    def finish(self) -> TreeArrays:
        """The checked arrays."""
        return TreeArrays(
            **{name: np.asarray(values, _DTYPES[name]) for name, values in self.lists.items()}
        )


def _bitset(categories: Sequence[int]) -> list[int]:
    words = [0] * (max(categories) // 32 + 1)
    for category in categories:
        words[category // 32] |= 1 << (category % 32)
    return words


@compiled
def goes_left(
    value: float, kind: int, threshold: float, which: int, first_word: Ints, words: Words
) -> bool:
    """LightGBM's decision at one node (include/LightGBM/tree.h)."""
    if kind & CATEGORICAL:
        # Not known, negative, or never seen in training: not in the set.
        if np.isnan(value) or value <= -1.0 or value >= 2147483648.0:
            return False
        category = int(value)
        word = first_word[which] + (category >> 5)
        if word >= first_word[which + 1]:
            return False
        return bool((words[word] >> np.uint32(category & 31)) & np.uint32(1))
    if np.isnan(value):
        if kind & NAN_IS_MISSING:
            return bool(kind & DEFAULT_LEFT)
        value = 0.0
    if -ZERO <= value <= ZERO:
        value = 0.0
    if (kind & ZERO_IS_MISSING) and value == 0.0:
        return bool(kind & DEFAULT_LEFT)
    return value <= threshold


@compiled
def _score(
    matrix: Floats, first_node: Ints, first_leaf: Ints, feature: Ints, kind: Kinds,
    threshold: Floats, category_set: Ints, left: Ints, right: Ints, leaf_value: Floats,
    leaf_cover: Floats, first_word: Ints, category_words: Words,
) -> Floats:  # fmt: skip
    n_rows = matrix.shape[0]
    n_trees = first_node.shape[0] - 1
    raw = np.zeros(n_rows)
    for row in range(n_rows):
        total = 0.0
        for tree in range(n_trees):
            base = first_node[tree]
            node = 0 if first_node[tree + 1] > base else -1
            while node >= 0:
                i = base + node
                if goes_left(
                    matrix[row, feature[i]], kind[i], threshold[i], category_set[i],
                    first_word, category_words,
                ):  # fmt: skip
                    node = left[i]
                else:
                    node = right[i]
            total += leaf_value[first_leaf[tree] - 1 - node]
        raw[row] = total
    return raw
