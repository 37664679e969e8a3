"""The shapes of recommendations on the wire, and of what came of them."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import ConfigDict, Field, model_validator

from serving.api.schemas.wire_model import (
    EXAMPLE_ACCOUNT,
    MOST_ACCOUNTS,
    AccountId,
    Answer,
    Moment,
    Request,
    ShortText,
    Whole,
)


class NextActionsRequest(Request):
    """For which accounts to recommend; all with most revenue at risk when left out."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"account_ids": [EXAMPLE_ACCOUNT]}, {"limit": 3}]}
    )

    account_ids: list[AccountId] | None = Field(
        default=None, min_length=1, fail_fast=True, description=MOST_ACCOUNTS
    )
    limit: Whole | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="How many accounts, most revenue at risk first; 20 where neither this nor ids are "
        "sent. Every account that is named is answered, or the request is refused.",
    )
    actions_per_account: Whole = Field(default=5, ge=1, le=50)


class BeliefAnswer(Answer):
    """What an action changes for the account, in probability points: playbook and data, mixed."""

    effect: float
    effect_low: float = Field(description="With effect_high, of the 95 % interval.")
    effect_high: float
    playbook_share: float
    data_share: float
    n: int = Field(description="Cases that were measured; 0: the playbook stands alone.")
    effective_n: float
    strength: float = Field(description="Of the playbook's prior, in accounts.")
    measured: float | None = Field(description="The data alone; null: nothing was measured.")
    measured_low: float | None
    measured_high: float | None
    measured_grade: str | None
    measured_from: datetime | None
    measured_to: datetime | None
    segment: str | None
    source: str | None


class SubjectAnswer(Answer):
    """An action that is talked about in another action's conversation."""

    action: str
    name: str
    text: str
    why: str


class CandidateAnswer(Answer):
    """One action that may be done now, or doing nothing."""

    action: str
    name: str
    text: str
    why: str
    objective: str
    channel: str
    owner_role: str
    expected_value: float = Field(description="Money it is expected to bring after costs.")
    cautious_value: float = Field(
        description="What we dare to count on; ranks what is neither urgent nor due."
    )
    uplift: float = Field(description="Probability points, after fatigue.")
    at_stake: float
    margin: float = Field(description="Share of revenue that is left; 1 where a worth is stated.")
    benefit: float = Field(description="Uplift × at stake × margin.")
    cost: float = Field(description="Outlay, what is given away and what the hours cost.")
    hours: float
    hours_cost: float
    contacts_28d: int = Field(description="Contacts of the last four weeks before it.")
    fatigue: float = Field(description="Share of the effect that those contacts use up.")
    belief: BeliefAnswer | None = Field(description="What the uplift comes from; null: no action.")
    evidence_grade: str
    evidence: str
    playbook_share: float = Field(
        description="How much of the belief is the playbook's prior; 1 is all."
    )
    deadline: datetime | None
    max_autonomy: int
    sequence: str | None
    look_first: list[str]
    basis: Literal["urgent", "due", "value"] = Field(
        description="What its place rests on: urgent, a person speaks to them first; due, it is "
        "promised; value, its cautious value."
    )
    basis_why: str = Field(description="Empty where the place rests on the value.")
    subjects: list[SubjectAnswer] = Field(
        description="What else the same conversation is about; done with it, not apart from it."
    )


class WithheldAnswer(Answer):
    """An action that was brought up and held back, and why."""

    action: str
    name: str
    stage: str = Field(
        description="Where it dropped out: eligibility, suitability, "
        "put_off, contact_policy, value, conflicts, rank or chance."
    )
    reason: str
    why: str
    allowed_from: datetime | None = Field(
        description="By the clock of the service for the reasons put_off and quiet_hours, on the "
        "time of the data, which may stand still, for all others."
    )
    until: str


class LotInfo(Answer):
    """A draw between nearly equal actions, which decided what comes first."""

    lottery_id: str
    key_id: str = Field(description="Of the key that the draw can be redone with.")
    of: list[str] = Field(description="Actions that took part; each had the same probability.")
    drawn: list[str]


class HoldoutInfo(Answer):
    """Where the account stands in the holdout of its contract term."""

    is_held_out: bool
    until: datetime | None = Field(description="null: when the term ends is not known.")
    lottery_id: str
    key_id: str
    otherwise: str = Field(description="What would have come first on the other side.")


class RecommendationAnswer(Answer):
    """What is recommended for one account, stored under its decision id.

    Where the ledger cannot be reached there is no decision, only a suggestion: nothing was
    stored, nothing can be claimed, and a person decides.
    """

    decision_id: str | None = Field(description="null: the ledger cannot be reached; suggestion.")
    valid_until: datetime | None = Field(
        description="By the clock of the service; after it the decision cannot be claimed."
    )
    autonomy: int = Field(
        description="How far the action may go by itself now, and no further: "
        "0 logged only, 1 suggested, 2 approved by a person, 3 "
        "automatic after a veto window, 4 automatic."
    )
    account_id: str
    as_of: datetime = Field(description="Of the features, on the time of the data.")
    decided_at: datetime = Field(description="On the time of the data, which may stand still.")
    action: str
    expected_value: float
    currency: str
    propensity: float = Field(
        description="The probability of what comes first; 1: chance had no say."
    )
    lot: LotInfo | None = Field(description="null: no lot was drawn.")
    holdout: HoldoutInfo | None = Field(description="null: chance has no say about the account.")
    dropped: dict[str, int] = Field(description="How many actions each stage held back.")
    look_again_on: datetime | None = Field(
        description="When to look at the account again, on the time of the data; null where a "
        "person has something to do now, or no contract runs."
    )
    look_again_why: str = Field(description="What it is about on that day.")
    source: Literal["model", "health_formula"]
    degraded: str | None
    ranked: list[CandidateAnswer]
    withheld: list[WithheldAnswer]
    notes: list[str]


class NextActionsAnswer(Answer):
    """Recommendations, one an account."""

    items: list[RecommendationAnswer]
    unknown: list[str]


class OutcomeRequest(Request):
    """What came of a decision."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"kind": "executed", "by": "csm-17"},
                {
                    "kind": "declined",
                    "reason": "The account is in a re-organisation",
                    "by": "csm-17",
                },
                {"kind": "outcome", "result": "renewed"},
            ]
        }
    )

    kind: Literal["executed", "declined", "outcome"]
    result: ShortText | None = Field(default=None, description="Needed with `outcome`.")
    reason: ShortText | None = Field(default=None, description="Needed with `declined`.")
    by: ShortText | None = Field(default=None, description="Pseudonym of who did it.")
    action: ShortText | None = Field(
        default=None,
        description="Another action of the decision's list; left out, the decision's own.",
    )
    occurred_at: Moment | None = Field(
        default=None,
        description="On the time of the data, and not after it; the moment it was "
        "received when left out.",
    )

    @model_validator(mode="after")
    def _is_complete(self) -> OutcomeRequest:
        if self.kind == "outcome" and self.result is None:
            raise ValueError("an outcome needs `result`, what came of it, such as renewed")
        if self.kind == "declined" and self.reason is None:
            raise ValueError("a decision against an action needs its `reason`")
        return self


class OutcomeAnswer(Answer):
    """An outcome as it was stored."""

    outcome_id: str
    decision_id: str
    account_id: str
    action: str
    kind: Literal["executed", "declined", "outcome"]
    occurred_at: datetime = Field(description="On the time of the data.")
    received_at: datetime = Field(description="On the time of the data.")
    result: str | None
    reason: str | None
    by: str | None
