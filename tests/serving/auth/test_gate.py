from __future__ import annotations

import asyncio
import re
from datetime import timedelta

import pytest
from small_company import AS_OF
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.testclient import TestClient

from serving.auth.api_keys import KEYS_FILE, ApiKeyError
from serving.auth.gate import BoundedBody, check_length, check_permission, presented_key
from serving.auth.roles import EMBEDDED
from serving.http.headers import SECURITY_HEADERS
from serving.problems import NotPermittedError
from serving.settings import ServiceSettings

KEY = "a-key-of-enough-characters"


@pytest.fixture
def guarded(shared_workspace, store, make_client):
    return make_client(shared_workspace, store, api_key=KEY)


@pytest.mark.parametrize("path", ["/v1/accounts", "/", "/metrics", "/openapi.json", "/nowhere"])
def test_with_a_key_set_nothing_answers_without_it(guarded, path):
    answer = guarded.get(path)
    assert answer.status_code == 401
    assert answer.json()["type"] == "/problems#not-allowed"
    assert answer.headers["www-authenticate"] == 'Basic realm="Keepwell"'
    assert KEY not in answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {KEY}"},
        {"X-API-Key": KEY},
        {"Authorization": "Basic Y3NtOmEta2V5LW9mLWVub3VnaC1jaGFyYWN0ZXJz"},
    ],
)
def test_the_key_is_taken_in_each_form(guarded, headers):
    assert guarded.get("/v1/accounts", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {KEY}x"},
        {"Authorization": "Bearer "},
        {"X-API-Key": ""},
        {"Authorization": "Basic !!!"},
        {"Authorization": "Basic /w=="},
        {"Authorization": "Digest abc"},
        {"X-API-Key": "caf\xe9"},
    ],
)
def test_a_wrong_key_is_refused_in_each_form(guarded, headers):
    sent = {name: value.encode("latin-1") for name, value in headers.items()}
    assert guarded.get("/v1/accounts", headers=sent).status_code == 401


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_the_probes_need_no_key(guarded, path):
    assert guarded.get(path).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "", "localhost.", "[::2]"]
)
def test_a_host_that_is_not_ours_is_refused(client, host):
    answer = client.get("/v1/accounts", headers={"Host": host})
    assert answer.status_code == 421
    assert answer.json()["type"] == "/problems#wrong-host"


@pytest.mark.parametrize("host", ["127.0.0.1:9999", "localhost", "LOCALHOST:8000", "[::1]:8000"])
def test_the_local_names_are_ours(client, host):
    assert client.get("/healthz", headers={"Host": host}).status_code == 200


def test_a_page_of_another_site_can_not_write(client):
    answer = client.post(
        "/v1/scores", json={"account_ids": ["acct-00"]}, headers={"Origin": "https://evil.example"}
    )
    assert answer.status_code == 403
    assert answer.json()["type"] == "/problems#foreign-origin"


def test_our_own_page_may_write_and_other_sites_may_be_linked_from(client):
    ours = {"Origin": "http://127.0.0.1:8000"}
    assert (
        client.post("/v1/scores", json={"account_ids": ["acct-00"]}, headers=ours).status_code
        == 200
    )
    assert client.get("/", headers={"Origin": "https://mail.example"}).status_code == 200


@pytest.mark.parametrize(
    "path", ["/", "/v1/accounts", "/v1/nothing", "/assets/x.css", "/healthz", "/metrics"]
)
def test_every_answer_carries_the_security_headers(client, path):
    answer = client.get(path)
    assert {name: answer.headers[name] for name in SECURITY_HEADERS} == dict(SECURITY_HEADERS)


