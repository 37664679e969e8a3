"""Every route declares its problems: the document lists them, and a client of the tests checks them.

``checked_client`` looks at each refusal of each test of the service; here it is seen to be able to
fail.
"""

from __future__ import annotations

import pytest
from checked_client import CheckedClient
from fastapi import FastAPI

from serving.api.route_problems import problems, problems_by_route
from serving.auth.roles import PROBE_NEED, needs
from serving.http.ledger_problems import PROBLEM_KINDS
from serving.http.problem_details import AnswerProblem, install_problems
from serving.ledger.errors import LedgerError, StoppedError
from serving.problems import BusyError, ProblemError, UnknownReportError


def app_that_raises(error: ProblemError | LedgerError, *declared) -> CheckedClient:
    app = FastAPI()
    install_problems(app, AnswerProblem())

    @app.get("/thing")
    @needs(PROBE_NEED)
    @problems(*declared)
    def thing() -> None:
        raise error

    return CheckedClient(app, raise_server_exceptions=False)


@pytest.mark.parametrize("error", [BusyError("a"), StoppedError("b")])
def test_a_problem_that_a_route_does_not_declare_is_found(error):
    with pytest.raises(AssertionError, match=r"GET /thing answered with (busy|stopped), which it"):
        app_that_raises(error, UnknownReportError).get("/thing")
    assert app_that_raises(error, type(error)).get("/thing").status_code in {409, 503}


def test_the_document_lists_every_problem_of_every_route(client):
    document = client.get("/openapi.json").json()
    examples = document["components"]["examples"]
    assert set(examples) == {kind.slug for kind in PROBLEM_KINDS}
    expected = problems_by_route(client.app.routes)
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            listed = {
                (int(status), reference["$ref"].rpartition("/")[2])
                for status, answer in operation["responses"].items()
                for reference in answer["content"]
                .get("application/problem+json", {})
                .get("examples", {})
                .values()
            }
            kinds = expected[f"{method.upper()} {path}"]
            assert listed == {(kind.status, kind.slug) for kind in kinds}, path


def test_an_example_is_a_problem_as_it_is_answered(client):
    example = client.get("/openapi.json").json()["components"]["examples"]["unknown-report"]
    answered = client.get("/v1/reports/nothing").json()
    assert set(example["value"]) == set(answered)
    same = ("type", "title", "status", "next")
    assert [example["value"][name] for name in same] == [answered[name] for name in same]


def test_the_default_refusal_of_the_framework_is_not_documented(client):
    assert "HTTPValidationError" not in str(client.get("/openapi.json").json()["paths"])


def test_readiness_keeps_its_own_answer(client):
    responses = client.get("/openapi.json").json()["paths"]["/readyz"]["get"]["responses"]
    assert "StatusAnswer" in str(responses["503"])
