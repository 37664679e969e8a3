"""Split what a health score adds to something among the features that made the score.

A score is ``h = sum(w_c p_c) / sum(w_c)`` over the known components. Beside a reference score ``h0``
with points ``r_c``, moved by one number so that they give ``h0`` as well, the component c has ::

    d_c = w_c (p_c - r_c) / sum(w_c),      sum(d_c) = h - h0

of the difference, so a component that is better than usual never stands on the side of the worse
ones. The part of a component is that of the feature that decided its points.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.health.formula import Component, HealthFormula, Measure

Floats = NDArray[np.float64]
Places = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class HealthParts:
    """How far each feature moved the score of each row from the reference score.

    ``names`` are the features that decide points, ``moved`` is rows × names in points of health. A
    row's parts sum to ``h - h0``; they are nothing where no component is known.
    """

    names: tuple[str, ...]
    moved: Floats

    def share_out(self, added: Floats, score: Floats, reference: float) -> Floats:
        """What the score adds to each row, rows × names; it sums to ``added`` but for rounding.

        Args:
            added: what the score adds, of each row.
            score: the score, NaN where it is unknown; such a row's part is not shared out.
            reference: the score that adds nothing.
        """
        apart = score - reference
        usable = np.isfinite(apart) & (np.abs(apart) > NEAR)
        each_point = np.where(usable, added, 0.0) / np.where(usable, apart, 1.0)
        return self.moved * each_point[:, None]


NEAR = 1e-9
"""A score this near to the reference adds nothing that could be shared out."""


def deciding_features(formula: HealthFormula) -> tuple[str, ...]:
    """The features whose value decides the points of a component that counts."""
    return tuple(
        dict.fromkeys(m.feature for c in formula.components if c.weight for m in c.measures)
    )


def health_parts(
    formula: HealthFormula, frame: pl.DataFrame, usual: Mapping[str, float], reference: float
) -> HealthParts:
    """The parts of the score of every row of a frame; a feature that it lacks is unknown.

    Args:
        formula: of the score.
        frame: a row for each account.
        usual: the usual value of features, for the points that are usual of a component.
        reference: the score that parts are measured from.
    """
    missing = [
        pl.lit(None, dtype=pl.Float64).alias(name)
        for name in formula.inputs
        if name not in frame.columns
    ]
    frame = frame.with_columns(missing)
    names = deciding_features(formula)
    place = {name: number for number, name in enumerate(names)}
    counted = [c for c in formula.components if c.weight]
    points = np.full((frame.height, len(counted)), np.nan)
    decided = np.zeros((frame.height, len(counted)), np.int64)
    measured = frame.select(
        measure.points_expression().cast(pl.Float64).fill_null(np.nan).alias(f"{number}.{which}")
        for number, component in enumerate(counted)
        for which, measure in enumerate(component.measures)
    ).to_numpy()
    stop = 0
    for number, component in enumerate(counted):
        if component.measures:
            start, stop = stop, stop + len(component.measures)
            points[:, number], by_measure = _points(component, measured[:, start:stop])
            decided_by = np.array([place[measure.feature] for measure in component.measures])
            decided[:, number] = decided_by[by_measure]
    weight = np.array([c.weight for c in counted])
    expected = np.array([_usual_points(c, usual, reference) for c in counted])
    known = ~np.isnan(points)
    total = np.maximum((known * weight).sum(axis=1), 1.0)
    # moved by one number, so that the reference points of the known components give the reference
    off = reference - (known * weight * expected).sum(axis=1) / total
    apart = np.where(known, points - expected - off[:, None], 0.0) * weight / total[:, None]
    moved = np.zeros((frame.height, len(names)))
    rows = np.arange(frame.height)
    for number in range(len(counted)):
        moved[rows, decided[:, number]] += apart[:, number]
    return HealthParts(names=names, moved=moved)


def _points(component: Component, found: Floats) -> tuple[Floats, Places]:
    """The points of each row, NaN where no measure is known, and the measure that decided."""
    if component.combine == "first":
        decided = np.argmax(~np.isnan(found), axis=1)
    else:
        decided = np.argmin(np.where(np.isnan(found), np.inf, found), axis=1)
    return found[np.arange(len(found)), decided], decided


def _usual_points(component: Component, usual: Mapping[str, float], otherwise: float) -> float:
    """The points at the usual value of the first measure of which one is known."""
    for measure in component.measures:
        points = _points_at(measure, usual)
        if points is not None:
            return points
    return otherwise


def _points_at(measure: Measure, usual: Mapping[str, float]) -> float | None:
    value = measure.value(usual)
    return None if value is None else measure.points(value)
