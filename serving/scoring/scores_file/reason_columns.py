"""The sentences of the foremost reasons of many accounts, a column for each rank.

Equal sentences are made once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.catalogue.feature import AnyFeature
from serving.scoring.explanations import PEER_GROUPS, PeerGroup, Peers, comparison, reason_text
from serving.scoring.score import NONE

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

REMEMBERED = 50_000
"""Sentences that are cached for the next accounts; about 20 MB."""

PEER_ATTRIBUTES = tuple(dict.fromkeys(name for columns, _ in PEER_GROUPS for name in columns))


class ReasonSentences:
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
        known = None if value != value else value
        key = (feature, known, group)
        sentence = self._known.get(key)
        if sentence is None:
            name = self._names[feature]
            text = reason_text(name, known, self._catalogue)
            beside = comparison(name, known, self._catalogue, self._similar[group])
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
