"""This module is about exact path-dependent Shapley values of boosted trees, in log-odds.

The game is the one of LightGBM's ``pred_contrib`` and of Lundberg et al. (2018, "Consistent
individualized feature attribution for tree ensembles"): features that are not known send a row
down both branches in proportion to the training rows.

For one leaf with value v, let k features lie on its path. Feature f keeps the share ``z_f`` of the
training rows on the path; in S are the features whose splits this row follows to the leaf, in N
the others. With T the known features, ``v(T) = v · Π_{N∖T} z · [T ∩ N = ∅] · Π_{S∖T} z``, and a
Shapley weight is a Beta integral, ``j!(k-1-j)!/k! = ∫ t^j (1-t)^(k-1-j) dt``. So the sum over all
subsets collapses into one integral of a polynomial of degree k - 1::

    f in S:   φ_f =  v · Π_N z · (1 - z_f) · ∫ (1-t)^|N|     · Π_{S∖f} (t + z(1-t)) dt
    f in N:   φ_f = -v · Π_N z             · ∫ (1-t)^(|N|-1) · Π_S     (t + z(1-t)) dt

which Gauss-Legendre quadrature with k/2 points or more gives exactly. All terms are positive, so
nothing cancels on deep paths, where unwinding polynomial coefficients loses digits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from registry.compiled import compiled
from registry.trees import Floats, Ints, Kinds, TreeArrays, Words, goes_left

Longs = npt.NDArray[np.int64]


POINTS = 4  # points of a block: four float64 fill a vector register


@dataclass(frozen=True, kw_only=True, eq=False)
class LeafPaths:
    """For every leaf, the features on its path, their shares and the splits that must hold.

    Leaf l has the parts ``first_part[l] : first_part[l + 1]``; part p is one feature with the
    share ``share[p]`` and the conditions ``first_condition[p] : first_condition[p + 1]``, each
    a node of the tree and the side to be taken (1 is left).

    A path of up to 8 b features is integrated on b blocks of four points, ``point[b]``. From
    ``first_factor[l]`` on, block by block and part by part, are ``factor`` = t + z(1-t) and
    ``ratio`` = (1-z) / factor at those points.
    """

    first_part: Ints
    part_feature: Ints
    share: Floats
    first_condition: Ints
    condition_node: Ints
    condition_side: Kinds
    point: Floats
    weight: Floats
    first_factor: Longs
    factor: Floats
    ratio: Floats
    base: float  # the mean raw score over the training rows

    @classmethod
    def of(cls, trees: TreeArrays) -> LeafPaths:
        """Walk every leaf of every tree to its root once."""
        first_part, part_feature, share, first_condition, node, side = _walk(
            trees.first_node, trees.first_leaf, trees.feature, trees.left, trees.right,
            trees.leaf_cover,
        )  # fmt: skip
        n_parts = np.diff(first_part)
        blocks = -(-n_parts // (2 * POINTS))
        most = int(blocks.max())
        point, weight = np.zeros((2, most + 1, most * POINTS))
        for b in range(1, most + 1):
            points, weights = np.polynomial.legendre.leggauss(b * POINTS)
            point[b, : b * POINTS] = (points + 1) / 2  # from [-1, 1] to [0, 1]
            weight[b, : b * POINTS] = weights / 2
        sizes = n_parts.astype(np.int64) * blocks * POINTS
        first_factor = np.concatenate([[0], np.cumsum(sizes)])
        factor, ratio = _factors(first_part, share, first_factor, point)
        padded = np.append(share, 1.0)  # a last leaf without parts starts beyond the end
        reach = np.where(n_parts > 0, np.multiply.reduceat(padded, first_part[:-1]), 1.0)
        return cls(
            first_part=first_part, part_feature=part_feature, share=share,
            first_condition=first_condition, condition_node=node, condition_side=side,
            point=point, weight=weight, first_factor=first_factor, factor=factor, ratio=ratio,
            base=float(reach @ trees.leaf_value),
        )  # fmt: skip

    def contributions(self, trees: TreeArrays, matrix: Floats) -> Floats:
        """One value per row and column; a row's values and ``base`` sum to its raw score."""
        return _contributions(
            np.ascontiguousarray(matrix), int(np.diff(trees.first_node).max()),
            int(np.diff(self.first_part).max()),
            trees.first_node, trees.first_leaf, trees.feature, trees.kind, trees.threshold,
            trees.category_set, trees.first_word, trees.category_words, trees.leaf_value,
            self.first_part, self.part_feature, self.share, self.first_condition,
            self.condition_node, self.condition_side, self.point, self.weight,
            self.first_factor, self.factor, self.ratio,
        )  # fmt: skip


