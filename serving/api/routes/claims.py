"""The routes of carrying decisions out: approve, claim, complete, fail.

The acting person is the owner of the API key; where it has none, the one whom the request names.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Header, Path

from experiments.policy.recommend import DO_NOTHING
from serving.api.dependencies import AtCaller, AtService
from serving.api.route_problems import Refusal, problems
from serving.api.schemas.claims import (
    EXAMPLE_CLAIM,
    ApprovalAnswer,
    ApprovalRequest,
    ClaimAnswer,
    ClaimDecisionRequest,
    ClaimRequest,
    CompleteRequest,
    DecisionAnswer,
    FailRequest,
    approval_answer,
    claim_answer,
    decision_answer,
)
from serving.api.schemas.wire_model import EXAMPLE_DECISION
from serving.auth.roles import CLAIM, READ, Caller, Need, needs
from serving.http.ledger_problems import problem_of
from serving.ledger.approvals import Approvals
from serving.ledger.claims import Claim, Claims
from serving.ledger.errors import (
    AlreadyClaimedError,
    CapacityUsedError,
    ClaimOverError,
    ContradictingOutcomeError,
    DecisionExpiredError,
    HeldBackError,
    LedgerError,
    LedgerUnreachableError,
    NotClaimableError,
    NotYoursError,
    OutcomeBeforeDecisionError,
    QuietHoursError,
    SelfApprovalError,
    StoppedError,
    UnknownClaimError,
    UnknownDecisionError,
)
from serving.problems import (
    KEY_HEADER,
    LONGEST_KEY,
    FieldProblem,
    NotReadyError,
    ProblemError,
    WrongShapeError,
)
from serving.recommendations.claim_recheck import recheck_of
from serving.recommendations.recommend import decide_and_store
from serving.state.service_state import ServiceState

router = APIRouter(prefix="/v1", tags=["claims"])

DecisionId = Annotated[str, Path(min_length=1, max_length=100, examples=[EXAMPLE_DECISION])]
ClaimId = Annotated[str, Path(min_length=1, max_length=100, examples=[EXAMPLE_CLAIM])]
IdempotencyKey = Annotated[
    str,
    Header(
        alias=KEY_HEADER,
        min_length=1,
        max_length=LONGEST_KEY,
        examples=["7d3c9a52-claim-1"],
        description="New for each write, the same when a request is repeated.",
    ),
]


APPROVAL_PROBLEMS: tuple[Refusal, ...] = (
    UnknownDecisionError,
    NotClaimableError,
    ContradictingOutcomeError,
    DecisionExpiredError,
    SelfApprovalError,
    StoppedError,
    LedgerUnreachableError,
    NotReadyError,
)
"""What refuses an approval, sent by a program or by the form of a page."""


@router.get(
    "/decisions/{decision_id}",
    operation_id="get_decision",
    summary="A decision, and what became of it",
)
@needs(READ)
@problems(UnknownDecisionError, LedgerUnreachableError, NotReadyError)
def see_decision(service: AtService, decision_id: DecisionId) -> DecisionAnswer:
    """What was decided, until when it is valid, who approved it and who claimed it."""
    decision = service.ledger.decision(decision_id)
    return decision_answer(
        decision,
        Claims(service.ledger.database).of_decision(decision_id, now=service.wall_clock()),
        Approvals(service.ledger.database).of_decision(decision_id),
    )


@router.post(
    "/decisions/{decision_id}/approvals",
    operation_id="approve_decision",
    status_code=201,
    summary="Approve or reject a decision",
)
@needs(Need(permission="approve", of="accounts", writes=True, may_repeat=True))
@problems(*APPROVAL_PROBLEMS)
def approve(
    service: AtService,
    caller: AtCaller,
    decision_id: DecisionId,
    body: ApprovalRequest,
    key: IdempotencyKey,
) -> ApprovalAnswer:
    """Let a decision of level 2 or 3 go ahead, or keep it from doing so, for good.

    Whoever asked for the decision cannot approve it. Rejecting what goes ahead by itself is the
    veto; whoever is at work on it hears of it at the next heartbeat.
    """
    approval, _ = Approvals(service.ledger.database).record(
        decision_id,
        body.verdict,
        by=acting(caller, body.by),
        reason=body.reason,
        key=caller.own(key),
        now=service.wall_clock(),
        action=body.action,
    )
    return approval_answer(approval)


@router.post(
    "/decisions/{decision_id}/claims",
    operation_id="claim_decision",
    status_code=201,
    summary="Claim a decision",
)
@needs(CLAIM)
@problems(
    UnknownDecisionError,
    AlreadyClaimedError,
    CapacityUsedError,
    DecisionExpiredError,
    HeldBackError,
    NotClaimableError,
    QuietHoursError,
    StoppedError,
    LedgerUnreachableError,
    NotReadyError,
)
def claim(
    service: AtService,
    caller: AtCaller,
    decision_id: DecisionId,
    body: ClaimDecisionRequest,
    key: IdempotencyKey,
) -> ClaimAnswer:
    """Take a decision to carry it out, for a lease; nobody else gets it meanwhile.

    Any action of the decision's list can be taken, each with its own lease, by the engine of its
    channel; the claim names the decision about that action.

    Refused is what is stopped, waits for a person, is claimed or done, would disturb the account
    in its quiet hours, would not be allowed any more on what is known now, or comes too late; what
    is not allowed any more or too late is decided again, and the refusal names the new decision.
    """
    try:
        made, is_new = Claims(service.ledger.database).claim(
            decision_id,
            by=acting(caller, body.by),
            lease=body.lease,
            key=caller.own(key),
            now=service.wall_clock(),
            action=body.action,
            held_back=recheck_of(service, service.ledger.decision(decision_id), body.action),
        )
    except (DecisionExpiredError, HeldBackError) as error:
        raise decide_again(service, caller, decision_id, error) from error
    if is_new:
        service.metrics.claims.labels("claimed").inc()
    return claim_answer(made)


@router.get("/claims/{claim_id}", operation_id="get_claim", summary="A claim as it stands now")
@needs(READ)
@problems(UnknownClaimError, LedgerUnreachableError, NotReadyError)
def see_claim(service: AtService, claim_id: ClaimId) -> ClaimAnswer:
    """Who holds it, until when, and how it ended."""
    return claim_answer(within_reach(service, claim_id))


@router.post(
    "/claims/{claim_id}/heartbeat",
    operation_id="extend_claim",
    summary="Prolong a claim",
)
@needs(CLAIM)
@problems(
    UnknownClaimError,
    NotYoursError,
    ClaimOverError,
    NotClaimableError,
    StoppedError,
    LedgerUnreachableError,
    NotReadyError,
)
def heartbeat(
    service: AtService, caller: AtCaller, claim_id: ClaimId, body: ClaimRequest, key: IdempotencyKey
) -> ClaimAnswer:
    """Go on for another lease from now. When it is refused, do not go on."""
    within_reach(service, claim_id)
    made, _ = Claims(service.ledger.database).heartbeat(
        claim_id,
        by=acting(caller, body.by),
        lease=body.lease,
        key=caller.own(key),
        now=service.wall_clock(),
    )
    return claim_answer(made)


@router.post(
    "/claims/{claim_id}/complete",
    operation_id="complete_claim",
    summary="Say that it was carried out",
)
@needs(CLAIM)
@problems(
    UnknownClaimError,
    NotYoursError,
    ClaimOverError,
    ContradictingOutcomeError,
    OutcomeBeforeDecisionError,
    LedgerUnreachableError,
    NotReadyError,
)
def complete(
    service: AtService,
    caller: AtCaller,
    claim_id: ClaimId,
    body: CompleteRequest,
    key: IdempotencyKey,
) -> ClaimAnswer:
    """End the claim; the decision is executed, on the timeline as in the ledger.

    After the lease it is still heard, unless somebody else has claimed the decision since.
    """
    within_reach(service, claim_id)
    as_of = service.now()
    check_known(body.occurred_at, as_of)
    made, is_new = Claims(service.ledger.database).complete(
        claim_id,
        by=acting(caller, body.by),
        key=caller.own(key),
        now=service.wall_clock(),
        as_of=as_of,
        occurred_at=body.occurred_at,
    )
    if is_new:
        service.metrics.claims.labels("completed").inc()
        service.metrics.outcomes.labels("executed").inc()
    service.deliver()
    return claim_answer(made)


@router.post(
    "/claims/{claim_id}/fail",
    operation_id="fail_claim",
    summary="Say that it was not carried out",
)
@needs(CLAIM)
@problems(UnknownClaimError, NotYoursError, ClaimOverError, LedgerUnreachableError, NotReadyError)
def fail(
    service: AtService, caller: AtCaller, claim_id: ClaimId, body: FailRequest, key: IdempotencyKey
) -> ClaimAnswer:
    """End the claim without having done it; the decision, and what it took, are free again."""
    within_reach(service, claim_id)
    made, is_new = Claims(service.ledger.database).fail(
        claim_id,
        by=acting(caller, body.by),
        reason=body.reason,
        key=caller.own(key),
        now=service.wall_clock(),
    )
    if is_new:
        service.metrics.claims.labels("failed").inc()
    return claim_answer(made)


def acting(caller: Caller, named: str | None) -> str:
    """The acting person: the owner of the key, else the one who is named, else the key."""
    return caller.owner or named or caller.key_id


def within_reach(service: ServiceState, claim_id: str) -> Claim:
    """A claim on an account that the caller reaches.

    Raises:
        UnknownClaimError: there is none, as far as the caller is told.
    """
    claim = Claims(service.ledger.database).get(claim_id, now=service.wall_clock())
    if service.reach is not None and claim.account_id not in service.portfolio.by_id:
        raise UnknownClaimError("No claim with this id was stored.")
    return claim


def check_known(occurred_at: datetime | None, as_of: datetime) -> None:
    """See that something is said to have happened on the time of the data, and not after it.

    Raises:
        WrongShapeError: it lies after the newest data, where there is no timeline yet.
    """
    if occurred_at is not None and occurred_at > as_of:
        message = (
            f"lies after the data of this workspace, which end at "
            f"{as_of.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC; leave it out for that moment"
        )
        raise WrongShapeError(
            f"occurred_at {message}", errors=[FieldProblem(where="occurred_at", message=message)]
        )


def decide_again(
    service: ServiceState,
    caller: Caller,
    decision_id: str,
    error: DecisionExpiredError | HeldBackError,
) -> LedgerError | ProblemError:
    """The refusal of a decision that came too late, with the decision that takes its place."""
    account_id = service.ledger.decision(decision_id).account_id
    score = service.portfolio.by_id.get(account_id)
    if score is None:
        return error
    [(_, again)] = decide_and_store(service, [score], proposed_by=acting(caller, None))
    if again.decision_id == decision_id:  # the same question: a newer playbook asks it otherwise
        return error
    if again.action == DO_NOTHING:
        return problem_of(
            error,
            detail=f"{error.detail} It was decided again: nothing is to be done now.",
            next_step="Do not carry it out. Ask again with POST /v1/next-actions "
            "when something has changed.",
        )
    return problem_of(
        error,
        detail=f"{error.detail} It was decided again: {again.decision_id}, {again.action}.",
        next_step=f"Look at {again.decision_id} with GET /v1/decisions/{again.decision_id}, and "
        f"claim that one.",
    )
