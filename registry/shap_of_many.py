"""This module is about the Shapley values of many rows at once: ``tree_shap``'s, within 1e-6.

The formula is that of ``tree_shap``; here one step is done for a block of rows before the next, so
that the processor works on sixteen of them at a time. For a leaf of value v whose features f keep
the shares z_f of the training rows, at a point t with weight w::

    product of the parts   p = w · v · Π_f (n_f + h_f · t)      n = z (1 - t), h: 1 if f is followed
    f is followed          φ_f += p · (1 - z_f) / (n_f + t)
    f is not               φ_f -= p / (1 - t)

Contributions of a leaf are small numbers with 24 bits; they are summed over trees with 53, and what
rounding leaves of a row's score is given to its values in proportion to their sizes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from registry.compiled import compiled
from registry.trees import Floats, Ints, Kinds, TreeArrays, Words, goes_left
from registry.value_codes import Codes, ValueCodes, write_codes

if TYPE_CHECKING:
    from registry.tree_shap import LeafPaths

Longs = npt.NDArray[np.int64]
Singles = npt.NDArray[np.float32]

BLOCK = 128  # rows worked on at a time: what a leaf needs of them stays near the processor


@dataclass(frozen=True, kw_only=True, eq=False)
class LeafFactors:
    """What the parts of every leaf multiply at its points, and where a tree keeps its features.

    A leaf of k parts has (k + 1) // 2 points. Those of leaf l begin at ``first_point[l]``, its
    factors at ``first_factor[l]``, part by part. The features of tree t are
    ``feature[first_feature[t] : first_feature[t + 1]]``; ``local`` is each part's place there.
    """

    codes: ValueCodes
    first_point: Longs
    point: Singles
    weight: Singles  # times the leaf's value
    first_factor: Longs
    unfollowed: Singles  # z (1 - t)
    ratio: Singles  # (1 - z) / (z (1 - t) + t)
    first_feature: Ints
    feature: Ints
    local: Ints

    @classmethod
    def of(cls, trees: TreeArrays, paths: LeafPaths) -> LeafFactors:
        """Multiply out what is the same for all rows."""
        n_parts = np.diff(paths.first_part).astype(np.int64)
        n_points = (n_parts + 1) // 2
        first_point = np.concatenate([[0], np.cumsum(n_points)])
        point, weight = np.empty(first_point[-1]), np.empty(first_point[-1])
        for n in np.unique(n_points[n_points > 0]):
            leaves = np.flatnonzero(n_points == n)
            at = first_point[leaves][:, None] + np.arange(n)
            points, weights = np.polynomial.legendre.leggauss(int(n))
            point[at] = (points + 1) / 2  # from [-1, 1] to [0, 1]
            weight[at] = weights / 2 * trees.leaf_value[leaves][:, None]
        # every part with every point of its leaf
        of_part = np.repeat(n_points, n_parts)
        share = np.repeat(paths.share, of_part)
        starts = np.repeat(np.repeat(first_point[:-1], n_parts), of_part)
        within = np.arange(len(share)) - np.repeat(np.cumsum(of_part) - of_part, of_part)
        t = point[starts + within]
        unfollowed = share * (1 - t)
        first_feature, features = [0], []
        local = np.zeros(len(paths.part_feature), np.int32)
        for leaf, end in zip(trees.first_leaf[:-1], trees.first_leaf[1:], strict=True):
            parts = slice(paths.first_part[leaf], paths.first_part[end])
            found, local[parts] = np.unique(paths.part_feature[parts], return_inverse=True)
            features.append(found)
            first_feature.append(first_feature[-1] + len(found))
        return cls(
            codes=ValueCodes.of(trees), first_point=first_point, point=point.astype(np.float32),
            weight=weight.astype(np.float32),
            first_factor=np.concatenate([[0], np.cumsum(n_parts * n_points)]),
            unfollowed=unfollowed.astype(np.float32),
            ratio=((1 - share) / (unfollowed + t)).astype(np.float32),
            first_feature=np.array(first_feature, np.int32),
            feature=np.concatenate(features).astype(np.int32), local=local,
        )  # fmt: skip

    def contributions(self, trees: TreeArrays, paths: LeafPaths, matrix: Floats, raw: Floats
                      ) -> Floats:
        """One value per row and column; with the base, each row's values sum to its raw score."""
        values = _contributions(
            np.ascontiguousarray(matrix), int(np.diff(trees.first_node).max()),
            int(np.diff(paths.first_part).max()), int(np.diff(self.first_feature).max()),
            trees.first_node, trees.first_leaf, trees.feature, trees.kind, trees.threshold,
            trees.category_set, trees.first_word, trees.category_words, self.codes.first,
            self.codes.threshold, self.codes.missing, self.codes.place, self.codes.shift,
            paths.first_part, paths.first_condition, paths.condition_node, paths.condition_side,
            self.first_point, self.point, self.weight, self.first_factor, self.unfollowed,
            self.ratio, self.first_feature, self.feature, self.local,
        )  # fmt: skip
        size = np.abs(values)
        total = size.sum(axis=1)
        rest = raw - paths.base - values.sum(axis=1)
        values += size * (rest / np.where(total > 0, total, 1.0))[:, None]
        return values


