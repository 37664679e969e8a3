"""The shapes of claims, approvals and controls on the wire."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from serving.api.schemas.wire_model import Answer, Moment, Request, ShortText, Whole
from serving.ledger.approvals import Approval
from serving.ledger.autonomy import LEVELS
from serving.ledger.claims import Claim
from serving.ledger.kill_switch import Control, Scope
from serving.ledger.ledger import Decision

EXAMPLE_CLAIM = "0f8a3a52-9d0e-5c55-b1d2-2f4f6a1b9c3d"
SHORTEST_LEASE, LONGEST_LEASE, USUAL_LEASE = 10, 14_400, 600

Name = Annotated[str, Field(min_length=1, max_length=200)]
LeaseSeconds = Annotated[
    Whole,
    Field(
        ge=SHORTEST_LEASE,
        le=LONGEST_LEASE,
        description=(
            "How long it is yours from now on by the clock of the service, unless a heartbeat prolongs "
            "it."
        ),
    ),
]
By = Annotated[
    ShortText | None,
    Field(description="Pseudonym of who it is; the owner of the API key counts where it has one."),
]


class ClaimRequest(Request):
    """A claim is made or prolonged."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"by": "mailer", "lease_seconds": 600}]}
    )

    by: By = None
    lease_seconds: LeaseSeconds = USUAL_LEASE

    @property
    def lease(self) -> timedelta:
        """The lease as a time."""
        return timedelta(seconds=self.lease_seconds)


class ClaimDecisionRequest(ClaimRequest):
    """A decision is claimed: its own action, or another one of its list."""

    action: Name | None = Field(
        default=None,
        description="Another action of the decision's list; left out, the decision's own, which is "
        "the first.",
    )


class CompleteRequest(Request):
    """A claimed decision was carried out."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"by": "mailer"}]})

    by: By = None
    occurred_at: Moment | None = Field(
        default=None,
        description="On the time of the data, and not after it; the moment it was "
        "received when left out.",
    )


class FailRequest(Request):
    """A claimed decision was not carried out."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"by": "mailer", "reason": "The address does not exist"}]}
    )

    by: By = None
    reason: ShortText


class ApprovalRequest(Request):
    """What a person says to a decision."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"verdict": "approved", "by": "csm-17"},
                {"verdict": "rejected", "by": "csm-17", "reason": "They are on leave"},
            ]
        }
    )

    verdict: Literal["approved", "rejected"] = Field(
        description="A rejection is the veto of what goes ahead by itself."
    )
    by: By = None
    reason: ShortText | None = None
    action: Name | None = Field(
        default=None,
        description="Another action of the decision's list; left out, the decision's own, which is "
        "the first.",
    )


class ClaimAnswer(Answer):
    """A claim as it stands now."""

    claim_id: str
    decision_id: str
    account_id: str
    action: str
    by: str
    state: Literal["claimed", "completed", "failed", "lapsed"]
    claimed_at: datetime = Field(description="By the clock of the service.")
    lease_until: datetime = Field(
        description="Until then, by the clock of the service, it is theirs; do not begin after it."
    )
    ended_at: datetime | None = Field(description="By the clock of the service.")
    reason: str | None


class ApprovalAnswer(Answer):
    """What a person said to a decision."""

    approval_id: str
    decision_id: str
    verdict: Literal["approved", "rejected"]
    by: str
    at: datetime = Field(description="By the clock of the service.")
    reason: str | None


class DecisionAnswer(Answer):
    """A decision as it was stored, and what became of it so far."""

    decision_id: str
    account_id: str
    action: str
    decided_at: datetime = Field(description="On the time of the data, which may stand still.")
    as_of: datetime = Field(description="Of the features, on the time of the data.")
    asked_at: datetime | None = Field(
        description="When it was asked for, by the clock of the "
        "service; null: before this was kept."
    )
    valid_until: datetime | None = Field(
        description="By the clock of the service; null: decided before this was kept."
    )
    part_of: str | None = Field(
        description="The decision from whose list this action is; null: it came first in its own."
    )
    subjects: list[str] = Field(description="Actions that are done with it, in one conversation.")
    autonomy: int | None = Field(
        description="The level it was decided at; "
        + "; ".join(f"{level} {words}" for level, words in LEVELS.items())
        + "."
    )
    expected_value: float
    currency: str
    propensity: float
    proposed_by: str | None
    claims: list[ClaimAnswer]
    approvals: list[ApprovalAnswer]


class ScopeRequest(Request):
    """What a control is about; what is left out is not named, so that all of it counts."""

    action: Name | None = None
    segment: Name | None = None
    csm: Name | None = None
    by: By = None
    reason: ShortText

    @property
    def scope(self) -> Scope:
        """The scope as a value."""
        return Scope(action=self.action, segment=self.segment, csm=self.csm)


class StopRequest(ScopeRequest):
    """What is to stop, or to go on."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"reason": "Wrong prices in the last e-mails", "by": "ann"},
                {"action": "success_call", "reason": "No callers this week", "by": "ann"},
            ]
        }
    )


