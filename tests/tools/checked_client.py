"""A client of the service that fails where a route answers with a problem that it does not declare.

Every test that provokes a refusal through it is a test of the route's ``@problems`` as well.
"""

from __future__ import annotations

import json
from html import escape
from typing import Any

import httpx2
from starlette.testclient import TestClient

from serving.api.route_problems import problems_by_route
from serving.auth.gate import matching, patterns_of


class CheckedClient(TestClient):
    """A ``TestClient`` that looks at every refusal."""

    def request(self, method: str, url: Any, **rest: Any) -> httpx2.Response:
        """Send a request; the answer, if the route declares such an answer."""
        answer = super().request(method, url, **rest)
        for one in (*answer.history, answer):
            check_declared(self.app, one)
        return answer


def check_declared(app: Any, answer: httpx2.Response) -> None:
    """See that a refusal is of a kind that its route declares, or of none."""
    undeclared = undeclared_problem(
        app,
        answer.request.method,
        answer.request.url.path,
        answer.status_code,
        answer.headers.get("content-type", ""),
        answer.content,
    )
    assert undeclared is None, undeclared


def undeclared_problem(
    app: Any, method: str, path: str, status: int, media_type: str, body: bytes
) -> str | None:
    """What is to be declared where a refusal is of a kind that its route does not declare."""
    route = matching(patterns_of(app.routes), method, path)
    if route is None or status < 400 or path in {"/readyz"}:
        return None
    kinds = problems_by_route(app.routes)[f"{method} {route.path}"]
    if media_type == "application/problem+json":
        slug = json.loads(body)["type"].removeprefix("/problems#")
        is_declared = slug in {kind.slug for kind in kinds}
    else:
        slug, page = str(status), body.decode("utf-8", errors="replace")
        is_declared = any(kind.status == status and escape(kind.title) in page for kind in kinds)
    if is_declared:
        return None
    return (
        f"{method} {route.path} answered with {slug}, which it does not declare. "
        f"Add its error to @problems(...) at the function of the route."
    )
