"""Score health from 0 to 100 by rules that a person can check by hand.

``score = sum(weight * points) / sum(weight)`` over the parts that are known. An unknown part
leaves the sum and is listed; with less than 50 points of known weight there is no score but "not
enough data". Bands cut the unrounded score, lower edge inclusive. One account and a whole column
are scored by the same declarations, to the same number. Reads features; writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import polars as pl

from features.health.formula import (
    DEFAULT_FORMULA,
    FORMULAS,
    Band,
    Component,
    HealthFormula,
    HealthFormulaError,
    Measure,
)

__all__ = [
    "DEFAULT_FORMULA",
    "FORMULAS",
    "LEAST_KNOWN_WEIGHT",
    "TREND_LOOKBACK",
    "TREND_POINTS",
    "Band",
    "Component",
    "ComponentScore",
    "Health",
    "HealthFormula",
    "HealthFormulaError",
    "Measure",
    "Trend",
    "add_up",
    "health_column",
    "health_expression",
    "moves",
    "score_health",
    "trend",
]

Trend = Literal["improving", "stable", "declining", "unknown"]

LEAST_KNOWN_WEIGHT = 50.0
"""With less known weight than this (of 100) there is no score."""

TREND_LOOKBACK = timedelta(days=28)
"""The trend compares with the score this long ago."""

TREND_POINTS = 3.0
"""A change of more than this is a trend; this much is still stable."""


@dataclass(frozen=True, kw_only=True)
class ComponentScore:
    """What one part of the formula came to: its points, and its measure in words."""

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
        """Points of the whole that this part takes away; None where it is unknown."""
        return None if self.points is None else self.weight * (100 - self.points) / 100


@dataclass(frozen=True, kw_only=True)
class Health:
    """A health score with all that explains it; ``score`` is None where too little is known."""

    formula: str
    formula_version: str
    score: float | None
    band: str | None
    action: str | None
    components: tuple[ComponentScore, ...]
    known_weight: float

    @property
    def unknown(self) -> tuple[str, ...]:
        """Names of the parts that left the sum."""
        return tuple(c.name for c in self.components if c.points is None and c.weight > 0)

    @property
    def explanation(self) -> str:
        """One sentence: the score and what it rests on, or why there is none."""
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

    >>> health = score_health(FORMULAS["balanced"], {
    ...     "days_since_activity": 3.0, "adoption_depth_28d": 0.5, "nps_last": None,
    ...     "csat_last": None, "invoice_days_overdue": 0.0, "invoices_failed_90d": 0.0})
    >>> health.score, health.band, health.unknown
    (81.25, 'healthy', ('satisfaction',))
    """
    return add_up(formula, tuple(_score_component(c, features) for c in formula.components))


def health_expression(formula: HealthFormula) -> pl.Expr:
    """The score of every row, null where too little is known; needs all columns it reads."""
    total, weight = pl.lit(0.0), pl.lit(0.0)
    for component in formula.components:
        points = component.points_expression()
        total = total + (component.weight * points).fill_null(0.0)
        weight = weight + pl.when(points.is_not_null()).then(component.weight).otherwise(0.0)
    return pl.when(weight >= LEAST_KNOWN_WEIGHT).then(total / weight)


def health_column(frame: pl.DataFrame, formula: HealthFormula) -> pl.Series:
    """``health_expression`` of a frame in which features may be missing: they are unknown."""
    missing = [
        pl.lit(None, dtype=pl.Float64).alias(name)
        for name in formula.inputs
        if name not in frame.columns
    ]
    scored = frame.with_columns(missing).select(health_score=health_expression(formula))
    return scored["health_score"]


def trend(previous: Health | None, current: Health) -> Trend:
    """The direction since ``previous``, the score of ``TREND_LOOKBACK`` ago.

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


def moves(previous: Health, current: Health) -> tuple[tuple[str, float], ...]:
    """What each part added to the change of the score, largest first; they sum to the change.

    A part that became known or unknown moves the score by its whole share of it.

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
    """Each part's share of the score; all zero where there is no score."""
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


def add_up(formula: HealthFormula, components: tuple[ComponentScore, ...]) -> Health:
    """The score of parts whose points are known, or not."""
    total = weight = 0.0
    for component in components:  # in the order of the file, as in health_expression
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
