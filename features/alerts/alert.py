"""This module is about alerts: which warning signs an account shows now.

The rules are the table in ``alert_rules.py``. Pure: what is open comes in, what is newly raised or
cleared goes out. Unknown raises nothing and clears nothing.

::

    health   63 ┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈╱ clears    between the two edges an open alert stays open
             60 ┈┈╲┈┈┈┈┈┈┈┈┈┈┈┈┈╱┈┈            and a closed one stays closed
                   ╲ raised   ╱
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from features.alerts.rules import ALERTS, ALERTS_BY_ID, FIGURES, AlertRule
from features.health.formula import known
from features.health.score import Health

__all__ = [
    "ALERTS",
    "ALERTS_BY_ID",
    "Alert",
    "AlertError",
    "AlertRule",
    "Reading",
    "cleared_alerts",
    "figures_of",
    "open_after",
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
    """Two readings can not be compared."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What is known of one account as of a moment."""

    as_of: datetime
    health: Health
    features: Mapping[str, float | None]
    attributes: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Alert:
    """A warning sign of one account, with the number that raised it.

    At most one alert per account and day ``is_notice``: the one that is told, for all of them.
    """

    id: str
    title: str
    words: str
    urgency: int
    level: int
    responses: tuple[str, ...]
    source: str
    as_of: datetime
    is_notice: bool = False


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


def raise_alerts(
    current: Reading,
    previous_week: Reading | None = None,
    open_alerts: Iterable[Alert] = (),
    *,
    last_notice_at: datetime | None = None,
) -> tuple[Alert, ...]:
    """The alerts that this reading raises anew, the most urgent first.

    An open alert is raised again only at a higher level. At most one alert a day is a notice:
    ``last_notice_at`` and the open alerts say whether there was one; one that takes over from a
    worse alert is none.
    """
    figures = figures_of(current, previous_week)
    were_open = {alert.id: alert for alert in open_alerts}
    stay_open = set(were_open)
    if were_open:
        stay_open -= {
            alert.id for alert in cleared_alerts(current, previous_week, were_open.values())
        }
    holds = {rule.id for rule in ALERTS if rule.verdict(figures) == "holds"}
    raised = []
    for rule in (rule for rule in ALERTS if rule.id in holds):
        speaks_for_it = (holds | stay_open).intersection(rule.silent_while)
        level = rule.level(figures)
        was = were_open[rule.id].level if rule.id in stay_open else 0
        if level > was and not speaks_for_it:
            raised.append(_alert(rule, level, figures, current.as_of))
    raised.sort(key=lambda alert: -alert.urgency)  # stable: the order of the table decides ties
    days = {alert.as_of.date() for alert in were_open.values() if alert.is_notice}
    days |= set() if last_notice_at is None else {last_notice_at.date()}
    if current.as_of.date() in days:
        return tuple(raised)
    told = next(
        (a for a in raised if not set(ALERTS_BY_ID[a.id].silent_while).intersection(were_open)),
        None,
    )
    return tuple(replace(alert, is_notice=True) if alert is told else alert for alert in raised)


def cleared_alerts(
    current: Reading,
    previous_week: Reading | None,
    open_alerts: Iterable[Alert],
) -> tuple[Alert, ...]:
    """The open alerts that are over by this reading; unknown figures clear nothing.

    An alert for which a worse one now speaks is over too. Of a rule that is no longer in the
    table, every alert is over.
    """
    figures = figures_of(current, previous_week)
    alerts = tuple(open_alerts)
    firing = {rule.id for rule in ALERTS if rule.verdict(figures) == "holds"}
    over = []
    for alert in alerts:
        rule = ALERTS_BY_ID.get(alert.id)
        if rule is None or rule.is_cleared(figures) or firing.intersection(rule.silent_while):
            over.append(alert)
    return tuple(over)


def open_after(
    current: Reading,
    previous_week: Reading | None,
    open_alerts: Iterable[Alert],
    *,
    last_notice_at: datetime | None = None,
) -> tuple[Alert, ...]:
    """All alerts that are open once this reading is taken in: those that stay and the raised."""
    were_open = tuple(open_alerts)
    raised = raise_alerts(current, previous_week, were_open, last_notice_at=last_notice_at)
    over = {alert.id for alert in cleared_alerts(current, previous_week, were_open)}
    over |= {alert.id for alert in raised}  # raised again at a higher level
    return (*(alert for alert in were_open if alert.id not in over), *raised)


def _alert(
    rule: AlertRule, level: int, figures: Mapping[str, float | None], as_of: datetime
) -> Alert:
    words = next(case.words for case in rule.cases if case.verdict(figures) == "holds")
    return Alert(
        id=rule.id,
        title=rule.title,
        words=words.format(**figures),
        urgency=rule.urgency,
        level=level,
        responses=rule.responses,
        source=rule.source,
        as_of=as_of,
    )
