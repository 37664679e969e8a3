"""This module is about the people on whom the contract depends: declarations only."""

from __future__ import annotations

import polars as pl

from features.catalogue.definitions import MONTH, QUARTER, YEAR
from features.catalogue.feature import Aggregate, AnyFeature, Derived, Feature

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
    Feature(
        name="days_since_sponsor_session", description="Days since a session of a sponsor.",
        theme="sponsor", reads=("user.session",), where={"role": "sponsor"},
        aggregate=Aggregate(operation="days_since_last"), when_empty=None, unit="days",
        direction="risk", is_model_input=False,
        phrase="no session of a sponsor for {value:.0f} days",
    ),
    Derived(
        name="sponsor_silence_days",
        description="Days since a sponsor was in touch or in the product.", theme="sponsor",
        inputs=("days_since_sponsor_touch", "days_since_sponsor_session"),
        formula=lambda touch, session: pl.min_horizontal(touch, session), unit="days",
        direction="risk", role="lever", phrase="nothing of a sponsor for {value:.0f} days",
    ),
    Feature(
        name="sponsors_left_90d", description="Sponsors who left.", theme="sponsor",
        reads=("contact.changed",), where={"role": "sponsor", "state": "left"},
        aggregate=Aggregate(operation="count"), lookback=QUARTER, when_empty=0.0, unit="people",
        direction="risk", is_model_input=False,
        phrase="{value:.0f} sponsors left in the last 90 days",
    ),
    Feature(
        name="champions_left_90d", description="Champions who left.", theme="sponsor",
        reads=("contact.changed",), where={"role": "champion", "state": "left"},
        aggregate=Aggregate(operation="count"), lookback=QUARTER, when_empty=0.0, unit="people",
        direction="risk", is_model_input=False,
        phrase="{value:.0f} champions left in the last 90 days",
    ),
    Feature(
        name="champions_joined_count", description="Champions who joined, all time.",
        theme="sponsor", reads=("contact.changed",),
        where={"role": "champion", "state": "joined"}, aggregate=Aggregate(operation="count"),
        when_empty=0.0, unit="people", is_model_input=False,
        phrase="{value:.0f} champions ever joined",
    ),
    Feature(
        name="champions_left_count", description="Champions who left, all time.",
        theme="sponsor", reads=("contact.changed",), where={"role": "champion", "state": "left"},
        aggregate=Aggregate(operation="count"), when_empty=0.0, unit="people",
        is_model_input=False, phrase="{value:.0f} champions ever left",
    ),
    Derived(
        name="champions", description="Champions who are there now.", theme="sponsor",
        inputs=("champions_joined_count", "champions_left_count"),
        formula=lambda joined, left: (joined - left).clip(0), unit="people", direction="safety",
        role="lever", phrase="{value:.0f} champions",
    ),
    Feature(
        name="reviews_365d", description="Business reviews held.", theme="sponsor",
        reads=("review.held",), aggregate=Aggregate(operation="count"), lookback=YEAR,
        when_empty=0.0, unit="reviews", direction="safety", is_model_input=False,
        phrase="{value:.0f} business reviews in the last 365 days",
    ),
    Feature(
        name="renewal_intent",
        description="Newest intent to renew said in a review: 1 yes, 0.5 maybe, 0 no.",
        theme="sponsor", reads=("review.held",), when_empty=None,
        aggregate=Aggregate(operation="last", of="renewal_intent",
                            words={"yes": 1.0, "maybe": 0.5, "no": 0.0}),
        unit="share", direction="safety",
        phrase="latest intent to renew of {value:.1f}, from 0 (no) to 1 (yes)",
    ),
)
