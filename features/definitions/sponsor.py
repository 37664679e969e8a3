"""This module is about the people on whom the contract depends: declarations only."""

from __future__ import annotations

from features.definitions import MONTH, QUARTER
from features.feature import Aggregate, AnyFeature, Feature

SPONSOR: tuple[AnyFeature, ...] = (
    Feature(
        name="days_since_sponsor_touch", description="Days since a sponsor was in touch.",
        theme="sponsor", reads=("sponsor.contacted",), where={"role": "sponsor"},
        aggregate=Aggregate(operation="days_since_last"), when_empty=None, unit="days",
        direction="risk", role="lever", phrase="no touch with a sponsor for {value:.0f} days",
    ),
    Feature(
        name="sponsor_touches_90d", description="Touches with a sponsor.", theme="sponsor",
        reads=("sponsor.contacted",), where={"role": "sponsor"},
        aggregate=Aggregate(operation="count"), lookback=QUARTER, when_empty=0.0, unit="touches",
        direction="safety", role="lever",
        phrase="{value:.0f} touches with a sponsor in the last 90 days",
    ),
    Feature(
        name="days_since_champion_touch", description="Days since a champion was in touch.",
        theme="sponsor", reads=("sponsor.contacted",), where={"role": "champion"},
        aggregate=Aggregate(operation="days_since_last"), when_empty=None, unit="days",
        direction="risk", role="lever", phrase="no touch with a champion for {value:.0f} days",
    ),
    Feature(
        name="champion_touches_90d", description="Touches with a champion.", theme="sponsor",
        reads=("sponsor.contacted",), where={"role": "champion"},
        aggregate=Aggregate(operation="count"), lookback=QUARTER, when_empty=0.0, unit="touches",
        direction="safety", role="lever",
        phrase="{value:.0f} touches with a champion in the last 90 days",
    ),
    Feature(
        name="sponsor_sessions_28d", description="Sessions of a sponsor.", theme="sponsor",
        reads=("user.session",), where={"role": "sponsor"}, aggregate=Aggregate(operation="count"),
        lookback=MONTH, when_empty=0.0, unit="sessions", direction="safety",
        phrase="{value:.0f} sessions of a sponsor in the last 28 days",
    ),
    Feature(
        name="contacts_left_90d", description="Sponsors and champions who left.", theme="sponsor",
        reads=("contact.changed",), where={"state": "left"}, aggregate=Aggregate(operation="count"),
        lookback=QUARTER, when_empty=0.0, unit="people", direction="risk",
        phrase="{value:.0f} sponsors or champions left in the last 90 days",
    ),
    Feature(
        name="days_since_review", description="Days since a business review.", theme="sponsor",
        reads=("review.held",), aggregate=Aggregate(operation="days_since_last"), when_empty=None,
        unit="days", direction="risk", role="lever",
        phrase="no business review for {value:.0f} days",
    ),
    Feature(
        name="review_rating_last", description="Rating of the newest business review, 0 to 10.",
        theme="sponsor", reads=("review.held",), aggregate=Aggregate(operation="last"),
        when_empty=None, unit="points of 10", direction="safety",
        phrase="latest review rated {value:.0f} of 10",
    ),
)
