from __future__ import annotations

from collections import Counter

import pytest

from features.catalogue.catalogue import FEATURES, load_catalogue
from features.catalogue.themes import (
    HOW_MUCH_IT_IS_USED,
    THEMES,
    TITLES,
    days_compared,
    direction_of,
    theme_of,
)

CATALOGUE = load_catalogue(("report",)).by_name

OPEN = {
    "config_changes_28d": "setting up and tearing down look alike",
    "feature_requests_90d": "interest and dissatisfaction, both are asked for",
    "higher_plan_requests_90d": "the same",
    "integration_requests_90d": "the same",
    "branding_interest_90d": "the same",
    "invoices_issued_90d": "how somebody is billed, not how they pay",
    "limit_utilisation_28d": "much used, or too small a plan",
    "limits_reached_90d": "the same",
    "overage_months": "the same",
    "nudges_sent_28d": "what we did, by rules that know the risk",
    "nudges_sent_90d": "the same",
    "nudges_acted_90d": "the same",
    "actions_executed_90d": "the same",
    "actions_declined_90d": "the same",
    "days_since_action": "the same",
    "incidents_told_90d": "the same",
    "incidents_opened_count": "a count since the start, which grows with age",
    "incidents_resolved_count": "the same",
    "tickets_created_count": "the same",
    "tickets_resolved_count": "the same",
    "tickets_reopened_count": "the same",
    "severe_tickets_created_count": "the same",
    "severe_tickets_resolved_count": "the same",
    "champions_joined_count": "the same",
    "champions_left_count": "the same",
    "invoices_count": "the same",
    "order_amount": "the same",
    "goals_set": "the same",
    "order_amount_mean": "large orders are often rare ones",
    "order_amount_365d": "money at stake, and not a sign of leaving",
    "order_last_gap": "read beside the usual gap",
    "order_last_gap_ratio": "one gap; the time since the last order says more",
    "order_mean_gap": "how somebody buys, not whether they go on",
    "sla_judged_90d": "a part of a share",
    "tickets_resolved_90d": "the same",
}
"""Signals and levers of which more means neither risk nor safety, and why."""


def test_every_signal_says_what_more_of_it_means_or_is_listed_here_with_the_reason():
    found = {f.name for f in FEATURES if f.role != "context" and f.direction == "open"}
    assert found == set(OPEN)


def test_directions_are_as_numbers_for_those_who_fit():
    assert {direction_of(feature.name, CATALOGUE) for feature in FEATURES} == {-1, 0, 1}
    assert direction_of("health_score", CATALOGUE) == -1
    assert direction_of("errors_7d", CATALOGUE) == 1
    assert direction_of("of_nobody", CATALOGUE) == 0


def test_there_are_eight_to_twelve_themes_and_each_has_a_title():
    found = Counter(theme_of(feature.name, CATALOGUE) for feature in FEATURES)
    assert 8 <= len(found) <= 12
    assert set(found) <= set(THEMES)
    assert set(TITLES) == set(THEMES)
    assert len(set(TITLES.values())) == len(TITLES)


def test_how_much_it_is_used_is_one_theme():
    assert {feature.name for feature in FEATURES} >= HOW_MUCH_IT_IS_USED
    uses = ("feature_uses_28d", "sessions_28d", "active_days_28d")
    assert {theme_of(name, CATALOGUE) for name in uses} == {"stickiness"}
    assert theme_of("use_report_count_28d", CATALOGUE) == "adoption"
    assert theme_of("health_score", CATALOGUE) == "health"
    assert theme_of("of_nobody", CATALOGUE) == "other"


@pytest.mark.parametrize(
    ("name", "days"),
    [
        ("use_trend_28d", 56),
        ("use_trend_7d", 35),
        ("mrr_change_90d", 90),
        ("weekly_stickiness_28d", 28),
        ("stickiness_28d", 0),
        ("sessions_90d", 0),
        ("of_nobody", 0),
    ],
)
def test_a_trend_says_how_far_back_it_compares(name, days):
    assert days_compared(name, CATALOGUE) == days
