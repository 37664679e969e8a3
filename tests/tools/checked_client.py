"""A client of the service that fails where a route answers with a problem that it does not declare.

Every test that provokes a refusal through it is a test of the route's ``@problems`` as well.
"""

from __future__ import annotations

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
    path = answer.request.url.path
    route = matching(patterns_of(app.routes), answer.request.method, path)
    if route is None or answer.status_code < 400 or path in {"/readyz"}:
        return
    kinds = problems_by_route(app.routes)[f"{answer.request.method} {route.path}"]
    if answer.headers["content-type"] == "application/problem+json":
        slug = answer.json()["type"].removeprefix("/problems#")
        is_declared = slug in {kind.slug for kind in kinds}
    else:
        slug = str(answer.status_code)
        is_declared = any(
            kind.status == answer.status_code and escape(kind.title) in answer.text
            for kind in kinds
        )
    assert is_declared, (
        f"{answer.request.method} {route.path} answered with {slug}, which it does not declare. "
        f"Add its error to @problems(...) at the function of the route."
    )
