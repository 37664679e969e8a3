"""The kinds of problem that each route answers with: those it declares, and those it has by its form.

``@problems(...)`` at a route names what its own function refuses. What stands in front of a route
refuses as well: the server, the gate, the reading of values and of the body, the Idempotency-Key. Those kinds
follow from what the route needs and takes. The OpenAPI document and the reference of routes list
both; a test of any refusal fails where the route does not have its kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from fastapi.routing import RouteContext, iter_route_contexts
from starlette.routing import BaseRoute

from serving.auth.gate import SAFE_METHODS
from serving.auth.roles import Need, need_of
from serving.http.ledger_problems import LEDGER_PROBLEMS
from serving.ledger.errors import (
    AnswerLostError,
    InFlightError,
    KeyReusedError,
    LedgerDamagedError,
    LedgerError,
    LedgerUnreachableError,
)
from serving.problems import (
    AddressTooLongError,
    ForeignOriginError,
    HeadTooLargeError,
    InternalError,
    KeysUnreadableError,
    MissingKeyError,
    NotAllowedError,
    NotJsonError,
    NotPermittedError,
    ProblemError,
    ProblemKind,
    StoreUnavailableError,
    TooLargeError,
    TooManyAtOnceError,
    TooManyAttemptsError,
    TooManyConnectionsError,
    TooManyWritesError,
    TooSlowError,
    WrongHostError,
    WrongShapeError,
    kind_of,
)

Refusal = type[ProblemError] | type[LedgerError]
Endpoint = TypeVar("Endpoint", bound=Callable[..., object])

OF_EVERY_ROUTE: tuple[Refusal, ...] = (
    TooSlowError,
    TooLargeError,
    AddressTooLongError,
    WrongHostError,
    HeadTooLargeError,
    InternalError,
    TooManyConnectionsError,
)
WITH_A_KEY: tuple[Refusal, ...] = (
    NotAllowedError,
    TooManyAttemptsError,
    NotPermittedError,
    KeysUnreadableError,
    TooManyAtOnceError,
    StoreUnavailableError,
)
WITH_A_BODY: tuple[Refusal, ...] = (ForeignOriginError,)
WITH_VALUES: tuple[Refusal, ...] = (WrongShapeError,)
WITH_JSON: tuple[Refusal, ...] = (NotJsonError,)
OF_WRITES: tuple[Refusal, ...] = (
    MissingKeyError,
    KeyReusedError,
    InFlightError,
    AnswerLostError,
    TooManyWritesError,
)
BY_FORM: tuple[tuple[str, tuple[Refusal, ...]], ...] = (
    ("of any form", OF_EVERY_ROUTE),
    ("that needs a permission", WITH_A_KEY),
    ("that is not read by GET", WITH_A_BODY),
    ("with values in its address, query, headers or body", WITH_VALUES),
    ("with a body of JSON", WITH_JSON),
    ("that takes an `Idempotency-Key`", OF_WRITES),
)
"""Which form of a route brings which problems, in words for the reference."""


def problems(*refusals: Refusal) -> Callable[[Endpoint], Endpoint]:
    """Declare at a route which problems its function answers with, by their errors.

    >>> @problems(WrongShapeError)
    ... def show() -> str:
    ...     return "shown"
    >>> [kind.slug for kind in problems_of(show)]
    ['wrong-shape']
    """

    def declare(endpoint: Endpoint) -> Endpoint:
        vars(endpoint)["problems"] = kinds_of(refusals)
        return endpoint

    return declare


def problems_of(endpoint: object) -> tuple[ProblemKind, ...]:
    """The kinds of problem that a route declares."""
    found: tuple[ProblemKind, ...] = getattr(endpoint, "problems", ())
    return found


def kinds_of(refusals: Iterable[Refusal]) -> tuple[ProblemKind, ...]:
    """The kinds of problem that errors of the service and of the ledger are.

    A ledger that cannot be reached may as well be damaged.
    """
    found = list(refusals)
    if LedgerUnreachableError in found:
        found.append(LedgerDamagedError)
    return tuple(
        LEDGER_PROBLEMS[one] if issubclass(one, LedgerError) else kind_of(one) for one in found
    )


def problems_by_form(
    need: Need | None, method: str, *, takes_values: bool, takes_json: bool
) -> tuple[ProblemKind, ...]:
    """The kinds of problem that a route has because of what it needs and takes.

    >>> probe = Need(permission=None, of="product")
    >>> [k.slug for k in problems_by_form(probe, "GET", takes_values=True, takes_json=False)][-1]
    'wrong-shape'
    """
    refusals = list(OF_EVERY_ROUTE)
    if need is not None and need.permission is not None:
        refusals += WITH_A_KEY
    if method not in SAFE_METHODS:
        refusals += WITH_A_BODY
    if takes_values:
        refusals += WITH_VALUES
    if takes_json:
        refusals += WITH_JSON
    if need is not None and need.writes:
        refusals += OF_WRITES
    return kinds_of(refusals)


def problems_by_route(routes: Iterable[BaseRoute]) -> dict[str, tuple[ProblemKind, ...]]:
    """Every kind of problem of each route, by its method and path, in the order of their status."""
    return {
        f"{method} {route.path}": _all_problems(route, method)
        for route in iter_route_contexts(list(routes))
        for method in sorted(route.methods or ())
    }


def _all_problems(route: RouteContext, method: str) -> tuple[ProblemKind, ...]:
    takes = getattr(route, "dependant", None)
    by_form = problems_by_form(
        need_of(route.endpoint),
        method,
        takes_values=takes is not None
        and any((takes.path_params, takes.query_params, takes.header_params, takes.body_params)),
        takes_json=takes is not None and bool(takes.body_params),
    )
    by_slug = {kind.slug: kind for kind in (*by_form, *problems_of(route.endpoint))}
    return tuple(sorted(by_slug.values(), key=lambda kind: (kind.status, kind.slug)))
