"""The shapes of accounts on the wire: a page of them, one, its timeline."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, cast

from pydantic import Field, create_model

from registry.outcomes import OUTLOOKS
from serving.api.schemas.families import FamilyAnswer, ParentAnswer
from serving.api.schemas.outlooks import GrowthAnswer, OutlookAnswer, RenewalAnswer, UntouchedAnswer
from serving.api.schemas.scores import (
    FRESHNESS,
    FreshnessAnswer,
    HealthAnswer,
    ProbabilityAnswer,
    ReasonsAnswer,
)
from serving.api.schemas.wire_model import Answer
from serving.text_format import INTERVAL_COVERS, TIER_COVERS


class AccountRow(Answer):
    """One account of the list."""

    account_id: str
    name: str | None
    as_of: datetime
    segment: str | None
    price_plan: str | None
    service_tier: str | None
    csm: str | None
    contract_status: str | None
    churn_probability_90d: float | None
    churn_probability_90d_low: float | None = Field(description=INTERVAL_COVERS)
    churn_probability_90d_high: float | None = Field(description=INTERVAL_COVERS)
    expansion_probability_90d: float | None
    risk_tier: str | None = Field(description=TIER_COVERS)
    health_score: float | None
    level: str | None
    source: Literal["model", "health_formula"]
    degraded: str | None
    model_version: str | None
    mrr: float | None
    revenue_at_risk: float | None
    expected_expansion: float | None
    currency: str
    top_reason: str | None


class AccountsAnswer(Answer):
    """A page of accounts, most revenue at risk first."""

    items: list[AccountRow]
    next_cursor: str | None
    as_of: datetime
    accounts: int = Field(description="How many accounts pass the filter, on all pages.")
    contract_ended: int = Field(
        description="How many of them have an ended contract; they are not scored for churn."
    )
    revenue_at_risk: float | None = Field(
        description="The sum over the accounts where it is known; null where it is for none."
    )
    currency: str
    family: FamilyAnswer | None = Field(
        description="What a parent and all below it come to; null without the filter `parent`."
    )


class AccountAnswer(Answer):
    """All that is known of one account, but for its other outcomes: see ``ACCOUNT_ANSWER``."""

    account_id: str
    name: str | None
    as_of: datetime
    source: Literal["model", "health_formula"]
    degraded: str | None
    model_version: str | None
    churn: list[ProbabilityAnswer]
    risk_if_untouched: UntouchedAnswer
    expansion: ProbabilityAnswer | None = Field(description="Within 90 days.")
    expansion_by_horizon: list[GrowthAnswer] = Field(
        description="Rising with the horizon; empty where it is not known, see `expansion_note`."
    )
    expansion_note: str | None
    renewal: RenewalAnswer
    renewal_reasons: ReasonsAnswer | None = Field(
        default=None,
        description="Of the chance to leave at the renewal, where it is later than 90 days.",
    )
    renewal_expansion: RenewalAnswer
    risk_tier: str | None = Field(description=TIER_COVERS)
    mrr: float | None
    revenue_at_risk: float | None
    revenue_at_risk_low: float | None
    revenue_at_risk_high: float | None
    expected_expansion: float | None
    expected_expansion_low: float | None
    expected_expansion_high: float | None
    currency: str
    health: HealthAnswer
    reasons: ReasonsAnswer
    expansion_reasons: ReasonsAnswer | None
    parent: ParentAnswer | None
    family: FamilyAnswer | None = Field(
        description="What it and all accounts below it come to; null where none is."
    )
    attributes: dict[str, str | None]
    features: dict[str, float | None]
    freshness: list[FreshnessAnswer] = Field(description=FRESHNESS)


ACCOUNT_ANSWER: type[AccountAnswer] = create_model(
    "AccountAnswer",
    __base__=AccountAnswer,
    __doc__="All that is known of one account.",
    **cast("Any", {outcome.name: (OutlookAnswer, ...) for outcome in OUTLOOKS}),
)
"""With a field for each outcome beside churn and expansion, as ``registry/outcomes.py`` has them."""


class TimelineEventAnswer(Answer):
    """One event."""

    event_id: str | None
    kind: str
    occurred_at: datetime
    recorded_at: datetime
    text: str
    event_count: int
    quantity: float | None
    properties: dict[str, str | float | bool]


class TimelineAnswer(Answer):
    """The newest events of an account that were known at `as_of`, newest first."""

    account_id: str
    as_of: datetime
    items: list[TimelineEventAnswer]
