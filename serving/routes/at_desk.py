"""This module is about how a route reaches the desk: through the application, by dependency."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Request

from features.catalogue import catalogue
from serving.desk import Desk
from serving.families import Family, family_of
from serving.portfolio import Portfolio


def desk_of(request: Request) -> Desk:
    """The desk that the application was made with."""
    desk = request.app.state.desk
    assert isinstance(desk, Desk)
    return desk


def family_at(desk: Desk, portfolio: Portfolio, account_id: str) -> Family | None:
    """What an account of a portfolio of this desk and all below it come to."""
    return family_of(account_id, portfolio.families, portfolio.by_id,
                     catalogue(desk.workspace.settings.use_names))


AtDesk = Annotated[Desk, Depends(desk_of)]

PROBLEM_STATUSES = {
    400: "The request can not be read.", 401: "A key is needed.", 404: "Not found.",
    409: "It contradicts what was stored before.", 413: "The body is too large.",
    422: "The request has the wrong shape.",
    500: "Something went wrong inside.", 503: "Not now: try again later.",
}


PROBLEM_CONTENT = {
    "application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemAnswer"}}}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The refusals of a route for the OpenAPI document."""
    return {status: {"description": PROBLEM_STATUSES[status], "content": PROBLEM_CONTENT}
            for status in statuses}
