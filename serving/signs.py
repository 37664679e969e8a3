"""This module is about warning signs: the alerts that the scores of a portfolio raise now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from features.alerts import ALERTS, WEEK, WEEK_TOLERANCE, Alert, Reading, raise_alerts
from features.feature import AnyFeature
from features.health import HealthFormula, score_health
from serving.scoring import AccountScore, columns_of, features_of

ALERT_WORDS: Mapping[str, str] = {rule.id: rule.title for rule in ALERTS}
"""Alert id to what a person calls it."""


def warning_signs(scores: Sequence[AccountScore], week_before: pl.DataFrame | None, *,
                  catalogue: Mapping[str, AnyFeature], formula: HealthFormula
                  ) -> dict[str, tuple[Alert, ...]]:
    """The alerts of each account, most urgent first; an account that has left raises none.

    ``week_before`` is the snapshot of a week ago; without it nothing is said of a fall.
    """
    earlier = {} if week_before is None else _readings(week_before, catalogue, formula)
    signs = {}
    for score in scores:
        if score.has_left:
            continue
        now = Reading(as_of=score.as_of, health=score.health, features=score.features,
                      attributes=score.attributes)
        before = earlier.get(score.account_id)
        if before is not None and abs(now.as_of - before.as_of - WEEK) > WEEK_TOLERANCE:
            before = None
        found = raise_alerts(now, before)
        if found:
            signs[score.account_id] = found
    return signs


def _readings(frame: pl.DataFrame, catalogue: Mapping[str, AnyFeature], formula: HealthFormula
              ) -> dict[str, Reading]:
    columns = columns_of(frame, catalogue)
    readings = {}
    for row in frame.iter_rows(named=True):
        features = features_of(row, columns)
        readings[row["account_id"]] = Reading(
            as_of=row["as_of"], health=score_health(formula, features), features=features)
    return readings