class LevelRequest(Request):
    """How far an action may go by itself in a segment."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"action": "success_call", "level": 1, "by": "ann", "reason": "New callers"}
            ]
        }
    )

    action: Name | None = None
    segment: Name | None = None
    level: Whole = Field(
        ge=0,
        le=4,
        description="; ".join(f"{level}: {words}" for level, words in LEVELS.items()) + ".",
    )
    by: By = None
    reason: ShortText


class CapacityRequest(ScopeRequest):
    """How many may be claimed in a week."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"action": "success_call", "most_a_week": 40, "reason": "Two callers", "by": "ann"}
            ]
        }
    )

    most_a_week: Whole = Field(ge=0, le=1_000_000)


class ControlAnswer(Answer):
    """One control: what somebody stopped, resumed or set, when and why."""

    kind: Literal["stop", "resume", "level", "capacity"]
    action: str | None
    segment: str | None
    csm: str | None
    value: int | None
    by: str
    at: datetime = Field(description="By the clock of the service.")
    reason: str


class ControlsAnswer(Answer):
    """What holds now, and every control in the order in which they were given."""

    stopped: list[ControlAnswer]
    items: list[ControlAnswer]


def claim_answer(claim: Claim) -> ClaimAnswer:
    """A claim."""
    return ClaimAnswer(
        claim_id=claim.claim_id,
        decision_id=claim.decision_id,
        account_id=claim.account_id,
        action=claim.action,
        by=claim.by,
        state=claim.state,
        claimed_at=claim.claimed_at,
        lease_until=claim.lease_until,
        ended_at=claim.ended_at,
        reason=claim.reason,
    )


def approval_answer(approval: Approval) -> ApprovalAnswer:
    """An approval or a rejection."""
    return ApprovalAnswer(
        approval_id=approval.approval_id,
        decision_id=approval.decision_id,
        verdict=approval.verdict,
        by=approval.by,
        at=approval.at,
        reason=approval.reason,
    )


def decision_answer(
    decision: Decision, claims: tuple[Claim, ...], approvals: tuple[Approval, ...]
) -> DecisionAnswer:
    """A decision with what became of it."""
    return DecisionAnswer(
        decision_id=decision.decision_id,
        account_id=decision.account_id,
        action=decision.action,
        decided_at=decision.decided_at,
        as_of=decision.as_of,
        asked_at=decision.asked_at,
        valid_until=decision.valid_until,
        part_of=decision.part_of,
        subjects=list(decision.subjects),
        autonomy=decision.autonomy,
        expected_value=decision.expected_value,
        currency=decision.currency,
        propensity=decision.propensity,
        proposed_by=decision.proposed_by,
        claims=[claim_answer(one) for one in claims],
        approvals=[approval_answer(one) for one in approvals],
    )


def control_answer(control: Control) -> ControlAnswer:
    """A control."""
    return ControlAnswer(
        kind=control.kind,
        action=control.scope.action,
        segment=control.scope.segment,
        csm=control.scope.csm,
        value=control.value,
        by=control.by,
        at=control.at,
        reason=control.reason,
    )
