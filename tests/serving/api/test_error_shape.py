"""Every refusal of every route has one shape, RFC 9457, and says what helps.

{"type": "/problems#slug", "title", "status", "detail", "instance", "next"[, "errors"]}, as
application/problem+json; nothing that was sent comes back but the names of fields.
"""

from __future__ import annotations

import json

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from serving.http.headers import SECURITY_HEADERS
from serving.http.ledger_problems import LEDGER_PROBLEMS, PROBLEM_KINDS
from serving.http.problem_details import install_problems
from serving.ledger.errors import LedgerError
from serving.pages.frame import AnswerProblemToPeople, Templates
from serving.problems import PROBLEMS, ProblemError, TooManyError, check_count, kind_of

KEYS = {"type", "title", "status", "detail", "instance", "next"}
SLUGS = {f"/problems#{problem.slug}" for problem in PROBLEM_KINDS}
JSON = {"Content-Type": "application/json"}

DEEP = "[" * 20_000

REFUSED = [
    # route, method, body, headers, status, type
    ("GET", "/v1/accounts?limit=0", None, {}, 422, "wrong-shape"),
    ("GET", "/v1/accounts?limit=501", None, {}, 422, "wrong-shape"),
    ("GET", "/v1/accounts?limit=ten", None, {}, 422, "wrong-shape"),
    ("GET", "/v1/accounts?sgement=mid", None, {}, 422, "wrong-shape"),
    ("GET", "/v1/accounts?sort=name", None, {}, 422, "wrong-shape"),
    ("GET", "/v1/accounts?tier=red", None, {}, 422, "wrong-shape"),
    ("GET", "/v1/accounts?level=good", None, {}, 422, "wrong-shape"),
    ("GET", "/v1/accounts?cursor=abc", None, {}, 422, "bad-cursor"),
    ("GET", "/v1/accounts?cursor=%FF%00", None, {}, 422, "bad-cursor"),
    ("GET", "/v1/accounts?cursor=WzEsMl0", None, {}, 422, "bad-cursor"),
    ("GET", "/v1/accounts?cursor=WyJuYW4iLCJhIl0", None, {}, 422, "bad-cursor"),
    ("GET", "/v1/accounts/nobody", None, {}, 404, "unknown-account"),
    ("GET", "/v1/accounts/%00%ED%A0%80", None, {}, 404, "unknown-account"),
    ("GET", "/v1/accounts/nobody/score", None, {}, 404, "unknown-account"),
    ("GET", "/v1/accounts/acct-00/score?horizon_days=45", None, {}, 422, "unknown-horizon"),
    ("GET", "/v1/accounts/acct-00/score?horizon_days=-1", None, {}, 422, "wrong-shape"),
    ("GET", "/v1/accounts/nobody/timeline", None, {}, 404, "unknown-account"),
    (
        "GET",
        "/v1/accounts/acct-00/timeline?since=2026-03-01T00:00:00",
        None,
        {},
        422,
        "wrong-shape",
    ),
    ("DELETE", "/v1/accounts/acct-00", None, {}, 405, "wrong-method"),
    ("GET", "/v1/scores", None, {}, 405, "wrong-method"),
    ("POST", "/v1/scores", "{", JSON, 400, "not-json"),
    ("POST", "/v1/scores", DEEP, JSON, 400, "not-json"),
    ("POST", "/v1/scores", b"\xff\xfe", JSON, 400, "not-json"),
    ("POST", "/v1/scores", "", JSON, 422, "wrong-shape"),
    ("POST", "/v1/scores", "[]", JSON, 422, "wrong-shape"),
    ("POST", "/v1/scores", '{"account_ids": []}', JSON, 422, "wrong-shape"),
    ("POST", "/v1/scores", '{"account_ids": ["\\ud800"]}', JSON, 422, "wrong-shape"),
    ("POST", "/v1/scores", '{"account_ids": ["a"], "horizon_days": NaN}', JSON, 422, "wrong-shape"),
    ("POST", "/v1/scores", '{"account_ids": ["a"], "\\ud800": 1}', JSON, 422, "wrong-shape"),
    (
        "POST",
        "/v1/scores",
        '{"account_ids": ["acct-00"], "horizon_days": 7}',
        JSON,
        422,
        "unknown-horizon",
    ),
    (
        "POST",
        "/v1/scores",
        '{"account_ids": ["a"]}',
        {"Content-Type": "text/plain"},
        422,
        "wrong-shape",
    ),
    ("POST", "/v1/next-actions", '{"limit": 0}', JSON, 422, "wrong-shape"),
    ("POST", "/v1/next-actions", '{"account": "a"}', JSON, 422, "wrong-shape"),
    ("POST", "/v1/next-actions", '{"limit": 1e999}', JSON, 422, "wrong-shape"),
    ("POST", "/v1/plans", "{}", JSON, 422, "impossible-plan"),
    ("POST", "/v1/plans", '{"csms": [{"id": "a", "hours": 169}]}', JSON, 422, "wrong-shape"),
    ("POST", "/v1/plans", '{"csms": [{"id": "a", "hours": NaN}]}', JSON, 422, "wrong-shape"),
    (
        "POST",
        "/v1/plans",
        '{"pools": [{"id": "a", "hours": 9, "skills": ["juggling"]}]}',
        JSON,
        422,
        "wrong-shape",
    ),
    (
        "POST",
        "/v1/plans",
        '{"csms": [{"id": "a", "hours": 1}], "most_waiting": 1e9}',
        JSON,
        422,
        "wrong-shape",
    ),
    ("POST", "/v1/plans", '{"team": "team.toml"}', JSON, 422, "wrong-shape"),
    (
        "POST",
        "/v1/decisions/none/outcomes",
        '{"kind": "executed"}',
        JSON,
        400,
        "missing-idempotency-key",
    ),
    (
        "POST",
        "/v1/decisions/none/outcomes",
        '{"kind": "executed"}',
        {**JSON, "Idempotency-Key": "k" * 201},
        400,
        "missing-idempotency-key",
    ),
    (
        "POST",
        "/v1/decisions/none/outcomes",
        '{"kind": "executed"}',
        {**JSON, "Idempotency-Key": ""},
        400,
        "missing-idempotency-key",
    ),
    (
        "POST",
        "/v1/decisions/none/outcomes",
        '{"kind": "executed"}',
        {**JSON, "Idempotency-Key": "k"},
        404,
        "unknown-decision",
    ),
    (
        "POST",
        "/v1/decisions/none/outcomes",
        '{"kind": "outcome"}',
        {**JSON, "Idempotency-Key": "k"},
        422,
        "wrong-shape",
    ),
    (
        "POST",
        "/v1/decisions/none/outcomes",
        '{"kind": "declined"}',
        {**JSON, "Idempotency-Key": "k"},
        422,
        "wrong-shape",
    ),
    (
        "POST",
        "/v1/decisions/none/outcomes",
        '{"kind": "done"}',
        {**JSON, "Idempotency-Key": "k"},
        422,
        "wrong-shape",
    ),
    (
        "POST",
        "/v1/decisions/none/outcomes",
        '{"kind": "executed", "occurred_at": "2026-03-02T00:00:00Z"}',
        {**JSON, "Idempotency-Key": "k"},
        422,
        "wrong-shape",
    ),
    ("GET", "/v1/decisions/none", None, {}, 404, "unknown-decision"),
    (
        "POST",
        "/v1/decisions/none/claims",
        "{}",
        {**JSON, "Idempotency-Key": "c"},
        404,
        "unknown-decision",
    ),
    ("POST", "/v1/decisions/none/claims", "{}", JSON, 400, "missing-idempotency-key"),
    (
        "POST",
        "/v1/decisions/none/claims",
        '{"lease_seconds": 1}',
        {**JSON, "Idempotency-Key": "c"},
        422,
        "wrong-shape",
    ),
    (
        "POST",
        "/v1/decisions/none/claims",
        '{"lease_seconds": 1e99}',
        {**JSON, "Idempotency-Key": "c"},
        422,
        "wrong-shape",
    ),
    (
        "POST",
        "/v1/decisions/none/approvals",
        '{"verdict": "maybe"}',
        {**JSON, "Idempotency-Key": "c"},
        422,
        "wrong-shape",
    ),
    (
        "POST",
        "/v1/decisions/none/approvals",
        '{"verdict": "approved"}',
        {**JSON, "Idempotency-Key": "c"},
        404,
        "unknown-decision",
    ),
    ("GET", "/v1/claims/none", None, {}, 404, "unknown-claim"),
    (
        "POST",
        "/v1/claims/none/heartbeat",
        "{}",
        {**JSON, "Idempotency-Key": "c"},
        404,
        "unknown-claim",
    ),
    (
        "POST",
        "/v1/claims/none/complete",
        "{}",
        {**JSON, "Idempotency-Key": "c"},
        404,
        "unknown-claim",
    ),
    ("POST", "/v1/claims/none/fail", "{}", {**JSON, "Idempotency-Key": "c"}, 422, "wrong-shape"),
    ("POST", "/v1/controls", None, {}, 405, "wrong-method"),
    ("POST", "/v1/controls/stop", "{}", {**JSON, "Idempotency-Key": "c"}, 422, "wrong-shape"),
    (
        "POST",
        "/v1/controls/stop",
        '{"reason": "x", "segment": "moon"}',
        {**JSON, "Idempotency-Key": "c"},
        422,
        "unknown-control",
    ),
    (
        "POST",
        "/v1/controls/resume",
        '{"reason": "x"}',
        {**JSON, "Idempotency-Key": "c"},
        422,
        "unknown-control",
    ),
    (
        "POST",
        "/v1/controls/levels",
        '{"reason": "x", "level": 5}',
        {**JSON, "Idempotency-Key": "c"},
        422,
        "wrong-shape",
    ),
    (
        "POST",
        "/v1/controls/capacities",
        '{"reason": "x", "most_a_week": -1}',
        {**JSON, "Idempotency-Key": "c"},
        422,
        "wrong-shape",
    ),
    ("POST", "/v1/decisions/none/feedback", '{"verdict": "agree"}', JSON, 404, "unknown-decision"),
    ("POST", "/v1/decisions/none/feedback", '{"verdict": "disagree"}', JSON, 422, "wrong-shape"),
    ("GET", "/v1/decisions/none/feedback", None, {}, 404, "unknown-decision"),
    ("POST", "/v1/events", '{"events": []}', JSON, 422, "wrong-shape"),
    ("POST", "/v1/events", '{"events": [7]}', JSON, 422, "wrong-shape"),
    ("POST", "/v1/events", '{"events": [{"quantity": NaN}]}', JSON, 422, "wrong-shape"),
    ("POST", "/v1/events", '{"events": [{"quantity": -Infinity}]}', JSON, 422, "wrong-shape"),
    (
        "POST",
        "/v1/events",
        '{"events": [{"quantity": ' + "9" * 400 + "}]}",
        JSON,
        422,
        "wrong-shape",
    ),
    ("POST", "/v1/events", '{"events": [{"properties": {"a": NaN}}]}', JSON, 422, "wrong-shape"),
    ("POST", "/v1/actions", None, {}, 405, "wrong-method"),
    ("POST", "/v1/models", None, {}, 405, "wrong-method"),
    ("POST", "/v1/reports", None, {}, 405, "wrong-method"),
    ("GET", "/v1/reports/nothing", None, {}, 404, "unknown-report"),
    ("GET", "/v1/reports/..%2Fworkspace", None, {}, 404, "unknown-address"),
    ("GET", "/v1/nothing", None, {}, 404, "unknown-address"),
    ("POST", "/healthz", None, {}, 405, "wrong-method"),
    ("POST", "/readyz", None, {}, 405, "wrong-method"),
    ("POST", "/metrics", None, {}, 405, "wrong-method"),
    ("GET", "/assets/keepwell-old.css", None, {}, 404, "unknown-address"),
]


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "slug"),
    REFUSED,
    ids=[f"{r[0]} {r[1][:48]} {str(r[2])[:40]}" for r in REFUSED],
)
def test_every_refusal_has_the_one_shape(client, method, path, body, headers, status, slug):
    answer = client.request(method, path, content=body, headers=headers)
    assert answer.headers["content-type"] == "application/problem+json"
    content = json.loads(answer.text, parse_constant=pytest.fail)
    assert (answer.status_code, content["type"]) == (status, f"/problems#{slug}"), content
    assert set(content) - {"errors"} == KEYS
    assert content["status"] == status
    assert content["instance"].startswith("/")
    assert all(content[key].strip() for key in ("title", "detail", "next"))
    for problem in content.get("errors", ()):
        assert set(problem) == {"where", "message"}


