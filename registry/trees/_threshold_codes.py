"""Code values by their place among a model's thresholds, as small whole numbers.

A split compares ``value <= threshold``. The thresholds of a feature are sorted, and a value's code
is the number of thresholds below it. Then the comparison is ``code <= place of the threshold``, one
instruction for many rows of 16-bit numbers. A missing value has the largest code, which goes right;
where it goes left, both sides are one larger, and the largest code becomes 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from registry.trees.arrays import ZERO, Floats, Ints, Kinds, TreeArrays
from registry.trees.numba_cache import compiled
from registry.trees.structure import CATEGORICAL, DEFAULT_LEFT, NAN_IS_MISSING, ZERO_IS_MISSING

Codes = npt.NDArray[np.uint16]

MISSING = 65_535
ASKED_BY_VALUE = -1
"""Marks a split that is not numeric or has to compare the value itself."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ThresholdCodes:
    """The thresholds of every feature in order, and each split's place among them.

    Feature f has ``threshold[first[f] : first[f + 1]]``; ``missing[f]`` says what counts as
    missing, as the bits of a split's kind. ``place`` and ``shift`` are of the nodes.
    """

    first: Ints
    threshold: Floats
    missing: Kinds
    place: Ints
    shift: Codes

    @classmethod
    def of(cls, trees: TreeArrays) -> ThresholdCodes:
        """Put the thresholds in order.

        A feature whose splits do not agree on what is missing, or that has more thresholds than
        there are codes, is asked by value.
        """
        n_features = trees.n_features_read
        nodes = np.flatnonzero((trees.kind & CATEGORICAL) == 0)
        nodes = nodes[np.lexsort((trees.threshold[nodes], trees.feature[nodes]))]
        feature, threshold = trees.feature[nodes], trees.threshold[nodes]
        is_new = np.ones(len(nodes), np.bool_)
        is_new[1:] = (feature[1:] != feature[:-1]) | (threshold[1:] != threshold[:-1])
        n_thresholds = np.bincount(feature[is_new], minlength=n_features)

        kind = trees.kind[nodes] & (NAN_IS_MISSING | ZERO_IS_MISSING)
        missing, least = np.zeros(n_features, np.uint8), np.full(n_features, MISSING)
        np.maximum.at(missing, feature, kind)
        np.minimum.at(least, feature, kind)
        is_coded = (missing == least) & (n_thresholds < MISSING - 1)

        place = np.full(len(trees.feature), ASKED_BY_VALUE, np.int32)
        among = np.cumsum(is_new) - 1 - (np.cumsum(n_thresholds) - n_thresholds)[feature]
        place[nodes] = np.where(is_coded[feature], among, ASKED_BY_VALUE)
        return cls(
            first=np.append(0, np.cumsum(np.where(is_coded, n_thresholds, 0))).astype(np.int32),
            threshold=threshold[is_new & is_coded[feature]],
            missing=np.where(is_coded, missing, 0).astype(np.uint8),
            place=place,
            shift=((trees.kind & DEFAULT_LEFT) > 0).astype(np.uint16),
        )


@compiled
def write_codes(
    matrix: Floats, start: int, stop: int, first: Ints, threshold: Floats, missing: Kinds,
    codes: Codes,
) -> None:  # fmt: skip
    """The codes of these rows, feature by feature, into ``codes[feature, row - start]``."""
    rows = stop - start
    values, found = np.empty(rows), np.empty(rows, np.int32)
    for f in range(first.shape[0] - 1):
        n = first[f + 1] - first[f]
        if n == 0:
            continue
        of_feature = threshold[first[f] : first[f + 1]]
        for row in range(rows):
            value = matrix[start + row, f]
            values[row] = 0.0 if np.isnan(value) or -ZERO <= value <= ZERO else value
            found[row] = 0
        # halving, all rows one step at a time: a step of one row does not wait for another's, and
        # without branches, since which way it goes cannot be predicted
        while n > 1:
            half = n // 2
            for row in range(rows):
                found[row] += half if of_feature[found[row] + half - 1] < values[row] else 0
            n -= half
        for row in range(rows):
            codes[f, row] = found[row] + (1 if of_feature[found[row]] < values[row] else 0)
        if missing[f] & NAN_IS_MISSING:
            for row in range(rows):
                if np.isnan(matrix[start + row, f]):
                    codes[f, row] = MISSING
        if missing[f] & ZERO_IS_MISSING:
            for row in range(rows):
                if values[row] == 0.0:
                    codes[f, row] = MISSING
