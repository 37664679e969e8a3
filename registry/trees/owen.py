"""Owen values of boosted trees: what each feature adds, so that the features of a theme add up to it.

Themes play the game of ``shap`` among themselves, and a theme's value is divided by a second game
among its own features (Owen 1977, "Values of games with a priori unions"). Of a single leaf that game
is a product. Let z be the share of training rows that the splits of a feature on the way to the leaf
keep, and h whether they keep this row; of a theme, Z and H are the products over its features. With all
other themes known with the same probability t, and the other features of the theme with probability s,
feature i of theme k adds ::

    value · ∫ Π over themes U ≠ k of (Z_U + t (H_U - Z_U)) dt
          · (h_i - z_i) · ∫ Π over features j ≠ i of k of (z_j + s (h_j - z_j)) ds

The second integral times (h_i - z_i) sums to H_k - Z_k over the features of the theme, so they sum to
the theme's Shapley value. Both integrands are polynomials: Gauss-Legendre quadrature is exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from registry.trees._simd import DOUBLES, every, load, store
from registry.trees.arrays import Floats, Ints, Kinds, TreeArrays, Words, goes_left
from registry.trees.numba_cache import compiled
from registry.trees.shap import QuadraturePoints

Places = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class LeafPaths:
    """The way to every leaf: its features, those of one theme beside each other, and their splits.

    Feature e of a way keeps the share ``kept[e]`` of the training rows by the splits ``step[s]``, s from
    ``first_step[e]`` on: twice the node, and one more for the right branch. ``first_of_theme`` are the
    places of the features that begin a theme.
    """

    first_theme: Ints  # of each leaf, into first_of_theme
    first_of_theme: Ints
    feature: Ints
    kept: Floats
    first_step: Ints
    step: Ints
    points: QuadraturePoints
    widest: int  # features of a way, at most

    @classmethod
    def of(cls, trees: TreeArrays, themes: Places) -> LeafPaths:
        """The ways to the leaves of some trees; ``themes`` is the theme of each feature."""
        first_theme, first_of_theme, features = [0], list[int](), list[int]()
        kept, first_step, steps = list[float](), list[int](), list[int]()
        widest = 1
        for path in _paths(trees):
            by_feature: dict[int, list[tuple[int, float]]] = {}
            for step, share in path:
                by_feature.setdefault(int(trees.feature[step // 2]), []).append((step, share))
            before = None
            for feature in sorted(by_feature, key=lambda one: (themes[one], one)):
                if themes[feature] != before:
                    first_of_theme.append(len(features))
                    before = themes[feature]
                features.append(feature)
                kept.append(float(np.prod([share for _, share in by_feature[feature]])))
                first_step.append(len(steps))
                steps.extend(step for step, _ in by_feature[feature])
            first_theme.append(len(first_of_theme))
            widest = max(widest, len(by_feature))
        return cls(
            first_theme=np.array(first_theme, np.int32),
            first_of_theme=np.array([*first_of_theme, len(features)], np.int32),
            feature=np.array(features, np.int32),
            kept=np.array(kept),
            first_step=np.array([*first_step, len(steps)], np.int32),
            step=np.array(steps, np.int32),
            points=QuadraturePoints.of(np.arange(widest // 2 + 2)),
            widest=widest,
        )

    def contributions(self, trees: TreeArrays, matrix: Floats) -> Floats:
        """One value per row and column; with the base, each row's values sum to its raw score."""
        return _contributions(
            np.ascontiguousarray(matrix), trees.feature, trees.kind, trees.threshold,
            trees.category_set, trees.first_word, trees.category_words, trees.leaf_value,
            self.first_theme, self.first_of_theme, self.feature, self.kept, self.first_step,
            self.step, self.points.first, self.points.at, self.points.weight, self.widest,
        )  # fmt: skip


def _paths(trees: TreeArrays) -> list[list[tuple[int, float]]]:
    """The steps to every leaf, in the order of the leaves, each with its share of training rows."""
    found: list[list[tuple[int, float]]] = [[] for _ in trees.leaf_value]
    for tree in range(trees.n_trees):
        node, leaf = int(trees.first_node[tree]), int(trees.first_leaf[tree])
        n = int(trees.first_node[tree + 1]) - node
        cover = np.zeros(n)

        def rows(child: int, cover: Floats = cover, leaf: int = leaf) -> float:
            return float(trees.leaf_cover[leaf - 1 - child] if child < 0 else cover[child])

        for k in range(n - 1, -1, -1):  # children come after their parents
            cover[k] = rows(int(trees.left[node + k])) + rows(int(trees.right[node + k]))
        way: list[list[tuple[int, float]]] = [[] for _ in range(n)]
        for k in range(n):
            for side, child in enumerate((int(trees.left[node + k]), int(trees.right[node + k]))):
                steps = [*way[k], (2 * (node + k) + side, rows(child) / cover[k])]
                if child < 0:
                    found[leaf - 1 - child] = steps
                else:
                    way[child] = steps
    return found


