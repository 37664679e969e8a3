"""Find the warning signs that an account shows as of a moment.

The rules are the table in ``rules.py``. Pure: two readings a week apart come in, alerts go out.
Unknown raises nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from features.alerts.rules import ALERTS, FIGURES, AlertRule
from features.health.formula import known
from features.health.score import Health

__all__ = [
    "ALERTS",
    "Alert",
    "AlertError",
    "AlertRule",
    "Reading",
    "figures_of",
    "raise_alerts",
]

WEEK = timedelta(days=7)
WEEK_TOLERANCE = timedelta(days=1)
"""A reading this close to a week before counts as the one of a week ago."""

CLOSE_CONTACT_TIERS = ("enterprise", "mid-market")
"""Service tiers whose sponsor is expected within 30 days rather than 60."""


FEATURES_READ = tuple(
    sorted(
        {"incidents_felt_90d", "features_used_28d", "features_unused_7d"}
        | {name for rule in ALERTS for name in (*rule.figures, *rule.figures_said)} - FIGURES.keys()
    )
)
"""The features that some rule reads or says."""


class AlertError(Exception):
    """Two readings cannot be compared."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What is known of one account as of a moment."""

    as_of: datetime
    health: Health
    features: Mapping[str, float | None]
    attributes: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Alert:
    """A warning sign of one account, with the number that raised it."""

    id: str
    title: str
    words: str
    urgency: int
    responses: tuple[str, ...]
    source: str
    as_of: datetime


def figures_of(current: Reading, previous_week: Reading | None) -> dict[str, float | None]:
    """The features that rules read and the figures of ``FIGURES``; None is unknown.

    A previous reading that is not a week old, or of another formula version, compares nothing.

    Raises:
        AlertError: the previous reading is not earlier.
    """
    before = previous_week
    if before is not None and before.as_of >= current.as_of:
        raise AlertError(
            f"The reading of {before.as_of:%Y-%m-%d %H:%M} is not earlier than that "
            f"of {current.as_of:%Y-%m-%d %H:%M}; pass the one of a week before."
        )
    if before is not None and abs(current.as_of - before.as_of - WEEK) > WEEK_TOLERANCE:
        before = None
    figures = {name: known(current.features.get(name)) for name in FEATURES_READ}
    score, fall, share = current.health.score, None, None
    if (
        before is not None
        and score is not None
        and before.health.score is not None
        and before.health.formula_version == current.health.formula_version
    ):
        fall = before.health.score - score
        share = fall / before.health.score if before.health.score > 0 else None
    incidents = figures.get("incidents_felt_90d")
    earlier = None if before is None else known(before.features.get("incidents_felt_90d"))
    if incidents is not None and earlier is not None:
        incidents = max(incidents - earlier, 0.0)
    used, unused = figures.get("features_used_28d"), figures.get("features_unused_7d")
    tier = (current.attributes.get("service_tier") or "").replace("_", "-").lower()
    return {
        **figures,
        "health_score": score,
        "health_fall": fall,
        "health_fall_share": share,
        "unused_share_7d": unused / used if used and unused is not None else None,
        "incidents_new_7d": incidents,
        "is_close_contact": float(tier in CLOSE_CONTACT_TIERS),
    }


def raise_alerts(current: Reading, previous_week: Reading | None = None) -> tuple[Alert, ...]:
    """The alerts of an account, the most urgent first.

    A rule for which a worse one speaks (``silent_while``) raises none.
    """
    figures = figures_of(current, previous_week)
    holds = {rule.id for rule in ALERTS if rule.verdict(figures) == "holds"}
    raised = [
        _alert(rule, figures, current.as_of)
        for rule in ALERTS
        if rule.id in holds and not holds.intersection(rule.silent_while)
    ]
    raised.sort(key=lambda alert: -alert.urgency)  # stable: the order of the table decides ties
    return tuple(raised)


def _alert(rule: AlertRule, figures: Mapping[str, float | None], as_of: datetime) -> Alert:
    words = next(case.words for case in rule.cases if case.verdict(figures) == "holds")
    return Alert(
        id=rule.id,
        title=rule.title,
        words=words.format(**figures),
        urgency=rule.urgency,
        responses=rule.responses,
        source=rule.source,
        as_of=as_of,
    )