def test_every_route_is_among_the_refusals(client):
    asked = {(method, path.partition("?")[0]) for method, path, *_ in REFUSED}
    paths = client.get("/openapi.json").json()["paths"]
    missing = []
    for path in paths:
        start = path.partition("{")[0]
        if not any(
            p == path or (("{" in path) and p.startswith(start) and len(p) > len(start))
            for _, p in asked
        ):
            missing.append(path)
    assert missing == []


def test_a_wrong_field_is_named_and_its_value_is_not_repeated(client):
    answer = client.post("/v1/scores", json={"account_ids": ["ok", ""], "secret": "hunter2"})
    content = answer.json()
    assert [e["where"] for e in content["errors"]] == ["account_ids[1]", "secret"]
    assert "there is no such field" in answer.text
    assert "There are 2 such problems" in content["detail"]
    assert "hunter2" not in answer.text


@pytest.mark.parametrize(
    ("headers", "said"),
    [({}, "is missing"), ({"Content-Type": "text/plain"}, "is not application/json")],
)
def test_a_body_that_is_not_called_json_is_told_so(client, headers, said):
    answer = client.post("/v1/scores", content='{"account_ids": ["acct-00"]}', headers=headers)
    content = answer.json()
    assert content["detail"] == (
        f"The Content-Type header {said}, so the body was not read as JSON."
    )
    assert content["errors"] == [{"where": "Content-Type", "message": said}]
    assert "Content-Type: application/json" in content["next"]


