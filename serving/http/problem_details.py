"""How a refused request is answered: in one shape, RFC 9457.

Every error of the service is ``application/problem+json`` with ``type title status detail
instance`` and ``next``, the step that helps. What was sent is never echoed beyond its name, and
what went wrong inside is named by an id only.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import BaseRoute, compile_path

from features.workspace_files import UnusableStoreError
from serving.http.headers import SECURITY_HEADERS
from serving.http.ledger_problems import problem_of
from serving.ledger.errors import LedgerError, LedgerUnreachableError
from serving.problems import (
    EXAMPLE_TIME,
    KEY_HEADER,
    LONGEST_KEY,
    FieldProblem,
    InternalError,
    MissingKeyError,
    NotJsonError,
    ProblemError,
    RefusedError,
    StoreUnavailableError,
    TooLargeError,
    UnknownAddressError,
    WrongMethodError,
    WrongShapeError,
)
from serving.scoring.models_served import without_paths

RETRY_SECONDS = 10
"""Seconds after which a caller is asked to try a store again that cannot be used."""

MEDIA_TYPE = "application/problem+json"

log = logging.getLogger("keepwell.serving")


def problem_content(
    error: ProblemError, instance: str, status: int | None = None
) -> dict[str, object]:
    """The problem as the body of a response."""
    content: dict[str, object] = {
        "type": f"/problems#{error.slug}",
        "title": error.title,
        "status": status or error.status,
        "detail": error.detail,
        "instance": instance,
        "next": error.next,
    }
    if error.errors:
        content["errors"] = [{"where": e.where, "message": e.message} for e in error.errors]
    return content


def problem_response(error: ProblemError, instance: str, status: int | None = None) -> Response:
    """The problem as a response; text outside ASCII is escaped, so any text can be sent."""
    content = problem_content(error, instance, status)
    return Response(
        json.dumps(content, allow_nan=False),
        status or error.status,
        headers=error.headers,
        media_type=MEDIA_TYPE,
    )


def shape_problem(error: RequestValidationError, content_type: str | None) -> ProblemError:
    """What is wrong with a request in sentences, without repeating what was sent."""
    problems = error.errors()
    if any(tuple(problem["loc"]) == ("body",) for problem in problems) and not (
        content_type or ""
    ).partition(";")[0].strip().lower().endswith("json"):
        fault = "is missing" if content_type is None else "is not application/json"
        return WrongShapeError(
            f"The Content-Type header {fault}, so the body was not read as JSON.",
            next_step="Send the same request with Content-Type: application/json.",
            errors=[FieldProblem(where="Content-Type", message=fault)],
        )
    if any(problem["type"] == "json_invalid" for problem in problems):
        return NotJsonError("The body could not be read as JSON.")
    if any(tuple(problem["loc"]) == ("header", KEY_HEADER) for problem in problems):
        return MissingKeyError(
            f"This write needs an {KEY_HEADER} header of 1 to {LONGEST_KEY} characters."
        )
    fields = tuple(
        FieldProblem(where=_where(problem["loc"]), message=_message(problem))
        for problem in problems[:20]
    )
    count = len(problems)
    first = f"{fields[0].where}: {fields[0].message}" if fields else "the request is empty"
    more = "" if count == 1 else f" There are {count} such problems."
    return WrongShapeError(f"{first}{more}", errors=fields)


def framework_problem(error: HTTPException, path: str, method: str) -> ProblemError:
    """What the web framework refused, as one of ours."""
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.NOT_FOUND:
        return UnknownAddressError(f"Nothing answers at {path[:200]}.")
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        return WrongMethodError(f"{path[:200]} does not take {method}.", headers=headers)
    if error.status_code == HTTPStatus.BAD_REQUEST:
        return NotJsonError("The body could not be read.")
    if error.status_code == TooLargeError.status:
        return TooLargeError(str(error.detail))
    return RefusedError(str(error.detail), headers=headers)


def methods_at(routes: Iterable[BaseRoute], path: str) -> tuple[str, ...]:
    """The methods that an address takes, by all routes that have it."""
    found: set[str] = set()
    for route in iter_route_contexts(list(routes)):
        if route.path is not None and compile_path(route.path)[0].match(path):
            found |= set(route.methods or ())
    return tuple(sorted(found))


def unhandled_problem(error: Exception) -> ProblemError:
    """An id for the caller; the error itself goes to the log only."""
    incident = secrets.token_hex(6)
    log.error("unhandled error %s", incident, exc_info=error)
    return InternalError(f"The request failed with id {incident}.")


def install_problems(app: FastAPI, answer: AnswerProblem) -> None:
    """Let every refusal, ours and the framework's, be answered by ``answer``."""

    async def ours(request: Request, error: Exception) -> Response:
        assert isinstance(error, ProblemError)
        return answer(request, error, error.status)

    async def ledger(request: Request, error: Exception) -> Response:
        assert isinstance(error, LedgerError)
        if isinstance(error, LedgerUnreachableError):
            log.warning("the ledger cannot be reached: %s", error.cause)
        problem = problem_of(error)
        return answer(request, problem, problem.status)

    async def unusable(request: Request, error: Exception) -> Response:
        assert isinstance(error, UnusableStoreError)
        log.warning("%s", error)
        problem = StoreUnavailableError(
            without_paths(str(error)), headers={"Retry-After": str(RETRY_SECONDS)}
        )
        return answer(request, problem, problem.status)

    async def shape(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        problem = shape_problem(error, request.headers.get("content-type"))
        return answer(request, problem, problem.status)

    async def framework(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        problem = framework_problem(error, request.url.path, request.method)
        if isinstance(problem, WrongMethodError):
            allowed = methods_at(request.app.routes, request.url.path)
            problem.headers = {**(problem.headers or {}), "Allow": ", ".join(allowed)}
        status = error.status_code if isinstance(problem, RefusedError) else problem.status
        return answer(request, problem, status)

    async def unhandled(request: Request, error: Exception) -> Response:
        problem = unhandled_problem(error)
        response = answer(request, problem, problem.status)
        for name, value in SECURITY_HEADERS.items():  # this answer is made outside the gate
            response.headers.setdefault(name, value)
        return response

    app.add_exception_handler(ProblemError, ours)
    app.add_exception_handler(LedgerError, ledger)
    app.add_exception_handler(UnusableStoreError, unusable)
    app.add_exception_handler(RequestValidationError, shape)
    app.add_exception_handler(HTTPException, framework)
    app.add_exception_handler(Exception, unhandled)


class AnswerProblem:
    """Answers a problem in the form the caller reads; the API's form is JSON.

    Pages replace ``page`` with a function that renders the same words for a person.
    """

    def __call__(self, request: Request, error: ProblemError, status: int) -> Response:
        """The response to a refused request."""
        return problem_response(error, request.url.path, status)


def _where(location: Sequence[int | str]) -> str:
    """
    >>> _where(("body", "events", 0, "kind")), _where(("query", "limit"))
    ('events[0].kind', 'limit')
    """
    parts = list(location[1:]) or [location[0]]
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")[:200]


def _message(problem: Mapping[str, object]) -> str:
    message = str(problem["msg"])
    if problem["type"] == "missing":
        return "this field is missing"
    if problem["type"] == "timezone_aware":
        return f"the time has no zone; write it with one, such as {EXAMPLE_TIME}"
    if problem["type"] == "extra_forbidden":
        return "there is no such field"
    text = message.removeprefix("Value error, ").removeprefix("Input should be ")
    return f"should be {text}" if message.startswith("Input should be ") else text
