"""The OpenAPI document: what FastAPI makes of the routes, with their problems, keys and subjects.

Each operation lists the kinds of problem that it answers with, an example of each beside it. Its id
is written at its route, because programs that are generated from the document call it by that name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from serving.api.route_problems import problems_by_route
from serving.api.schemas.wire_model import EXAMPLE_ACCOUNT, ProblemAnswer
from serving.auth.gate import declared_needs
from serving.auth.roles import PRODUCT, Need, needs
from serving.http.ledger_problems import PROBLEM_KINDS
from serving.http.problem_details import MEDIA_TYPE, problem_content
from serving.problems import KEY_HEADER, LONGEST_KEY, ProblemError, ProblemKind
from serving.text_format import INTERVAL_COVERS

PRINTED = "!-~¡-¬®-ÿ"
KEY_PATTERN = f"^[{PRINTED}]([ {PRINTED}]*[{PRINTED}])?$"
"""Letters that a header can hold and a person can read, without spaces around them."""

DESCRIPTION = (
    """Which accounts are likely to leave or to grow, and what to do next about each.

Every score says its source (`model` or `health_formula`), why it is degraded, its moment and how
fresh each source is. `null` is unknown, never zero. Money is in the tenant's reporting currency.
A request carries a key in one of three ways; until the first key is made none is asked for.
Every error has one shape (RFC 9457, `application/problem+json`) with a `next` step.

Two times: `as_of`, `decided_at`, `occurred_at`, `received_at` and what is recommended are on the
time of the data, which stands still between exports. What a person put off until a date, the
quiet hours of an account, leases, `valid_until`, windows for a veto, caps per week on claims, keys
and webhooks go by the clock of the service, which runs.

