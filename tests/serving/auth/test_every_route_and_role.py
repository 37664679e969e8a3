"""Every route × role × territory over a real server: what each caller may, sees and may not see.

The routes come from the application, so that one without a line here fails. What is expected is
written down here once more, and not read from where the service reads it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from real_server import running
from small_company import ACCOUNTS, AS_OF, event, make_workspace

from serving.api.app import create_app

REGIONS = ("emea", "apac", None)
ALL = {"reader", "csm", "approver", "engine", "admin"}
WATCHING = ALL - {"csm"}

OWN = "acct-03"  # of emea and of csm-0
COMPANY, ACCOUNT, PRODUCT, PROBE = "company", "account", "product", "probe"

EXPECTED: dict[str, tuple[set[str], str, dict[str, object]]] = {
    # route: who may, what it is about, and what else is sent
    "GET /v1/accounts": (ALL, "accounts", {}),
    "GET /v1/accounts/{account_id}": (ALL, ACCOUNT, {}),
    "GET /v1/accounts/{account_id}/score": (ALL, ACCOUNT, {}),
    "GET /v1/accounts/{account_id}/timeline": (ALL, ACCOUNT, {}),
    "POST /v1/scores": (ALL, "accounts", {"json": {"account_ids": [OWN]}}),
    "POST /v1/next-actions": (
        {"csm", "engine", "admin"},
        "accounts",
        {"json": {"account_ids": [OWN]}},
    ),
    "POST /v1/decisions/{decision_id}/outcomes": (
        {"csm", "engine", "admin"},
        ACCOUNT,
        {"json": {"kind": "outcome", "result": "renewed"}},
    ),
    "GET /v1/decisions/{decision_id}": (ALL, ACCOUNT, {}),
    "POST /v1/decisions/{decision_id}/approvals": (
        {"approver", "admin"},
        ACCOUNT,
        {"json": {"verdict": "rejected"}},
    ),
    "POST /v1/decisions/{decision_id}/claims": ({"engine", "admin"}, ACCOUNT, {"json": {}}),
    "GET /v1/claims/{claim_id}": (ALL, ACCOUNT, {}),
    "POST /v1/claims/{claim_id}/heartbeat": ({"engine", "admin"}, ACCOUNT, {"json": {}}),
    "POST /v1/claims/{claim_id}/complete": ({"engine", "admin"}, ACCOUNT, {"json": {}}),
    "POST /v1/claims/{claim_id}/fail": (
        {"engine", "admin"},
        ACCOUNT,
        {"json": {"reason": "bounced"}},
    ),
    "GET /v1/controls": (WATCHING, COMPANY, {}),
    "POST /v1/controls/stop": (
        {"approver", "admin"},
        COMPANY,
        {"json": {"segment": "mid", "reason": "walked"}},
    ),
    "POST /v1/controls/resume": (
        {"admin"},
        COMPANY,
        {"json": {"segment": "mid", "reason": "walked"}},
    ),
    "POST /v1/controls/levels": ({"admin"}, COMPANY, {"json": {"level": 2, "reason": "walked"}}),
    "POST /v1/controls/capacities": (
        {"admin"},
        COMPANY,
        {"json": {"most_a_week": 5, "reason": "walked"}},
    ),
    "POST /v1/plans": (WATCHING, "accounts", {"json": {"csms": [{"id": "ann", "hours": 5}]}}),
    "POST /v1/decisions/{decision_id}/feedback": (
        {"csm", "approver", "admin"},
        ACCOUNT,
        {"json": {"verdict": "agree"}},
    ),
    "GET /v1/decisions/{decision_id}/feedback": (ALL, ACCOUNT, {}),
    "POST /v1/events": (
        {"engine", "admin"},
        COMPANY,
        {
            "json": {
                "events": [
                    {
                        "event_id": "e-1",
                        "account_id": OWN,
                        "kind": "community.posted",
                        "occurred_at": "2026-02-20T10:00:00Z",
                    }
                ]
            }
        },
    ),
    "GET /v1/actions": (ALL, PRODUCT, {}),
    "GET /v1/models": (ALL, PRODUCT, {}),
    "GET /v1/reports": (ALL, PRODUCT, {}),
    "GET /v1/reports/{name}": (ALL, PRODUCT, {}),
    "GET /": (ALL, "accounts", {}),
    "GET /accounts/{account_id}": (ALL, ACCOUNT, {}),
    "POST /accounts/{account_id}/feedback": (
        {"csm", "approver", "admin"},
        ACCOUNT,
        {"data": {"verdict": "agree"}},
    ),
    "GET /approvals": (ALL, "accounts", {}),
    "POST /decisions/{decision_id}/approvals": (
        {"approver", "admin"},
        ACCOUNT,
        {"data": {"verdict": "rejected"}},
    ),
    "GET /models": (ALL, PRODUCT, {}),
    "GET /models/{label}/{version}": (ALL, PRODUCT, {}),
    "GET /models/{label}/{version}/plots/{name}": (ALL, PRODUCT, {}),
    "GET /reports": (ALL, PRODUCT, {}),
    "GET /reports/{name}": (ALL, PRODUCT, {}),
    "GET /problems": (ALL, PRODUCT, {}),
    "GET /docs": (ALL, PRODUCT, {}),
    "GET /help": (ALL, PRODUCT, {}),
    "GET /help/{page}": (ALL, PRODUCT, {}),
    "GET /help/{folder}/{page}": (ALL, PRODUCT, {}),
    "GET /openapi.json": (ALL, PRODUCT, {}),
    "GET /assets/keepwell.svg": (ALL, PRODUCT, {}),
    "GET /assets/{name}": (ALL, PRODUCT, {}),
    "GET /metrics": (WATCHING, COMPANY, {}),
    "GET /healthz": (ALL, PROBE, {}),
    "GET /readyz": (ALL, PROBE, {}),
}
PARTS = {
    "account_id": OWN,
    "claim_id": "none",
    "label": "churn",
    "version": "1",
    "name": "calibration.png",
    "folder": "how-to",
    "page": "glossary",
}
NOT_THERE = {
    "GET /v1/reports/{name}",
    "GET /reports/{name}",
    "GET /assets/{name}",
    "GET /help/{folder}/{page}",
    *(route for route in EXPECTED if "{claim_id}" in route),
}
"""No report, file, page or claim exists here: 404 is then the answer of the route itself."""

ONCE = {
    "POST /v1/decisions/{decision_id}/approvals",
    "POST /v1/decisions/{decision_id}/claims",
    "POST /decisions/{decision_id}/approvals",
}
"""The second caller is told that it was rejected before: 409 is the answer of the route itself."""

CALLERS = [
    (role, territories)
    for role in sorted(ALL)
    for territories in ((), ("emea",), ("apac",))
    if role != "admin" or not territories
]
numbers = itertools.count()


def region_of(number: int) -> str | None:
    return REGIONS[number % 3]


@pytest.fixture(scope="module")
def app(tmp_path_factory, store) -> FastAPI:
    """Accounts of two regions, and some of none: 0, 3, 6 … of emea, 1, 4, 7 … of apac."""
    regions = [
        event(f"acct-{n:02d}", "account.updated", 300, region=region_of(n))
        for n in range(ACCOUNTS)
        if region_of(n) is not None
    ]
    workspace = make_workspace(tmp_path_factory.mktemp("regions") / "w", more=regions)
    return create_app(workspace, store=store, now=lambda: AS_OF, refresh_seconds=60)


@pytest.fixture(scope="module")
def secrets(app) -> dict[tuple[str, tuple[str, ...]], str]:
    """A key for each role and territory. The CSM's owner is the CSM of no account."""
    keys = app.state.service.keys
    return {
        (role, territories): keys.create(
            name=f"{role} {territories}", owner="ann", role=role, territories=territories, now=AS_OF
        ).secret
        for role, territories in CALLERS
    }


