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

which Gauss-Legendre quadrature with ⌈k/2⌉ points gives exactly. All terms are positive, so nothing
cancels on deep paths, where unwinding polynomial coefficients loses digits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from registry.compiled import compiled
from registry.trees import Floats, Ints, Kinds, TreeArrays, Words, goes_left


@dataclass(frozen=True, kw_only=True, eq=False)
class LeafPaths:
    """For every leaf, the features on its path, their shares and the splits that must hold.

    Leaf l has the parts ``first_part[l] : first_part[l + 1]``; part p is one feature with the
    share ``share[p]`` and the conditions ``first_condition[p] : first_condition[p + 1]``, each
    a node of the tree and the side to be taken (1 is left).
    """

    first_part: Ints
    part_feature: Ints
    share: Floats
    first_condition: Ints
    condition_node: Ints
    condition_side: Kinds
    first_point: Ints  # quadrature of m points: first_point[m] : first_point[m + 1]
    point: Floats
    weight: Floats
    base: float  # the mean raw score over the training rows

    @classmethod
    def of(cls, trees: TreeArrays) -> LeafPaths:
        """Walk every leaf of every tree to its root once."""
        first_part, part_feature, share, first_condition, node, side = _walk(
            trees.first_node, trees.first_leaf, trees.feature, trees.left, trees.right,
            trees.leaf_cover,
        )  # fmt: skip
        most = int(np.diff(first_part).max())
        rules = [np.polynomial.legendre.leggauss(m) for m in range(1, (most + 1) // 2 + 1)]
        sizes = [0, 0, *(len(points) for points, _ in rules)]
        empty = np.zeros(0)
        # From [-1, 1] to [0, 1].
        point = np.concatenate([empty, *((points + 1) / 2 for points, _ in rules)])
        weight = np.concatenate([empty, *(weights / 2 for _, weights in rules)])
        everyone = np.ones(len(part_feature) + 1)
        everyone[:-1] = share
        reach = np.multiply.reduceat(everyone, first_part[:-1])
        reach[np.diff(first_part) == 0] = 1.0
        return cls(
            first_part=first_part, part_feature=part_feature, share=share,
            first_condition=first_condition, condition_node=node, condition_side=side,
            first_point=np.cumsum(sizes).astype(np.int32), point=point, weight=weight,
            base=float(reach @ trees.leaf_value),
        )  # fmt: skip

    def contributions(self, trees: TreeArrays, matrix: Floats) -> Floats:
        """One value per row and column; a row's values and ``base`` sum to its raw score."""
        largest = int(np.diff(trees.first_node).max())
        return _contributions(
            np.ascontiguousarray(matrix), largest,
            trees.first_node, trees.first_leaf, trees.feature, trees.kind, trees.threshold,
            trees.category_set, trees.first_word, trees.category_words, trees.leaf_value,
            self.first_part, self.part_feature, self.share, self.first_condition,
            self.condition_node, self.condition_side, self.first_point, self.point, self.weight,
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
def _contributions(
    matrix: Floats, largest: int, first_node: Ints, first_leaf: Ints, feature: Ints, kind: Kinds,
    threshold: Floats, category_set: Ints, first_word: Ints, words: Words, leaf_value: Floats,
    first_part: Ints, part_feature: Ints, share: Floats, first_condition: Ints,
    condition_node: Ints, condition_side: Kinds, first_point: Ints, point: Floats, weight: Floats,
) -> Floats:  # fmt: skip
    n_rows = matrix.shape[0]
    values = np.zeros((n_rows, matrix.shape[1]))
    took_left = np.zeros(max(largest, 1), np.uint8)
    n_trees = first_node.shape[0] - 1
    longest = 1
    for leaf in range(first_part.shape[0] - 1):
        longest = max(longest, first_part[leaf + 1] - first_part[leaf])
    follows = np.zeros(longest, np.uint8)
    product = np.zeros(longest)
    for row in range(n_rows):
        for tree in range(n_trees):
            base = first_node[tree]
            for i in range(base, first_node[tree + 1]):
                took_left[i - base] = goes_left(
                    matrix[row, feature[i]], kind[i], threshold[i], category_set[i],
                    first_word, words,
                )  # fmt: skip
            for leaf in range(first_leaf[tree], first_leaf[tree + 1]):
                start, stop = first_part[leaf], first_part[leaf + 1]
                n_parts = stop - start
                m = (n_parts + 1) // 2
                if m == 0:
                    continue  # a tree of one leaf: all of it is base
                q0 = first_point[m]
                for q in range(m):
                    product[q] = weight[q0 + q]
                scale = leaf_value[leaf]
                left_out = 0
                for part in range(start, stop):
                    follow = True
                    for c in range(first_condition[part], first_condition[part + 1]):
                        if took_left[condition_node[c]] != condition_side[c]:
                            follow = False
                            break
                    follows[part - start] = follow
                    z = share[part]
                    if follow:
                        for q in range(m):
                            t = point[q0 + q]
                            product[q] *= t + z * (1.0 - t)
                    else:
                        left_out += 1
                        scale *= z
                        if left_out > 1:
                            for q in range(m):
                                product[q] *= 1.0 - point[q0 + q]
                if left_out > 0:
                    against = 0.0
                    for q in range(m):
                        against += product[q]
                        product[q] *= 1.0 - point[q0 + q]
                    against *= scale
                    for part in range(start, stop):
                        if not follows[part - start]:
                            values[row, part_feature[part]] -= against
                for part in range(start, stop):
                    if follows[part - start]:
                        z = share[part]
                        toward = 0.0
                        for q in range(m):
                            t = point[q0 + q]
                            toward += product[q] / (t + z * (1.0 - t))
                        values[row, part_feature[part]] += scale * (1.0 - z) * toward
    return values