@compiled
def _walk(
    first_node: Ints, first_leaf: Ints, feature: Ints, left: Ints, right: Ints, leaf_cover: Floats
) -> tuple[Ints, Ints, Floats, Ints, Ints, Kinds]:
    n_trees = first_node.shape[0] - 1
    n_nodes, n_leaves = feature.shape[0], leaf_cover.shape[0]
    cover = np.zeros(n_nodes)
    parent = np.full(n_nodes, -1, np.int32)
    leaf_parent = np.full(n_leaves, -1, np.int32)
    depth = np.zeros(n_nodes, np.int32)
    total = 0
    for tree in range(n_trees):
        base, leaf_base = first_node[tree], first_leaf[tree]
        for i in range(base, first_node[tree + 1]):
            for child in (left[i], right[i]):
                if child >= 0:
                    parent[base + child] = i
                    depth[base + child] = depth[i] + 1
                else:
                    leaf_parent[leaf_base - 1 - child] = i
                    total += depth[i] + 1
        for i in range(first_node[tree + 1] - 1, base - 1, -1):
            for child in (left[i], right[i]):
                if child >= 0:
                    cover[i] += cover[base + child]
                else:
                    cover[i] += leaf_cover[leaf_base - 1 - child]
    first_part = np.zeros(n_leaves + 1, np.int32)
    part_feature = np.zeros(total, np.int32)
    share = np.ones(total)
    first_condition = np.zeros(total + 1, np.int32)
    node = np.zeros(total, np.int32)
    side = np.zeros(total, np.uint8)
    longest = 1
    for i in range(n_nodes):
        longest = max(longest, depth[i] + 1)
    step_node = np.zeros(longest, np.int32)
    step_side = np.zeros(longest, np.uint8)
    step_share = np.zeros(longest)
    n_parts, n_conditions = 0, 0
    for tree in range(n_trees):
        base = first_node[tree]
        for leaf in range(first_leaf[tree], first_leaf[tree + 1]):
            steps = 0
            i = leaf_parent[leaf]
            below = leaf_cover[leaf]
            child = first_leaf[tree] - 1 - leaf
            while i >= 0:
                step_node[steps] = i
                step_side[steps] = 1 if left[i] == child else 0
                step_share[steps] = below / cover[i]
                below = cover[i]
                child = i - base
                i = parent[i]
                steps += 1
            for s in range(steps):
                if step_node[s] < 0:
                    continue  # already in an earlier part
                which = feature[step_node[s]]
                part_feature[n_parts] = which
                for r in range(s, steps):
                    if step_node[r] >= 0 and feature[step_node[r]] == which:
                        share[n_parts] *= step_share[r]
                        node[n_conditions] = step_node[r] - base
                        side[n_conditions] = step_side[r]
                        n_conditions += 1
                        step_node[r] = -1
                n_parts += 1
                first_condition[n_parts] = n_conditions
            first_part[leaf + 1] = n_parts
    return (
        first_part, part_feature[:n_parts].copy(), share[:n_parts].copy(),
        first_condition[: n_parts + 1].copy(), node, side,
    )  # fmt: skip


