"""Tricks that somebody with the source and a key of the least role would try first."""

from __future__ import annotations

import base64
import json

import pytest
from checked_client import CheckedClient
from small_company import AS_OF, event

from serving.auth.api_keys import ApiKeyError

EMEA = ("emea",)


@pytest.fixture
def key_for(own_client):
    keys = own_client.app.state.service.keys

    def make(role: str, owner: str = "ann", territories: tuple[str, ...] = ()) -> dict[str, str]:
        new = keys.create(name="k", owner=owner, role=role, territories=territories, now=AS_OF)
        return {"X-API-Key": new.secret}

    return make


@pytest.mark.parametrize(
    "path",
    [
        "/v1/reports/..%2f..%2fkeys.secret",
        "/v1/reports/%2e%2e%2fworkspace",
        "/v1/reports/effects",
        "/reports/..%2fkeys.db",
        "/assets/..%2f..%2fframe.py",
        "/help/..%2f..%2fREADME",
        "/help/how-to/..%2f..%2f..%2fpyproject",
        "/models/churn/1/plots/..%2fmodel_card.md",
        "/models/..%2fchurn/1",
    ],
)
def test_no_name_leads_out_of_its_folder(own_client, key_for, path) -> None:
    assert own_client.get(path, headers=key_for("reader")).status_code in {404, 422}


@pytest.mark.parametrize(
    "forged", [["inf", "acct-00"], ["-inf", ""], ["1e400", "x"], ["0", "\0"], ["-0.0", "acct-99"]]
)
def test_a_forged_cursor_lists_no_others(own_client, key_for, forged) -> None:
    cursor = base64.urlsafe_b64encode(json.dumps(forged).encode()).decode().rstrip("=")
    headers = key_for("csm", owner="csm-1")
    answer = own_client.get("/v1/accounts", params={"cursor": cursor}, headers=headers)
    assert answer.status_code == 200
    assert {int(one["account_id"][-2:]) % 3 for one in answer.json()["items"]} <= {1}


@pytest.mark.parametrize("owner", ["ann", "Ann", "ANN"])
def test_who_asked_does_not_approve_under_another_key(own_client, key_for, owner) -> None:
    engine, approver = key_for("engine"), key_for("approver", owner=owner)
    asked = own_client.post("/v1/next-actions", json={"account_ids": ["acct-00"]}, headers=engine)
    [item] = asked.json()["items"]
    path = f"decisions/{item['decision_id']}/approvals"
    own = {**approver, "Idempotency-Key": "own"}
    answer = own_client.post(f"/v1/{path}", json={"verdict": "approved", "by": "bob"}, headers=own)
    assert (answer.status_code, answer.json()["type"]) == (403, "/problems#self-approval")
    form = {"verdict": "approved", "by": "bob"}
    assert own_client.post(f"/{path}", data=form, headers=approver).status_code == 403
    page = own_client.get("/approvals", headers=approver).text
    assert 'value="approved"' not in page
    other = {**key_for("approver", owner="bob"), "Idempotency-Key": "other"}
    right = own_client.post(f"/v1/{path}", json={"verdict": "approved"}, headers=other)
    assert right.status_code == 201


@pytest.mark.parametrize("owner", ["ann ", " ann", "ann\r\nX: y", "", " ", "a\u202eb"])
def test_an_owner_is_written_in_one_way(own_client, owner) -> None:
    with pytest.raises(ApiKeyError, match="owner"):
        own_client.app.state.service.keys.create(name="k", owner=owner, role="admin", now=AS_OF)


def test_no_other_method_host_or_second_header_opens_more(own_client, key_for) -> None:
    admin, csm = key_for("admin"), key_for("csm")
    two = [("X-API-Key", "kw_wrong"), ("X-API-Key", admin["X-API-Key"])]
    assert own_client.get("/v1/accounts", headers=two).status_code == 401
    stop = {**csm, "Idempotency-Key": "x", "X-HTTP-Method-Override": "GET"}
    assert own_client.post("/v1/controls/stop", json={}, headers=stop).status_code == 403
    for path in ("/metrics/", "/v1/../metrics", "/%6detrics", "/v1/controls/"):
        assert own_client.get(path, headers=csm).status_code in {403, 404}
    moved = own_client.get(
        "/v1/accounts/", headers={**csm, "X-Forwarded-Host": "evil.example"}, follow_redirects=False
    )
    assert "evil" not in moved.headers["location"]


@pytest.mark.parametrize("hosts", [("127.0.0.1", "evil.example"), ("evil.example", "127.0.0.1")])
def test_a_request_that_names_two_hosts_is_refused(own_client, key_for, hosts) -> None:
    two = [("Host", one) for one in hosts] + list(key_for("reader").items())
    assert own_client.get("/v1/accounts", headers=two).status_code == 421


