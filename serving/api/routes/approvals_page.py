"""The page of approvals, and the form on it by which a person says yes or no.

The rules are those of ``POST /v1/decisions/{id}/approvals``: who asked for a decision cannot
approve it, and what was said stays. The gate has refused a form that a page of another site sent.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from serving.api.dependencies import AtCaller, AtForm, AtService
from serving.api.route_problems import problems
from serving.api.routes.claims import APPROVAL_PROBLEMS, DecisionId, acting
from serving.api.routes.pages import Word, templates_of
from serving.api.schemas.claims import ApprovalRequest
from serving.auth.roles import READ, Caller, Need, needs
from serving.ledger.approvals import Approvals
from serving.ledger.errors import LedgerUnreachableError
from serving.ledger.kill_switch import Controls, Scope
from serving.ledger.pending_approvals import pending_decisions
from serving.ledger.snoozes import load_snoozes
from serving.pages.approvals_page import MOST_SHOWN, approvals_page
from serving.pages.frame import in_navigation
from serving.problems import FieldProblem, NotReadyError, WrongShapeError
from serving.recommendations.recommend import decide
from serving.state.service_state import ServiceState

router = APIRouter(include_in_schema=False)

PAGE = "/approvals"


@router.get(PAGE)
@needs(READ)
@problems(LedgerUnreachableError, NotReadyError)
@in_navigation("approvals", "Approvals", place=2)
def show_approvals(
    request: Request,
    service: AtService,
    caller: AtCaller,
    action: Annotated[Word, Query()] = None,
    segment: Annotated[Word, Query()] = None,
) -> Response:
    """What needs approval, what is stopped, and how far actions may go by themselves."""
    portfolio, database = service.portfolio, service.ledger.database
    waiting = pending_decisions(database, now=service.wall_clock(), accounts=portfolio.by_id)
    put_off = load_snoozes(database, sorted({one.account_id for one in waiting}))
    clock = service.wall_clock()
    shown = dict.fromkeys(one.account_id for one in waiting[:MOST_SHOWN])
    answers = decide(service, [portfolio.by_id[account_id] for account_id in shown])
    page = approvals_page(
        waiting,
        Controls(database).all(),
        portfolio,
        caller=caller,
        actions=service.company.current().playbook.by_id,
        put_off={
            account: [one for one in snoozes if one.holds_at(clock, clock)]
            for account, snoozes in put_off.items()
        },
        answers={one.score.account_id: one.recommendation for one in answers},
        asked=Scope(action=action, segment=segment),
        tenant=service.workspace.settings.tenant,
    )
    return templates_of(request).page("approvals.html", page)


@router.post("/decisions/{decision_id}/approvals")
@needs(Need(permission="approve", of="accounts", writes=True, may_repeat=True))
@problems(WrongShapeError, *APPROVAL_PROBLEMS)
async def decide_on_waiting(
    service: AtService, caller: AtCaller, decision_id: DecisionId, form: AtForm
) -> Response:
    """Approve or decline what waits, and show what waits then."""
    await run_in_threadpool(_record_approval, service, caller, decision_id, form)
    return RedirectResponse(PAGE, status_code=303)


def _record_approval(
    service: ServiceState, caller: Caller, decision_id: str, form: dict[str, str]
) -> None:
    try:
        approval = ApprovalRequest.model_validate(
            {name: form.get(name, "").strip() or None for name in ("verdict", "reason", "by")}
        )
    except ValidationError as error:
        problems = [
            FieldProblem(where=".".join(map(str, one["loc"])), message=str(one["msg"]))
            for one in error.errors()
        ]
        raise WrongShapeError(
            "; ".join(f"{one.where}: {one.message}" for one in problems),
            errors=problems,
            next_step="Go back and send it again.",
        ) from error
    by = acting(caller, approval.by)
    content = json.dumps([decision_id, approval.verdict, by, approval.reason])
    key = f"page {hashlib.blake2b(content.encode(), digest_size=16).hexdigest()}"
    Approvals(service.ledger.database).record(  # sent twice, it is one approval
        decision_id,
        approval.verdict,
        by=by,
        reason=approval.reason,
        key=caller.own(key),
        now=service.wall_clock(),
    )