@compiled
def _factors(
    first_part: Ints, share: Floats, first_factor: Longs, point: Floats
) -> tuple[Floats, Floats]:
    factor = np.empty(first_factor[-1])
    ratio = np.empty(first_factor[-1])
    at = 0
    for leaf in range(first_part.shape[0] - 1):
        start, stop = first_part[leaf], first_part[leaf + 1]
        blocks = (stop - start + 2 * POINTS - 1) // (2 * POINTS)
        for block in range(blocks):
            for part in range(start, stop):
                z = share[part]
                for q in range(block * POINTS, (block + 1) * POINTS):
                    t = point[blocks, q]
                    factor[at] = t + z * (1.0 - t)
                    ratio[at] = (1.0 - z) / factor[at]
                    at += 1
    return factor, ratio


@compiled
def _contributions(
    matrix: Floats, most_nodes: int, most_parts: int, first_node: Ints, first_leaf: Ints,
    feature: Ints, kind: Kinds, threshold: Floats, category_set: Ints, first_word: Ints,
    words: Words, leaf_value: Floats, first_part: Ints, part_feature: Ints, share: Floats,
    first_condition: Ints, condition_node: Ints, condition_side: Kinds, point: Floats,
    weight: Floats, first_factor: Longs, factor: Floats, ratio: Floats,
) -> Floats:  # fmt: skip
    values = np.zeros((matrix.shape[0], matrix.shape[1]))
    took_left = np.zeros(max(most_nodes, 1), np.uint8)
    # One longer than a path, since both lists are written without asking.
    follows = np.zeros(most_parts + 1, np.int64)
    leaves = np.zeros(most_parts + 1, np.int64)
    for row in range(matrix.shape[0]):
        for tree in range(first_node.shape[0] - 1):
            base = first_node[tree]
            for i in range(base, first_node[tree + 1]):
                took_left[i - base] = goes_left(
                    matrix[row, feature[i]], kind[i], threshold[i], category_set[i],
                    first_word, words,
                )  # fmt: skip
            for leaf in range(first_leaf[tree], first_leaf[tree + 1]):
                start = first_part[leaf]
                n_parts = first_part[leaf + 1] - start
                scale = leaf_value[leaf]
                n_follow, n_leave = 0, 0
                for j in range(n_parts):
                    # Without branches: which way a row goes can not be predicted.
                    holds = 1
                    for c in range(first_condition[start + j], first_condition[start + j + 1]):
                        holds &= 1 - (took_left[condition_node[c]] ^ condition_side[c])
                    follows[n_follow] = j
                    n_follow += holds
                    leaves[n_leave] = j
                    n_leave += 1 - holds
                    scale *= holds + (1 - holds) * share[start + j]
                blocks = (n_parts + 2 * POINTS - 1) // (2 * POINTS)
                against = 0.0
                for block in range(blocks):
                    q = block * POINTS
                    at = first_factor[leaf] + q * n_parts
                    p0 = scale * weight[blocks, q]
                    p1 = scale * weight[blocks, q + 1]
                    p2 = scale * weight[blocks, q + 2]
                    p3 = scale * weight[blocks, q + 3]
                    for r in range(n_follow):
                        f = at + POINTS * follows[r]
                        p0 *= factor[f]
                        p1 *= factor[f + 1]
                        p2 *= factor[f + 2]
                        p3 *= factor[f + 3]
                    if n_leave > 0:
                        u0 = 1.0 - point[blocks, q]
                        u1 = 1.0 - point[blocks, q + 1]
                        u2 = 1.0 - point[blocks, q + 2]
                        u3 = 1.0 - point[blocks, q + 3]
                        for _ in range(n_leave - 1):
                            p0 *= u0
                            p1 *= u1
                            p2 *= u2
                            p3 *= u3
                        against += (p0 + p1) + (p2 + p3)
                        p0 *= u0
                        p1 *= u1
                        p2 *= u2
                        p3 *= u3
                    for r in range(n_follow):
                        f = at + POINTS * follows[r]
                        values[row, part_feature[start + follows[r]]] += (
                            p0 * ratio[f] + p1 * ratio[f + 1]
                        ) + (p2 * ratio[f + 2] + p3 * ratio[f + 3])
                for r in range(n_leave):
                    values[row, part_feature[start + leaves[r]]] -= against
    return values