def test_what_a_browser_may_do_is_stated_and_nothing_inline_is_among_it():
    policy = SECURITY_HEADERS["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script" not in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert SECURITY_HEADERS["cache-control"] == "no-store"
    assert SECURITY_HEADERS["x-content-type-options"] == "nosniff"


def test_only_the_assets_may_be_stored_by_a_browser(client):
    [sheet] = re.findall(r'href="(/assets/[^"]+\.css)"', client.get("/").text)
    for path in (sheet, "/assets/keepwell.svg"):
        assert client.get(path).headers["cache-control"].startswith("public, max-age=")
    for path in ("/v1/accounts", "/accounts/acct-00", "/accounts/nobody", "/openapi.json"):
        assert client.get(path).headers["cache-control"] == "no-store"


def test_a_body_over_the_bound_is_refused_by_its_length(shared_workspace, store, make_client):
    small = make_client(shared_workspace, store, max_body_bytes=100)
    answer = small.post("/v1/scores", json={"account_ids": ["x" * 150]})
    assert answer.status_code == 413
    assert "larger than 100 bytes" in answer.json()["detail"]


def test_a_body_that_hides_its_length_is_refused_while_it_is_read(
    shared_workspace, store, make_client
):
    small = make_client(shared_workspace, store, max_body_bytes=100)
    answer = small.post(
        "/v1/scores",
        content=(b"[" * 60 for _ in range(3)),
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"


def test_pieces_of_a_body_are_added_up():
    pieces = iter([{"type": "http.request", "body": b"x" * 40, "more_body": True}] * 3)

    async def receive():
        return next(pieces)

    async def read_all():
        body = BoundedBody(receive, 100)
        return [await body() for _ in range(3)]

    with pytest.raises(HTTPException, match="larger than 100 bytes"):
        asyncio.run(read_all())


def test_a_body_of_just_the_bound_is_read(shared_workspace, store, make_client):
    body = b'{"account_ids": ["acct-00"]}'
    exact = make_client(shared_workspace, store, max_body_bytes=len(body))
    sent = {"Content-Type": "application/json"}
    assert exact.post("/v1/scores", content=body, headers=sent).status_code == 200
    assert exact.post("/v1/scores", content=body + b" ", headers=sent).status_code == 413


def test_a_length_that_is_no_number_does_not_pass_as_small():
    headers = Headers({"host": "localhost", "content-length": "12x"})
    check_length(headers, ServiceSettings())  # the reading bound holds


def test_no_credentials_are_no_key():
    assert presented_key(Headers({})) is None


class TestKeys:
    """Keys of the workspace, beside or instead of the one of the environment."""

    def test_the_first_key_shuts_the_door_while_the_service_runs(self, own_client):
        assert own_client.get("/v1/accounts").status_code == 200
        keys = own_client.app.state.service.keys
        new = keys.create(name="laptop", owner="ann", role="reader", now=AS_OF)
        assert own_client.get("/v1/accounts").status_code == 401
        carried = {"Authorization": f"Bearer {new.secret}"}
        assert own_client.get("/v1/accounts", headers=carried).status_code == 200
        keys.revoke(new.key.key_id, now=AS_OF)
        refused = own_client.get("/v1/accounts", headers=carried)
        assert refused.status_code == 401
        assert new.secret not in refused.text
        assert own_client.get("/healthz").status_code == 200

    def test_keys_end_by_the_real_clock_where_that_of_a_sample_stands_still(
        self, own_workspace, store, make_client
    ):
        real = [AS_OF + timedelta(days=200)]
        client = make_client(own_workspace, store, wall_clock=lambda: real[0])
        new = client.app.state.service.keys.create(
            name="laptop",
            owner="ann",
            role="reader",
            now=real[0],
            expires_at=real[0] + timedelta(days=1),
        )
        carried = {"X-API-Key": new.secret}
        assert client.get("/v1/accounts", headers=carried).status_code == 200
        real[0] += timedelta(days=1)
        assert client.get("/v1/accounts", headers=carried).status_code == 401

    def test_the_key_of_the_environment_goes_on_beside_them(
        self, own_workspace, store, make_client
    ):
        client = make_client(own_workspace, store, api_key=KEY)
        new = client.app.state.service.keys.create(
            name="laptop", owner="ann", role="reader", now=AS_OF
        )
        for key in (KEY, new.secret):
            assert client.get("/v1/accounts", headers={"X-API-Key": key}).status_code == 200
        assert client.post("/v1/events", headers={"X-API-Key": new.secret}).status_code == 403

    def test_keys_that_can_not_be_read_let_nobody_in(self, own_workspace, own_client):
        own_client.app.state.service.keys.create(
            name="laptop", owner="ann", role="reader", now=AS_OF
        )
        assert own_client.get("/v1/accounts").status_code == 401
        (own_workspace.root / KEYS_FILE).rename(own_workspace.root / "away.db")
        answer = own_client.get("/v1/accounts")
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems#keys-unreadable")
        assert own_client.get("/healthz").status_code == 200

    def test_the_service_does_not_start_on_keys_that_it_can_not_read(
        self, own_workspace, store, make_client
    ):
        (own_workspace.root / KEYS_FILE).write_bytes(b"not a database, whatever its name says")
        with pytest.raises(ApiKeyError, match="cannot be read: file is not a database"):
            make_client(own_workspace, store)

    def test_a_route_that_nobody_declared_is_refused_to_everybody(self, own_client):
        @own_client.app.get("/v1/forgotten")
        def forgotten() -> str:
            return "secret"

        plain = TestClient(own_client.app, base_url=own_client.base_url)  # it declares no problem
        answer = plain.get("/v1/forgotten")
        assert (answer.status_code, answer.json()["type"]) == (403, "/problems#not-permitted")
        assert "Nobody said who may use GET /v1/forgotten" in answer.json()["detail"]
        with pytest.raises(NotPermittedError, match="Nobody said who may use PUT /x"):
            check_permission(None, EMBEDDED, "PUT /x")

    def test_what_does_not_exist_is_told_to_whoever_has_a_key(self, own_client):
        assert own_client.get("/v1/nothing").status_code == 404
        assert own_client.put("/v1/accounts").status_code == 405
        assert own_client.get("/v1/accounts/").status_code == 200  # by way of a redirection
