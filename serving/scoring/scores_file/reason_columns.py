"""This module is about the foremost reasons of many accounts at once, a column for each rank.

They are those that ``explanations`` gives one account, chosen from the contributions of all rows
side by side. Only the sentences are made one by one, and equal ones once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.catalogue.feature import AnyFeature, Role
from serving.scoring.explanations import (
    LEAST_POINTS,
    MOST_REASONS,
    PEER_GROUPS,
    PeerGroup,
    Peers,
    compared,
    said,
)

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

NONE = -1
REMEMBERED = 50_000
"""Sentences that are kept for the next accounts; about 20 MB."""

PEER_ATTRIBUTES = tuple(dict.fromkeys(name for columns, _ in PEER_GROUPS for name in columns))


@dataclass(frozen=True, kw_only=True, eq=False)
class Foremost:
    """The foremost reasons of some rows, largest first.

    ``leading`` is the feature that says a reason, by its place in the model's matrix, and ``NONE``
    after the last one; ``points`` are percentage points.
    """

    leading: Places  # rows × most
    points: Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class Themes:
    """Which columns of a matrix are one reason where they point the same way."""

    by_list: tuple[tuple[tuple[int, ...], ...], ...]  # per list its themes: columns by name
    place_by_name: Places  # of each column among all names

    @classmethod
    def of(cls, names: Sequence[str], catalogue: Mapping[str, AnyFeature]) -> Themes:
        """The themes of a model's features, in the order of its matrix."""
        found: dict[str, dict[str, list[int]]] = {role: {} for role in get_args(Role)}
        in_order = sorted(range(len(names)), key=lambda at: names[at])
        for at in in_order:
            declared = catalogue.get(names[at])
            role, theme = (declared.role, declared.theme) if declared else ("signal", "other")
            found[role].setdefault(theme, []).append(at)
        place = np.empty(len(names), np.int64)
        place[in_order] = np.arange(len(names))
        return cls(
            by_list=tuple(
                tuple(map(tuple, themes.values())) for themes in found.values() if themes
            ),
            place_by_name=place,
        )

    def foremost(self, contributions: Floats, most: int) -> Foremost:
        """The reasons of each row from its contributions in probability."""
        shares = 100 * np.ascontiguousarray(contributions.T)
        lists = [self._largest(shares, themes) for themes in self.by_list]
        points = np.concatenate([total for total, _ in lists], axis=1)
        leading = np.concatenate([first for _, first in lists], axis=1)
        order = np.argsort(-points, axis=1, kind="stable")[:, :most]
        points = np.take_along_axis(points, order, axis=1)
        leading = np.take_along_axis(leading, order, axis=1)
        return Foremost(leading=np.where(np.isneginf(points), NONE, leading), points=points)

    def _largest(self, shares: Floats, themes: Sequence[Sequence[int]]) -> tuple[Floats, Places]:
        """The largest reasons of one list, either way; too small ones are -inf."""
        rows = shares.shape[1]
        total = np.zeros((2 * len(themes), rows))
        leading = np.zeros((2 * len(themes), rows), np.int64)
        for at, columns in enumerate(themes):
            for side, larger in ((0, np.maximum), (1, np.minimum)):
                most = np.zeros(rows)
                for column in columns:
                    share = larger(shares[column], 0.0)
                    total[2 * at + side] += share
                    leads = np.abs(share) > np.abs(most)
                    leading[2 * at + side][leads] = column
                    most = larger(most, share)
        size = np.abs(total)
        total[size < LEAST_POINTS] = -np.inf
        kept = np.lexsort((self.place_by_name[leading].T, -size.T), axis=1)[:, :MOST_REASONS]
        return (
            np.take_along_axis(total.T, kept, axis=1),
            np.take_along_axis(leading.T, kept, axis=1),
        )


class Wording:
    """The sentences of reasons: a feature's value, and how it compares among which accounts."""

    def __init__(
        self, names: Sequence[str], catalogue: Mapping[str, AnyFeature], peers: Peers
    ) -> None:
        self._names, self._catalogue, self._peers = tuple(names), catalogue, peers
        self._groups: dict[tuple[str | None, ...], int] = {}
        self._similar: list[tuple[PeerGroup, ...]] = []
        self._known: dict[tuple[int, float | None, int], str] = {}

    def columns(self, frame: pl.DataFrame, leading: Places, values: Floats) -> list[pl.Series]:
        """The sentence of each rank; ``values`` are those of the leading features, NaN unknown."""
        groups = self._groups_of(frame)
        return [
            pl.Series(
                [
                    None if feature == NONE else self._sentence(feature, value, group)
                    for feature, value, group in zip(
                        leading[:, rank].tolist(), values[:, rank].tolist(), groups, strict=True
                    )
                ],
                dtype=pl.String,
            )
            for rank in range(leading.shape[1])
        ]

    def _sentence(self, feature: int, value: float, group: int) -> str:
        told = None if value != value else value
        key = (feature, told, group)
        sentence = self._known.get(key)
        if sentence is None:
            name = self._names[feature]
            text = said(name, told, self._catalogue)
            beside = compared(name, told, self._catalogue, self._similar[group])
            sentence = text if beside is None else f"{text}; {beside}"
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[key] = sentence
        return sentence

    def _groups_of(self, frame: pl.DataFrame) -> list[int]:
        """Which accounts each row is compared with."""
        names = [n for n in PEER_ATTRIBUTES if frame.schema.get(n) == pl.String]
        if not names:
            return [self._group((), names)] * frame.height
        return [self._group(words, names) for words in frame.select(names).iter_rows()]

    def _group(self, words: tuple[str | None, ...], names: Sequence[str]) -> int:
        group = self._groups.get(words)
        if group is None:
            group = self._groups[words] = len(self._similar)
            self._similar.append(self._peers.of(dict(zip(names, words, strict=True))))
        return group