Probabilities come with a 95 % interval. """
    + INTERVAL_COVERS
    + "\n"
)


SECURITY_SCHEMES: Mapping[str, Mapping[str, str]] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A key of `keepwell keys create`, in the header Authorization.",
    },
    "apiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "The same key, in a header of its own.",
    },
    "basic": {
        "type": "http",
        "scheme": "basic",
        "description": "The same key as the password, for browsers; the user name is not read.",
    },
}
"""How a request can carry its key; one of them is enough. The gate reads all three."""

TAGS: Mapping[str, str] = {
    "accounts": "Accounts with their scores, reasons and timelines.",
    "claims": "Carrying out what was decided: approve, claim, complete.",
    "controls": "Stop and resume, levels of autonomy, capacities.",
    "decisions": "What to do next, and what people and programs say came of it.",
    "plans": "A team's week.",
    "events": "Telemetry as it happens.",
    "catalogues": "The playbook, the models, the reports.",
    "status": "Whether the service works.",
}
"""The subjects of the routes, described."""


@dataclass(frozen=True, kw_only=True)
class Link:
    """An id in the answer of one operation that others take in their address."""

    route: str
    status: int
    place: str  # JSON pointer into the answer
    parameter: str
    to: tuple[str, ...]


LINKS = (
    Link(
        route="GET /v1/accounts",
        status=200,
        place="/items/0/account_id",
        parameter="account_id",
        to=(
            "GET /v1/accounts/{account_id}",
            "GET /v1/accounts/{account_id}/score",
            "GET /v1/accounts/{account_id}/timeline",
        ),
    ),
    Link(
        route="POST /v1/next-actions",
        status=200,
        place="/items/0/decision_id",
        parameter="decision_id",
        to=(
            "GET /v1/decisions/{decision_id}",
            "POST /v1/decisions/{decision_id}/claims",
            "POST /v1/decisions/{decision_id}/approvals",
            "POST /v1/decisions/{decision_id}/feedback",
            "POST /v1/decisions/{decision_id}/outcomes",
        ),
    ),
    Link(
        route="POST /v1/decisions/{decision_id}/claims",
        status=201,
        place="/claim_id",
        parameter="claim_id",
        to=(
            "GET /v1/claims/{claim_id}",
            "POST /v1/claims/{claim_id}/heartbeat",
            "POST /v1/claims/{claim_id}/complete",
            "POST /v1/claims/{claim_id}/fail",
        ),
    ),
)
"""Which operations follow which, for readers and for programs that walk through the document."""


class DocumentedApp(FastAPI):
    """An application whose OpenAPI document says of each route how it refuses."""

    def openapi(self) -> dict[str, Any]:
        """The document, made at the first call."""
        if self.openapi_schema is None:
            document = super().openapi()
            _add_problem_shape(document["components"])
            document["components"]["securitySchemes"] = SECURITY_SCHEMES
            document["tags"] = [
                {"name": name, "description": about} for name, about in TAGS.items()
            ]
            needs, problems = declared_needs(self.routes), problems_by_route(self.routes)
            for path, methods in document["paths"].items():
                for method, operation in methods.items():
                    route = f"{method.upper()} {path}"
                    _add_problems(operation["responses"], problems.get(route, ()))
                    _add_write_key(operation, needs.get(route))
                    _add_security(operation, needs.get(route))
            _add_links(document["paths"])
            self.openapi_schema = document
        return self.openapi_schema


def declare_need_of_document(app: FastAPI) -> None:
    """Declare who may read the document, whose route FastAPI makes; all routes are made by then."""
    for route in iter_route_contexts(app.routes):
        if route.path == app.openapi_url and route.endpoint is not None:
            needs(PRODUCT)(route.endpoint)


def _add_problem_shape(components: dict[str, Any]) -> None:
    """Add the shape of every problem, and an example of each kind."""
    shape = ProblemAnswer.model_json_schema(ref_template="#/components/schemas/{model}")
    components["schemas"].update(shape.pop("$defs"))
    components["schemas"]["ProblemAnswer"] = shape
    components["examples"] = {kind.slug: _example(kind) for kind in PROBLEM_KINDS}


def _example(kind: ProblemKind) -> Mapping[str, object]:
    error = ProblemError(kind.meaning, kind=kind)
    return {
        "summary": kind.title,
        "value": problem_content(error, f"/v1/accounts/{EXAMPLE_ACCOUNT}"),
    }


def _add_problems(responses: dict[str, Any], kinds: Iterable[ProblemKind]) -> None:
    """List the problems of a route by status. A status that the route answers itself stays its own."""
    for status, same in groupby(kinds, key=lambda kind: kind.status):
        found = tuple(same)
        answer = responses.get(str(status), {})
        if "HTTPValidationError" in str(answer):  # FastAPI's own, which is never sent
            answer = {}
        content = {
            **answer.get("content", {}),
            MEDIA_TYPE: {
                "schema": {"$ref": "#/components/schemas/ProblemAnswer"},
                "examples": {
                    kind.slug: {"$ref": f"#/components/examples/{kind.slug}"} for kind in found
                },
            },
        }
        titles = [kind.title for kind in found]
        own = [answer["description"]] if "description" in answer else []
        responses[str(status)] = {"description": "; ".join([*own, *titles]), "content": content}


def _add_links(paths: dict[str, Any]) -> None:
    """Say in the answer of an operation which others take its id."""
    operations = {
        f"{method.upper()} {path}": operation
        for path, methods in paths.items()
        for method, operation in methods.items()
    }
    for link in LINKS:
        answer = operations[link.route]["responses"][str(link.status)]
        answer["links"] = {
            operations[target]["operationId"]: {
                "operationId": operations[target]["operationId"],
                "parameters": {link.parameter: f"$response.body#{link.place}"},
            }
            for target in link.to
        }


def _add_security(operation: dict[str, Any], need: Need | None) -> None:
    """Say that a key is needed, in any of the three ways; a probe needs none."""
    if need is None or need.permission is not None:
        operation["security"] = [{name: []} for name in SECURITY_SCHEMES]


def _add_write_key(operation: dict[str, Any], need: Need | None) -> None:
    """Let a write name its Idempotency-Key, where it does not do so itself."""
    parameters = operation.setdefault("parameters", [])
    for parameter in parameters:
        if parameter["name"] == KEY_HEADER:
            parameter["schema"]["pattern"] = KEY_PATTERN
    if need is not None and need.writes and KEY_HEADER not in {one["name"] for one in parameters}:
        parameters.append(
            {
                "name": KEY_HEADER,
                "in": "header",
                "required": False,
                "description": "New for each write, the same when a request is repeated: it is then "
                "done once, and answered as the first time.",
                "schema": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": LONGEST_KEY,
                    "pattern": KEY_PATTERN,
                },
            }
        )
    if not parameters:
        del operation["parameters"]