@pytest.fixture(scope="module")
def client(app, secrets) -> Iterator[httpx.Client]:
    with running(app) as address, httpx.Client(base_url=address, timeout=60) as opened:
        yield opened


@pytest.fixture(scope="module")
def decision_id(client, secrets) -> str:
    answer = client.post(
        "/v1/next-actions", json={"account_ids": [OWN]}, headers={"X-API-Key": secrets["admin", ()]}
    )
    [item] = answer.json()["items"]
    return item["decision_id"]


def routes_of(app: FastAPI) -> set[str]:
    return {
        f"{method} {route.path}"
        for route in iter_route_contexts(app.routes)
        for method in route.methods or ()
        if method != "HEAD"
    }


def reached(role: str, territories: tuple[str, ...]) -> set[str]:
    """The accounts that a caller reaches."""
    return {
        f"acct-{n:02d}"
        for n in range(ACCOUNTS)
        if region_of(n) in territories or (not territories and role != "csm")
    }


def is_limited(role: str, territories: tuple[str, ...]) -> bool:
    return role == "csm" or territories != ()


def ask(client: httpx.Client, route: str, decision_id: str, secret: str | None) -> httpx.Response:
    method, _, path = route.partition(" ")
    address = path.format(**PARTS, decision_id=decision_id)
    headers = {"Idempotency-Key": f"walk-{next(numbers)}"} if method == "POST" else {}
    if secret is not None:
        headers["Authorization"] = f"Bearer {secret}"
    return client.request(method, address, headers=headers, **EXPECTED[route][2])


