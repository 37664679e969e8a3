"""The declarations of features, one module for each theme.

A new feature is one value in one of these modules.
"""

from __future__ import annotations

from datetime import timedelta

__all__ = [
    "DAY",
    "HALF_YEAR",
    "MONTH",
    "QUARTER",
    "WEEK",
    "YEAR",
    "adoption",
    "attributes",
    "billing",
    "contract",
    "interventions",
    "onboarding",
    "orders",
    "reliability",
    "sentiment",
    "sponsor",
    "stickiness",
    "support",
]

__all__ = [
    "DAY",
    "HALF_YEAR",
    "MONTH",
    "QUARTER",
    "WEEK",
    "YEAR",
    "adoption",
    "attributes",
    "billing",
    "contract",
    "interventions",
    "onboarding",
    "orders",
    "reliability",
    "sentiment",
    "sponsor",
    "stickiness",
    "support",
]

DAY = timedelta(days=1)
WEEK = timedelta(days=7)
MONTH = timedelta(days=28)
QUARTER = timedelta(days=90)
HALF_YEAR = timedelta(days=180)
YEAR = timedelta(days=365)
