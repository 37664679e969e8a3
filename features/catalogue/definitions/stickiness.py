"""This module is about how often people come, and how many: declarations only."""

from __future__ import annotations

import polars as pl

from features.catalogue.definitions import MONTH, QUARTER, WEEK
from features.catalogue.feature import Aggregate, AnyFeature, Derived, Feature, ratio

ACTIVITY = ("user.session", "feature.used")


def _weeks_with_any(*weeks: pl.Expr) -> pl.Expr:
    return pl.sum_horizontal([(week > 0).cast(pl.Float64) for week in weeks], ignore_nulls=False)


STICKINESS: tuple[AnyFeature, ...] = (
    Feature(
        name="sessions_7d", description="Sessions, the last 7 days.", theme="stickiness",
        reads=("user.session",), aggregate=Aggregate(operation="count"), lookback=WEEK,
        when_empty=0.0, unit="sessions", direction="safety",
        phrase="{value:,.0f} sessions in the last 7 days",
    ),
    Feature(
        name="sessions_28d", description="Sessions, the last 28 days.", theme="stickiness",
        reads=("user.session",), aggregate=Aggregate(operation="count"), lookback=MONTH,
        when_empty=0.0, unit="sessions", direction="safety",
        phrase="{value:,.0f} sessions in the last 28 days",
    ),
    Feature(
        name="sessions_90d", description="Sessions, the last 90 days.", theme="stickiness",
        reads=("user.session",), aggregate=Aggregate(operation="count"), lookback=QUARTER,
        when_empty=0.0, unit="sessions", direction="safety",
        phrase="{value:,.0f} sessions in the last 90 days",
    ),
    Feature(
        name="session_days_28d", description="Days with a session.", theme="stickiness",
        reads=("user.session",), aggregate=Aggregate(operation="active_days"), lookback=MONTH,
        when_empty=0.0, unit="days", direction="safety",
        phrase="somebody logged in on {value:.0f} of the last 28 days",
    ),
    Feature(
        name="session_seconds_28d", description="Time in the product.", theme="stickiness",
        reads=("user.session",), aggregate=Aggregate(operation="sum"), lookback=MONTH,
        when_empty=0.0, unit="seconds", direction="safety", is_model_input=False,
        phrase="{value:,.0f} seconds in the product in the last 28 days",
    ),
    Derived(
        name="session_hours_28d", description="Time in the product.", theme="stickiness",
        inputs=("session_seconds_28d",), formula=lambda seconds: seconds / 3600, unit="hours",
        direction="safety", phrase="{value:,.1f} hours in the product in the last 28 days",
    ),
    Feature(
        name="session_mean_seconds_28d", description="Mean length of a session.",
        theme="stickiness", reads=("user.session",), aggregate=Aggregate(operation="mean"),
        lookback=MONTH, when_empty=None, unit="seconds", direction="safety",
        phrase="sessions of {value:,.0f} seconds on average in the last 28 days",
    ),
    Feature(
        name="active_days_7d", description="Days with a session or a use, the last 7 days.",
        theme="stickiness", reads=ACTIVITY, aggregate=Aggregate(operation="active_days"),
        lookback=WEEK, when_empty=0.0, unit="days", direction="safety",
        phrase="active on {value:.0f} of the last 7 days",
    ),
    Feature(
        name="active_days_28d", description="Days with a session or a use, the last 28 days.",
        theme="stickiness", reads=ACTIVITY, aggregate=Aggregate(operation="active_days"),
        lookback=MONTH, when_empty=0.0, unit="days", direction="safety",
        phrase="active on {value:.0f} of the last 28 days",
    ),
    Feature(
        name="active_days_90d", description="Days with a session or a use, the last 90 days.",
        theme="stickiness", reads=ACTIVITY, aggregate=Aggregate(operation="active_days"),
        lookback=QUARTER, when_empty=0.0, unit="days", direction="safety",
        phrase="active on {value:.0f} of the last 90 days",
    ),
    Feature(
        name="active_days_prior_28d", description="Active days in the 28 days before the last 28.",
        theme="stickiness", reads=ACTIVITY, aggregate=Aggregate(operation="active_days"),
        lookback=MONTH, ends_before=MONTH, when_empty=0.0, unit="days", direction="safety",
        is_model_input=False, phrase="active on {value:.0f} of the 28 days before the last 28",
    ),
    Derived(
        name="active_days_trend_28d",
        description="Active days over those of the 28 days before; 1 is level.", theme="stickiness",
        inputs=("active_days_28d", "active_days_prior_28d"), formula=ratio, unit="ratio",
        direction="safety", phrase="active days are {value:.0%} of those of the 28 days before",
    ),
    Feature(
        name="active_users_7d", description="Different people active, the last 7 days.",
        theme="stickiness", reads=ACTIVITY, aggregate=Aggregate(operation="users"), lookback=WEEK,
        when_empty=0.0, unit="people", direction="safety",
        phrase="{value:.0f} people active in the last 7 days",
    ),
    Feature(
        name="active_users_28d", description="Different people active, the last 28 days.",
        theme="stickiness", reads=ACTIVITY, aggregate=Aggregate(operation="users"), lookback=MONTH,
        when_empty=0.0, unit="people", direction="safety",
        phrase="{value:.0f} people active in the last 28 days",
    ),
    Feature(
        name="active_users_back_1w_7d",
        description="Different people active in the week that ended one week ago.",
        theme="stickiness", reads=ACTIVITY, aggregate=Aggregate(operation="users"), lookback=WEEK,
        ends_before=WEEK, when_empty=0.0, unit="people", direction="safety", is_model_input=False,
        phrase="{value:.0f} people active in the week that ended one week ago",
    ),
    Feature(
        name="active_users_back_2w_7d",
        description="Different people active in the week that ended two weeks ago.",
        theme="stickiness", reads=ACTIVITY, aggregate=Aggregate(operation="users"), lookback=WEEK,
        ends_before=2 * WEEK, when_empty=0.0, unit="people", direction="safety",
        is_model_input=False,
        phrase="{value:.0f} people active in the week that ended two weeks ago",
    ),
    Feature(
        name="active_users_back_3w_7d",
        description="Different people active in the week that ended three weeks ago.",
        theme="stickiness", reads=ACTIVITY, aggregate=Aggregate(operation="users"), lookback=WEEK,
        ends_before=3 * WEEK, when_empty=0.0, unit="people", direction="safety",
        is_model_input=False,
        phrase="{value:.0f} people active in the week that ended three weeks ago",
    ),
    Feature(
        name="user_days_28d", description="People times days active.", theme="stickiness",
        reads=ACTIVITY, aggregate=Aggregate(operation="user_days"), lookback=MONTH, when_empty=0.0,
        unit="person-days", direction="safety", is_model_input=False,
        phrase="{value:,.0f} person-days of activity in the last 28 days",
    ),
    Derived(
        name="daily_users_28d", description="Mean daily active users.", theme="stickiness",
        inputs=("user_days_28d",), formula=lambda user_days: user_days / 28, unit="people",
        direction="safety", phrase="{value:.1f} people a day in the last 28 days",
    ),
    Derived(
        name="stickiness_28d", description="Mean daily over monthly active users (DAU/MAU).",
        theme="stickiness", inputs=("daily_users_28d", "active_users_28d"), formula=ratio,
        unit="share", direction="safety",
        phrase="{value:.0%} of the month's people come on a usual day",
    ),
    Derived(
        name="weekly_stickiness_28d",
        description="Mean daily over mean weekly active users (DAU/WAU).", theme="stickiness",
        inputs=("daily_users_28d", "active_users_7d", "active_users_back_1w_7d",
                "active_users_back_2w_7d", "active_users_back_3w_7d"),
        formula=lambda daily, w0, w1, w2, w3: ratio(daily, (w0 + w1 + w2 + w3) / 4), unit="share",
        direction="safety", phrase="{value:.0%} of a week's people come on a usual day",
    ),
    Feature(
        name="peak_daily_users_28d",
        description="Most people seen in one record of the last 28 days.", theme="stickiness",
        reads=ACTIVITY, aggregate=Aggregate(operation="peak_users"), lookback=MONTH, when_empty=0.0,
        unit="people", direction="safety",
        phrase="at most {value:.0f} people at once in the last 28 days",
    ),
    Feature(
        name="days_since_login", description="Days since the last session.", theme="stickiness",
        reads=("user.session",), aggregate=Aggregate(operation="days_since_last"), when_empty=None,
        unit="days", direction="risk", phrase="nobody logged in for {value:.0f} days",
    ),
    Feature(
        name="days_since_activity", description="Days since the last session or use.",
        theme="stickiness", reads=ACTIVITY, aggregate=Aggregate(operation="days_since_last"),
        when_empty=None, unit="days", direction="risk", phrase="no activity for {value:.0f} days",
    ),
    Feature(
        name="activity_7d", description="Sessions and uses in the last 7 days.", theme="stickiness",
        reads=ACTIVITY, aggregate=Aggregate(operation="count"), lookback=WEEK, when_empty=0.0,
        unit="events", direction="safety", is_model_input=False,
        phrase="{value:,.0f} sessions and uses in the last 7 days",
    ),
    Feature(
        name="activity_back_1w_7d",
        description="Sessions and uses in the week that ended one week ago.", theme="stickiness",
        reads=ACTIVITY, aggregate=Aggregate(operation="count"), lookback=WEEK, ends_before=WEEK,
        when_empty=0.0, unit="events", direction="safety", is_model_input=False,
        phrase="{value:,.0f} sessions and uses in the week that ended one week ago",
    ),
    Feature(
        name="activity_back_2w_7d",
        description="Sessions and uses in the week that ended two weeks ago.", theme="stickiness",
        reads=ACTIVITY, aggregate=Aggregate(operation="count"), lookback=WEEK, ends_before=2 * WEEK,
        when_empty=0.0, unit="events", direction="safety", is_model_input=False,
        phrase="{value:,.0f} sessions and uses in the week that ended two weeks ago",
    ),
    Feature(
        name="activity_back_3w_7d",
        description="Sessions and uses in the week that ended three weeks ago.", theme="stickiness",
        reads=ACTIVITY, aggregate=Aggregate(operation="count"), lookback=WEEK, ends_before=3 * WEEK,
        when_empty=0.0, unit="events", direction="safety", is_model_input=False,
        phrase="{value:,.0f} sessions and uses in the week that ended three weeks ago",
    ),
    Derived(
        name="active_weeks_28d", description="Weeks of the last four with any activity.",
        theme="stickiness",
        inputs=("activity_7d", "activity_back_1w_7d", "activity_back_2w_7d", "activity_back_3w_7d"),
        formula=_weeks_with_any,
        unit="weeks", direction="safety", phrase="active in {value:.0f} of the last 4 weeks",
    ),
    Derived(
        name="seat_utilisation_28d",
        description="People active over seats; the peak of a day where people have no ids.",
        theme="stickiness", inputs=("active_users_28d", "peak_daily_users_28d", "seats"),
        formula=lambda users, peak, seats: ratio(pl.coalesce(users, peak), seats), unit="share",
        direction="safety", role="lever",
        phrase="{value:.0%} of the seats used in the last 28 days",
    ),
    Feature(
        name="session_days_90d", description="Days with a session, the last 90 days.",
        theme="stickiness", reads=("user.session",), aggregate=Aggregate(operation="active_days"),
        lookback=QUARTER, when_empty=0.0, unit="days", direction="safety", is_model_input=False,
        phrase="somebody logged in on {value:.0f} of the last 90 days",
    ),
    Derived(
        name="login_gap_days_90d", description="Mean days from one day with a login to the next.",
        theme="stickiness", inputs=("session_days_90d",),
        formula=lambda days: ratio(pl.lit(90.0), days), unit="days", direction="risk",
        is_model_input=False, phrase="a login every {value:.1f} days in the last 90 days",
    ),
    Derived(
        name="login_silence", description="Days since a login over the usual days between two.",
        theme="stickiness", inputs=("days_since_login", "login_gap_days_90d"), formula=ratio,
        unit="ratio", direction="risk",
        phrase="no login for {value:.1f} times as long as usual",
    ),
    Feature(
        name="active_users_prior_28d",
        description="Different people active in the 28 days before the last 28.",
        theme="stickiness", reads=ACTIVITY, aggregate=Aggregate(operation="users"),
        lookback=MONTH, ends_before=MONTH, when_empty=0.0, unit="people", direction="safety",
        is_model_input=False,
        phrase="{value:.0f} people active in the 28 days before the last 28",
    ),
    Derived(
        name="active_users_trend_28d",
        description="People active over those of the 28 days before; 1 is level.",
        theme="stickiness", inputs=("active_users_28d", "active_users_prior_28d"), formula=ratio,
        unit="ratio", direction="safety",
        phrase="as many as {value:.0%} of the people of the 28 days before are active",
    ),
)
