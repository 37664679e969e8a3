"""This module is about the raw scores of trees from coded values, to the last bit as ``trees``.

Few rows walk the trees (``trees_in_step``). For many, a block of rows asks every split of a tree at
once; a row's answers leave one leaf, found as by Lucchese et al. (2015, "QuickScorer"): leaves are
bits from left to right, a split that is not followed to the left takes away the leaves on its left,
and the lowest bit that is left is the row's leaf. Trees of more than 64 leaves are walked.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from registry.compiled import compiled
from registry.trees import Floats, Ints, Kinds, TreeArrays, Words, goes_left
from registry.trees_in_step import TreesInStep
from registry.value_codes import Codes, ValueCodes, write_codes

Bits = npt.NDArray[np.uint64]

BLOCK = 256
MOST_LEAVES = 64
MANY = 64
"""From so many rows on, blocks of rows are faster than walking each."""

SIGNIFICAND_BITS, EXPONENT_OF_ONE = 52, 1023  # of a float64: the exponent of 2^n is n + 1023


@dataclass(frozen=True, kw_only=True, eq=False)
class CodedTrees:
    """Trees with their values coded."""

    trees: TreeArrays
    codes: ValueCodes

    @classmethod
    def of(cls, trees: TreeArrays) -> CodedTrees:
        """Code the thresholds."""
        return cls(trees=trees, codes=ValueCodes.of(trees))

    @cached_property
    def _leaves_on_the_right(self) -> Bits | None:
        """For each split, the leaves that stay when it is not followed to the left.

        None where a tree has more than 64 leaves, or has not numbered them from left to right.
        """
        trees = self.trees
        if int(np.diff(trees.first_leaf).max()) > MOST_LEAVES:
            return None
        in_order, stay = _leaves_that_stay(
            trees.first_node, trees.first_leaf, trees.left, trees.right)
        return stay if in_order else None

    @cached_property
    def _in_step(self) -> TreesInStep | None:
        return TreesInStep.of(self.trees, self.codes)

    def score(self, matrix: Floats) -> Floats:
        """The raw score of each row, in log-odds; equal to ``TreeArrays.score``."""
        trees, codes = self.trees, self.codes
        if matrix.ndim != 2 or matrix.shape[1] < trees.n_features_read:
            return trees.score(matrix)  # which says what is wrong
        rows = np.ascontiguousarray(matrix)
        stay = self._leaves_on_the_right if len(rows) >= MANY else None
        if stay is None:
            return trees.score(rows) if self._in_step is None else self._in_step.score(trees, rows)
        return _score_blocks(
            rows, codes.first, codes.threshold, codes.missing, codes.place, codes.shift,
            trees.first_node, trees.first_leaf, trees.feature, trees.kind, trees.threshold,
            trees.category_set, trees.first_word, trees.category_words, trees.leaf_value, stay,
        )  # fmt: skip


@compiled
def _leaves_that_stay(
    first_node: Ints, first_leaf: Ints, left: Ints, right: Ints
) -> tuple[bool, Bits]:
    stay = np.zeros(left.shape[0], np.uint64)
    below = np.zeros(left.shape[0], np.uint64)
    in_order = True
    for tree in range(first_node.shape[0] - 1):
        base = first_node[tree]
        for i in range(first_node[tree + 1] - 1, base - 1, -1):
            on_the_left = (below[base + left[i]] if left[i] >= 0
                           else np.uint64(1) << np.uint64(-1 - left[i]))
            on_the_right = (below[base + right[i]] if right[i] >= 0
                            else np.uint64(1) << np.uint64(-1 - right[i]))
            below[i] = on_the_left | on_the_right
            stay[i] = ~on_the_left
            # every leaf on the left has a lower bit than the lowest on the right
            if on_the_left >= (on_the_right & (np.uint64(0) - on_the_right)):
                in_order = False
    return in_order, stay


@compiled
def _score_blocks(
    matrix: Floats, first_threshold: Ints, thresholds: Floats, missing: Kinds, place: Ints,
    shift: Codes, first_node: Ints, first_leaf: Ints, feature: Ints, kind: Kinds,
    threshold: Floats, category_set: Ints, first_word: Ints, words: Words, leaf_value: Floats,
    stay: Bits,
) -> Floats:  # fmt: skip
    n_rows = matrix.shape[0]
    raw = np.zeros(n_rows)
    codes = np.zeros((matrix.shape[1], BLOCK), np.uint16)
    leaves = np.zeros(BLOCK, np.uint64)
    lowest = np.zeros(BLOCK)
    lowest_as_bits = lowest.view(np.int64)
    total = np.zeros(BLOCK)
    for start in range(0, n_rows, BLOCK):
        stop = min(start + BLOCK, n_rows)
        write_codes(matrix, start, stop, first_threshold, thresholds, missing, codes)
        total[:] = 0.0
        for tree in range(first_node.shape[0] - 1):
            leaves[:] = ~np.uint64(0)
            for i in range(first_node[tree], first_node[tree + 1]):
                others = stay[i]
                if place[i] < 0:
                    for r in range(stop - start):
                        if not goes_left(matrix[start + r, feature[i]], kind[i], threshold[i],
                                         category_set[i], first_word, words):
                            leaves[r] &= others
                else:
                    code, more = codes[feature[i]], shift[i]
                    last = np.uint16(place[i] + shift[i])
                    for r in range(BLOCK):
                        is_left = np.uint16(code[r] + more) <= last
                        leaves[r] &= others | (np.uint64(0) - np.uint64(is_left))
            for r in range(BLOCK):
                lowest[r] = np.float64(leaves[r] & (np.uint64(0) - leaves[r]))
            base = first_leaf[tree]
            for r in range(BLOCK):
                leaf = (lowest_as_bits[r] >> SIGNIFICAND_BITS) - EXPONENT_OF_ONE
                total[r] += leaf_value[base + leaf]
        for r in range(stop - start):
            raw[start + r] = total[r]
    return raw
