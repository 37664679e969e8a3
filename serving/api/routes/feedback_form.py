"""The form of an account's page by which a person judges what is advised.

One click asks for the decision, stores it, and keeps what the person says to it. The gate has
refused the form where a page of another site sent it.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from serving.api.dependencies import AtCaller, AtForm, AtService
from serving.api.route_problems import problems
from serving.api.routes.feedback import FeedbackRequest
from serving.auth.roles import Caller, Need, needs
from serving.ledger.errors import LedgerUnreachableError
from serving.ledger.feedback import ONE_CLICK, FeedbackRecords, NewFeedback
from serving.pages.views.account_links import account_href
from serving.problems import FieldProblem, NotReadyError, UnknownAccountError, WrongShapeError
from serving.recommendations.recommend import decide_and_store
from serving.state.service_state import ServiceState

router = APIRouter(include_in_schema=False)


@router.post("/accounts/{account_id}/feedback")
@needs(Need(permission="judge", of="accounts", writes=True))
@problems(UnknownAccountError, WrongShapeError, LedgerUnreachableError, NotReadyError)
async def judge(
    service: AtService,
    caller: AtCaller,
    account_id: Annotated[str, Path(max_length=200)],
    form: AtForm,
) -> Response:
    """Keep what a person says to what is recommended first, and show the account again."""
    await run_in_threadpool(_judge, service, caller, account_id, form)
    return RedirectResponse(f"{account_href(account_id)}#next", status_code=303)


def _judge(service: ServiceState, caller: Caller, account_id: str, form: dict[str, str]) -> None:
    now, clock = service.now(), service.wall_clock()
    verdict, reason = form.get("verdict"), form.get("reason", "").strip() or None
    try:
        feedback = FeedbackRequest.model_validate(
            {
                "verdict": verdict,
                "reason": reason,
                "action": form.get("action") or None,
                "snooze_until": clock + ONE_CLICK if verdict == "snooze" else None,
            }
        )
    except ValidationError as error:
        message = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        raise WrongShapeError(
            message,
            errors=[FieldProblem(where="reason", message=message)],
            next_step="Go back, write a reason, and send it again.",
        ) from error
    score = service.portfolio.account(account_id)
    [(_, decision)] = decide_and_store(service, [score], proposed_by=caller.owner or caller.key_id)
    FeedbackRecords(service.ledger.database).record(
        decision.decision_id,
        NewFeedback(
            verdict=feedback.verdict,
            reason=feedback.reason,
            action=feedback.action,
            snooze_until=feedback.snooze_until,
        ),
        by=caller.owner or caller.key_id,
        key=None,
        now=now,
        heard_at=clock,
    )
    service.deliver()
