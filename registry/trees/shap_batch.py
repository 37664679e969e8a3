"""SHAP values of many rows at once: those of ``shap``, within 1e-6.

The formula is that of ``shap``; here the numbers that are worked on side by side are rows, one
point after the other. They have 24 bits and measure leaves from their tree's mean, which changes no
contribution. Sums over trees have 53 bits, and what rounding leaves of a row's score is given to
its values in proportion to their sizes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from registry.trees._simd import SINGLES, add_to, at_most, every, load, store
from registry.trees._threshold_codes import Codes, write_codes
from registry.trees.arrays import Floats, Ints, Kinds, TreeArrays, Words, goes_left
from registry.trees.numba_cache import compiled
from registry.trees.shap import NONE, QuadraturePoints, SplitShares, tree_means

Singles = npt.NDArray[np.float32]

BLOCK = SINGLES  # rows worked on at a time


@dataclass(frozen=True, kw_only=True, eq=False)
class BatchShares:
    """``SplitShares`` in 24 bits, with as many points for each tree as it needs."""

    shares: SplitShares
    share: Singles  # times kept: of the rows of all splits on this player
    kept: Singles
    leaf: Singles  # above the tree's mean
    n_points: Ints
    first_point: Ints
    point: Singles
    weight: Singles

    @classmethod
    def of(cls, trees: TreeArrays, shares: SplitShares) -> BatchShares:
        """Round what is the same for all rows."""
        n_points = (shares.most_players + 1) // 2
        points = QuadraturePoints.of(np.arange(int(n_points.max()) + 1))
        means = np.repeat(tree_means(trees), np.diff(trees.first_leaf))
        return cls(
            shares=shares, share=(shares.share * shares.kept).astype(np.float32),
            kept=shares.kept.astype(np.float32), leaf=(trees.leaf_value - means).astype(np.float32),
            n_points=n_points, first_point=points.first, point=points.at.astype(np.float32),
            weight=points.weight.astype(np.float32),
        )  # fmt: skip

    def alone(self, trees: TreeArrays, matrix: Floats) -> Floats:
        """What each player adds where nothing else is known: its first step from the base.

        The gain at t = 0, so no other player's value plays a part in it.
        """
        return self._sum_up(
            trees, matrix, np.ones_like(self.n_points), np.zeros(2, np.int32),
            np.zeros(1, np.float32), np.ones(1, np.float32),
        )  # fmt: skip

    def contributions(self, trees: TreeArrays, matrix: Floats, raw: Floats) -> Floats:
        """One value per row and player; with the base, each row's values sum to its raw score."""
        values = self._sum_up(
            trees, matrix, self.n_points, self.first_point, self.point, self.weight
        )
        size = np.abs(values)
        total = size.sum(axis=1)
        rest = raw - self.shares.base - values.sum(axis=1)
        values += size * (rest / np.where(total > 0, total, 1.0))[:, None]
        return values

    def _sum_up(
        self,
        trees: TreeArrays,
        matrix: Floats,
        n_points: Ints,
        first_point: Ints,
        point: Singles,
        weight: Singles,
    ) -> Floats:
        codes = self.shares.codes
        return _contributions(
            np.ascontiguousarray(matrix), self.shares.columns_of(matrix), self.shares.player,
            trees.first_node, trees.first_leaf, trees.feature,
            trees.kind, trees.threshold, trees.category_set, trees.first_word,
            trees.category_words, self.leaf, codes.first, codes.threshold, codes.missing,
            codes.place, codes.shift, self.shares.left, self.shares.right, self.share, self.kept,
            self.shares.earlier, n_points, first_point, point, weight,
        )  # fmt: skip


