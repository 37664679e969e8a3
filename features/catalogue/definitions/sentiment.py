"""This module is about what the account says about us: declarations only."""

from __future__ import annotations

from features.catalogue.definitions import DAY, QUARTER, WEEK, YEAR
from features.catalogue.feature import Aggregate, AnyFeature, Feature

SENTIMENT: tuple[AnyFeature, ...] = (
    Feature(
        name="ticket_sentiment_90d", description="Mean sentiment of tickets, -1 to +1.",
        theme="sentiment", reads=("ticket.updated",), where={"change": "sentiment"},
        aggregate=Aggregate(operation="mean"), lookback=QUARTER, when_empty=None, unit="sentiment",
        direction="safety",
        phrase="ticket sentiment of {value:+.2f} (from -1 to +1) in the last 90 days",
    ),
    Feature(
        name="csat_90d", description="Mean satisfaction, 1 to 5.", theme="sentiment",
        reads=("survey.answered",), where={"survey": "csat"}, aggregate=Aggregate(operation="mean"),
        lookback=QUARTER, when_empty=None, unit="points of 5", direction="safety",
        phrase="satisfaction of {value:.1f} of 5 in the last 90 days",
    ),
    Feature(
        name="csat_last", description="Newest satisfaction answer, 1 to 5.", theme="sentiment",
        reads=("survey.answered",), where={"survey": "csat"}, aggregate=Aggregate(operation="last"),
        when_empty=None, unit="points of 5", direction="safety",
        phrase="latest satisfaction answer {value:.0f} of 5",
    ),
    Feature(
        name="nps_last", description="Newest answer to would-you-recommend-us, 0 to 10.",
        theme="sentiment", reads=("survey.answered",), where={"survey": "nps"},
        aggregate=Aggregate(operation="last"), when_empty=None, unit="points of 10",
        direction="safety", phrase="would recommend us with {value:.0f} of 10",
    ),
    Feature(
        name="ces_90d", description="Mean ease, 1 to 7.", theme="sentiment",
        reads=("survey.answered",), where={"survey": "ces"}, aggregate=Aggregate(operation="mean"),
        lookback=QUARTER, when_empty=None, unit="points of 7", direction="safety",
        phrase="ease of {value:.1f} of 7 in the last 90 days",
    ),
    Feature(
        name="days_since_survey", description="Days since a survey was answered.",
        theme="sentiment", reads=("survey.answered",),
        aggregate=Aggregate(operation="days_since_last"), when_empty=None, unit="days",
        direction="risk", phrase="no survey answered for {value:.0f} days",
    ),
    Feature(
        name="survey_answers_90d", description="Survey answers.", theme="sentiment",
        reads=("survey.answered",), aggregate=Aggregate(operation="count"), lookback=QUARTER,
        when_empty=0.0, unit="answers", direction="safety",
        phrase="{value:.0f} survey answers in the last 90 days",
    ),
    Feature(
        name="feature_requests_90d", description="Features asked for.", theme="sentiment",
        reads=("feature.requested",), aggregate=Aggregate(operation="count"), lookback=QUARTER,
        when_empty=0.0, unit="requests",
        phrase="{value:.0f} features asked for in the last 90 days",
    ),
    Feature(
        name="community_posts_90d", description="Posts in the community.", theme="sentiment",
        reads=("community.posted",), aggregate=Aggregate(operation="count"), lookback=QUARTER,
        when_empty=0.0, unit="posts", direction="safety",
        phrase="{value:.0f} community posts in the last 90 days",
    ),
    Feature(
        name="ticket_sentiment_lowest_7d",
        description="Lowest sentiment of a ticket, the last 7 days, -1 to +1.", theme="sentiment",
        reads=("ticket.updated",), where={"change": "sentiment"},
        aggregate=Aggregate(operation="min"), lookback=WEEK, when_empty=None, unit="sentiment",
        direction="safety", is_model_input=False,
        phrase="worst ticket sentiment of {value:+.2f} (from -1 to +1) in the last 7 days",
    ),
    Feature(
        name="negative_tickets_90d", description="Times that a ticket had a negative sentiment.",
        theme="sentiment", reads=("ticket.updated",), lookback=QUARTER, when_empty=0.0,
        where={"change": "sentiment"}, aggregate=Aggregate(operation="below_zero"),
        unit="times", direction="risk", is_model_input=False,
        phrase="{value:.0f} tickets with negative sentiment in the last 90 days",
    ),
    Feature(
        name="nps_90d", description="Mean answer to would-you-recommend-us, 0 to 10.",
        theme="sentiment", reads=("survey.answered",), where={"survey": "nps"},
        aggregate=Aggregate(operation="mean"), lookback=QUARTER, when_empty=None,
        unit="points of 10", direction="safety", is_model_input=False,
        phrase="would recommend us with {value:.1f} of 10 on average in the last 90 days",
    ),
    Feature(
        name="feature_requests_unanswered",
        description="Features asked for over 30 days ago and not answered since.",
        theme="sentiment", reads=("feature.requested",),
        aggregate=Aggregate(operation="in_state", of="name", state={"state": "open"},
                            after=30 * DAY),
        when_empty=0.0, unit="requests", direction="risk", role="lever", is_model_input=False,
        phrase="{value:.0f} requests without an answer for 30 days",
    ),
    Feature(
        name="higher_plan_requests_90d",
        description="Requests for a feature of the Professional or Business plan.",
        theme="sentiment", reads=("feature.requested",),
        where={"price_plan": ("professional", "business")},
        aggregate=Aggregate(operation="count"), lookback=QUARTER, when_empty=0.0,
        unit="requests", is_model_input=False,
        phrase="asked {value:.0f} times for features of a higher plan in the last 90 days",
    ),
    Feature(
        name="integration_requests_90d", description="Requests for an integration or the API.",
        theme="sentiment", reads=("feature.requested",),
        where={"name": ("slack", "discord", "api", "integration")},
        aggregate=Aggregate(operation="count"), lookback=QUARTER, when_empty=0.0,
        unit="requests", is_model_input=False,
        phrase="asked {value:.0f} times for integrations in the last 90 days",
    ),
    Feature(
        name="branding_interest_90d", description="Signs of interest in an own brand.",
        theme="sentiment", reads=("feature.requested", "config.changed"),
        where={"name": ("white_label", "branding")}, aggregate=Aggregate(operation="count"),
        lookback=QUARTER, when_empty=0.0, unit="signs", is_model_input=False,
        phrase="{value:.0f} signs of interest in an own brand in the last 90 days",
    ),
    Feature(
        name="advocacy_done_365d", description="References, case studies and the like, completed.",
        theme="sentiment", reads=("advocacy.updated",), where={"status": "completed"},
        aggregate=Aggregate(operation="count"), lookback=YEAR, when_empty=0.0, unit="activities",
        direction="safety", is_model_input=False,
        phrase="spoke for us {value:.0f} times in the last 365 days",
    ),
    Feature(
        name="advocacy_declined_365d", description="Requests to speak for us that were declined.",
        theme="sentiment", reads=("advocacy.updated",), where={"status": "declined"},
        aggregate=Aggregate(operation="count"), lookback=YEAR, when_empty=0.0, unit="requests",
        direction="risk", is_model_input=False,
        phrase="declined {value:.0f} times in the last 365 days to speak for us",
    ),
)