def test_a_time_without_a_zone_is_shown_one_with(client):
    content = client.get("/v1/accounts/acct-00/timeline?since=2026-03-01T00:00:00").json()
    assert content["detail"] == (
        "since: the time has no zone; write it with one, such as 2026-03-01T09:30:00Z"
    )


def test_a_horizon_that_is_not_served_lists_those_that_are(client):
    content = client.get("/v1/accounts/acct-00/score?horizon_days=45").json()
    assert "Served horizons: 30, 60, 90 days" in content["detail"]


@pytest.mark.parametrize(
    ("path", "body", "detail"),
    [
        (
            "/v1/events",
            {"events": [{"kind": "feature.used"}] * 7},
            "7 events were sent, and one request takes 3 at most; 3 requests are enough for them.",
        ),
        (
            "/v1/scores",
            {"account_ids": ["a"] * 3},
            "3 account ids were sent, and one request takes 2 at most; 2 requests are enough for them.",
        ),
        (
            "/v1/next-actions",
            {"account_ids": ["a"] * 5},
            "5 account ids were sent, and one request takes 2 at most; 3 requests are enough for them.",
        ),
    ],
)
def test_more_rows_than_are_taken_at_once_are_refused_as_a_whole(
    own_workspace,
    store,
    make_client,
    path,
    body,
    detail,
):
    client = make_client(own_workspace, store, most_events_per_call=3, most_accounts_per_call=2)
    before = client.app.state.service.timelines.freshness()
    answer = client.post(path, json=body)
    content = answer.json()
    assert (answer.status_code, content["type"]) == (413, "/problems#too-many")
    assert content["detail"] == detail
    assert content["next"].startswith("Nothing was taken. Split the rows")
    assert client.app.state.service.timelines.freshness() == before
    fewer = {name: rows[:2] for name, rows in body.items()}
    assert client.post(path, json=fewer).status_code == 200


