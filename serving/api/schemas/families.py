"""The shapes of parents on the wire: what all accounts below one come to."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from serving.api.schemas.wire_model import Answer
from serving.text_format import TIER_COVERS


class ParentAnswer(Answer):
    """The account that this one names as its parent."""

    account_id: str
    name: str | None
    is_scored: bool = Field(
        description="false: it sends nothing itself; GET /v1/accounts?parent= has its accounts."
    )


class FamilyFigureAnswer(Answer):
    """One number of a parent and all below it together."""

    feature: str
    description: str
    unit: str
    value: float | None
    at_least: float | None = Field(
        description="Of different people, who may be in two accounts, only bounds are known."
    )
    at_most: float | None
    how: str = Field(description="How it comes from the numbers of the accounts.")
    known_of: int = Field(description="Of how many of the accounts it is known.")


class FamilyMemberAnswer(Answer):
    """One account directly below a parent."""

    account_id: str
    name: str | None
    as_of: datetime
    health_score: float | None
    level: str | None
    risk_tier: str | None = Field(description=TIER_COVERS)
    source: Literal["model", "health_formula"]
    mrr: float | None
    active_users_28d: float | None
    tickets_28d: float | None


class FamilyAnswer(Answer):
    """What a parent and all accounts below it come to, from their newest features."""

    account_id: str
    as_of: datetime = Field(description="The newest moment among its accounts.")
    oldest_as_of: datetime
    accounts: int = Field(description="How many have features: itself and all below it.")
    children: int = Field(description="How many are directly below it.")
    worst_children: list[FamilyMemberAnswer] = Field(
        description="Worst health first, unknown last; at most 100. All: "
        "GET /v1/accounts?parent= and the id."
    )
    formula: str | None = Field(description="The health formula.")
    figures: list[FamilyFigureAnswer]
    features: dict[str, float | None] = Field(
        description="Every feature that follows from those of the accounts; null is unknown."
    )
    currency: str
