"""Exact path-dependent SHAP values of boosted trees, in log-odds.

The game is the one of LightGBM's ``pred_contrib`` and of Lundberg et al. (2018, "Consistent
individualized feature attribution for tree ensembles"): where a split's feature is not known, a row
goes down both branches in proportion to the training rows.

Let every feature be known with the same probability t, each on its own. The Shapley value of a
feature is then the mean over t of what the expected score gains by knowing it (Owen 1972,
"Multilinear extensions of games"). A split whose left branch has the share z of its training rows,
and that sends this row there (h = 1) or not (h = 0), is passed on the left with probability ::

    m = z + t (h - z)          and m' = h - z is what knowing its feature adds to that,

so with A the probability to come to the split and B the expected value below a branch,
``B = m B_left + (1 - m) B_right`` from the leaves up, ``A m`` and ``A (1 - m)`` from the root down,
and the split adds ``∫ A m' (B_left - B_right) dt`` to its feature. That is all: a few products for
each split, none for the features on the paths below it.

Where the path has asked the feature before, both answers hang on the same knowledge. With z and h
of all its splits down to the left branch, and z', h' of those down to here, ::

    m = (z + t (h - z)) / (z' + t (h' - z'))
    m' = (h - z - m (h' - z')) / (z' + t (h' - z'))

The players need not be single features. Where the features of one theme are known together or not at
all, a path's splits on any of them hang on the same knowledge, as those on one feature did: with a
theme in the place of a feature the same walk gives the Shapley values of the game of themes.

The integrand is a polynomial in t whose degree is less than the number k of players on a path, so
Gauss-Legendre quadrature on k/2 points or more is exact. The points are worked on side by side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from registry.trees._simd import DOUBLES, every, load, store
from registry.trees._threshold_codes import Codes, ThresholdCodes, write_codes
from registry.trees.arrays import Floats, Ints, Kinds, TreeArrays, Words, goes_left
from registry.trees.numba_cache import compiled

NONE = -1


@dataclass(frozen=True, kw_only=True, eq=False)
class QuadraturePoints:
    """Gauss-Legendre points between 0 and 1: n of them are ``at[first[g] : first[g] + n]``.

    >>> two = QuadraturePoints.of(np.array([1, 2]))
    >>> two.at.round(3).tolist(), two.first.tolist()
    ([0.5, 0.211, 0.789], [0, 1])
    """

    first: Ints
    at: Floats
    weight: Floats

    @classmethod
    def of(cls, numbers: npt.NDArray[np.int64]) -> QuadraturePoints:
        """The points of each of these numbers of points, one set after the other."""
        sets = [np.polynomial.legendre.leggauss(int(n)) for n in numbers if n]
        at, weight = (
            (np.concatenate([np.empty(0), *column]) for column in zip(*sets, strict=True))
            if sets
            else (np.empty(0), np.empty(0))
        )
        return cls(
            first=(np.cumsum(numbers) - numbers).astype(np.int32),
            at=(at + 1) / 2,
            weight=weight / 2,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class SplitShares:
    """For every split, what its branches keep of the training rows, and where they lead.

    ``player[i]`` is the player that split i asks: its feature, or the theme of its feature.
    ``share[i]`` of the rows at split i go left. ``earlier[i]`` is the last branch above it that
    asked the same player, twice the split's number in its tree and one more for the right (-1:
    there is none), and ``kept[i]`` the share of rows that all such branches have kept.

    ``left`` and ``right`` are the places of the branches in a tree of n splits: its split k has
    place k, its leaf j place n + j. ``most_players[t]`` is the length of the longest path of tree
    t in different players.
    """

    codes: ThresholdCodes
    player: Ints
    n_players: int | None  # None: every column of a matrix is one
    left: Ints
    right: Ints
    share: Floats
    kept: Floats
    earlier: Ints
    most_players: Ints
    points: QuadraturePoints
    groups: Ints  # of as many points as are worked on at once: one for most trees
    base: float  # the mean raw score over the training rows

    @classmethod
    def of(cls, trees: TreeArrays, themes: npt.NDArray[np.int64] | None = None) -> SplitShares:
        """Count the rows of every branch, and look up from every split once.

        ``themes`` is the theme of each feature, from 0; left out, every feature is a player.
        """
        player = trees.feature if themes is None else themes[trees.feature].astype(np.int32)
        share, kept, earlier, most_players = _look_up(
            trees.first_node, trees.first_leaf, player, trees.left, trees.right,
            trees.leaf_cover,
        )  # fmt: skip
        sizes = np.diff(trees.first_node)
        n = np.repeat(sizes, sizes)
        groups = -(-most_players // (2 * DOUBLES))
        return cls(
            codes=ThresholdCodes.of(trees), player=player,
            n_players=None if themes is None else int(themes.max(initial=-1)) + 1,
            share=share, kept=kept, earlier=earlier,
            left=np.where(trees.left < 0, n - 1 - trees.left, trees.left).astype(np.int32),
            right=np.where(trees.right < 0, n - 1 - trees.right, trees.right).astype(np.int32),
            most_players=most_players, groups=groups,
            points=QuadraturePoints.of(np.arange(int(groups.max()) + 1) * DOUBLES),
            base=float(tree_means(trees).sum()),
        )  # fmt: skip

    def contributions(self, trees: TreeArrays, matrix: Floats) -> Floats:
        """One value per row and player; a row's values and ``base`` sum to its raw score."""
        return _contributions(
            np.ascontiguousarray(matrix), self.columns_of(matrix), self.player, trees.first_node,
            trees.first_leaf, trees.feature, trees.kind, trees.threshold, trees.category_set,
            trees.first_word, trees.category_words, trees.leaf_value, self.codes.first, self.codes.threshold,
            self.codes.missing, self.codes.place, self.codes.shift, self.left, self.right,
            self.share, self.kept, self.earlier, self.groups, self.points.first,
            self.points.at, self.points.weight,
        )  # fmt: skip

    def columns_of(self, matrix: Floats) -> int:
        """The number of values of each row of a matrix."""
        return matrix.shape[1] if self.n_players is None else self.n_players


