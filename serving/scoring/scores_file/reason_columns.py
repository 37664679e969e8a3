"""The sentences of the foremost reasons of many accounts, a column for each rank.

Equal sentences are made once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.catalogue.feature import AnyFeature
from features.catalogue.themes import TITLES
from serving.scoring.explanations import comparison, fact_text, one_line
from serving.scoring.reasons.choice import ChosenReasons
from serving.scoring.reasons.facts import Facts
from serving.scoring.reasons.in_words import UsualValues
from serving.scoring.score import NONE

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

REMEMBERED = 50_000
"""Sentences that are cached for the next accounts; about 20 MB."""


class ReasonSentences:
    """The sentences of reasons: a fact's value, and how it compares among which accounts."""

    def __init__(
        self, facts: Facts, catalogue: Mapping[str, AnyFeature], usual: UsualValues
    ) -> None:
        self._facts, self._catalogue, self._usual = facts, catalogue, usual
        self._known: dict[tuple[int, float, float | None, int], str] = {}

    def columns(self, chosen: ChosenReasons, groups: Sequence[int], most: int) -> list[pl.Series]:
        """The sentence of each rank, as many as are wanted."""
        values = np.take_along_axis(chosen.rows.values, np.maximum(chosen.leading, 0), axis=1)
        none = pl.Series([None], dtype=pl.String).new_from_index(0, len(values))
        told = [
            pl.Series(
                [
                    None
                    if fact == NONE
                    else self._sentence(fact, value, chosen.rows.whole(row, fact), group)
                    for row, (fact, value, group) in enumerate(
                        zip(
                            chosen.leading[:, rank].tolist(),
                            values[:, rank].tolist(),
                            groups,
                            strict=True,
                        )
                    )
                ],
                dtype=pl.String,
            )
            for rank in range(min(most, values.shape[1]))
        ]
        return [*told, *(none.clone() for _ in range(most - len(told)))]

    def _sentence(self, fact: int, value: float, whole: float | None, group: int) -> str:
        key = (fact, value, whole, group)
        sentence = self._known.get(key)
        if sentence is None:
            name = self._facts.names[fact]
            sentence = one_line(
                TITLES[self._facts.themes[self._facts.theme[fact]]],
                fact_text(name, value, whole, self._catalogue),
                comparison(name, value, self._catalogue, self._usual.of_group(group)),
            )
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[key] = sentence
        return sentence