@compiled
def _contributions(
    matrix: Floats, feature: Ints, kind: Kinds, threshold: Floats, category_set: Ints,
    first_word: Ints, words: Words, leaf_value: Floats, first_theme: Ints, first_of_theme: Ints,
    of_way: Ints, kept: Floats, first_step: Ints, step: Ints, first_point: Ints, point: Floats,
    weight: Floats, widest: int,
) -> Floats:  # fmt: skip
    n_rows, n_columns = matrix.shape
    values = np.zeros((n_rows, n_columns))
    sums = np.zeros(n_columns * DOUBLES)
    taken = np.zeros(2 * feature.shape[0] * DOUBLES)  # of every branch
    h, all_h = np.zeros((2, widest * DOUBLES))  # of every feature of a way, and of every theme
    inside, among = np.zeros((2, widest * DOUBLES))  # its integral in its theme, and among themes
    factor, before = np.zeros((2, widest * DOUBLES))
    all_kept = np.zeros(widest)
    none, one = every(0.0), every(1.0)
    for start in range(0, n_rows, DOUBLES):
        n = min(DOUBLES, n_rows - start)
        for i in range(feature.shape[0]):
            for r in range(n):
                left = goes_left(
                    matrix[start + r, feature[i]], kind[i], threshold[i], category_set[i],
                    first_word, words,
                )  # fmt: skip
                taken[2 * i * DOUBLES + r] = 1.0 if left else 0.0
                taken[(2 * i + 1) * DOUBLES + r] = 0.0 if left else 1.0
        sums[:] = 0.0
        for leaf in range(leaf_value.shape[0]):
            first = first_theme[leaf]
            n_themes = first_theme[leaf + 1] - first
            if n_themes == 0:
                continue
            begin = first_of_theme[first]
            for g in range(n_themes):
                low, high = first_of_theme[first + g], first_of_theme[first + g + 1]
                of_theme, kept_of_theme = one, 1.0
                for e in range(low, high):
                    of_feature = load(taken, step[first_step[e]])
                    for s in range(first_step[e] + 1, first_step[e + 1]):
                        of_feature = of_feature * load(taken, step[s])
                    store(h, e - begin, of_feature)
                    store(inside, e - begin, one if high - low == 1 else none)
                    of_theme = of_theme * of_feature
                    kept_of_theme *= kept[e]
                store(all_h, g, of_theme)
                all_kept[g] = kept_of_theme
                store(among, g, none)
                if high - low == 1:
                    continue
                n_points = (high - low + 1) // 2
                for q in range(first_point[n_points], first_point[n_points] + n_points):
                    t, product = every(point[q]), every(weight[q])
                    for e in range(low, high):
                        z = every(kept[e])
                        known = z + t * (load(h, e - begin) - z)
                        store(before, e - begin, product)
                        store(factor, e - begin, known)
                        product = product * known
                    product = one
                    for e in range(high - 1, low - 1, -1):
                        others = load(before, e - begin) * product
                        store(inside, e - begin, load(inside, e - begin) + others)
                        product = product * load(factor, e - begin)
            n_points = (n_themes + 1) // 2
            for q in range(first_point[n_points], first_point[n_points] + n_points):
                t, product = every(point[q]), every(weight[q] * leaf_value[leaf])
                for g in range(n_themes):
                    z = every(all_kept[g])
                    known = z + t * (load(all_h, g) - z)
                    store(before, g, product)
                    store(factor, g, known)
                    product = product * known
                product = one
                for g in range(n_themes - 1, -1, -1):
                    store(among, g, load(among, g) + load(before, g) * product)
                    product = product * load(factor, g)
            for g in range(n_themes):
                others = load(among, g)
                for e in range(first_of_theme[first + g], first_of_theme[first + g + 1]):
                    gain = (load(h, e - begin) - every(kept[e])) * load(inside, e - begin)
                    store(sums, of_way[e], load(sums, of_way[e]) + others * gain)
        for r in range(n):
            for column in range(n_columns):
                values[start + r, column] = sums[column * DOUBLES + r]
    return values