def tree_means(trees: TreeArrays) -> Floats:
    """The mean value of each tree over the training rows."""
    first = trees.first_leaf[:-1]
    weighed = np.add.reduceat(trees.leaf_value * trees.leaf_cover, first)
    return np.asarray(weighed / np.add.reduceat(trees.leaf_cover, first))


@compiled
def _look_up(
    first_node: Ints, first_leaf: Ints, player: Ints, left: Ints, right: Ints, leaf_cover: Floats
) -> tuple[Floats, Floats, Ints, Ints]:
    n_nodes = player.shape[0]
    share, kept, cover = np.zeros(n_nodes), np.ones(n_nodes), np.zeros(n_nodes)
    earlier = np.full(n_nodes, NONE, np.int32)
    branch = np.full(n_nodes, NONE, np.int32)  # that leads here: of which split, and which of two
    n_players = np.zeros(n_nodes, np.int32)  # different ones down to here
    most_players = np.zeros(first_node.shape[0] - 1, np.int32)
    for tree in range(first_node.shape[0] - 1):
        base, leaf_base = first_node[tree], first_leaf[tree]
        for i in range(first_node[tree + 1] - 1, base - 1, -1):
            for side, child in enumerate((left[i], right[i])):
                if child >= 0:
                    rows = cover[base + child]
                    branch[base + child] = 2 * (i - base) + side
                else:
                    rows = leaf_cover[leaf_base - 1 - child]
                if side == 0:
                    share[i] = rows
                cover[i] += rows
            share[i] /= cover[i]
        for i in range(base, first_node[tree + 1]):
            at = branch[i]
            n_players[i] = 1 if at == NONE else 1 + n_players[base + at // 2]
            while at != NONE:
                above = base + at // 2
                if player[above] == player[i]:
                    kept[i] *= share[above] if at % 2 == 0 else 1.0 - share[above]
                    if earlier[i] == NONE:
                        earlier[i] = at
                        n_players[i] -= 1
                at = branch[above]
            most_players[tree] = max(most_players[tree], n_players[i])
    return share, kept, earlier, most_players


@compiled
def _contributions(
    matrix: Floats, n_players: int, player: Ints, first_node: Ints, first_leaf: Ints,
    feature: Ints, kind: Kinds, threshold: Floats, category_set: Ints, first_word: Ints,
    words: Words, leaf_value: Floats,
    first_threshold: Ints, thresholds: Floats, missing: Kinds, place: Ints, shift: Codes,
    left: Ints, right: Ints, share: Floats, kept: Floats, earlier: Ints, groups: Ints,
    first_point: Ints, point: Floats, weight: Floats,
) -> Floats:  # fmt: skip
    n_rows, n_columns = matrix.shape
    values = np.zeros((n_rows, n_players))
    codes = np.zeros((n_columns, 1), np.uint16)
    most = 1
    for tree in range(first_node.shape[0] - 1):
        most = max(most, first_node[tree + 1] - first_node[tree])
    expected, reached = np.zeros((2, (2 * most + 1) * DOUBLES))  # of every place
    passed = np.zeros(most * DOUBLES)  # of every split: m
    follows = np.zeros(2 * most)  # of every branch: h
    sums = np.zeros(n_players * DOUBLES)
    for row in range(n_rows):
        write_codes(matrix, row, row + 1, first_threshold, thresholds, missing, codes)
        sums[:] = 0.0
        for tree in range(first_node.shape[0] - 1):
            base, n = first_node[tree], first_node[tree + 1] - first_node[tree]
            if n == 0:
                continue
            for k in range(n):
                i = base + k
                if place[i] >= 0:
                    is_left = bool(
                        np.uint16(codes[feature[i], 0] + shift[i]) <= np.uint16(place[i] + shift[i])
                    )
                else:
                    is_left = goes_left(
                        matrix[row, feature[i]],
                        kind[i],
                        threshold[i],
                        category_set[i],
                        first_word,
                        words,
                    )
                before = 1.0 if earlier[i] == NONE else follows[earlier[i]]
                follows[2 * k] = before * is_left
                follows[2 * k + 1] = before - follows[2 * k]
            for k in range(n + 1):
                store(expected, n + k, every(leaf_value[first_leaf[tree] + k]))
            for group in range(groups[tree]):
                at = first_point[groups[tree]] // DOUBLES + group
                t = load(point, at)
                for k in range(n - 1, -1, -1):
                    i = base + k
                    on_the_right = load(expected, right[i])
                    gain = load(expected, left[i]) - on_the_right
                    m = every(share[i] * kept[i]) + t * every(follows[2 * k] - share[i] * kept[i])
                    if earlier[i] != NONE:
                        m = m / (every(kept[i]) + t * every(follows[earlier[i]] - kept[i]))
                    store(passed, k, m)
                    store(expected, k, on_the_right + m * gain)
                store(reached, 0, load(weight, at))
                for k in range(n):
                    i = base + k
                    here, m = load(reached, k), load(passed, k)
                    store(reached, left[i], here * m)
                    store(reached, right[i], here - here * m)
                    gain = load(expected, left[i]) - load(expected, right[i])
                    knowing = every(follows[2 * k] - share[i] * kept[i])
                    if earlier[i] != NONE:
                        of_earlier = every(follows[earlier[i]] - kept[i])
                        knowing = (knowing - m * of_earlier) / (every(kept[i]) + t * of_earlier)
                    store(sums, player[i], load(sums, player[i]) + here * (knowing * gain))
        for one in range(n_players):
            total = 0.0
            for k in range(one * DOUBLES, (one + 1) * DOUBLES):
                total += sums[k]
            values[row, one] = total
    return values
