"""What the source documents ask to be watched, and the features that state it.

One literal list: a signal, where a document asks for it (document:line), and the features that
measure it, or the reason why none does. ``generate.py`` writes it to ``source-signals.md``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

PAGE = """\
# Signals of the source documents

What [the source documents](../sources.md) ask to be watched, where they say so, and the features
that measure it. Where no feature does, the reason stands in its place. What the features are:
[features](features.md).

{table}

`python docs/reference/generate.py` writes this page.
"""


@dataclass(frozen=True, kw_only=True)
class Signal:
    """Something that a source document names; ``reason`` says what no feature measures, and why."""

    id: str
    words: str
    source: str
    features: tuple[str, ...] = ()
    reason: str = ""

    def __post_init__(self) -> None:
        if not self.features and not self.reason:
            raise ValueError(f"Signal {self.id!r} names neither a feature nor a reason for none.")


def _signal(id: str, words: str, source: str, features: str = "", reason: str = "") -> Signal:
    return Signal(
        id=id, words=words, source=source, features=tuple(features.split()), reason=reason
    )


SIGNALS: tuple[Signal, ...] = (
    # orders of companies without contracts
    _signal(
        "orders",
        "how recently, how often and for how much an account buys, and the gaps between",
        "purchases#recency-and-frequency",
        "days_since_order days_since_first_order orders_count order_days_count orders_90d "
        "order_amount order_amount_mean order_amount_365d order_last_gap order_mean_gap "
        "order_last_gap_ratio order_pause_ratio order_pause_share",
    ),
    # use
    _signal(
        "adoption_depth",
        "adoption depth and width",
        "epics#health-components, epics#metrics, plans#health-usage",
        "features_used_28d features_used_90d features_in_plan adoption_depth_28d "
        "features_unused_28d features_used_count",
    ),
    _signal(
        "use_volume",
        "how much the product is used, usage deltas",
        "epics#usage-dashboard, epics#executive-updates, platform#use-metrics",
        "feature_uses_1d feature_uses_7d feature_uses_28d feature_uses_90d activity_7d",
    ),
    _signal(
        "usage_trend",
        "usage trend, drop, minus 50 %",
        "plans#health-business, plans#real-time-alerts, small-team#warning-signs",
        "use_trend_7d use_trend_28d feature_uses_month_to_last_week_28d "
        "feature_uses_prior_28d active_days_trend_28d",
    ),
    _signal(
        "adoption_velocity",
        "adoption velocity, feature adoption milestones",
        "epics#expansion-triggers, platform#health-success",
        "features_new_28d features_used_28d_ago_count",
    ),
    _signal(
        "feature_unused",
        "a feature unused for 7 days",
        "epics#recipes-and-nudges",
        "features_unused_7d features_used_7d",
        "which of them it is: see the product's own feature names (`use_names`)",
    ),
    _signal(
        "high_value_pattern",
        "high-value pattern detected",
        "epics#recipes-and-nudges",
        "adoption_depth_28d use_trend_28d feature_value_28d feature_value_mean_28d",
        "a pattern is the tenant's: declare it as a feature",
    ),
    _signal(
        "own_features",
        "core features, setup only, each feature's use",
        "small-team#feature-usage",
        "adoption_depth_28d days_since_feature_use",
        "the words are the tenant's: `use_names` gives each two counts",
    ),
    _signal(
        "use_by_role",
        "use by role, adoption in target roles",
        "epics#day-30-outcomes, epics#use-cases, epics#events-and-dimensions",
        "use_roles_28d admin_uses_28d operator_uses_28d executive_uses_28d",
        "target roles are not declared by any document",
    ),
    _signal(
        "use_by_use_case",
        "use by use case",
        "epics#use-cases, epics#events-and-dimensions",
        "use_cases_28d use_cases_90d use_cases_unused_28d",
        "each use case by name: the words are the tenant's, one declaration with `where` each",
    ),
    _signal(
        "api_use",
        "API usage consistency, API usage",
        "plans#health-usage, plans#add-on-custom-integrations",
        "api_days_28d",
    ),
    _signal(
        "reporting",
        "reporting feature engagement, dashboards or reports shipped",
        "plans#upgrade-signals, plans#add-on-analytics, epics#day-14-outcomes",
        "reporting_uses_28d days_to_first_report",
    ),
    _signal(
        "recipes",
        "guided recipes completed",
        "epics#day-7-outcomes, epics#events-and-dimensions",
        "recipes_completed_28d",
    ),
    _signal(
        "roi_proxies",
        "ROI proxies: time saved, automations executed",
        "epics#usage-dashboard",
        "feature_value_28d goal_progress",
        "time saved is a property of the tenant's own events: quantity of `feature.used`",
    ),
    _signal(
        "config",
        "configuration changes, feature flags",
        "epics#data-plane, epics#customer-timeline, epics#events-and-dimensions",
        "config_changes_28d",
        "a flag is the vendor's switch and no act of the account",
    ),
    # people
    _signal(
        "stickiness",
        "DAU, WAU, MAU and stickiness",
        "epics#metrics, platform#use-metrics",
        "active_users_7d active_users_28d daily_users_28d stickiness_28d "
        "weekly_stickiness_28d user_days_28d active_users_back_1w_7d active_users_back_2w_7d "
        "active_users_back_3w_7d",
    ),
    _signal(
        "daily_active_rate",
        "daily active rate, seat utilisation, monthly active of licensed",
        "plans#health-usage, platform#use-metrics, platform#usage-target",
        "daily_users_28d seat_utilisation_28d peak_daily_users_28d",
    ),
    _signal(
        "logins",
        "logins: weekly, monthly, none in 30 days",
        "small-team#login-frequency, platform#health-engagement",
        "sessions_7d sessions_28d sessions_90d session_days_28d days_since_login "
        "days_since_activity active_days_7d active_days_28d active_days_90d",
    ),
    _signal(
        "login_cadence",
        "login frequency and cadence",
        "small-team#login-frequency, platform#use-metrics",
        "login_gap_days_90d login_silence session_days_90d active_weeks_28d "
        "activity_back_1w_7d activity_back_2w_7d activity_back_3w_7d active_days_prior_28d",
    ),
    _signal(
        "session_time",
        "time in product, session duration",
        "platform#use-metrics, platform#health-engagement",
        "session_hours_28d session_seconds_28d session_mean_seconds_28d",
    ),
    _signal(
        "team_growth",
        "several users of one company, new teams, team over 10 users",
        "epics#expansion-triggers, plans#team-growth, plans#add-on-single-sign-on",
        "active_users_trend_28d active_users_prior_28d active_users_28d seats_change_90d",
        "teams inside an account are not events",
    ),
    # reliability
    _signal(
        "errors",
        "error rate, error budget under 2 %",
        "epics#health-components, epics#day-7-outcomes, epics#usage-dashboard",
        "errors_1d errors_7d errors_28d error_rate_1d error_rate_7d error_rate_28d error_days_28d",
    ),
    _signal(
        "error_spike",
        "error spike over p95",
        "epics#health-components, epics#alerts",
        "errors_p95_28d errors_over_p95_1d error_spike_7d errors_month_to_last_week_28d",
    ),
    _signal("job_retries", "jobs retried", "epics#events-and-dimensions", "job_retries_28d"),
    _signal(
        "integrations",
        "integration state and health",
        "epics#tenant-dashboards, epics#events-and-dimensions",
        "integrations_connected integrations_broken integrations_connected_90d "
        "integration_errors_28d",
    ),
    _signal(
        "incidents",
        "incidents felt, critical incidents, known issue",
        "epics#customer-timeline, epics#proactive-alerts, recovery#reliability-targets",
        "incidents_felt_90d incidents_open incident_hours_90d incidents_opened_count "
        "incidents_resolved_count",
    ),
    _signal(
        "incident_mttr",
        "mean time to recovery",
        "recovery#reliability-targets, epics#metrics",
        "incident_resolution_hours_90d",
    ),
    _signal(
        "incident_word",
        "first word of an incident, acknowledged",
        "recovery#first-word",
        "incidents_told_90d",
        "how fast the word came is a figure of the incident and not of an account; nobody "
        "sends an acknowledgement",
    ),
    _signal(
        "uptime",
        "uptime",
        "recovery#reliability-targets",
        reason="of the service and not of an account; incident_hours_90d is what it felt",
    ),
    _signal(
        "deployments",
        "deployments, their success rate",
        "recovery#reliability-targets, epics#customer-timeline, epics#events-and-dimensions",
        "deployments_28d",
        "the event has no result; a failed one is an `error.raised`",
    ),
    # support
    _signal(
        "tickets",
        "support load, ticket volume, spikes, tickets over active users",
        "epics#health-components, small-team#support-tickets, small-team#warning-signs, "
        "small-team#support-metrics",
        "tickets_28d tickets_90d tickets_180d support_load_28d ticket_spike_28d",
    ),
    _signal(
        "ticket_trend",
        "support volume trending down by day 30",
        "epics#day-30-outcomes",
        "ticket_change_28d tickets_prior_28d",
    ),
    _signal(
        "ticket_severity",
        "tickets by severity",
        "epics#day-7-outcomes, epics#hypercare",
        "severe_tickets_28d severe_tickets_90d severity_1_tickets_90d severity_2_tickets_90d "
        "severity_3_tickets_90d severity_4_tickets_90d",
    ),
    _signal(
        "tickets_open",
        "tickets open, unresolved",
        "small-team#support-tickets, small-team#support-metrics",
        "tickets_open severe_tickets_open tickets_created_count tickets_reopened_count "
        "tickets_resolved_count severe_tickets_created_count severe_tickets_resolved_count",
    ),
    _signal(
        "mttr",
        "MTTR, resolution time",
        "epics#metrics, small-team#support-metrics, platform#support-metrics",
        "resolution_hours_90d severe_resolution_hours_90d",
    ),
    _signal(
        "first_response",
        "first response time",
        "small-team#support-metrics, platform#support-metrics",
        "first_reply_hours_90d",
    ),
    _signal(
        "sla",
        "SLA attainment",
        "epics#support-promises, epics#metrics, plans#weekly-dashboard",
        "sla_attainment_90d sla_met_90d sla_judged_90d",
    ),
    _signal(
        "p1_response",
        "hypercare: P1 in 30 minutes, P2 in 2 hours",
        "epics#day-14-outcomes, epics#hypercare",
        "sla_attainment_90d",
        "the first reply carries no severity; the promise in force decides `sla_met`",
    ),
    _signal(
        "repeat_tickets",
        "repeat tickets, first-contact resolution",
        "epics#support-promises, platform#support-metrics",
        "repeat_tickets_90d tickets_reopened_90d resolved_at_once_90d tickets_resolved_90d",
    ),
    _signal(
        "deflection",
        "ticket deflection",
        "epics#diagnostics-and-repair, epics#metrics",
        reason="a ticket that was not written is no event",
    ),
    # what people say
    _signal(
        "sentiment",
        "sentiment of tickets, support interaction sentiment",
        "epics#health-components, epics#metrics, plans#health-engagement, plans#real-time-alerts",
        "ticket_sentiment_90d ticket_sentiment_lowest_7d",
    ),
    _signal(
        "complaints", "complaint count", "platform#health-satisfaction", "negative_tickets_90d"
    ),
    _signal(
        "csat",
        "CSAT, satisfaction, ticket satisfaction",
        "epics#health-components, small-team#support-metrics, platform#health-satisfaction",
        "csat_90d csat_last",
    ),
    _signal(
        "nps",
        "NPS",
        "small-team#satisfaction, small-team#support-metrics, platform#health-satisfaction",
        "nps_last nps_90d survey_answers_90d days_since_survey",
    ),
    _signal("ces", "CES", "platform#satisfaction-metrics", "ces_90d"),
    _signal(
        "reviews_online",
        "reviews on other sites",
        "small-team#warning-signs",
        reason="no event kind: whoever reads them sends `survey.answered`",
    ),
    _signal(
        "feature_requests",
        "feature requests: how many, unanswered",
        "plans#health-engagement, small-team#warning-signs, platform#operations-metrics",
        "feature_requests_90d feature_requests_unanswered",
    ),
    _signal(
        "upgrade_intent",
        "upgrade intent: features of a higher plan, integrations, branding",
        "epics#metrics, plans#asks-for-a-higher-plan, plans#upgrade-signals",
        "higher_plan_requests_90d integration_requests_90d branding_interest_90d",
        "whether a plan is higher than the account's own is for the trigger, which knows it",
    ),
    _signal(
        "community",
        "community participation",
        "plans#health-engagement, platform#advocacy-metrics",
        "community_posts_90d",
    ),
    _signal(
        "advocacy",
        "references, case studies, referrals",
        "epics#advocates, platform#advocacy-metrics, recovery#advocacy-ladder",
        "advocacy_done_365d advocacy_declined_365d",
    ),
    # sponsor
    _signal(
        "sponsor",
        "sponsor strength, engagement, touches",
        "epics#health-components, epics#metrics",
        "sponsor_touches_90d days_since_sponsor_touch sponsor_sessions_28d",
    ),
    _signal(
        "sponsor_silence",
        "sponsor disengaged",
        "epics#alerts",
        "sponsor_silence_days days_since_sponsor_session",
    ),
    _signal(
        "champion",
        "champion trained, silent, leaving",
        "epics#day-14-outcomes, epics#champion-kit",
        "champions champion_touches_90d days_since_champion_touch champions_left_90d "
        "champions_joined_count champions_left_count days_to_first_trained_champion "
        "trainings_completed_90d",
    ),
    _signal(
        "contacts_leaving",
        "a sponsor or champion leaves",
        "epics#alerts",
        "contacts_left_90d sponsors_left_90d champions_left_90d",
    ),
    _signal(
        "business_reviews",
        "business reviews and what they say",
        "epics#day-30-outcomes, epics#renewal-runway, platform#operations-metrics",
        "days_since_review review_rating_last reviews_365d",
    ),
    _signal(
        "renewal_intent",
        "renewal intent",
        "platform#health-financial",
        "renewal_intent renewal_intent_pending days_since_renewal_intent",
    ),
    # money
    _signal(
        "invoices",
        "invoices: paid, late, failed",
        "epics#alerts, plans#health-business, small-team#payment, small-team#warning-signs, "
        "platform#health-financial",
        "invoices_issued_90d invoices_paid_90d invoices_late_90d invoices_failed_90d "
        "invoices_unpaid invoice_days_overdue days_since_invoice_late "
        "days_since_invoice_paid invoices_count",
    ),
    _signal(
        "limits",
        "approaching a limit: 80 % of the plan's units, seats",
        "epics#expansion-triggers, plans#near-a-limit, platform#expansion-opportunities",
        "limit_utilisation_28d units_used_28d unit_limit limits_reached_90d seat_utilisation_28d",
    ),
    _signal(
        "overage",
        "overage in three months in a row",
        "plans#repeated-overage",
        "overage_months units_used_prior_28d units_used_back_2m_28d unit_limit_28d_ago "
        "unit_limit_56d_ago",
    ),
    _signal(
        "high_volume",
        "high volume usage patterns",
        "plans#add-on-dedicated-model",
        "units_used_28d",
    ),
    _signal(
        "contract_utilisation",
        "contract utilisation and compliance",
        "plans#health-business, platform#health-financial",
        "limit_utilisation_28d seat_utilisation_28d",
        "compliance beyond units and seats is not an event",
    ),
    _signal(
        "plan_moves",
        "plan and MRR moves, expansion revenue",
        "platform#value-metrics, platform#health-financial",
        "mrr mrr_90d_ago mrr_change_90d seats seats_90d_ago seats_change_90d mrr_per_seat "
        "contract_changes_365d renewals_count pauses_365d",
    ),
    _signal(
        "discount",
        "discount, billing interval",
        "plans#upgrade-campaign, plans#repeated-overage",
        "discount_rate billing_months term_days term_months",
    ),
    _signal("tenure", "tenure", "platform#value-metrics", "tenure_days account_age_days"),
    _signal(
        "renewal", "days to renewal, 120-day runway", "epics#renewal-runway", "days_to_renewal"
    ),
    _signal(
        "notice",
        "days to the deadline of notice",
        "epics#renewal-runway",
        "days_to_notice notice_days",
    ),
    _signal(
        "cancel_intent",
        "cancellation intent",
        "plans#real-time-alerts",
        "cancellations_pending cancellations_intended_90d days_since_cancellation_intended "
        "days_since_renewal",
    ),
    _signal(
        "trial",
        "trial: days left, usage in it",
        "plans#trial, plans#trial-day-3",
        "trial_days_left trial_age_days trial_length_days active_days_7d",
    ),
    # onboarding and value
    _signal(
        "day_7",
        "day 7: SSO, integration, data set, recipe, 5 active users, errors under 2 %",
        "epics#day-7-outcomes",
        "onboarding_day7_outcomes days_to_first_sso days_to_first_integration "
        "days_to_first_data_set days_to_first_recipe days_since_first_sso "
        "days_since_first_integration days_since_first_data_set days_since_first_recipe "
        "active_users_7d error_rate_7d",
        "people and errors: the value of the snapshot as of day 7",
    ),
    _signal(
        "day_14",
        "day 14: 2 integrations, 2 reports, trained champion, P1 in 30 minutes",
        "epics#day-14-outcomes",
        "onboarding_day14_outcomes days_to_first_report "
        "days_to_first_trained_champion days_since_first_report "
        "days_since_first_trained_champion integrations_connected",
        "integrations: the value of the snapshot as of day 14; what is shipped is not an "
        "event, what is used is",
    ),
    _signal(
        "day_30",
        "day 30: review with ROI, target roles, fewer tickets",
        "epics#day-30-outcomes",
        "onboarding_day30_outcomes days_to_first_review days_since_first_review use_roles_28d "
        "ticket_change_28d",
        "a backlog of use cases is not an event",
    ),
    _signal(
        "onboarding_steps",
        "setup done, steps of onboarding",
        "epics#guided-onboarding, small-team#onboarding-goals",
        "onboarding_steps_done days_since_onboarding_step",
    ),
    _signal(
        "onboarding_stall",
        "onboarding stalled over 72 hours",
        "epics#alerts",
        "onboarding_stall_hours",
    ),
    _signal(
        "first_value",
        "time to first value: first use, first goal",
        "epics#metrics, small-team#onboarding-goals, platform#health-success",
        "days_to_first_use days_since_first_use days_to_first_goal_reached "
        "days_since_first_goal_reached",
    ),
    _signal(
        "activation",
        "activation, back on day 1",
        "small-team#onboarding-goals",
        reason="of a cohort and not of an account; activation is not defined by any document",
    ),
    _signal(
        "goals",
        "KPIs reached, goals attained",
        "platform#health-success",
        "goals_reached goals_set goals_reached_share goal_progress",
    ),
    _signal(
        "milestones",
        "milestones completed, overdue, value velocity",
        "recovery#value-milestones",
        "milestones_completed milestones_overdue_now milestones_overdue",
    ),
    # what we did
    _signal(
        "nudges",
        "nudges sent and acted on",
        "epics#recipes-and-nudges, epics#events-and-dimensions",
        "nudges_sent_28d nudges_acted_28d nudges_sent_90d nudges_acted_90d nudge_response_90d",
    ),
    _signal(
        "actions",
        "touches by us, alerts, what was done",
        "platform#operations-metrics, epics#cohorts",
        "actions_executed_90d days_since_action actions_declined_90d alerts_raised_90d",
    ),
    _signal(
        "health",
        "health score, its fall, trend and bands",
        "epics#alerts, small-team#health-bands, platform#health-trend, platform#health-alerts",
        reason="a formula over features: the column health_score; falls compare two snapshots",
    ),
    _signal(
        "expansion_probability",
        "expansion probability over 50 %",
        "platform#expansion-opportunities",
        reason="what a model says and no feature of a model",
    ),
    _signal(
        "clv",
        "CLV, ROI, NRR, churn, upsell rates",
        "platform#value-metrics, plans#targets",
        reason="figures of many accounts: reports and metrics compute them",
    ),
    _signal(
        "dimensions",
        "segment, ICP, use case, plan, tier, region, owner",
        "epics#events-and-dimensions",
        reason="words and not numbers: attributes (`definitions/attributes.py`)",
    ),
    _signal(
        "environment",
        "environment, feature flag",
        "epics#events-and-dimensions, epics#data-plane",
        reason="a property of events: `where` on any feature",
    ),
    _signal(
        "consent",
        "opted in to SMS and e-mail",
        "plans#trial-day-1",
        reason="a rule of contact and no measure of the account",
    ),
)


def markdown(signals: Iterable[Signal] = SIGNALS) -> str:
    """One row a signal: what the document says, where, and the features or the reason.

    >>> print(markdown(s for s in SIGNALS if s.id == "uptime").splitlines()[-1][:29])
    | uptime | recovery#reliability-targets | none: of
    """
    lines = ["| signal | source | features |", "|---|---|---|"]
    for signal in signals:
        said = " ".join(f"`{name}`" for name in signal.features)
        if signal.reason:
            said = f"{said} – {signal.reason}" if said else f"none: {signal.reason}"
        lines.append(f"| {signal.words} | {signal.source} | {said} |")
    return "\n".join(lines)


def page() -> str:
    """The whole page, with every signal."""
    return PAGE.format(table=markdown())
