"""The shapes of scores on the wire: probabilities, reasons, health."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import ConfigDict, Field

from serving.api.schemas.wire_model import (
    EXAMPLE_ACCOUNT,
    MOST_ACCOUNTS,
    AccountId,
    Answer,
    Request,
)
from serving.text_format import INTERVAL_COVERS, TIER_COVERS


class ProbabilityAnswer(Answer):
    """A probability within a horizon; null is unknown."""

    horizon_days: int
    probability: float | None
    low: float | None = Field(description=f"Lower bound of the 95 % interval. {INTERVAL_COVERS}")
    high: float | None = Field(description=f"Upper bound of the 95 % interval. {INTERVAL_COVERS}")
    base_rate: float | None = Field(description="How often it happened among training rows.")
    extended_from_days: int | None = Field(
        default=None,
        description="Where no account was followed for so long: the days that were learned, whose rate is "
        "taken to go on. Null where the horizon itself was learned.",
    )


class EvidenceAnswer(Answer):
    """A fact under a reason; `points` is its own part of the reason's."""

    text: str
    comparison: str | None
    feature: str
    value: float
    unit: str
    points: float


class ReasonRecordAnswer(Answer):
    """Of accounts that had a theme as their first reason: how many the outcome came for.

    Counted by the training on later rows than it had fitted to; `expected` by its probabilities.
    """

    accounts: int
    came: int
    expected: float


class ReasonAnswer(Answer):
    """One theme that goes with the score: associated with it, not shown to cause it.

    `points` are of the whole theme. `text`, `comparison`, `feature`, `value` and `unit` are of the
    fact that leads it, which is the first of `evidence`.
    """

    text: str
    comparison: str | None
    feature: str
    theme: str
    title: str = Field(description="What people call the theme.")
    value: float | None
    unit: str
    points: float = Field(description="Share of the score; positive goes with more of it.")
    points_unit: Literal["percentage points", "health points"]
    also: list[str] = Field(description="The texts of the facts after the first.")
    evidence: list[EvidenceAnswer]
    record: ReasonRecordAnswer | None = Field(description="Null for fewer than 20 accounts.")


class ReasonsAnswer(Answer):
    """Reasons in three lists, each in that of the fact that leads it.

    `start + rest + all points` is the probability × 100. `rest` is what the `others` add: themes
    that are too small, or whose facts point against the direction that is declared for them.
    """

    signals: list[ReasonAnswer] = Field(description="What we see the account do.")
    levers: list[ReasonAnswer] = Field(description="What an action of ours can move.")
    context: list[ReasonAnswer] = Field(description="What nobody can change.")
    start: float | None
    rest: float | None
    others: int = Field(description="How many themes add something and are no reason.")


class HealthPartAnswer(Answer):
    """One component of the health score."""

    name: str
    weight: float
    points: float | None
    measure: str


class HealthAnswer(Answer):
    """The health score of 0 to 100 by the named formula; null with too little known."""

    formula: str
    score: float | None
    level: str | None
    action: str | None
    components: list[HealthPartAnswer]
    unknown: list[str]


FRESHNESS = "Of the whole workspace; empty for a key that reaches only some of its accounts."


class FreshnessAnswer(Answer):
    """When a kind of event was last recorded in this workspace."""

    kind: str
    last_recorded_at: datetime
    age_hours: float


class ScoreAnswer(Answer):
    """The score of one account at one horizon."""

    account_id: str
    as_of: datetime
    horizon_days: int
    churn_probability: float | None
    churn_probability_low: float | None = Field(description=INTERVAL_COVERS)
    churn_probability_high: float | None = Field(description=INTERVAL_COVERS)
    base_rate: float | None
    risk_tier: str | None = Field(description=TIER_COVERS)
    expansion_probability_90d: float | None
    expected_expansion: float | None
    health_score: float | None
    health_level: str | None
    source: Literal["model", "health_formula"]
    degraded: str | None = Field(description="Why the formula answers; null when the model does.")
    model_version: str | None
    formula: str
    mrr: float | None
    revenue_at_risk: float | None = Field(
        description="Churn probability within 90 days × MRR × 12."
    )
    revenue_at_risk_low: float | None
    revenue_at_risk_high: float | None
    currency: str
    reasons: ReasonsAnswer
    freshness: list[FreshnessAnswer] = Field(description=FRESHNESS)


class ScoresRequest(Request):
    """Which accounts to score."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"account_ids": [EXAMPLE_ACCOUNT]}]})

    account_ids: list[AccountId] = Field(min_length=1, fail_fast=True, description=MOST_ACCOUNTS)
    horizon_days: int = Field(default=90, ge=1, le=3660)


class ScoresAnswer(Answer):
    """The scores in the order asked, and what is not known."""

    as_of: datetime
    items: list[ScoreAnswer]
    unknown: list[str]