def test_a_request_of_as_many_as_may_be_is_taken():
    assert check_count("events", 3, 3) is None
    with pytest.raises(TooManyError, match="4 events were sent, and one request takes 3 at most"):
        check_count("events", 4, 3)


def test_the_document_says_how_many_are_taken_at_once(client):
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    assert "10,000" in schemas["EventsRequest"]["properties"]["events"]["description"]
    assert "1,000" in schemas["ScoresRequest"]["properties"]["account_ids"]["description"]


def test_a_wrong_method_says_which_are_right(client):
    assert "POST" in client.get("/v1/scores").headers["allow"]


def test_a_word_of_a_table_is_answered_with_the_table(client):
    content = client.get("/v1/accounts?tier=red").json()
    assert "low, medium, high, critical" in content["detail"]


@pytest.fixture
def failing() -> TestClient:
    """An application whose only route fails with something that must not leak."""
    app = FastAPI()
    install_problems(app, AnswerProblemToPeople(Templates("Sample")))

    @app.get("/fail")
    def fail() -> None:
        raise RuntimeError("password=hunter2 at line 7")

    return TestClient(app, raise_server_exceptions=False)


def test_a_failure_inside_answers_with_an_id_and_leaks_nothing(failing, caplog):
    answer = failing.get("/fail")
    content = answer.json()
    assert answer.status_code == 500
    assert content["type"] == "/problems#internal"
    assert "hunter2" not in answer.text
    incident = content["detail"].removesuffix(".").rpartition(" ")[2]
    assert len(incident) == 12
    assert incident in caplog.text
    assert "hunter2" in caplog.text  # for the operator
    assert {name: answer.headers[name] for name in SECURITY_HEADERS} == dict(SECURITY_HEADERS)


