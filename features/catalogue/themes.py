"""Themes as a reader hears of them: each feature is in one, and each theme has a title.

They are the themes of the catalogue but for one change: how much the product is used is one theme,
whether it is counted in sessions, days, people or uses of features, and what of it is used is another.
Counts of the same use would otherwise trade credit across two themes.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import get_args

from features.catalogue.catalogue import HEALTH_SCORE
from features.catalogue.feature import AnyFeature, Derived, Direction, Theme

OTHER = "other"
"""The theme of what nobody declared."""

TITLES: Mapping[str, str] = {
    "stickiness": "Use",
    "adoption": "Adoption",
    "reliability": "Reliability",
    "support": "Support",
    "sentiment": "What they say",
    "sponsor": "Sponsors and champions",
    "billing": "Billing",
    "orders": "Orders",
    "contract": "Contract",
    "onboarding": "Onboarding",
    "interventions": "What we did",
    "health": "Health",
    OTHER: "Other",
}
"""What a reader calls each theme."""

HOW_MUCH_IT_IS_USED = frozenset(
    {
        "feature_uses_1d",
        "feature_uses_7d",
        "feature_uses_28d",
        "feature_uses_90d",
        "feature_uses_prior_28d",
        "feature_uses_month_to_last_week_28d",
        "use_trend_28d",
        "use_trend_7d",
        "feature_value_28d",
        "feature_value_mean_28d",
        "api_days_28d",
        "days_since_feature_use",
    }
)
"""Features of adoption that count use, and are told with the other counts of use."""

THEMES: tuple[str, ...] = (*get_args(Theme), OTHER)

MORE_IS: Mapping[Direction, int] = {"risk": 1, "safety": -1, "open": 0}


def theme_of(name: str, catalogue: Mapping[str, AnyFeature]) -> str:
    """The theme of a feature, by its name.

    >>> from features.catalogue.catalogue import load_catalogue
    >>> catalogue = load_catalogue().by_name
    >>> theme_of("feature_uses_28d", catalogue), theme_of("features_used_28d", catalogue)
    ('stickiness', 'adoption')
    """
    if name == HEALTH_SCORE:
        return "health"
    declared = catalogue.get(name)
    if declared is None:
        return OTHER
    return "stickiness" if name in HOW_MUCH_IT_IS_USED else declared.theme


def direction_of(name: str, catalogue: Mapping[str, AnyFeature]) -> int:
    """What more of a feature means for the risk to leave: 1 riskier, -1 safer, 0 not declared.

    >>> from features.catalogue.catalogue import load_catalogue
    >>> [direction_of(name, load_catalogue().by_name) for name in ("errors_7d", "nps_last", "mrr")]
    [1, -1, 0]
    """
    if name == HEALTH_SCORE:
        return -1
    declared = catalogue.get(name)
    return 0 if declared is None else MORE_IS[declared.direction]


def days_compared(name: str, catalogue: Mapping[str, AnyFeature]) -> float:
    """How many days before now the earlier window of a comparison begins; 0 where it has none.

    >>> from features.catalogue.catalogue import load_catalogue
    >>> [days_compared(name, load_catalogue().by_name) for name in ("use_trend_28d", "errors_7d")]
    [56.0, 0.0]
    """
    declared = catalogue.get(name)
    if not isinstance(declared, Derived):
        return 0.0
    starts = [0.0]
    for read in declared.inputs:
        one = catalogue.get(read)
        if isinstance(one, Derived):
            starts.append(days_compared(read, catalogue))
        elif one is not None and one.ends_before:
            starts.append((one.ends_before + (one.lookback or timedelta())) / timedelta(days=1))
    return max(starts)
