"""A plan over HTTP is the plan of the command, bounded, and refused with the limits in its way."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from real_server import running
from small_company import ACCOUNTS, AS_OF, event, make_workspace

from experiments.planning.infeasibility import LimitConflict
from serving.api.app import create_app
from serving.api.routes.plans import check_may_save
from serving.api.schemas.plans import PlanRequest
from serving.auth.api_keys import ApiKeys
from serving.auth.roles import caller_of
from serving.decisions.saved_plan import NEWEST
from serving.http.admission import BATCHES
from serving.problems import NotPermittedError
from serving.recommendations.plans import document_of, plan_as_of

SKILLS = ["ceo", "support", "billing", "sales", "marketing", "product", "sponsor", "automation"]


@pytest.fixture(scope="module")
def app(tmp_path_factory, store) -> FastAPI:
    return create_app(
        make_workspace(tmp_path_factory.mktemp("plans")), store=store, now=lambda: AS_OF
    )


@pytest.fixture(scope="module")
def address(app: FastAPI) -> Iterator[str]:
    with running(app) as address:
        yield address


def team(hours: float = 4.0, **changed: object) -> dict[str, object]:
    return {
        "csms": [{"id": f"csm-{n}", "hours": hours} for n in range(3)],
        "pools": [{"id": "others", "hours": hours, "skills": SKILLS}],
        **changed,
    }


def post(address: str, body: object) -> httpx.Response:
    return httpx.post(f"{address}/v1/plans", json=body, timeout=60)


def test_the_plan_over_http_is_that_of_the_command(address, shared_workspace, store) -> None:
    answer = post(address, team(most_waiting=100_000))
    assert answer.status_code == 200
    said = answer.json()
    week = plan_as_of(shared_workspace, store, AS_OF, PlanRequest(**team()).team())
    made = document_of(week, as_of=AS_OF, currency="USD")
    for name in ("actions", "waiting", "hours", "budgets", "care", "currency"):
        assert said[name] == made[name], name
    for name in ("value", "bound", "share_of_bound"):
        assert said[name] == pytest.approx(made[name], rel=1e-12)  # written and read as JSON
    assert said["source"] == "POST /v1/plans"
    assert len(said["actions"]) > 5
    assert max(each["price"] for each in said["hours"]) > 0


def test_a_plan_is_on_the_page_of_reports_when_it_shall_be_kept(address, app) -> None:
    assert (
        "No plan has been made in this workspace."
        in httpx.get(f"{address}/reports", timeout=60).text
    )
    assert post(address, team()).status_code == 200
    assert (
        "No plan has been made in this workspace."
        in httpx.get(f"{address}/reports", timeout=60).text
    )
    said = post(address, team(keep=True)).json()
    page = httpx.get(f"{address}/reports", timeout=60).text
    scarce = max(said["hours"], key=lambda each: each["price"])
    assert f"One more hour of {scarce['id']} would bring" in page
    assert "made 1 March 2026, 00:00 UTC by POST /v1/plans" in page
    assert f"{len(said['actions'])} actions worth" in page
    (app.state.service.workspace.plans_dir / NEWEST).write_text("{", encoding="utf-8")
    broken = httpx.get(f"{address}/reports", timeout=60)
    assert broken.status_code == 200
    assert "The newest plan cannot be read. Make one again with keepwell plan." in broken.text


def test_only_who_reaches_everybody_says_what_the_plan_of_the_week_is() -> None:
    check_may_save(caller_of("k", "engine"))
    for caller in (
        caller_of("k", "reader"),
        caller_of("k", "csm", owner="ann"),
        caller_of("k", "engine", territories=("emea",)),
    ):
        with pytest.raises(NotPermittedError, match="needs the permission 'recommend'"):
            check_may_save(caller)


def test_a_key_of_some_accounts_sees_no_prices_of_others_hours(
    make_client,
    own_workspace,
    store,
) -> None:
    client = make_client(own_workspace, store, api_key="k" * 20)
    whole = {"Authorization": "Bearer " + "k" * 20}
    assert client.post("/v1/plans", json=team(keep=True), headers=whole).status_code == 200
    assert "One more hour of" in client.get("/reports", headers=whole).text
    with contextlib.closing(ApiKeys(own_workspace.root)) as keys:
        made = keys.create(name="hers", owner="csm-1", role="csm", now=AS_OF)
    hers = {"Authorization": f"Bearer {made.secret}"}
    assert client.get("/reports", headers=hers).status_code == 200
    assert "One more hour of" not in client.get("/reports", headers=hers).text


def test_what_waits_is_counted_and_the_most_valuable_are_listed(address) -> None:
    whole = post(address, team(most_waiting=100_000)).json()
    few = post(address, team(most_waiting=3)).json()
    assert whole["waiting_in_all"] == len(whole["waiting"]) == few["waiting_in_all"] > 3
    assert few["waiting"] == whole["waiting"][:3]
    assert all(each["why"].endswith(".") for each in whole["waiting"])


def test_care_that_does_not_fit_is_refused_with_its_field(address) -> None:
    care = [{"tier": "mid_market", "accounts": 1}, {"tier": "enterprise", "accounts": 400}]
    answer = post(address, team(care=care))
    problem = answer.json()
    assert (answer.status_code, problem["type"]) == (422, "/problems#impossible-plan")
    assert "'enterprise' asks for 400 accounts" in problem["detail"]
    assert [each["where"] for each in problem["errors"]] == ["care[1].accounts"]


@pytest.mark.parametrize(
    ("limit", "name", "where"),
    [
        ("care", "silver", "care[1].accounts"),
        ("budget", "gifts", "budgets[1].amount"),
        ("hours", "ben", "csms[1].hours"),
        ("hours", "service", "pools[0].hours"),
    ],
    ids=["care", "budget", "csm", "pool"],
)
def test_every_limit_of_a_conflict_has_its_field(limit, name, where) -> None:
    body = PlanRequest.model_validate(
        {
            "csms": [{"id": "ann", "hours": 1}, {"id": "ben", "hours": 1}],
            "pools": [{"id": "service", "hours": 1, "skills": ["support"]}],
            "budgets": [{"id": "offers", "amount": 1}, {"id": "gifts", "amount": 1}],
            "care": [{"tier": "gold", "accounts": 1}, {"tier": "silver", "accounts": 1}],
        }
    )
    assert body.field_of(LimitConflict(limit=limit, id=name, words="")) == where


def test_a_team_of_nobody_and_a_name_listed_twice_are_refused(address) -> None:
    nobody = post(address, {"budgets": [{"id": "b", "amount": 5}]})
    assert nobody.status_code == 422
    assert "no CSM and no pool" in nobody.json()["detail"]
    twice = post(address, {"csms": [{"id": "a", "hours": 1}, {"id": "a", "hours": 2}]})
    assert "'a' is listed twice" in twice.json()["detail"]


def test_a_team_without_hours_is_planned_and_says_so(address) -> None:
    said = post(address, team(0.0)).json()
    assert all(each["hours"] == 0 for each in said["actions"])
    assert any("has no hours this week" in each["why"] for each in said["waiting"])


def test_without_a_turn_a_plan_is_refused_at_once_and_the_service_goes_on(address, app) -> None:
    places = app.state.places[BATCHES]
    places.busy = 2
    refused = post(address, team())
    alive = httpx.get(f"{address}/healthz", timeout=60)
    page = httpx.get(f"{address}/", timeout=60)
    places.busy = 0
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    assert refused.json()["type"] == "/problems#too-many-at-once"
    assert alive.status_code == page.status_code == 200
    assert post(address, team()).status_code == 200


def test_a_week_is_planned_at_any_hour_of_it(tmp_path, store, address) -> None:
    asleep = [
        event(f"acct-{n:02d}", "account.updated", 1, time_zone="UTC") for n in range(ACCOUNTS)
    ]  # it is midnight there
    place = make_workspace(tmp_path, more=asleep)
    app = create_app(place, store=store, now=lambda: AS_OF)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        asked = client.post(
            "/v1/next-actions",
            json={"account_ids": ["acct-00"]},
            headers={"Idempotency-Key": "at midnight"},
        ).json()
        assert "quiet_hours" in {w["reason"] for one in asked["items"] for w in one["withheld"]}
        planned = client.post("/v1/plans", json=team()).json()
    awake = post(address, team()).json()
    assert planned["actions"] == awake["actions"]
    assert planned["value"] == awake["value"]
