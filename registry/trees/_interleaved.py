"""Walk eight trees at once; the scores equal those of ``arrays`` to the last bit.

Within one tree a step has to wait for the comparison before it. So eight trees of about the same
depth go one step each in turn, and a leaf leads to itself until the deepest tree is done. A step
needs one number of 64 bits: the place of the left child (the right one lies next to it), the column
to compare and the last code that goes left.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from registry.trees._threshold_codes import Codes, ThresholdCodes, write_codes
from registry.trees.arrays import Floats, Ints, Kinds, TreeArrays, Words, goes_left
from registry.trees.numba_cache import compiled

Bits = npt.NDArray[np.uint64]

AT_ONCE = 8
COLUMN_BITS, PLACE_BITS = np.uint64(16), np.uint64(32)  # bit positions in a step's number
LOW = np.uint64(0xFFFF)
NEVER = 0xFFFF
"""No code is larger."""


@dataclass(frozen=True, kw_only=True, eq=False)
class InterleavedTrees:
    """Trees in the order of their depth, eight at a time.

    The columns are two for each feature, its code and one more (for a split whose missing values go
    left), then one for each split that is ``asked`` by value: 0 if the row goes left there, else 1.
    """

    codes: ThresholdCodes
    step: Bits
    value: Floats
    root: Bits
    order: Ints
    n_steps: Ints
    asked: Ints

    @classmethod
    def of(cls, trees: TreeArrays, codes: ThresholdCodes) -> InterleavedTrees | None:
        """The trees laid out; None where there are more columns than a step can name."""
        asked = np.flatnonzero(codes.place < 0).astype(np.int32)
        n_features = trees.n_features_read
        if 2 * n_features + len(asked) > NEVER:
            return None
        column = 2 * trees.feature + codes.shift.astype(np.int32)
        column[asked] = 2 * n_features + np.arange(len(asked))
        last = codes.place.astype(np.uint16) + codes.shift
        last[asked] = 0
        step, value, root, depth = _lay_out(
            trees.first_node, trees.first_leaf, trees.left, trees.right, trees.leaf_value, column,
            last,
        )  # fmt: skip
        order = np.argsort(depth, kind="stable")
        padded = np.append(order, np.full(-len(order) % AT_ONCE, order[-1]))
        return cls(
            codes=codes, step=step, value=value, root=root[padded],
            order=np.append(order, np.arange(len(order), len(padded))).astype(np.int32),
            n_steps=depth[padded].reshape(-1, AT_ONCE).max(axis=1), asked=asked,
        )  # fmt: skip

    def score(self, trees: TreeArrays, rows: Floats) -> Floats:
        """The raw score of each row of a contiguous matrix, in log-odds."""
        return _score(
            rows, self.codes.first, self.codes.threshold, self.codes.missing, self.step,
            self.value, self.root, self.order, self.n_steps, trees.n_trees, self.asked,
            trees.feature, trees.kind, trees.threshold, trees.category_set, trees.first_word,
            trees.category_words,
        )  # fmt: skip


@compiled
def _lay_out(
    first_node: Ints, first_leaf: Ints, left: Ints, right: Ints, leaf_value: Floats, column: Ints,
    last: Codes,
) -> tuple[Bits, Floats, Bits, Ints]:  # fmt: skip
    n_trees = first_node.shape[0] - 1
    total = left.shape[0] + leaf_value.shape[0]
    step, value = np.zeros(total, np.uint64), np.zeros(total)
    root, depth = np.zeros(n_trees, np.uint64), np.zeros(n_trees, np.int32)
    waiting, level = np.zeros(total, np.int32), np.zeros(total, np.int32)
    made = 0
    for tree in range(n_trees):
        base, leaf_base = first_node[tree], first_leaf[tree]
        root[tree] = made
        waiting[made] = 0 if first_node[tree + 1] > base else -1
        at, made = made, made + 1
        while at < made:
            child = waiting[at]
            depth[tree] = max(depth[tree], level[at])
            if child < 0:
                step[at] = (np.uint64(at) << PLACE_BITS) | LOW
                value[at] = leaf_value[leaf_base - 1 - child]
            else:
                i = base + child
                step[at] = (
                    (np.uint64(made) << PLACE_BITS)
                    | (np.uint64(column[i]) << COLUMN_BITS)
                    | np.uint64(last[i])
                )
                waiting[made], waiting[made + 1] = left[i], right[i]
                level[made] = level[made + 1] = level[at] + 1
                made += 2
            at += 1
    return step, value, root, depth


@compiled
def _next(step: Bits, columns: Bits, place: int) -> int:
    one = step[place]
    is_right = columns[(one >> COLUMN_BITS) & LOW] > (one & LOW)
    return int((one >> PLACE_BITS) + np.uint64(is_right))


@compiled
def _score(
    matrix: Floats, first_threshold: Ints, thresholds: Floats, missing: Kinds, step: Bits,
    value: Floats, root: Bits, order: Ints, n_steps: Ints, n_trees: int, asked: Ints,
    feature: Ints, kind: Kinds, threshold: Floats, category_set: Ints, first_word: Ints,
    words: Words,
) -> Floats:  # fmt: skip
    n_features = first_threshold.shape[0] - 1
    raw = np.zeros(matrix.shape[0])
    codes = np.zeros((max(n_features, 1), 1), np.uint16)
    columns = np.zeros(2 * n_features + asked.shape[0] + 1, np.uint64)
    found = np.zeros(order.shape[0])
    for row in range(matrix.shape[0]):
        write_codes(matrix, row, row + 1, first_threshold, thresholds, missing, codes)
        for f in range(n_features):
            columns[2 * f] = codes[f, 0]
            columns[2 * f + 1] = np.uint16(codes[f, 0] + np.uint16(1))
        for k in range(asked.shape[0]):
            i = asked[k]
            columns[2 * n_features + k] = 1 - goes_left(
                matrix[row, feature[i]], kind[i], threshold[i], category_set[i], first_word, words
            )
        for group in range(n_steps.shape[0]):
            at = group * AT_ONCE
            a, b, c, d = root[at], root[at + 1], root[at + 2], root[at + 3]
            e, f, g, h = root[at + 4], root[at + 5], root[at + 6], root[at + 7]
            for _ in range(n_steps[group]):
                a, b = _next(step, columns, a), _next(step, columns, b)
                c, d = _next(step, columns, c), _next(step, columns, d)
                e, f = _next(step, columns, e), _next(step, columns, f)
                g, h = _next(step, columns, g), _next(step, columns, h)
            found[order[at]], found[order[at + 1]] = value[a], value[b]
            found[order[at + 2]], found[order[at + 3]] = value[c], value[d]
            found[order[at + 4]], found[order[at + 5]] = value[e], value[f]
            found[order[at + 6]], found[order[at + 7]] = value[g], value[h]
        total = 0.0  # in the order of the trees, as LightGBM adds them
        for tree in range(n_trees):
            total += found[tree]
        raw[row] = total
    return raw
