"""Score many rows from coded values; equal to ``arrays`` to the last bit.

Few rows walk the trees (``_interleaved``). For many, a block of rows asks every split of a tree at
once; a row's answers leave one leaf, found as by Lucchese et al. (2015, "QuickScorer"): leaves are
bits from left to right, a split that is not followed to the left takes away the leaves on its left,
and the lowest bit that is left is the row's leaf. Rows are asked 64 at once, their leaves in words
of 32 bits where no tree has more leaves, else of 64. Trees of more than 64 leaves are walked.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from registry.trees._interleaved import InterleavedTrees
from registry.trees._simd import WORDS, every, still, store
from registry.trees._threshold_codes import Codes, ThresholdCodes, write_codes
from registry.trees.arrays import Floats, Ints, Kinds, TreeArrays, Words, goes_left
from registry.trees.numba_cache import compiled

Bits = npt.NDArray[np.uint64]
Leaves = npt.NDArray[np.int32] | npt.NDArray[np.int64]

BLOCK = 256
"""Rows whose codes are written together: some times the 4 × ``WORDS`` that are asked at once."""

MOST_LEAVES, FEW_LEAVES = 64, 32
MANY = 64
"""From so many rows on, blocks of rows are faster than walking each."""

FLOATS: dict[np.dtype[Any], tuple[npt.NDArray[Any], int, int, int]] = {
    np.dtype(np.int32): (np.zeros(0, np.float32), 23, 0xFF, 127),
    np.dtype(np.int64): (np.zeros(0, np.float64), 52, 0x7FF, 1023),
}
"""Which bit of a word is set says the exponent of the word as a float. By the kind of word: an
empty array of floats as wide, the bits of their significand, the mask of their exponent, and the
exponent of 1."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CodedTrees:
    """Trees with their values coded."""

    trees: TreeArrays
    codes: ThresholdCodes

    @classmethod
    def of(cls, trees: TreeArrays) -> CodedTrees:
        """Code the thresholds."""
        return cls(trees=trees, codes=ThresholdCodes.of(trees))

    @cached_property
    def _leaves_on_the_right(self) -> Leaves | None:
        """For each split, the leaves that stay when it is not followed to the left.

        None where a tree has more than 64 leaves, or has not numbered them from left to right.
        """
        trees = self.trees
        most = int(np.diff(trees.first_leaf).max())
        if most > MOST_LEAVES:
            return None
        in_order, stay = _leaves_that_stay(
            trees.first_node, trees.first_leaf, trees.left, trees.right
        )
        if not in_order:
            return None
        return stay.astype(np.int32) if most <= FEW_LEAVES else stay.view(np.int64)

    @cached_property
    def _columns(self) -> tuple[Ints, Codes, Codes, Ints]:
        """Per split its column of codes, what is added to a code, and the last that goes left.

        Then the splits that are asked by value: each has a column of its own, 0 where a row goes
        left, else 1, and nothing is added to it.
        """
        asked = np.flatnonzero(self.codes.place < 0).astype(np.int32)
        column, last = self.trees.feature.copy(), self.codes.place.astype(np.uint16)
        column[asked] = self.trees.n_features_read + np.arange(len(asked))
        shift, last = self.codes.shift.copy(), last + self.codes.shift
        shift[asked] = last[asked] = 0
        return column, shift, last, asked

    @cached_property
    def _in_step(self) -> InterleavedTrees | None:
        return InterleavedTrees.of(self.trees, self.codes)

    def score(self, matrix: Floats) -> Floats:
        """The raw score of each row, in log-odds; equal to ``TreeArrays.score``."""
        trees, codes = self.trees, self.codes
        if matrix.ndim != 2 or matrix.shape[1] < trees.n_features_read:
            return trees.score(matrix)  # which says what is wrong
        rows = np.ascontiguousarray(matrix)
        stay = self._leaves_on_the_right if len(rows) >= MANY else None
        if stay is None:
            return trees.score(rows) if self._in_step is None else self._in_step.score(trees, rows)
        column, shift, last, asked = self._columns
        return _score_blocks(
            rows, codes.first, codes.threshold, codes.missing, column, shift, last, asked,
            trees.first_node, trees.first_leaf, trees.feature, trees.kind, trees.threshold,
            trees.category_set, trees.first_word, trees.category_words, trees.leaf_value, stay,
            *FLOATS[stay.dtype],
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
            on_the_left = (
                below[base + left[i]] if left[i] >= 0 else np.uint64(1) << np.uint64(-1 - left[i])
            )
            on_the_right = (
                below[base + right[i]]
                if right[i] >= 0
                else np.uint64(1) << np.uint64(-1 - right[i])
            )
            below[i] = on_the_left | on_the_right
            stay[i] = ~on_the_left
            # every leaf on the left has a lower bit than the lowest on the right
            if on_the_left >= (on_the_right & (np.uint64(0) - on_the_right)):
                in_order = False
    return in_order, stay


@compiled
def _score_blocks(
    matrix: Floats, first_threshold: Ints, thresholds: Floats, missing: Kinds, column: Ints,
    shift: Codes, last: Codes, asked: Ints, first_node: Ints, first_leaf: Ints, feature: Ints,
    kind: Kinds, threshold: Floats, category_set: Ints, first_word: Ints, words: Words,
    leaf_value: Floats, stay: Leaves, as_wide: Floats, significand: int, exponent_mask: int,
    exponent_of_one: int,
) -> Floats:  # fmt: skip
    n_rows, n_features = matrix.shape[0], first_threshold.shape[0] - 1
    raw = np.zeros(n_rows)
    codes = np.zeros((n_features + asked.shape[0], BLOCK), np.uint16)
    flat = codes.reshape(codes.size)
    leaves = np.zeros(BLOCK, stay.dtype)
    lowest = np.zeros(BLOCK, as_wide.dtype)
    lowest_as_bits = lowest.view(stay.dtype)
    total = np.zeros(BLOCK)
    for start in range(0, n_rows, BLOCK):
        stop = min(start + BLOCK, n_rows)
        write_codes(matrix, start, stop, first_threshold, thresholds, missing, codes)
        for k in range(asked.shape[0]):
            i = asked[k]
            for r in range(stop - start):
                codes[n_features + k, r] = (
                    0
                    if goes_left(
                        matrix[start + r, feature[i]],
                        kind[i],
                        threshold[i],
                        category_set[i],
                        first_word,
                        words,
                    )
                    else 1
                )
        total[:] = 0.0
        for tree in range(first_node.shape[0] - 1):
            for place in range(0, BLOCK // WORDS, 4):
                a = b = c = d = every(stay.dtype.type(-1))
                for i in range(first_node[tree], first_node[tree + 1]):
                    at = column[i] * (BLOCK // WORDS) + place
                    a = still(a, flat, at, shift[i], last[i], stay[i])
                    b = still(b, flat, at + 1, shift[i], last[i], stay[i])
                    c = still(c, flat, at + 2, shift[i], last[i], stay[i])
                    d = still(d, flat, at + 3, shift[i], last[i], stay[i])
                store(leaves, place, a)
                store(leaves, place + 1, b)
                store(leaves, place + 2, c)
                store(leaves, place + 3, d)
            # the lowest bit alone is 2^leaf (the highest -2^leaf): as a float, its exponent
            for r in range(BLOCK):
                lowest[r] = leaves[r] & -leaves[r]
            base = first_leaf[tree]
            for r in range(BLOCK):
                leaf = ((lowest_as_bits[r] >> significand) & exponent_mask) - exponent_of_one
                total[r] += leaf_value[base + leaf]
        for r in range(stop - start):
            raw[start + r] = total[r]
    return raw
