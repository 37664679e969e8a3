"""The routes by which people judge recommendations."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Path
from pydantic import ConfigDict, Field, model_validator

from serving.api.dependencies import AtCaller, AtService
from serving.api.route_problems import problems
from serving.api.schemas.wire_model import EXAMPLE_DECISION, Answer, Moment, Request, ShortText
from serving.auth.roles import READ, Need, needs
from serving.ledger.errors import LedgerUnreachableError, UnknownDecisionError
from serving.ledger.feedback import Feedback, FeedbackRecords, NewFeedback
from serving.problems import KEY_HEADER, LONGEST_KEY, NotReadyError

router = APIRouter(prefix="/v1", tags=["decisions"])

DecisionId = Annotated[str, Path(min_length=1, max_length=100, examples=[EXAMPLE_DECISION])]


class FeedbackRequest(Request):
    """What a person says to a recommendation, and why."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"verdict": "agree"},
                {"verdict": "disagree", "reason": "Their sponsor asked not to be called"},
            ]
        }
    )

    verdict: Literal["agree", "disagree", "snooze"]
    reason: ShortText | None = Field(default=None, description="Needed unless they agree.")
    action: ShortText | None = Field(
        default=None, description="Which of the ranked actions; the first, when left out."
    )
    snooze_until: Moment | None = Field(
        default=None,
        description="Needed with `snooze`: until when it is put off, with its time "
        "zone. By the clock of the service, whatever the time of the "
        "data; at most 366 days ahead.",
    )
    by: ShortText | None = Field(
        default=None,
        description="Pseudonym of who says it; the owner of the API key counts where it has one.",
    )

    @model_validator(mode="after")
    def _is_complete(self) -> FeedbackRequest:
        if self.verdict != "agree" and self.reason is None:
            raise ValueError("disagreeing or putting off needs its `reason`")
        if (self.verdict == "snooze") != (self.snooze_until is not None):
            raise ValueError("`snooze_until` is needed with `snooze`, and only there")
        return self


class FeedbackAnswer(Answer):
    """What was said, as it was stored."""

    feedback_id: str
    decision_id: str
    account_id: str
    action: str
    verdict: Literal["agree", "disagree", "snooze"]
    reason: str | None
    snooze_until: datetime | None
    by: str
    at: datetime = Field(description="On the time of the data, which may stand still.")
    heard_at: datetime | None = Field(
        description="By the clock of the service; null where it was said before this was kept."
    )


class FeedbackListAnswer(Answer):
    """Everything that was said, newest first."""

    items: list[FeedbackAnswer]


@router.post(
    "/decisions/{decision_id}/feedback",
    operation_id="give_feedback",
    status_code=201,
    summary="Agree, disagree or put off",
)
@needs(Need(permission="judge", of="accounts", writes=True, may_repeat=True))
@problems(UnknownDecisionError, LedgerUnreachableError, NotReadyError)
def say(
    service: AtService,
    caller: AtCaller,
    decision_id: DecisionId,
    body: FeedbackRequest,
    idempotency_key: Annotated[
        str | None,
        Header(
            alias=KEY_HEADER,
            min_length=1,
            max_length=LONGEST_KEY,
            description="New for each write, the same when a request is repeated.",
        ),
    ] = None,
) -> FeedbackAnswer:
    """Keep what a person says to a recommendation, with the reason, for good.

    Agreeing approves nothing and disagreeing stops nothing. What is put off is not recommended for
    this account before `snooze_until` by the clock of the service, unless somebody agrees to it
    sooner. Saying something else later is a new record.
    """
    return feedback_answer(
        FeedbackRecords(service.ledger.database).record(
            decision_id,
            NewFeedback(
                verdict=body.verdict,
                reason=body.reason,
                action=body.action,
                snooze_until=body.snooze_until,
            ),
            by=caller.by(body.by) or caller.key_id,
            key=None if idempotency_key is None else caller.own(idempotency_key),
            now=service.now(),
            heard_at=service.wall_clock(),
        )
    )


@router.get(
    "/decisions/{decision_id}/feedback",
    operation_id="list_feedback",
    summary="What people said to a decision",
)
@needs(READ)
@problems(UnknownDecisionError, LedgerUnreachableError, NotReadyError)
def heard(service: AtService, decision_id: DecisionId) -> FeedbackListAnswer:
    """Everything that was said, newest first."""
    service.ledger.decision(decision_id)
    return FeedbackListAnswer(
        items=[
            feedback_answer(one)
            for one in FeedbackRecords(service.ledger.database).of_decision(decision_id)
        ]
    )


def feedback_answer(one: Feedback) -> FeedbackAnswer:
    """What was said, as it goes over the wire."""
    return FeedbackAnswer(
        feedback_id=one.feedback_id,
        decision_id=one.decision_id,
        account_id=one.account_id,
        action=one.action,
        verdict=one.verdict,
        reason=one.reason,
        snooze_until=one.snooze_until,
        by=one.by,
        at=one.at,
        heard_at=one.heard_at,
    )
