"""The OpenAPI document says how to bring a key, and names its operations for generated clients."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from real_server import running
from small_company import AS_OF

from serving.api.openapi import SECURITY_SCHEMES, TAGS
from serving.auth.api_keys import ApiKeys

PACKAGE = "generated_keepwell_client"
PROGRAM = "openapi-python-client"


@pytest.fixture(scope="module")
def document(client):
    return client.get("/openapi.json").json()


def operations_of(document):
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def test_every_operation_has_a_short_id_of_its_own(document):
    ids = [one["operationId"] for one in operations_of(document).values()]
    assert len(ids) == len(set(ids))
    assert [one for one in ids if not re.fullmatch(r"[a-z]+(_[a-z]+){1,2}", one)] == []


def test_every_operation_has_one_subject_that_is_described(document):
    described = {one["name"]: one["description"] for one in document["tags"]}
    assert described == dict(TAGS)
    used = [tuple(one["tags"]) for one in operations_of(document).values()]
    assert {tags for tags in used if len(tags) != 1} == set()
    assert {tag for (tag,) in used} == set(TAGS)


def test_a_key_is_asked_for_wherever_the_gate_asks(document):
    asking = [{name: []} for name in document["components"]["securitySchemes"]]
    free = {
        route for route, one in operations_of(document).items() if one.get("security") != asking
    }
    assert free == {"GET /healthz", "GET /readyz"}


def test_each_scheme_of_the_document_lets_its_key_in(own_client, own_workspace):
    secret = made_key(own_workspace)
    ways = {
        "bearer": {"headers": {"Authorization": f"Bearer {secret}"}},
        "apiKey": {"headers": {"X-API-Key": secret}},
        "basic": {"auth": ("anybody", secret)},
    }
    assert set(ways) == set(SECURITY_SCHEMES)
    with running(own_client.app) as address:
        assert httpx.get(f"{address}/v1/accounts", timeout=60).status_code == 401
        for way in ways.values():
            assert httpx.get(f"{address}/v1/accounts", **way, timeout=60).status_code == 200


def made_key(workspace, owner="ann", role="admin"):
    with closing(ApiKeys(workspace.root)) as keys:
        return keys.create(name=owner, owner=owner, role=role, now=AS_OF).secret


def test_a_generated_client_asks_claims_and_completes(
    own_client, own_workspace, tmp_path, monkeypatch
):
    program = shutil.which(PROGRAM, path=str(Path(sys.executable).parent)) or shutil.which(PROGRAM)
    if program is None:
        pytest.skip(
            f"{PROGRAM} is not on the path. It needs an older typer than ours, so it is installed "
            f"in an environment of its own: pipx install {PROGRAM}"
        )
    engine = made_key(own_workspace, "mailer", "engine")
    approver = made_key(own_workspace, "ann", "approver")
    (tmp_path / "settings.yaml").write_text("post_hooks: []\n")
    key = {"X-API-Key": engine}
    with running(own_client.app) as address:
        found = tmp_path / "openapi.json"
        found.write_bytes(httpx.get(f"{address}/openapi.json", headers=key, timeout=60).content)
        done = subprocess.run(
            [
                program, "generate", "--path", str(found), "--meta", "none",
                "--output-path", str(tmp_path / PACKAGE), "--fail-on-warning",
                "--config", str(tmp_path / "settings.yaml"),
            ],
            capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        monkeypatch.syspath_prepend(tmp_path)
        try:
            asks_claims_and_completes(address, engine, approver)
        finally:
            for name in [one for one in sys.modules if one.partition(".")[0] == PACKAGE]:
                del sys.modules[name]


def asks_claims_and_completes(address, engine, approver):
    def module(name):
        return importlib.import_module(f"{PACKAGE}.{name}")

    models = module("models")
    with (
        module("client").Client(base_url=address) as stranger,
        module("client").AuthenticatedClient(base_url=address, token=engine) as client,
        module("client").AuthenticatedClient(base_url=address, token=approver) as person,
    ):
        refused = module("api.accounts.list_accounts").sync_detailed(client=stranger)
        assert refused.status_code == 401
        assert isinstance(refused.parsed, models.ProblemAnswer)

        accounts = module("api.accounts.list_accounts").sync(client=client)
        named = [one.account_id for one in accounts.items]
        assert len(named) > 3
        account = module("api.accounts.get_account").sync(named[0], client=client)
        assert account.account_id == named[0]

        answer = module("api.decisions.next_actions").sync(
            client=client, body=models.NextActionsRequest(account_ids=named)
        )
        assert [one.account_id for one in answer.items] == named
        todo = next(one for one in answer.items if one.autonomy >= 2 and one.action != "do_nothing")
        approval = module("api.claims.approve_decision").sync(
            todo.decision_id, client=person, idempotency_key="approval-1",
            body=models.ApprovalRequest(verdict=models.ApprovalRequestVerdict.APPROVED),
        )  # fmt: skip
        assert isinstance(approval, models.ApprovalAnswer), approval.detail
        claim = module("api.claims.claim_decision").sync(
            todo.decision_id, client=client, idempotency_key="claim-1",
            body=models.ClaimRequest(by="mailer"),
        )  # fmt: skip
        assert isinstance(claim, models.ClaimAnswer), claim.detail
        done = module("api.claims.complete_claim").sync(
            claim.claim_id, client=client, idempotency_key="done-1",
            body=models.CompleteRequest(by="mailer"),
        )  # fmt: skip
        assert done.state == "completed"