def test_a_browser_reads_the_same_words_as_a_page(failing, client):
    page = client.get("/accounts/nobody", headers={"Accept": "text/html"})
    assert page.status_code == 404
    assert page.headers["content-type"].startswith("text/html")
    assert "Unknown account" in page.text
    assert "What helps:" in page.text
    assert "/problems#internal" not in failing.get("/fail", headers={"Accept": "text/html"}).text


def test_the_api_answers_json_even_to_a_browser(client):
    answer = client.get("/v1/accounts/nobody", headers={"Accept": "text/html"})
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("problem", PROBLEM_KINDS, ids=lambda p: p.slug)
def test_every_problem_is_explained_on_its_page(client, problem):
    page = client.get("/problems").text
    assert f'id="{problem.slug}"' in page
    assert problem.title in page


def test_problems_have_one_name_each():
    assert len(SLUGS) == len(PROBLEM_KINDS)
    assert set(ProblemError.__subclasses__()) == set(PROBLEMS)


def errors_below(error: type[Exception]) -> set[type[Exception]]:
    return {error} | {one for below in error.__subclasses__() for one in errors_below(below)}


def test_every_error_of_the_ledger_is_a_problem_of_the_api():
    assert set(LEDGER_PROBLEMS) == errors_below(LedgerError) - {LedgerError}
    assert set(LEDGER_PROBLEMS.values()) >= set(PROBLEM_KINDS) - set(map(kind_of, PROBLEMS))
