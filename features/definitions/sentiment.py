"""This module is about what the account says about us: declarations only."""

from __future__ import annotations

from features.definitions import QUARTER
from features.feature import Aggregate, AnyFeature, Feature

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
)
