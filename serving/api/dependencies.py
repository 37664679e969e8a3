"""What a route depends on: the state of the service, and its caller.

The state that a route is given holds the accounts within its caller's reach and no others.
"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import parse_qs

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool

from serving.auth.roles import Caller
from serving.ledger.database.change import OpenRequest, WaitBudget
from serving.ledger.errors import UnknownDecisionError
from serving.problems import TooLargeError, WrongShapeError
from serving.scoring.account_families import Family, family_of
from serving.scoring.portfolio import Portfolio
from serving.state.service_state import ServiceState


async def caller_at(request: Request) -> Caller:
    """Who asks, as the gate found; it waits for nothing, so no thread is sent for it."""
    caller = request.state.caller
    assert isinstance(caller, Caller)
    return caller


AtCaller = Annotated[Caller, Depends(caller_at)]


MOST_FIELDS = 10
"""Fields of a form, which are read; no form of ours has as many."""

LARGEST_FORM = 65_536
"""Bytes of a form. A text of a form has 500 characters, which are 6,000 bytes at most."""


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a form that a page sent; of a field that comes twice, the last.

    Raises:
        TooLargeError: it is larger than any form of ours.
        WrongShapeError: it has more fields than any form of ours.
    """
    body = await request.body()
    if len(body) > LARGEST_FORM:
        raise TooLargeError(f"The form has more than {LARGEST_FORM:,} bytes.")
    text = body.decode("utf-8", errors="replace")
    try:
        fields = parse_qs(text, max_num_fields=MOST_FIELDS)
    except ValueError as error:
        raise WrongShapeError(
            f"The form has more than {MOST_FIELDS} fields.",
            next_step="Send the form as the page has it.",
        ) from error
    return {name: values[-1] for name, values in fields.items()}


AtForm = Annotated[dict[str, str], Depends(form_of)]


async def service_of(request: Request, caller: AtCaller) -> ServiceState:
    """The state that the application was made with, as far as the caller reaches.

    Raises:
        UnknownDecisionError: the address names a decision about an account beyond that.
    """
    service = request.app.state.service
    assert isinstance(service, ServiceState)
    seen = service.within(caller.reach)
    work = getattr(request.state, "open_request", None)
    if isinstance(work, OpenRequest):
        seen = seen.for_request(work)
    elif isinstance(waits := getattr(request.state, "waits", None), WaitBudget):
        waits.charge_since_arrival()
        seen = seen.waiting(waits)
    decision_id = request.path_params.get("decision_id")
    if caller.reach is not None and decision_id is not None:
        await run_in_threadpool(_check_reached, seen, decision_id)
    return seen


def _check_reached(service: ServiceState, decision_id: str) -> None:
    # one beyond reach takes as long as one that does not exist
    if service.ledger.account_of(decision_id) not in service.portfolio.by_id:
        raise UnknownDecisionError("No decision with this id was stored.")


def family_at(service: ServiceState, portfolio: Portfolio, account_id: str) -> Family | None:
    """What an account of a portfolio and all below it come to."""
    return family_of(
        account_id,
        portfolio.families,
        portfolio.by_id,
        service.workspace.settings.catalogue,
    )


AtService = Annotated[ServiceState, Depends(service_of)]
