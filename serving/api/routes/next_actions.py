"""The routes of decisions: what to do next, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Header, Path, Response

from serving.api.dependencies import AtCaller, AtService
from serving.api.idempotency import json_response, stored_answer
from serving.api.route_problems import problems
from serving.api.routes.claims import acting, check_known
from serving.api.schemas.decisions import (
    NextActionsAnswer,
    NextActionsRequest,
    OutcomeAnswer,
    OutcomeRequest,
)
from serving.api.schemas.wire_model import EXAMPLE_DECISION
from serving.api.serializers import recommendation_answer
from serving.auth.roles import Need, needs
from serving.http.ledger_problems import problem_of
from serving.ledger.errors import (
    ContradictingOutcomeError,
    DecisionExpiredError,
    LedgerUnreachableError,
    NotClaimableError,
    NotYoursError,
    OutcomeBeforeDecisionError,
    UnknownDecisionError,
)
from serving.ledger.ledger import Decision, NewOutcome
from serving.problems import KEY_HEADER, LONGEST_KEY, NotReadyError, TooManyError, check_count
from serving.recommendations.recommend import ProposedDecision, propose

router = APIRouter(prefix="/v1", tags=["decisions"])

DEFAULT_LIMIT = 20
"""Accounts that are answered where none is named and no limit is sent."""


@router.post(
    "/next-actions",
    operation_id="next_actions",
    summary="Recommend and store the next actions",
    response_model=NextActionsAnswer,
)
@needs(Need(permission="recommend", of="accounts", writes=True, one_change=True))
@problems(TooManyError, NotReadyError)
def next_actions(service: AtService, caller: AtCaller, body: NextActionsRequest) -> Response:
    """What to do next for each account, best first, beside doing nothing.

    Every recommendation is stored as a decision before this answers. Asking again on the same day,
    at the same moment of the data and about the same facts, gives the same decision, with the same
    id. While the ledger cannot be reached, the answer holds suggestions without a decision_id.
    """
    portfolio = service.portfolio
    if body.account_ids is None:
        most = DEFAULT_LIMIT if body.limit is None else body.limit
        wanted = [s for s in portfolio.scores if not s.has_left][:most]
        unknown: list[str] = []
    else:
        most = service.settings.most_accounts_per_call
        check_count("account ids", len(body.account_ids), min(most, body.limit or most))
        asked = list(dict.fromkeys(body.account_ids))
        wanted = [portfolio.by_id[a] for a in asked if a in portfolio.by_id]
        unknown = [a for a in asked if a not in portfolio.by_id]

    def response_to(found: Sequence[tuple[ProposedDecision, Decision | None]]) -> Response:
        items = [
            recommendation_answer(one, stored, most=body.actions_per_account)
            for one, stored in found
        ]
        return json_response(NextActionsAnswer(items=items, unknown=unknown))

    if not wanted:
        return response_to(())
    proposals = propose(service, wanted, proposed_by=acting(caller, None))
    try:
        with service.ledger.transaction() as change:
            response = response_to(proposals.store(change))
            change.remember(stored_answer(response))
    except LedgerUnreachableError as error:
        response = response_to([(one, None) for one in proposals.decided])
        response.headers.update(problem_of(error).headers)
    else:
        service.metrics.decisions.inc(len(wanted))
    return response


@router.post(
    "/decisions/{decision_id}/outcomes",
    operation_id="report_outcome",
    status_code=201,
    summary="Report what came of a decision",
)
@needs(Need(permission="report", of="accounts", writes=True, may_repeat=True))
@problems(
    UnknownDecisionError,
    ContradictingOutcomeError,
    DecisionExpiredError,
    NotClaimableError,
    NotYoursError,
    OutcomeBeforeDecisionError,
    LedgerUnreachableError,
    NotReadyError,
)
def report_outcome(
    service: AtService,
    caller: AtCaller,
    decision_id: Annotated[str, Path(min_length=1, max_length=100, examples=[EXAMPLE_DECISION])],
    body: OutcomeRequest,
    idempotency_key: Annotated[
        str,
        Header(
            alias=KEY_HEADER,
            min_length=1,
            max_length=LONGEST_KEY,
            examples=["7d3c9a52-outcome-1"],
            description="New for each outcome, the same when a request is repeated.",
        ),
    ],
) -> OutcomeAnswer:
    """Store what came of a decision, once per Idempotency-Key, and put it on the timeline.

    The same key with the same body answers as the first time; with another body it is refused. So
    is a decision that was carried out and is then declined, or the reverse. Who did it is the owner
    of the API key, for whom `by` names.
    """
    as_of = service.now()
    check_known(body.occurred_at, as_of)
    outcome, is_new = service.ledger.append_outcome(
        decision_id,
        NewOutcome(
            kind=body.kind,
            occurred_at=body.occurred_at,
            result=body.result,
            reason=body.reason,
            by=caller.by(body.by),
        ),
        key=caller.own(idempotency_key),
        received_at=as_of,
        heard_at=service.wall_clock(),
        reporter=acting(caller, body.by),
        action=body.action,
    )
    if is_new:
        service.metrics.outcomes.labels(outcome.kind).inc()
    service.deliver()
    return OutcomeAnswer(
        outcome_id=outcome.outcome_id,
        decision_id=outcome.decision_id,
        account_id=outcome.account_id,
        action=outcome.action,
        kind=outcome.kind,
        occurred_at=outcome.occurred_at,
        received_at=outcome.received_at,
        result=outcome.result,
        reason=outcome.reason,
        by=outcome.by,
    )
