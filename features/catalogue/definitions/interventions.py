"""This module is about what was already done for the account: declarations only."""

from __future__ import annotations

from features.catalogue.definitions import MONTH, QUARTER
from features.catalogue.feature import Aggregate, AnyFeature, Derived, Feature, ratio

INTERVENTIONS: tuple[AnyFeature, ...] = (
    Feature(
        name="nudges_sent_28d", description="Nudges sent.", theme="interventions",
        reads=("nudge.sent",), aggregate=Aggregate(operation="count"), lookback=MONTH,
        when_empty=0.0, unit="nudges", role="lever",
        phrase="{value:.0f} nudges in the last 28 days",
    ),
    Feature(
        name="nudges_acted_28d", description="Nudges that somebody acted on.",
        theme="interventions", reads=("nudge.acted",), aggregate=Aggregate(operation="count"),
        lookback=MONTH, when_empty=0.0, unit="nudges", direction="safety",
        phrase="{value:.0f} nudges acted on in the last 28 days",
    ),
    Feature(
        name="nudges_sent_90d", description="Nudges sent, the last 90 days.", theme="interventions",
        reads=("nudge.sent",), aggregate=Aggregate(operation="count"), lookback=QUARTER,
        when_empty=0.0, unit="nudges", is_model_input=False,
        phrase="{value:.0f} nudges sent in the last 90 days",
    ),
    Feature(
        name="nudges_acted_90d", description="Nudges acted on, the last 90 days.",
        theme="interventions", reads=("nudge.acted",), aggregate=Aggregate(operation="count"),
        lookback=QUARTER, when_empty=0.0, unit="nudges", is_model_input=False,
        phrase="{value:.0f} nudges acted on in the last 90 days",
    ),
    Derived(
        name="nudge_response_90d", description="Share of nudges that somebody acted on.",
        theme="interventions", inputs=("nudges_acted_90d", "nudges_sent_90d"), formula=ratio,
        unit="share", direction="safety",
        phrase="{value:.0%} of nudges acted on in the last 90 days",
    ),
    Feature(
        name="actions_executed_90d", description="Actions carried out for the account.",
        theme="interventions", reads=("action.executed",), aggregate=Aggregate(operation="count"),
        lookback=QUARTER, when_empty=0.0, unit="actions", role="lever", is_model_input=False,
        phrase="{value:.0f} actions in the last 90 days",
    ),
    Feature(
        name="days_since_action", description="Days since an action was carried out.",
        theme="interventions", reads=("action.executed",),
        aggregate=Aggregate(operation="days_since_last"), when_empty=None, unit="days",
        role="lever", is_model_input=False, phrase="no action for {value:.0f} days",
    ),
    Feature(
        name="actions_declined_90d", description="Recommendations that a person declined.",
        theme="interventions", reads=("action.declined",), aggregate=Aggregate(operation="count"),
        lookback=QUARTER, when_empty=0.0, unit="recommendations", is_model_input=False,
        phrase="{value:.0f} recommendations declined in the last 90 days",
    ),
    Feature(
        name="alerts_raised_90d", description="Alerts raised.", theme="interventions",
        reads=("alert.raised",), aggregate=Aggregate(operation="count"), lookback=QUARTER,
        when_empty=0.0, unit="alerts", direction="risk", is_model_input=False,
        phrase="{value:.0f} alerts in the last 90 days",
    ),
)
