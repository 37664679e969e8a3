"""A health score from points of its parts, for tests that care for the score and not for features."""

from __future__ import annotations

from collections.abc import Mapping

from features.health.formula import HealthFormula
from features.health.score import ComponentScore, Health, combine_components


def health_of_points(formula: HealthFormula, points: Mapping[str, float | None]) -> Health:
    """Health of an account whose parts have these points; a part that is not given is unknown."""
    return combine_components(
        formula,
        tuple(
            ComponentScore(
                name=part.name,
                title=part.title,
                group=part.group,
                weight=part.weight,
                points=points.get(part.name),
                measure="points as given",
                feature=None,
                value=None,
            )
            for part in formula.components
        ),
    )
