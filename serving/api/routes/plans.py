"""The route of plans: a team is sent, and its week comes back."""

from __future__ import annotations

from fastapi import APIRouter

from experiments.planning.infeasibility import ConflictingLimitsError
from experiments.planning.plan import make_plan
from experiments.planning.team import PlanningError
from serving.api.dependencies import AtCaller, AtService
from serving.api.route_problems import problems
from serving.api.schemas.plans import PlanAnswer, PlanRequest, plan_answer
from serving.auth.roles import Caller, Need, needs
from serving.decisions.exploration_settings import week_of
from serving.decisions.saved_plan import build_saved_plan, save_plan
from serving.ledger.errors import LedgerUnreachableError
from serving.problems import (
    FieldProblem,
    ImpossiblePlanError,
    NotPermittedError,
    NotReadyError,
)
from serving.recommendations.plans import offers_of
from serving.recommendations.recommend import decide
from serving.timeline.plan_draws import store_plan_draws

router = APIRouter(prefix="/v1", tags=["plans"])


def check_may_save(caller: Caller) -> None:
    """See that a caller may say what the plan of the week is, for everybody.

    Raises:
        NotPermittedError: they may not, or reach only some of the accounts.
    """
    if caller.reach is not None or "recommend" not in caller.permissions:
        raise NotPermittedError(
            "To keep a plan for everybody needs the permission 'recommend' and every account "
            "within reach. Without `keep` the plan is answered."
        )


@router.post("/plans", operation_id="plan_week", summary="Plan a team's week")
@needs(Need(permission="watch", of="accounts"))
@problems(ImpossiblePlanError, LedgerUnreachableError, NotReadyError)
def make_a_plan(
    service: AtService,
    caller: AtCaller,
    body: PlanRequest,
) -> PlanAnswer:
    """Which accounts get which actions this week, by whom, and what one more hour would bring.

    Chooses among what the policy allows for every account now, within hours, skills, territories,
    budgets and care. Every action that would pay and is not planned says why. Care that does not
    fit is refused with the limits in its way. Of one key two plans are made at once at most. Nothing
    is stored, but with `keep`, which makes it the plan of the week: what the hours are worth, for the
    page of reports, and its lots, in the ledger and on the timelines, so that what they teach is
    measured.
    """
    if body.keep:
        check_may_save(caller)
    try:
        team = body.team()
        scores, rules = service.portfolio.scores, service.chance
        plan = make_plan(
            offers_of(decide(service, scores, over_days=True), service.company.current()),
            team,
            lottery=rules.capacity_lottery(scores, service.now()) if rules else None,
        )
    except ConflictingLimitsError as error:
        raise ImpossiblePlanError(
            str(error),
            errors=[
                FieldProblem(where=body.field_of(each), message=each.words)
                for each in error.conflicts
            ],
        ) from error
    except PlanningError as error:
        raise ImpossiblePlanError(str(error)) from error
    now, currency = service.now(), service.workspace.settings.currency
    recorded = 0
    if body.keep:
        recorded = store_plan_draws(
            service.ledger,
            service.timelines,
            plan,
            week=week_of(now),
            at=now,
            made_by="POST /v1/plans",
        )
        save_plan(
            service.workspace,
            build_saved_plan(
                plan, as_of=now, made_at=now, made_by="POST /v1/plans", currency=currency
            ),
        )
    return plan_answer(
        plan, as_of=now, currency=currency, most_waiting=body.most_waiting, draws_recorded=recorded
    )