@compiled
def _contributions(
    matrix: Floats, most_nodes: int, most_parts: int, most_features: int, first_node: Ints,
    first_leaf: Ints, feature: Ints, kind: Kinds, threshold: Floats, category_set: Ints,
    first_word: Ints, words: Words, first_threshold: Ints, thresholds: Floats, missing: Kinds,
    place: Ints, shift: Codes, first_part: Ints, first_condition: Ints, condition_node: Ints,
    condition_side: Kinds, first_point: Longs, point: Singles, weight: Singles,
    first_factor: Longs, unfollowed: Singles, ratio: Singles, first_feature: Ints,
    tree_feature: Ints, local: Ints,
) -> Floats:  # fmt: skip
    n_rows, n_columns = matrix.shape
    out = np.zeros((n_rows, n_columns))
    codes = np.zeros((n_columns, BLOCK), np.uint16)
    went = np.zeros((max(most_nodes, 1), BLOCK), np.uint8)
    follows = np.zeros((max(most_parts, 1), BLOCK), np.float32)
    products = np.zeros((most_parts // 2 + 1, BLOCK), np.float32)
    against, with_it = np.zeros(BLOCK, np.float32), np.zeros(BLOCK, np.float32)
    of_tree = np.zeros((max(most_features, 1), BLOCK), np.float32)
    sums = np.zeros((n_columns, BLOCK))
    for start in range(0, n_rows, BLOCK):
        stop = min(start + BLOCK, n_rows)
        write_codes(matrix, start, stop, first_threshold, thresholds, missing, codes)
        sums[:] = 0.0
        for tree in range(first_node.shape[0] - 1):
            base = first_node[tree]
            for i in range(base, first_node[tree + 1]):
                side, code = went[i - base], codes[feature[i]]
                if place[i] < 0:
                    for r in range(stop - start):
                        side[r] = goes_left(
                            matrix[start + r, feature[i]], kind[i], threshold[i], category_set[i],
                            first_word, words,
                        )  # fmt: skip
                else:
                    more, last = shift[i], np.uint16(place[i] + shift[i])
                    for r in range(BLOCK):
                        side[r] = np.uint16(code[r] + more) <= last
            n_features = first_feature[tree + 1] - first_feature[tree]
            of_tree[:n_features] = 0
            for leaf in range(first_leaf[tree], first_leaf[tree + 1]):
                parts = first_part[leaf]
                n_parts = first_part[leaf + 1] - parts
                if n_parts > 0:
                    _follow(went, parts, n_parts, first_condition, condition_node, condition_side,
                            follows)
                    _add_leaf(follows, n_parts, point[first_point[leaf]:],
                              weight[first_point[leaf]:], unfollowed[first_factor[leaf]:],
                              ratio[first_factor[leaf]:], local[parts:], products, against,
                              with_it, of_tree)
            for j in range(n_features):
                total, part = sums[tree_feature[first_feature[tree] + j]], of_tree[j]
                for r in range(BLOCK):
                    total[r] += part[r]
        for r in range(stop - start):
            for f in range(n_columns):
                out[start + r, f] = sums[f, r]
    return out


@compiled
def _follow(
    went: npt.NDArray[np.uint8], parts: int, n_parts: int, first_condition: Ints,
    condition_node: Ints, condition_side: Kinds, follows: Singles,
) -> None:  # fmt: skip
    """Which of the parts of a leaf each row follows, as 1 and 0."""
    for k in range(n_parts):
        start, stop = first_condition[parts + k], first_condition[parts + k + 1]
        row, side = follows[k], went[condition_node[start]]
        other = np.uint8(1) ^ condition_side[start]
        for r in range(BLOCK):
            row[r] = np.float32(side[r] ^ other)
        for c in range(start + 1, stop):
            side, other = went[condition_node[c]], np.uint8(1) ^ condition_side[c]
            for r in range(BLOCK):
                row[r] *= np.float32(side[r] ^ other)


@compiled
def _add_leaf(
    follows: Singles, n_parts: int, point: Singles, weight: Singles, unfollowed: Singles,
    ratio: Singles, local: Ints, products: Singles, against: Singles, with_it: Singles,
    of_tree: Singles,
) -> None:  # fmt: skip
    n_points = (n_parts + 1) // 2
    against[:] = 0
    for q in range(n_points):
        t, first, product = point[q], weight[q], products[q]
        for r in range(BLOCK):
            product[r] = first
        k = 0
        while k + 4 <= n_parts:  # four at a time: the product is read and written less often
            at = k * n_points + q
            n0, n1 = unfollowed[at], unfollowed[at + n_points]
            n2, n3 = unfollowed[at + 2 * n_points], unfollowed[at + 3 * n_points]
            h0, h1, h2, h3 = follows[k], follows[k + 1], follows[k + 2], follows[k + 3]
            for r in range(BLOCK):
                product[r] *= ((h0[r] * t + n0) * (h1[r] * t + n1)) * (
                    (h2[r] * t + n2) * (h3[r] * t + n3))
            k += 4
        while k < n_parts:
            n0, h0 = unfollowed[k * n_points + q], follows[k]
            for r in range(BLOCK):
                product[r] *= h0[r] * t + n0
            k += 1
        over = np.float32(1) / (np.float32(1) - t)
        for r in range(BLOCK):
            against[r] += product[r] * over
    for k in range(n_parts):
        row, total, at = follows[k], of_tree[local[k]], k * n_points
        r0, p0 = ratio[at], products[0]
        for r in range(BLOCK):
            with_it[r] = p0[r] * r0
        q = 1
        while q + 2 <= n_points:
            r0, r1, p0, p1 = ratio[at + q], ratio[at + q + 1], products[q], products[q + 1]
            for r in range(BLOCK):
                with_it[r] += p0[r] * r0 + p1[r] * r1
            q += 2
        if q < n_points:
            r0, p0 = ratio[at + q], products[q]
            for r in range(BLOCK):
                with_it[r] += p0[r] * r0
        for r in range(BLOCK):
            total[r] += row[r] * (with_it[r] + against[r]) - against[r]
