"""The routes of the kill switch, of levels and of capacities."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Header, Response

from serving.api.dependencies import AtCaller, AtService
from serving.api.idempotency import json_response, stored_answer
from serving.api.route_problems import problems
from serving.api.routes.claims import acting
from serving.api.schemas.claims import (
    CapacityRequest,
    ControlAnswer,
    ControlsAnswer,
    LevelRequest,
    StopRequest,
    control_answer,
)
from serving.auth.roles import Caller, Need, needs
from serving.ledger.autonomy import check_level
from serving.ledger.errors import LedgerUnreachableError, LevelTooHighError
from serving.ledger.kill_switch import Control, ControlKind, Controls, Scope, stops, unknown_parts
from serving.problems import (
    KEY_HEADER,
    LONGEST_KEY,
    FieldProblem,
    NotReadyError,
    UnknownControlError,
)
from serving.state.service_state import ServiceState

router = APIRouter(prefix="/v1/controls", tags=["controls"])

IdempotencyKey = Annotated[
    str,
    Header(
        alias=KEY_HEADER,
        min_length=1,
        max_length=LONGEST_KEY,
        examples=["7d3c9a52-stop-1"],
        description="New for each write, the same when a request is repeated.",
    ),
]
WRITES: Mapping[str, Any] = {
    "status_code": 201,
    "response_model": ControlAnswer,
}


@router.get("", operation_id="get_controls", summary="What is stopped and set")
@needs(Need(permission="watch", of="company"))
@problems(LedgerUnreachableError)
def see_controls(service: AtService) -> ControlsAnswer:
    """What is stopped now, and every stop, level and capacity there was, with who and why."""
    found = Controls(service.ledger.database).all()
    return ControlsAnswer(
        stopped=[control_answer(one) for one in stops(found)],
        items=[control_answer(one) for one in found],
    )


@router.post("/stop", operation_id="stop_actions", summary="Stop everything, or a part", **WRITES)
@needs(Need(permission="approve", of="company", writes=True))
@problems(UnknownControlError, LedgerUnreachableError, NotReadyError)
def stop(service: AtService, caller: AtCaller, body: StopRequest, key: IdempotencyKey) -> Response:
    """The kill switch: after this answer nothing of that scope is claimed or prolonged."""
    check_scope(service, body.scope)
    return record_control(service, caller, body, "stop", body.scope)


@router.post(
    "/resume", operation_id="resume_actions", summary="Let go on what was stopped", **WRITES
)
@needs(Need(permission="administer", of="company", writes=True))
@problems(UnknownControlError, LedgerUnreachableError)
def resume(
    service: AtService, caller: AtCaller, body: StopRequest, key: IdempotencyKey
) -> Response:
    """Take a stop back, of the very same scope."""
    stopped = [one.scope for one in stops(Controls(service.ledger.database).all())]
    if body.scope not in stopped:
        what = "; ".join(scope.words for scope in stopped) or "nothing"
        raise UnknownControlError(f"Nobody stopped {body.scope.words}; stopped is {what}.")
    return record_control(service, caller, body, "resume", body.scope)


@router.post(
    "/levels",
    operation_id="set_level",
    summary="Set how far actions may go by themselves",
    **WRITES,
)
@needs(Need(permission="administer", of="company", writes=True))
@problems(UnknownControlError, LevelTooHighError, LedgerUnreachableError, NotReadyError)
def set_level(
    service: AtService, caller: AtCaller, body: LevelRequest, key: IdempotencyKey
) -> Response:
    """Per action and segment; discounts, contract changes and executives never above 2."""
    scope = Scope(action=body.action, segment=body.segment)
    check_scope(service, scope)
    check_level(body.level, scope, service.company.current().playbook.by_id)
    return record_control(service, caller, body, "level", scope, value=body.level)


@router.post(
    "/capacities",
    operation_id="set_capacity",
    summary="Set how many may be claimed in a week",
    **WRITES,
)
@needs(Need(permission="administer", of="company", writes=True))
@problems(UnknownControlError, LedgerUnreachableError, NotReadyError)
def set_capacity(
    service: AtService, caller: AtCaller, body: CapacityRequest, key: IdempotencyKey
) -> Response:
    """Claimed and completed ones of the last seven days count; lapsed and failed ones do not."""
    check_scope(service, body.scope)
    return record_control(service, caller, body, "capacity", body.scope, value=body.most_a_week)


def record_control(
    service: ServiceState,
    caller: Caller,
    body: StopRequest | LevelRequest | CapacityRequest,
    kind: ControlKind,
    scope: Scope,
    *,
    value: int | None = None,
) -> Response:
    """Write a control down, and its answer with it."""
    control = Control(
        kind=kind,
        scope=scope,
        value=value,
        by=acting(caller, body.by),
        at=service.wall_clock(),
        reason=body.reason,
    )
    response = json_response(control_answer(control), HTTPStatus.CREATED)
    with service.ledger.transaction() as change:
        change.record_control(control)
        change.remember(stored_answer(response))
    return response


def check_scope(service: ServiceState, scope: Scope) -> None:
    """See that there is what a control names: a stop of a misspelt name would stop nothing.

    Raises:
        UnknownControlError: there is no such action, segment or CSM.
    """
    scores = service.portfolio.scores
    wrong = [
        FieldProblem(where=part, message="there is none of this name")
        for part in unknown_parts(
            scope,
            actions=service.company.current().playbook.by_id,
            segments={score.attributes.get("segment") for score in scores},
            csms={score.attributes.get("csm") for score in scores},
        )
    ]
    if wrong:
        raise UnknownControlError(
            f"There is no such {' and '.join(w.where for w in wrong)}.", errors=wrong
        )
