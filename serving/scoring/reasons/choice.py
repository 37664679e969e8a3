"""Which reasons are told: those that are about a fact which points the way the number does.

A theme is told where

- it is at least ``LEAST_SHARE`` of the way, all themes added by size, and reads as something;
- a fact of it is known, has the sign of the theme, and agrees with its declared direction: it lies on
  the risky side of what is usual among similar accounts if it raises the risk, on the safe side if it
  lowers it;
- such facts carry at least ``LEAST_CARRIED`` of the theme;
- theme and fact earned their place in the training, where that was examined
  (``registry.promotion.reason_evidence``): accounts of the segment on that side really left more, or less,
  often than others, and refits agree on the side.

What is not told is added to "other signals", and stays inside the sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from registry.promotion.reason_evidence import ReasonEvidence
from serving.scoring.explanations import LEAST_POINTS
from serving.scoring.reasons.facts import ExplainedRows, Facts
from serving.scoring.score import NONE

Floats = NDArray[np.float64]
Places = NDArray[np.int64]
Mask = NDArray[np.bool_]

SEGMENT = "segment"
"""The attribute whose groups answer for themselves."""

LEAST_SHARE = 0.05
"""A theme that is less of the way than this is no reason."""

LEAST_CARRIED = 0.5
"""The facts that agree with a theme have to add up to this share of it."""

MOST_TOWARD = 4
"""The most reasons that point toward the outcome."""

MOST_AWAY = 3
"""The most reasons that point away from it."""


class Earned(Protocol):
    """Whether a theme or fact earned its place on one side."""

    def __call__(self, name: str, /, *, raises: bool, segment: str | None) -> bool:
        """Of a name, for an account of this segment."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class ChosenReasons:
    """The themes that are told of each row, and the facts that say them.

    ``order`` is rows × places of themes, those toward the outcome first, each side largest first;
    ``NONE`` after the last. ``leading`` is the fact that says each.
    """

    rows: ExplainedRows
    told: Mask  # rows × facts: facts that may be shown under their theme
    order: Places
    leading: Places
    n_other: Places  # themes of each row that add something and are not told

    @property
    def points(self) -> Floats:
        """The percentage points of each reason, NaN where there is none."""
        found = np.take_along_axis(self.rows.by_theme, np.maximum(self.order, 0), axis=1)
        return np.where(self.order == NONE, np.nan, 100 * found)


def choose_reasons(
    rows: ExplainedRows,
    usual: Floats,
    evidence: ReasonEvidence | None = None,
    segments: Sequence[str | None] | None = None,
) -> ChosenReasons:
    """Choose the reasons of each row.

    Args:
        rows: what the model adds.
        usual: rows × facts, the value that is usual among accounts like each; NaN where none is.
        evidence: of the training; None where nobody examined its reasons.
        segments: of each row; None where they are not known.
    """
    facts, by_theme = rows.facts, rows.by_theme
    toward = by_theme[:, facts.theme] * rows.points > 0
    told = ~np.isnan(rows.values) & toward & (np.abs(rows.points) * 100 >= LEAST_POINTS)
    told &= ~(facts.days_compared > rows.age[:, None])
    apart = _apart(rows.values, usual, facts)
    told &= np.where(facts.direction == 0, apart != 0, facts.direction * apart * rows.points > 0)
    segments = [None] * len(by_theme) if segments is None else segments
    if evidence is not None:
        told &= _by_side(rows.points, evidence.feature_earned, facts.names, segments)
    size = np.where(told, np.abs(rows.points), 0.0)
    carried = size @ facts.in_theme
    distance = np.abs(by_theme)
    way = distance.sum(axis=1, keepdims=True)
    shown = (distance >= LEAST_SHARE * way) & (distance * 100 >= LEAST_POINTS)
    shown &= (carried > 0) & (carried >= LEAST_CARRIED * distance)
    if evidence is not None:
        shown &= _by_side(by_theme, evidence.theme_earned, facts.themes, segments)
    leading = np.full(by_theme.shape, NONE, np.int64)
    for theme in range(len(facts.themes)):
        of_theme = np.nonzero(facts.theme == theme)[0]
        leading[:, theme] = of_theme[np.argmax(size[:, of_theme], axis=1)]
    order = np.concatenate(
        (
            _largest(np.where(shown, by_theme, 0.0), MOST_TOWARD),
            _largest(np.where(shown, -by_theme, 0.0), MOST_AWAY),
        ),
        axis=1,
    )
    order = np.take_along_axis(order, np.argsort(order == NONE, axis=1, kind="stable"), axis=1)
    first = np.take_along_axis(leading, np.maximum(order, 0), axis=1)
    said = (order != NONE).sum(axis=1)
    return ChosenReasons(
        rows=rows,
        told=told,
        order=order,
        leading=np.where(order == NONE, NONE, first),
        n_other=(distance * 100 >= LEAST_POINTS).sum(axis=1) - said,
    )


def segments_of(frame: pl.DataFrame) -> list[str | None]:
    """The segment of each row of a frame, None where it is not known."""
    if frame.schema.get(SEGMENT) != pl.String:
        return [None] * frame.height
    return frame[SEGMENT].to_list()


def _by_side(
    values: Floats, earned: Earned, names: Sequence[str], segments: Sequence[str | None]
) -> Mask:
    """Whether each value earned its place on the side on which it is, in the row's segment."""
    places = {word: place for place, word in enumerate(dict.fromkeys(segments))}
    raises, lowers = (
        np.array(
            [[earned(name, raises=side, segment=word) for name in names] for word in places],
            np.bool_,
        ).reshape(-1, len(names))
        for side in (True, False)
    )
    row = np.array([places[word] for word in segments], np.int64)
    return np.where(values > 0, raises[row], lowers[row])


def _apart(values: Floats, usual: Floats, facts: Facts) -> Floats:
    """How far each value is from what is usual, as both are said; a date is never usual."""
    scale = 10.0**facts.digits
    apart = np.round(values * scale) - np.round(usual * scale)
    return np.where(facts.is_date | (np.isnan(usual) & (facts.direction == 0)), 1.0, apart)


def _largest(points: Floats, most: int) -> Places:
    """The places of the largest points above zero of each row, ``NONE`` after the last."""
    order = np.argsort(-points, axis=1, kind="stable")[:, :most]
    return np.where(np.take_along_axis(points, order, axis=1) > 0, order, NONE)
