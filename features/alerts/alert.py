"""Find the warning signs that an account shows as of a moment.

The rules are the table in ``rules.py``, changed by those of a company. Compares two readings that are
a week apart. A figure that is not known raises no alert.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from features.alerts.rule_set import SHIPPED, AlertRules
from features.alerts.rules import AlertRule
from features.health.formula import nan_to_none
from features.health.score import Health

ALERT_LOOKBACK = timedelta(days=7)
"""How far back the reading lies that an alert compares with."""

ALERT_LOOKBACK_TOLERANCE = timedelta(days=1)
"""A reading this close to ``ALERT_LOOKBACK`` before counts as the one of a week before."""

CLOSE_CONTACT_TIERS = ("enterprise", "mid-market")
"""Service tiers whose sponsor is expected within 30 days rather than 60."""

PROSPECT = "none"
"""The contract status of an account with which no contract has begun."""


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


def is_week_before(earlier: datetime, later: datetime) -> bool:
    """Whether alerts of the later moment may be compared with the earlier one.

    >>> monday = datetime(2023, 5, 1)
    >>> is_week_before(monday, datetime(2023, 5, 9)), is_week_before(monday, datetime(2023, 5, 10))
    (True, False)
    """
    return abs(later - earlier - ALERT_LOOKBACK) <= ALERT_LOOKBACK_TOLERANCE


def compute_figures(
    current: Reading, previous_week: Reading | None, rules: AlertRules = SHIPPED
) -> dict[str, float | None]:
    """The features that rules read and the figures of ``FIGURES``; None is unknown.

    A previous reading is left out where it is not a week old, or of another formula version.

    Raises:
        AlertError: the previous reading is not earlier.
    """
    before = previous_week
    if before is not None and before.as_of >= current.as_of:
        raise AlertError(
            f"The reading of {before.as_of:%Y-%m-%d %H:%M} is not earlier than that "
            f"of {current.as_of:%Y-%m-%d %H:%M}; pass the one of a week before."
        )
    if before is not None and not is_week_before(before.as_of, current.as_of):
        before = None
    figures = {name: nan_to_none(current.features.get(name)) for name in rules.features_read}
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
    earlier = None if before is None else nan_to_none(before.features.get("incidents_felt_90d"))
    if incidents is not None and earlier is not None:
        incidents = max(incidents - earlier, 0.0)
    notice = figures.get("days_to_notice")
    used, unused = figures.get("features_used_28d"), figures.get("features_unused_7d")
    tier = (current.attributes.get("service_tier") or "").replace("_", "-").lower()
    return {
        **figures,
        "health_score": score,
        "health_fall": fall,
        "health_fall_share": share,
        "unused_share_7d": unused / used if used and unused is not None else None,
        "incidents_new_7d": incidents,
        "days_since_notice": None if notice is None else -notice,
        "is_close_contact": float(tier in CLOSE_CONTACT_TIERS),
    }


def raise_alerts(
    current: Reading, previous_week: Reading | None = None, rules: AlertRules = SHIPPED
) -> tuple[Alert, ...]:
    """The alerts of an account by these rules, the most urgent first.

    A rule raises no alert while one of the worse alerts in its ``silent_while`` is raised, and only
    one ``of_prospects`` raises any before the first contract.
    """
    figures = compute_figures(current, previous_week, rules)
    is_prospect = current.attributes.get("contract_status") == PROSPECT
    holds = {
        rule.id
        for rule in rules.rules
        if (rule.of_prospects or not is_prospect) and rule.verdict(figures) == "holds"
    }
    raised = [
        _alert(rule, figures, current.as_of)
        for rule in rules.rules
        if rule.id in holds and not holds.intersection(rule.silent_while)
    ]
    raised.sort(key=lambda alert: -alert.urgency)  # stable: the order of the table decides ties
    return tuple(raised)


def _alert(rule: AlertRule, figures: Mapping[str, float | None], as_of: datetime) -> Alert:
    case = next(case for case in rule.cases if case.verdict(figures) == "holds")
    return Alert(
        id=rule.id,
        title=rule.title,
        words=case.words.format(**figures),
        urgency=rule.urgency if case.urgency is None else case.urgency,
        responses=rule.responses,
        source=rule.source,
        as_of=as_of,
    )
