"""Which problem of the API each refusal of the ledger is: the one place that translates them.

The ledger knows no HTTP. Its errors say what was refused; this table gives each its status, its
title and the step that helps the caller.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from serving.ledger.errors import (
    AlreadyClaimedError,
    AnswerLostError,
    CapacityUsedError,
    ClaimOverError,
    ContradictingOutcomeError,
    DecisionExpiredError,
    HeldBackError,
    InFlightError,
    InvalidFeedbackError,
    KeyReusedError,
    LedgerDamagedError,
    LedgerError,
    LedgerUnreachableError,
    LevelTooHighError,
    NotClaimableError,
    NotYoursError,
    OutcomeBeforeDecisionError,
    QuietHoursError,
    SelfApprovalError,
    StoppedError,
    UnknownClaimError,
    UnknownDecisionError,
    UnreadableQuestionError,
    UnstorableTextError,
)
from serving.problems import (
    PROBLEMS,
    FieldProblem,
    ProblemError,
    ProblemKind,
    WrongShapeError,
    kind_of,
)


def _kind(
    error: type[LedgerError], slug: str, status: int, title: str, next_step: str
) -> ProblemKind:
    """The kind of problem that an error is; its meaning is the docstring of the error."""
    return ProblemKind(
        slug=slug,
        status=status,
        title=title,
        meaning=(error.__doc__ or "").strip(),
        next_step=next_step,
    )


_KINDS: Mapping[type[LedgerError], ProblemKind] = {
    UnknownClaimError: _kind(
        UnknownClaimError,
        "unknown-claim",
        404,
        "Unknown claim",
        "Use the claim_id that POST /v1/decisions/{decision_id}/claims answered with.",
    ),
    DecisionExpiredError: _kind(
        DecisionExpiredError,
        "decision-expired",
        409,
        "This decision is no longer valid",
        "Ask for a new decision with POST /v1/next-actions.",
    ),
    AlreadyClaimedError: _kind(
        AlreadyClaimedError,
        "already-claimed",
        409,
        "Somebody else has claimed it",
        (
            "Do not carry it out. It is free again when the lease ends, after the seconds of "
            "Retry-After."
        ),
    ),
    NotClaimableError: _kind(
        NotClaimableError,
        "not-claimable",
        409,
        "This decision may not be carried out now",
        (
            "Do not carry it out. A person approves it with POST "
            "/v1/decisions/{decision_id}/approvals, or does it and reports the outcome."
        ),
    ),
    CapacityUsedError: _kind(
        CapacityUsedError,
        "capacity-used",
        409,
        "The week is full",
        "Do not carry it out. Try again after the seconds of Retry-After.",
    ),
    QuietHoursError: _kind(
        QuietHoursError,
        "quiet-hours",
        409,
        "It is their quiet hours",
        (
            "Do not carry it out now. Claim it when the quiet hours are over, after the "
            "seconds of Retry-After."
        ),
    ),
    HeldBackError: _kind(
        HeldBackError,
        "held-back",
        409,
        "A rule holds this action back by now",
        (
            "Do not carry it out. Ask for a new decision with POST /v1/next-actions; once the"
            " rule no longer holds, this one may be claimed with a new Idempotency-Key."
        ),
    ),
    StoppedError: _kind(
        StoppedError,
        "stopped",
        409,
        "This is stopped",
        (
            "Do not carry it out. GET /v1/controls says what is stopped; keepwell resume, or "
            "POST /v1/controls/resume, lets it go on."
        ),
    ),
    ClaimOverError: _kind(
        ClaimOverError,
        "claim-over",
        409,
        "This claim is over",
        "GET /v1/claims/{claim_id} says how it ended.",
    ),
    NotYoursError: _kind(
        NotYoursError,
        "not-yours",
        403,
        "Somebody else holds this claim",
        "Nothing was stored. Send it as the one who claimed, or wait until the lease ends.",
    ),
    OutcomeBeforeDecisionError: _kind(
        OutcomeBeforeDecisionError,
        "outcome-before-decision",
        422,
        "It happened before it was decided",
        "Nothing was stored. Mend occurred_at, or send the event with POST /v1/events.",
    ),
    SelfApprovalError: _kind(
        SelfApprovalError,
        "self-approval",
        403,
        "Another person has to approve it",
        "Nothing was stored. Let somebody else approve it, with a key of their own.",
    ),
    LevelTooHighError: _kind(
        LevelTooHighError,
        "level-too-high",
        422,
        "This action may not go that far by itself",
        "Nothing was stored. Set a lower level; GET /v1/actions says the highest of each.",
    ),
    UnknownDecisionError: _kind(
        UnknownDecisionError,
        "unknown-decision",
        404,
        "Unknown decision",
        "Use the decision_id that POST /v1/next-actions answered with.",
    ),
    KeyReusedError: _kind(
        KeyReusedError,
        "idempotency-key-reused",
        422,
        "This Idempotency-Key was used before",
        "Use a new Idempotency-Key for a new write; repeat the old request unchanged.",
    ),
    InFlightError: _kind(
        InFlightError,
        "idempotency-key-in-flight",
        409,
        "The same request is being worked on",
        "Send the same request again, with the same key, after the seconds of Retry-After.",
    ),
    AnswerLostError: _kind(
        AnswerLostError,
        "answer-lost",
        409,
        "It was done, and the answer is lost",
        "Nothing was done twice. To do it once more on purpose, use a new Idempotency-Key.",
    ),
    ContradictingOutcomeError: _kind(
        ContradictingOutcomeError,
        "contradicting-outcome",
        409,
        "This contradicts what was reported before",
        (
            "Nothing was changed; what was reported first stands. If it is wrong, ask for a "
            "new decision with POST /v1/next-actions and report on that one."
        ),
    ),
    LedgerDamagedError: _kind(
        LedgerDamagedError,
        "ledger-damaged",
        503,
        "The ledger is damaged, or another one",
        (
            "Nothing was stored, and scores are answered as before. Whoever runs Keepwell stops the "
            "service, looks with keepwell ledger verify and puts the ledger back from a backup; send "
            "the same request again afterwards, with the same Idempotency-Key."
        ),
    ),
    LedgerUnreachableError: _kind(
        LedgerUnreachableError,
        "ledger-unreachable",
        503,
        "The ledger cannot be reached",
        (
            "Send the same request again, with the same Idempotency-Key, after the time that "
            "Retry-After says. What was acknowledged before is kept."
        ),
    ),
}

_UNREADABLE = replace(
    _KINDS[NotClaimableError],
    next_step="Do not carry it out. Ask for a new decision with POST /v1/next-actions.",
)
_WRONG_SHAPE = kind_of(WrongShapeError)

PROBLEM_KINDS: tuple[ProblemKind, ...] = (*_KINDS.values(), *map(kind_of, PROBLEMS))
"""Every kind of problem that a request can have."""

LEDGER_PROBLEMS: Mapping[type[LedgerError], ProblemKind] = {
    **_KINDS,
    UnreadableQuestionError: _UNREADABLE,
    InvalidFeedbackError: _WRONG_SHAPE,
    UnstorableTextError: _WRONG_SHAPE,
}
"""Every error of the ledger, and the problem that it is."""


def problem_of(
    error: LedgerError, *, detail: str | None = None, next_step: str | None = None
) -> ProblemError:
    """An error of the ledger as the problem that a caller is answered with.

    Args:
        error: what the ledger raised.
        detail: what to say instead of the error's own words.
        next_step: what to advise instead of the usual advice for this kind of problem.
    """
    fields = (
        (FieldProblem(where=error.field, message=error.message),)
        if isinstance(error, InvalidFeedbackError)
        else ()
    )
    return ProblemError(
        detail or error.detail,
        kind=LEDGER_PROBLEMS[type(error)],
        next_step=next_step,
        errors=fields,
        headers={} if error.retry_after is None else {"Retry-After": str(error.retry_after)},
    )