@compiled
def _contributions(
    matrix: Floats, n_players: int, player: Ints, first_node: Ints, first_leaf: Ints,
    feature: Ints, kind: Kinds, threshold: Floats, category_set: Ints, first_word: Ints,
    words: Words, leaf: Singles,
    first_threshold: Ints, thresholds: Floats, missing: Kinds, place: Ints, shift: Codes,
    left: Ints, right: Ints, share: Singles, kept: Singles, earlier: Ints, n_points: Ints,
    first_point: Ints, point: Singles, weight: Singles,
) -> Floats:  # fmt: skip
    n_rows, n_columns = matrix.shape
    values = np.zeros((n_rows, n_players))
    codes = np.zeros((n_columns, BLOCK), np.uint16)
    flat_codes = codes.reshape(-1)
    most = 1
    for tree in range(first_node.shape[0] - 1):
        most = max(most, first_node[tree + 1] - first_node[tree])
    expected = np.zeros((2 * most + 1) * BLOCK, np.float32)  # of every place
    reached = np.zeros((2 * most + 1) * BLOCK, np.float32)
    passed = np.zeros(most * BLOCK, np.float32)  # of every split: m
    known = np.zeros(most * BLOCK, np.float32)  # h - z
    gains = np.zeros(most * BLOCK, np.float32)
    follows = np.zeros(2 * most * BLOCK, np.float32)  # of every branch: h
    asked = np.zeros(BLOCK, np.float32)
    sums = np.zeros(n_players * BLOCK)
    one = every(np.float32(1.0))
    for start in range(0, n_rows, BLOCK):
        stop = min(start + BLOCK, n_rows)
        write_codes(matrix, start, stop, first_threshold, thresholds, missing, codes)
        sums[:] = 0.0
        for tree in range(first_node.shape[0] - 1):
            base, n = first_node[tree], first_node[tree + 1] - first_node[tree]
            if n == 0:
                continue
            for k in range(n + 1):
                store(expected, n + k, every(leaf[first_leaf[tree] + k]))
            for k in range(n):
                i = base + k
                if place[i] >= 0:
                    h = at_most(flat_codes, feature[i], shift[i], np.uint16(place[i] + shift[i]))
                else:
                    for r in range(stop - start):
                        asked[r] = goes_left(
                            matrix[start + r, feature[i]],
                            kind[i],
                            threshold[i],
                            category_set[i],
                            first_word,
                            words,
                        )
                    h = load(asked, 0)
                other = one - h
                if earlier[i] != NONE:
                    before = load(follows, earlier[i])
                    h, other = before * h, before * other
                store(follows, 2 * k, h)
                store(follows, 2 * k + 1, other)
                store(known, k, h - every(share[i]))
                store(gains, k, one - one)
            first = first_point[n_points[tree]]
            for q in range(first, first + n_points[tree]):
                t = every(point[q])
                for k in range(n - 1, -1, -1):
                    i = base + k
                    on_the_right = load(expected, right[i])
                    gain = load(expected, left[i]) - on_the_right
                    m = every(share[i]) + t * load(known, k)
                    if earlier[i] != NONE:
                        z = every(kept[i])
                        m = m / (z + t * (load(follows, earlier[i]) - z))
                    store(passed, k, m)
                    store(expected, k, on_the_right + m * gain)
                store(reached, 0, every(weight[q]))
                for k in range(n):
                    i = base + k
                    here, m = load(reached, k), load(passed, k)
                    store(reached, left[i], here * m)
                    store(reached, right[i], here - here * m)
                    gain = here * (load(expected, left[i]) - load(expected, right[i]))
                    if earlier[i] != NONE:
                        z = every(kept[i])
                        of_earlier = load(follows, earlier[i]) - z
                        known_here = load(known, k) - m * of_earlier
                        gain = gain * known_here / (z + t * of_earlier)
                    store(gains, k, load(gains, k) + gain)
            for k in range(n):
                i = base + k
                gain = load(gains, k)
                add_to(sums, player[i], gain * load(known, k) if earlier[i] == NONE else gain)
        for one_player in range(n_players):
            for r in range(stop - start):
                values[start + r, one_player] = sums[one_player * BLOCK + r]
    return values