def test_every_route_has_a_line_and_every_line_a_route(app):
    assert routes_of(app) == set(EXPECTED)


@pytest.mark.parametrize("route", EXPECTED)
def test_without_a_valid_key_only_the_probes_answer(client, decision_id, route):
    wanted = 200 if EXPECTED[route][1] == PROBE else 401
    assert [
        ask(client, route, decision_id, secret).status_code for secret in (None, "kw_wrong", "kw_")
    ] == [wanted] * 3


@pytest.mark.parametrize(
    ("role", "territories"), CALLERS, ids=[f"{r} {'+'.join(t) or 'none'}" for r, t in CALLERS]
)
def test_every_role_and_territory_gets_what_is_theirs(
    client, secrets, decision_id, role, territories
):
    mine = reached(role, territories)
    wrong = {}
    for route, (may, about, _) in EXPECTED.items():
        answer = ask(client, route, decision_id, secrets[role, territories])
        wanted = {200, 201, 303}
        if about != PROBE and (
            role not in may or (about == COMPANY and is_limited(role, territories))
        ):
            wanted = {403}
        elif route in NOT_THERE or (about == ACCOUNT and OWN not in mine):
            wanted = {404}
        if route in ONCE and 201 in wanted:
            wanted = {201, 303, 409}
        if answer.status_code not in wanted:
            wrong[route] = (answer.status_code, wanted, answer.text[:200])
        told = set(re.findall(r"acct-\d\d(?!\d)", answer.text))
        if is_limited(role, territories) and not told <= mine | {OWN}:
            wrong[f"{route} tells of"] = sorted(told - mine)[:3]
    assert wrong == {}


@pytest.mark.parametrize(
    ("role", "territories"), CALLERS, ids=[f"{r} {'+'.join(t) or 'none'}" for r, t in CALLERS]
)
def test_lists_and_sums_hold_the_accounts_within_reach_and_no_others(
    client, secrets, role, territories
):
    mine, carried = reached(role, territories), {"X-API-Key": secrets[role, territories]}
    content = client.get("/v1/accounts?limit=500", headers=carried).json()
    assert {item["account_id"] for item in content["items"]} == mine
    assert content["accounts"] == len(mine)
    known = [
        item["revenue_at_risk"] for item in content["items"] if item["revenue_at_risk"] is not None
    ]
    assert content["revenue_at_risk"] == (pytest.approx(sum(known)) if known else None)
    page = client.get("/?status=all", headers=carried).text
    assert set(re.findall(r"acct-\d\d", page)) <= mine
    scored = client.post(
        "/v1/scores", headers=carried, json={"account_ids": ["acct-00", "acct-01", "acct-02"]}
    ).json()
    assert {one["account_id"] for one in scored["items"]} == mine & {
        "acct-00",
        "acct-01",
        "acct-02",
    }


def test_what_is_beyond_reach_is_answered_as_what_does_not_exist(client, secrets):
    carried = {"X-API-Key": secrets["csm", ("apac",)]}
    for address in ("/v1/accounts/{}", "/v1/accounts/{}/score", "/v1/accounts/{}/timeline"):
        there, nowhere = (
            client.get(address.format(name), headers=carried) for name in (OWN, "acct-99")
        )
        assert there.status_code == nowhere.status_code == 404
        assert there.text.replace(OWN, "acct-99") == nowhere.text


def test_a_decision_beyond_reach_is_answered_as_one_that_does_not_exist(
    client, secrets, decision_id
):
    carried = {"X-API-Key": secrets["csm", ("apac",)], "Idempotency-Key": "other"}
    body = {"kind": "executed"}
    there, nowhere = (
        client.post(f"/v1/decisions/{one}/outcomes", json=body, headers=carried)
        for one in (decision_id, "none")
    )
    assert there.status_code == nowhere.status_code == 404
    assert there.text.replace(decision_id, "none") == nowhere.text


def test_a_csm_reaches_the_accounts_that_name_them_wherever_they_are(client, app):
    new = app.state.service.keys.create(name="own", owner="csm-1", role="csm", now=AS_OF)
    content = client.get("/v1/accounts?limit=500", headers={"X-API-Key": new.secret}).json()
    assert {item["account_id"] for item in content["items"]} == {
        f"acct-{n:02d}" for n in range(ACCOUNTS) if n % 3 == 1
    }
