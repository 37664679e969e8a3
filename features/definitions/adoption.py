"""This module is about how widely and how deeply the product is used: declarations only."""

from __future__ import annotations

from features.definitions import DAY, MONTH, QUARTER, WEEK
from features.feature import Aggregate, AnyFeature, Derived, Feature, ratio
from features.telemetry import CONTRACT_TERMS

ADOPTION: tuple[AnyFeature, ...] = (
    Feature(
        name="feature_uses_1d", description="Uses of any feature, the last 24 hours.",
        theme="adoption", reads=("feature.used",), aggregate=Aggregate(operation="count"),
        lookback=DAY, when_empty=0.0, unit="uses", direction="safety", is_model_input=False,
        phrase="{value:,.0f} feature uses in the last day",
    ),
    Feature(
        name="feature_uses_7d", description="Uses of any feature, the last 7 days.",
        theme="adoption", reads=("feature.used",), aggregate=Aggregate(operation="count"),
        lookback=WEEK, when_empty=0.0, unit="uses", direction="safety",
        phrase="{value:,.0f} feature uses in the last 7 days",
    ),
    Feature(
        name="feature_uses_28d", description="Uses of any feature, the last 28 days.",
        theme="adoption", reads=("feature.used",), aggregate=Aggregate(operation="count"),
        lookback=MONTH, when_empty=0.0, unit="uses", direction="safety",
        phrase="{value:,.0f} feature uses in the last 28 days",
    ),
    Feature(
        name="feature_uses_90d", description="Uses of any feature, the last 90 days.",
        theme="adoption", reads=("feature.used",), aggregate=Aggregate(operation="count"),
        lookback=QUARTER, when_empty=0.0, unit="uses", direction="safety",
        phrase="{value:,.0f} feature uses in the last 90 days",
    ),
    Feature(
        name="feature_uses_prior_28d",
        description="Uses of any feature in the 28 days before the last 28.", theme="adoption",
        reads=("feature.used",), aggregate=Aggregate(operation="count"), lookback=MONTH,
        ends_before=MONTH, when_empty=0.0, unit="uses", direction="safety", is_model_input=False,
        phrase="{value:,.0f} feature uses in the 28 days before the last 28",
    ),
    Feature(
        name="feature_uses_month_to_last_week_28d",
        description="Uses in the four weeks that end a week ago.", theme="adoption",
        reads=("feature.used",), aggregate=Aggregate(operation="count"), lookback=MONTH,
        ends_before=WEEK, when_empty=0.0, unit="uses", direction="safety", is_model_input=False,
        phrase="{value:,.0f} feature uses in the four weeks before the last week",
    ),
    Feature(
        name="features_used_28d", description="Different features used, the last 28 days.",
        theme="adoption", reads=("feature.used",),
        aggregate=Aggregate(operation="values", of="name"), lookback=MONTH, when_empty=0.0,
        unit="features", direction="safety",
        phrase="{value:.0f} different features used in the last 28 days",
    ),
    Feature(
        name="features_used_90d", description="Different features used, the last 90 days.",
        theme="adoption", reads=("feature.used",),
        aggregate=Aggregate(operation="values", of="name"), lookback=QUARTER, when_empty=0.0,
        unit="features", direction="safety",
        phrase="{value:.0f} different features used in the last 90 days",
    ),
    Feature(
        name="features_in_plan", description="Features that the contract includes.",
        theme="adoption", reads=CONTRACT_TERMS,
        aggregate=Aggregate(operation="last", of="features_in_plan"), when_empty=None,
        unit="features", role="context", phrase="{value:.0f} features in the plan",
    ),
    Derived(
        name="adoption_depth_28d", description="Share of the plan's features used in 28 days.",
        theme="adoption", inputs=("features_used_28d", "features_in_plan"),
        formula=lambda used, plan: ratio(used, plan).clip(0, 1), unit="share", direction="safety",
        role="lever", phrase="{value:.0%} of the plan's features used in the last 28 days",
    ),
    Derived(
        name="features_unused_28d", description="Features of the plan that nobody used in 28 days.",
        theme="adoption", inputs=("features_used_28d", "features_in_plan"),
        formula=lambda used, plan: (plan - used).clip(0), unit="features", direction="risk",
        role="lever", phrase="{value:.0f} features of the plan unused in the last 28 days",
    ),
    Derived(
        name="use_trend_28d", description="Uses in 28 days over the 28 days before; 1 is level.",
        theme="adoption", inputs=("feature_uses_28d", "feature_uses_prior_28d"), formula=ratio,
        unit="ratio", direction="safety",
        phrase="use is {value:.0%} of what it was in the 28 days before",
    ),
    Derived(
        name="use_trend_7d",
        description="Uses in 7 days over the mean week of the four weeks before; 1 is level.",
        theme="adoption", inputs=("feature_uses_7d", "feature_uses_month_to_last_week_28d"),
        formula=lambda now, before: ratio(now, before / 4), unit="ratio", direction="safety",
        phrase="last week's use is {value:.0%} of a usual week",
    ),
    Feature(
        name="feature_value_28d",
        description="Value of what was done with features that carry one.", theme="adoption",
        reads=("feature.used",), aggregate=Aggregate(operation="sum"), lookback=MONTH,
        when_empty=None, unit="value", direction="safety",
        phrase="work worth {value:,.0f} done in the last 28 days",
    ),
    Feature(
        name="feature_value_mean_28d",
        description="Mean value of a day's valued work with one feature.", theme="adoption",
        reads=("feature.used",), aggregate=Aggregate(operation="mean"), lookback=MONTH,
        when_empty=None, unit="value", direction="safety", is_model_input=False,
        phrase="valued work of {value:,.0f} on average in the last 28 days",
    ),
    Feature(
        name="api_days_28d", description="Days with an API call.", theme="adoption",
        reads=("feature.used",), where={"name": "api_call"},
        aggregate=Aggregate(operation="active_days"), lookback=MONTH, when_empty=0.0, unit="days",
        direction="safety", phrase="API used on {value:.0f} of the last 28 days",
    ),
    Feature(
        name="use_roles_28d", description="Roles that used the product.", theme="adoption",
        reads=("feature.used",), aggregate=Aggregate(operation="values", of="role"), lookback=MONTH,
        when_empty=0.0, unit="roles", direction="safety",
        phrase="{value:.0f} roles used the product in the last 28 days",
    ),
    Feature(
        name="use_cases_28d", description="Use cases that the product was used for.",
        theme="adoption", reads=("feature.used",),
        aggregate=Aggregate(operation="values", of="use_case"), lookback=MONTH, when_empty=0.0,
        unit="use cases", direction="safety",
        phrase="used for {value:.0f} use cases in the last 28 days",
    ),
    Feature(
        name="config_changes_28d", description="Configuration changes.", theme="adoption",
        reads=("config.changed",), aggregate=Aggregate(operation="count"), lookback=MONTH,
        when_empty=0.0, unit="changes",
        phrase="{value:.0f} configuration changes in the last 28 days",
    ),
    Feature(
        name="recipes_completed_28d", description="Guided recipes finished.", theme="adoption",
        reads=("recipe.completed",), aggregate=Aggregate(operation="count"), lookback=MONTH,
        when_empty=0.0, unit="recipes", direction="safety", role="lever",
        phrase="{value:.0f} guided recipes finished in the last 28 days",
    ),
    Feature(
        name="days_since_feature_use", description="Days since any feature was used.",
        theme="adoption", reads=("feature.used",), aggregate=Aggregate(operation="days_since_last"),
        when_empty=None, unit="days", direction="risk",
        phrase="no feature used for {value:.0f} days",
    ),
)
