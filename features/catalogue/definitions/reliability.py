"""This module is about how well the product works for the account: declarations only."""

from __future__ import annotations

from features.catalogue.definitions import DAY, MONTH, QUARTER, WEEK
from features.catalogue.feature import Aggregate, AnyFeature, Derived, Feature, ratio

RELIABILITY: tuple[AnyFeature, ...] = (
    Feature(
        name="errors_7d", description="Errors met, the last 7 days.", theme="reliability",
        reads=("error.raised",), aggregate=Aggregate(operation="count"), lookback=WEEK,
        when_empty=0.0, unit="errors", direction="risk", role="lever",
        phrase="{value:,.0f} errors in the last 7 days",
    ),
    Feature(
        name="errors_28d", description="Errors met, the last 28 days.", theme="reliability",
        reads=("error.raised",), aggregate=Aggregate(operation="count"), lookback=MONTH,
        when_empty=0.0, unit="errors", direction="risk", role="lever",
        phrase="{value:,.0f} errors in the last 28 days",
    ),
    Feature(
        name="errors_month_to_last_week_28d",
        description="Errors in the four weeks that end a week ago.", theme="reliability",
        reads=("error.raised",), aggregate=Aggregate(operation="count"), lookback=MONTH,
        ends_before=WEEK, when_empty=0.0, unit="errors", direction="risk", is_model_input=False,
        phrase="{value:,.0f} errors in the four weeks before the last week",
    ),
    Derived(
        name="error_rate_7d", description="Failed share of uses, the last 7 days.",
        theme="reliability", inputs=("errors_7d", "feature_uses_7d"),
        formula=lambda errors, uses: ratio(errors, uses).clip(0, 1), unit="share", direction="risk",
        role="lever", phrase="{value:.1%} of uses failed in the last 7 days",
    ),
    Derived(
        name="error_rate_28d", description="Failed share of uses, the last 28 days.",
        theme="reliability", inputs=("errors_28d", "feature_uses_28d"),
        formula=lambda errors, uses: ratio(errors, uses).clip(0, 1), unit="share", direction="risk",
        role="lever", phrase="{value:.1%} of uses failed in the last 28 days",
    ),
    Feature(
        name="error_days_28d", description="Days with an error.", theme="reliability",
        reads=("error.raised",), aggregate=Aggregate(operation="active_days"), lookback=MONTH,
        when_empty=0.0, unit="days", direction="risk", role="lever",
        phrase="errors on {value:.0f} of the last 28 days",
    ),
    Derived(
        name="error_spike_7d",
        description="Errors in 7 days over the mean week of the four weeks before.",
        theme="reliability", inputs=("errors_7d", "errors_month_to_last_week_28d"),
        formula=lambda now, before: ratio(now, before / 4), unit="ratio", direction="risk",
        role="lever", phrase="errors are {value:.1f} times a usual week's",
    ),
    Feature(
        name="errors_1d", description="Errors met, the last 24 hours.", theme="reliability",
        reads=("error.raised",), aggregate=Aggregate(operation="count"), lookback=DAY,
        when_empty=0.0, unit="errors", direction="risk", is_model_input=False,
        phrase="{value:,.0f} errors in the last day",
    ),
    Derived(
        name="error_rate_1d", description="Failed share of uses, the last 24 hours.",
        theme="reliability", inputs=("errors_1d", "feature_uses_1d"),
        formula=lambda errors, uses: ratio(errors, uses).clip(0, 1), unit="share", direction="risk",
        is_model_input=False, phrase="{value:.1%} of uses failed in the last day",
    ),
    Feature(
        name="errors_p95_28d",
        description="95th percentile of the errors of a day, over the 28 days before the last.",
        theme="reliability", reads=("error.raised",), lookback=MONTH, ends_before=DAY,
        aggregate=Aggregate(operation="second_busiest_day"), when_empty=0.0, unit="errors",
        direction="risk", is_model_input=False,
        phrase="at most {value:,.0f} errors on 27 of the 28 days before the last",
    ),
    Derived(
        name="errors_over_p95_1d",
        description="Errors of the last day above the 95th percentile of the 28 days before it.",
        theme="reliability", inputs=("errors_1d", "errors_p95_28d"),
        formula=lambda now, usual: (now - usual).clip(0), unit="errors", direction="risk",
        role="lever", phrase="{value:,.0f} errors more than on 27 of the 28 days before",
    ),
    Feature(
        name="job_retries_28d", description="Jobs that had to be retried.", theme="reliability",
        reads=("job.retry",), aggregate=Aggregate(operation="count"), lookback=MONTH,
        when_empty=0.0, unit="retries", direction="risk", role="lever",
        phrase="{value:.0f} job retries in the last 28 days",
    ),
    Feature(
        name="integrations_connected_90d", description="Integrations that connected.",
        theme="reliability", reads=("integration.state",), where={"state": "connected"},
        aggregate=Aggregate(operation="values", of="name"), lookback=QUARTER, when_empty=0.0,
        unit="integrations", direction="safety", role="lever",
        phrase="{value:.0f} integrations connected in the last 90 days",
    ),
    Feature(
        name="integrations_connected", description="Integrations that are connected now.",
        theme="reliability", reads=("integration.state",),
        aggregate=Aggregate(operation="in_state", of="name", state={"state": "connected"}),
        when_empty=0.0,
        unit="integrations", direction="safety", role="lever",
        phrase="{value:.0f} integrations are connected",
    ),
    Feature(
        name="integrations_broken", description="Integrations whose newest state is an error.",
        theme="reliability", reads=("integration.state",),
        aggregate=Aggregate(operation="in_state", of="name", state={"state": "error"}),
        when_empty=0.0,
        unit="integrations", direction="risk", role="lever",
        phrase="{value:.0f} integrations are broken",
    ),
    Feature(
        name="integration_errors_28d", description="Failures of integrations.", theme="reliability",
        reads=("integration.state",), where={"state": ("error", "disconnected")},
        aggregate=Aggregate(operation="count"), lookback=MONTH, when_empty=0.0, unit="failures",
        direction="risk", role="lever",
        phrase="{value:.0f} integration failures in the last 28 days",
    ),
    Feature(
        name="incidents_felt_90d", description="Incidents that the account felt.",
        theme="reliability", reads=("incident.opened",), aggregate=Aggregate(operation="count"),
        lookback=QUARTER, when_empty=0.0, unit="incidents", direction="risk",
        phrase="{value:.0f} incidents felt in the last 90 days",
    ),
    Feature(
        name="incident_hours_90d", description="Hours of incidents that the account felt.",
        theme="reliability", reads=("incident.resolved",), aggregate=Aggregate(operation="sum"),
        lookback=QUARTER, when_empty=0.0, unit="hours", direction="risk",
        phrase="{value:.1f} hours of incidents in the last 90 days",
    ),
    Feature(
        name="deployments_28d", description="Deployments published.", theme="reliability",
        reads=("deployment.published",), aggregate=Aggregate(operation="count"), lookback=MONTH,
        when_empty=0.0, unit="deployments", direction="safety",
        phrase="{value:.0f} deployments in the last 28 days",
    ),
    Feature(
        name="incidents_opened_count", description="Incidents felt, all time.",
        theme="reliability", reads=("incident.opened",), aggregate=Aggregate(operation="count"),
        when_empty=0.0, unit="incidents", is_model_input=False,
        phrase="{value:.0f} incidents ever felt",
    ),
    Feature(
        name="incidents_resolved_count", description="Incidents felt that are over, all time.",
        theme="reliability", reads=("incident.resolved",), aggregate=Aggregate(operation="count"),
        when_empty=0.0, unit="incidents", is_model_input=False,
        phrase="{value:.0f} felt incidents are over",
    ),
    Derived(
        name="incidents_open", description="Incidents felt that are not over.",
        theme="reliability", inputs=("incidents_opened_count", "incidents_resolved_count"),
        formula=lambda opened, resolved: (opened - resolved).clip(0), unit="incidents",
        direction="risk", is_model_input=False, phrase="{value:.0f} incidents are going on",
    ),
    Feature(
        name="incident_resolution_hours_90d",
        description="Mean hours from the opening of an incident to its end (MTTR).",
        theme="reliability", reads=("incident.resolved",), aggregate=Aggregate(operation="mean"),
        lookback=QUARTER, when_empty=None, unit="hours", direction="risk", is_model_input=False,
        phrase="incidents took {value:.1f} hours to end in the last 90 days",
    ),
    Feature(
        name="incidents_told_90d", description="Times the account was told of an incident.",
        theme="reliability", reads=("incident.communicated",),
        aggregate=Aggregate(operation="count"), lookback=QUARTER, when_empty=0.0, unit="times",
        is_model_input=False, phrase="told of incidents {value:.0f} times in the last 90 days",
    ),
)