def test_an_address_that_a_proxy_made_up_fills_no_log(own_client, caplog) -> None:
    client = CheckedClient(
        own_client.app, base_url="http://127.0.0.1:8000", client=("A" * 60_000, 5)
    )
    own_client.app.state.service.keys.create(name="k", owner="ann", role="admin", now=AS_OF)
    for _ in range(12):
        status = client.get("/v1/accounts", headers={"X-API-Key": "wrong"}).status_code
    assert status == 429
    assert "presented 10 wrong keys" in caplog.text
    assert len(caplog.text) < 1_000


def test_no_key_of_a_request_gives_another_callers_answer(own_client, key_for) -> None:
    asked = {"account_ids": ["acct-00", "acct-01"]}
    wide, narrow = key_for("engine", owner="mailer"), key_for("csm", owner="csm-0")
    answers = [
        own_client.post("/v1/next-actions", json=asked, headers={**one, "Idempotency-Key": "same"})
        for one in (wide, narrow)
    ]
    assert [one.json()["unknown"] for one in answers] == [[], ["acct-01"]]
    assert all("idempotent-replayed" not in one.headers for one in answers)


def test_an_event_moves_no_account_into_reach_without_the_right_to_send(
    own_client, key_for
) -> None:
    moving = event("acct-01", "account.updated", 0.5, csm="csm-0")
    sent = {"event_id": "m", "account_id": "acct-01", "kind": moving.kind,
            "occurred_at": "2026-02-28T10:00:00Z", "properties": {"csm": "csm-0"}}  # fmt: skip
    for role, territories in (("csm", ()), ("reader", ()), ("approver", ()), ("engine", EMEA)):
        headers = {**key_for(role, "csm-0", territories), "Idempotency-Key": role}
        answer = own_client.post("/v1/events", json={"events": [sent]}, headers=headers)
        assert answer.status_code == 403


BOMBS = {
    "numbers": b'{"account_ids":[%s]}' % b",".join([b"1"] * 60_000),
    "objects": b'{"account_ids":[%s]}' % b",".join([b"{}"] * 60_000),
    "fields": b"{%s}" % b",".join(b'"k%d":0' % one for one in range(60_000)),
    "depth": b'{"account_ids":' + b"[" * 60_000 + b"]" * 60_000 + b"}",
    "UTF-16": b"".join(b"%c\0" % one for one in b"[" + b"1," * 60_000),
}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("path", ["/v1/scores", "/v1/plans", "/v1/next-actions"])
def test_a_body_of_too_many_values_is_refused_before_it_is_read(
    own_client, key_for, path, bomb
) -> None:
    headers = {**key_for("engine"), "Content-Type": "application/json", "Idempotency-Key": "x"}
    answer = own_client.post(path, content=BOMBS[bomb], headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (413, "/problems#too-large")
    assert "values" in answer.json()["detail"]


def test_of_a_list_of_wrong_ids_the_first_is_named_alone(own_client, key_for) -> None:
    wrong = {"account_ids": [1] * 20_000}
    answer = own_client.post("/v1/scores", json=wrong, headers=key_for("reader"))
    assert answer.status_code == 422
    assert [one["where"] for one in answer.json()["errors"]] == ["account_ids[0]"]


def test_a_form_larger_than_any_of_ours_is_refused_before_it_is_decoded(
    own_client, key_for
) -> None:
    headers = {
        **key_for("csm", "csm-0"),
        "Content-Type": "application/x-www-form-urlencoded",
    }
    form = b"reason=" + b"%41" * 30_000
    answer = own_client.post("/accounts/acct-00/feedback", content=form, headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (413, "/problems#too-large")


def test_a_link_among_the_reports_that_leads_elsewhere_is_no_report(
    own_client, own_workspace, key_for, tmp_path
) -> None:
    reports, elsewhere = own_workspace.reports_dir, tmp_path / "elsewhere"
    elsewhere.mkdir()
    reports.mkdir(parents=True, exist_ok=True)
    (elsewhere / "secret.json").write_text('{"title": "canary"}', encoding="utf-8")
    (elsewhere / "secret.html").write_text("<html>canary</html>", encoding="utf-8")
    (reports / "own.json").write_text('{"title": "ours"}', encoding="utf-8")
    (reports / "again.json").symlink_to("own.json")
    for link in ("linked.json", "linked.html", "own.html"):
        (reports / link).symlink_to(elsewhere / f"secret.{link.partition('.')[2]}")
    reader = key_for("reader")
    named = [one["name"] for one in own_client.get("/v1/reports", headers=reader).json()["items"]]
    assert {"own", "again"} <= set(named)
    assert "linked" not in named
    for path in ("/v1/reports/linked", "/reports/linked", "/reports/own"):
        answer = own_client.get(path, headers=reader)
        assert (path, answer.status_code) == (path, 404)
        assert "canary" not in answer.text
