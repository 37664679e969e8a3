"""Score health from 0 to 100 by rules that a person can check by hand.

``score = sum(weight * points) / sum(weight)`` over the components that are known. An unknown
component is left out of both sums and is listed. With less than 50 points of known weight there is
no score: the answer is "not enough data". The band is that of the unrounded score, lower edge
inclusive. One account and a whole column are scored by the same declarations, to the same number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import numpy as np
import polars as pl

from features.health.formula import (
    Component,
    HealthFormula,
    HealthFormulaError,
    Measure,
)

Trend = Literal["improving", "stable", "declining", "unknown"]

LEAST_KNOWN_WEIGHT = 50.0
"""With less known weight than this (of 100) there is no score."""

TREND_LOOKBACK = timedelta(days=28)
"""The trend compares with the score this long ago."""

TREND_POINTS = 3.0
"""A change of more than this is a trend; this much is still stable."""


@dataclass(frozen=True, kw_only=True)
class ComponentScore:
    """The points of one component of the formula, and its measure in words."""

    name: str
    title: str
    group: str | None
    weight: float
    points: float | None
    measure: str
    feature: str | None  # the feature that decided the points
    value: float | None  # what was measured

    @property
    def lost(self) -> float | None:
        """Points of the whole that this component takes away; None where it is unknown."""
        return None if self.points is None else self.weight * (100 - self.points) / 100


@dataclass(frozen=True, kw_only=True)
class Health:
    """A health score and its components; ``score`` is None where too little is known."""

    formula: str
    formula_version: str
    score: float | None
    band: str | None
    action: str | None
    components: tuple[ComponentScore, ...]
    known_weight: float

    @property
    def unknown(self) -> tuple[str, ...]:
        """Names of the components that are left out of the sum because they are not known."""
        return tuple(c.name for c in self.components if c.points is None and c.weight > 0)

    @property
    def explanation(self) -> str:
        """One sentence: the score and how much of it is known, or why there is none."""
        titles = [c.title for c in self.components if c.name in self.unknown]
        missing = f"; not known: {', '.join(titles)}" if titles else ""
        if self.score is None:
            return (
                f"Not enough data: {self.known_weight:g} of 100 points of weight are known, "
                f"{LEAST_KNOWN_WEIGHT:g} are needed{missing}."
            )
        return (
            f"Health {self.score:.0f} of 100, {self.band}, by the formula {self.formula} on "
            f"{self.known_weight:g} of 100 points of weight{missing}."
        )


def score_health(formula: HealthFormula, features: Mapping[str, float | None]) -> Health:
    """Health of one account from its features; an absent feature is unknown.

    >>> from features.health.formula import FORMULAS
    >>> health = score_health(FORMULAS["balanced"], {
    ...     "days_since_activity": 3.0, "adoption_depth_28d": 0.5, "nps_last": None,
    ...     "csat_last": None, "invoice_days_overdue": 0.0, "invoices_failed_90d": 0.0})
    >>> health.score, health.band, health.unknown
    (81.25, 'healthy', ('satisfaction',))
    """
    return combine_components(
        formula, tuple(_score_component(c, features) for c in formula.components)
    )


def health_scores(frame: pl.DataFrame, formula: HealthFormula) -> pl.Series:
    """The score of every row, null where too little is known. The frame needs every input."""
    # Step by step, because one expression would measure and score again wherever it uses the result.
    measures = [measure for component in formula.components for measure in component.measures]
    values = frame.select(m.value_expression().alias(f"{n}") for n, m in enumerate(measures))
    points = values.select(
        m.points_of(pl.col(f"{n}")).alias(f"{n}") for n, m in enumerate(measures)
    )
    total, weight = pl.lit(0.0), pl.lit(0.0)
    columns = iter(points.columns)
    parts = points.select(
        component.points_of([pl.col(next(columns)) for _ in component.measures]).alias(
            component.name
        )
        for component in formula.components
    )
    for component in formula.components:
        part = pl.col(component.name)
        total = total + (component.weight * part).fill_null(0.0)
        weight = weight + pl.when(part.is_not_null()).then(component.weight).otherwise(0.0)
    sums = parts.select(total=total, weight=weight)
    known = sums["weight"].to_numpy()
    # divided by NumPy: Polars multiplies by a reciprocal where all rows of a frame have one weight,
    # so that an account by itself would differ in its last digit from the same account among others
    score = sums["total"].to_numpy() / np.where(known >= LEAST_KNOWN_WEIGHT, known, np.nan)
    return pl.Series("health_score", score, pl.Float64, nan_to_null=True)


def health_column(frame: pl.DataFrame, formula: HealthFormula) -> pl.Series:
    """The score of every row of a frame; a feature that the frame lacks is unknown."""
    missing = [
        pl.lit(None, dtype=pl.Float64).alias(name)
        for name in formula.inputs
        if name not in frame.columns
    ]
    return health_scores(frame.with_columns(missing), formula)


def trend(previous: Health | None, current: Health) -> Trend:
    """The direction of the score since ``previous``, which is ``TREND_LOOKBACK`` older.

    Unknown without an earlier score of the same formula version.
    """
    if previous is None or previous.formula_version != current.formula_version:
        return "unknown"
    if previous.score is None or current.score is None:
        return "unknown"
    change = current.score - previous.score
    if change > TREND_POINTS:
        return "improving"
    return "declining" if change < -TREND_POINTS else "stable"


def split_change(previous: Health, current: Health) -> tuple[tuple[str, float], ...]:
    """How much each component changed the score, largest first; they sum to the change.

    A component that became known or unknown changes the score by its whole share.

    Raises:
        HealthFormulaError: the two scores are of different formula versions.
    """
    if previous.formula_version != current.formula_version:
        raise HealthFormulaError(
            f"A score of formula {previous.formula_version} cannot be compared part by part with "
            f"one of {current.formula_version}; score both with the same formula."
        )
    before, after = _shares(previous), _shares(current)
    changes = [(name, after[name] - before[name]) for name in after if after[name] != before[name]]
    return tuple(sorted(changes, key=lambda change: (-abs(change[1]), change[0])))


def _shares(health: Health) -> dict[str, float]:
    """Points of the score that come from each component; all zero where there is no score."""
    weight = health.known_weight if health.score is not None else float("inf")
    return {
        c.name: 0.0 if c.points is None else c.weight * c.points / weight for c in health.components
    }


def _score_component(component: Component, features: Mapping[str, float | None]) -> ComponentScore:
    best: tuple[float, float, Measure] | None = None
    for measure in component.measures:
        value = measure.value(features)
        points = None if value is None else measure.points(value)
        if value is None or points is None:
            continue
        if best is None or points < best[0]:
            best = (points, value, measure)
        if component.combine == "first":
            break
    if best is None:
        reason = component.unknown or f"no {component.title} known as of this moment"
        return _component_score(component, None, f"not known: {reason}", None, None)
    points, value, measure = best
    return _component_score(
        component, points, measure.phrase.format(value=value), measure.feature, value
    )


def _component_score(
    component: Component,
    points: float | None,
    measure: str,
    feature: str | None,
    value: float | None,
) -> ComponentScore:
    return ComponentScore(
        name=component.name,
        title=component.title,
        group=component.group,
        weight=component.weight,
        points=points,
        measure=measure,
        feature=feature,
        value=value,
    )


def combine_components(formula: HealthFormula, components: tuple[ComponentScore, ...]) -> Health:
    """The score from the points of all components, of which some may be unknown."""
    total = weight = 0.0
    for component in components:  # in the order of the file, as in health_scores
        if component.points is not None:
            total += component.weight * component.points
            weight += component.weight
    score = total / weight if weight >= LEAST_KNOWN_WEIGHT else None
    band = None if score is None else formula.band(score)
    return Health(
        formula=formula.id,
        formula_version=formula.version,
        score=score,
        band=None if band is None else band.name,
        action=None if band is None else band.action,
        components=components,
        known_weight=weight,
    )
