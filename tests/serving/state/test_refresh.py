"""Events that come in while the service runs: on disk when told so, and in the scores soon."""

from __future__ import annotations

import json
import os
import signal
import time
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest
from forked_programs import Program
from polars.testing import assert_frame_equal
from real_server import running as served
from small_company import AS_OF

from features.compute.backfill import backfill
from features.compute.snapshot_store import SnapshotStore
from features.lake.lake import Lake
from features.store.feast import WorkspaceFeatures
from features.streaming.offsets import Message, ingest_messages
from features.streaming.refresh import JUST_AFTER, AccountRefresh
from features.workspace import Workspace
from serving.api.app import create_app
from serving.state.refresh import FreshScores

ROOT = Path(__file__).parents[3]


def rows(*numbers: int, account: str = "acct-05") -> list[dict[str, object]]:
    return [
        {
            "event_id": f"n{n}",
            "account_id": account,
            "kind": "error.raised",
            "occurred_at": (AS_OF - timedelta(hours=n + 1)).isoformat(),
        }
        for n in numbers
    ]


@pytest.fixture
def running(own_client):
    """The service, and what keeps its scores fresh."""
    service = own_client.app.state.service
    fresh = FreshScores(service)
    fresh.catch_up()
    return own_client, service, fresh


def test_while_the_accounts_are_scored_it_lives_and_says_so(own_workspace, store, make_client):
    client = make_client(own_workspace, store, scores_first=False)
    service = client.app.state.service
    live = service.live
    with live._refreshing:  # as while another thread scores
        assert client.get("/healthz").status_code == 200
        waiting = client.get("/readyz")
        assert (waiting.status_code, waiting.json()["status"]) == (503, "starting")
        assert client.get("/v1/accounts").status_code == 503
    assert service.refresh()
    assert client.get("/readyz").status_code == 200


def test_the_first_portfolio_is_what_the_online_store_has_of_every_account(running):
    client, service, fresh = running
    client.post("/v1/events", json={"events": rows(*range(9))})
    fresh.catch_up()
    snapshots = SnapshotStore(service.workspace.snapshots_dir)
    newest = snapshots.read(snapshots.moments()[-1])
    every = WorkspaceFeatures(service.workspace).online(sorted(newest["account_id"]))
    assert every["as_of"].n_unique() == 2  # one account has events since
    found = service._newest_features(newest, ["acct-05"], is_whole=True)
    assert_frame_equal(found.sort("account_id").select(every.columns), every, check_exact=True)


def errors(client, account: str = "acct-05") -> float:
    score = client.app.state.service.portfolio.account(account)
    return score.features["errors_28d"]


def test_an_event_changes_the_score_of_its_account_and_of_no_other(running):
    client, service, fresh = running
    before = client.get("/v1/accounts/acct-05/score").json()
    others = {s.account_id: s for s in service.portfolio.scores if s.account_id != "acct-05"}
    errors_before = errors(client)
    assert client.post("/v1/events", json={"events": rows(*range(30))}).json()["landed"] == 30
    assert fresh.catch_up() == 1
    after = client.get("/v1/accounts/acct-05/score").json()
    assert errors(client) == errors_before + 30
    assert after["churn_probability"] != before["churn_probability"]
    assert (before["as_of"], after["as_of"]) == (
        "2026-03-01T00:00:00Z",
        "2026-03-01T00:00:00.000001Z",
    )
    assert {
        s.account_id: s for s in service.portfolio.scores if s.account_id != "acct-05"
    } == others
    assert fresh.catch_up() == 0


def test_the_list_is_in_order_after_an_exchange(running):
    client, _, fresh = running
    client.post("/v1/events", json={"events": rows(*range(90), account="acct-40")})
    fresh.catch_up()
    at_risk = [
        one["revenue_at_risk"]
        for one in client.get("/v1/accounts?limit=200").json()["items"]
        if one["revenue_at_risk"] is not None
    ]
    assert at_risk == sorted(at_risk, reverse=True)


def test_scores_after_many_small_batches_are_those_of_a_whole_backfill(running):
    client, service, fresh = running
    for n in range(5):
        sent = [row for m in range(4) for row in rows(10 * n + m, account=f"acct-{7 * m + n:02d}")]
        client.post("/v1/events", json={"events": sent})
        fresh.catch_up()
    touched = sorted({f"acct-{7 * m + n:02d}" for n in range(5) for m in range(4)})
    workspace = service.workspace
    moment = AS_OF + JUST_AFTER
    whole = backfill(workspace, [moment])
    online = WorkspaceFeatures(workspace).online(touched)
    expected = whole.filter(whole["account_id"].is_in(touched)).sort("account_id")
    assert_frame_equal(
        online.sort("account_id").select(expected.columns), expected, check_exact=True
    )
    scores = {
        s.account_id: s
        for s in service._scores(whole, service.portfolio.models, AS_OF, service.portfolio.peers)
    }
    assert {a: service.portfolio.account(a) for a in touched} == {a: scores[a] for a in touched}


def streamed(workspace: Workspace, account: str, *, now: datetime = AS_OF) -> None:
    """One more event of an account, from a stream that another process reads."""
    lake = Lake(workspace.events_dir, workspace.quarantine_dir)
    offset = sum(lake.manifest.offsets.values())
    value = json.dumps(rows(offset, account=account)[0]).encode()
    ingest_messages(
        lake, [Message(topic="t", partition=0, offset=offset, value=value)], group="g", now=now
    )


def publish_elsewhere(workspace: Workspace) -> None:
    AccountRefresh(workspace).catch_up(moment=AS_OF, publish=WorkspaceFeatures(workspace).publish)


def test_what_another_process_publishes_is_served(running):
    client, service, fresh = running
    streamed(service.workspace, "acct-05")
    publish_elsewhere(service.workspace)
    before = errors(client)
    assert fresh.catch_up() == 1
    assert errors(client) == before + 1


@pytest.mark.parametrize("first", ["nothing to publish", "published elsewhere"])
def test_a_step_that_publishes_nothing_hides_nothing_that_another_process_publishes(running, first):
    client, service, fresh = running
    before = errors(client)
    if first == "nothing to publish":
        streamed(service.workspace, "not-known-yet", now=AS_OF + timedelta(days=1))
        assert fresh.step() == 0
        assert fresh.step() is None
        streamed(service.workspace, "acct-05")
        publish_elsewhere(service.workspace)
    else:
        streamed(service.workspace, "acct-05")
        publish_elsewhere(service.workspace)
        streamed(service.workspace, "not-known-yet", now=AS_OF + timedelta(days=1))
    assert fresh.catch_up() == 1
    assert errors(client) == before + 1


def test_an_account_that_no_snapshot_knows_is_served_and_stays(running):
    client, service, fresh = running
    client.post("/v1/events", json={"events": rows(1, account="new-one")})
    fresh.catch_up()
    assert client.get("/v1/accounts/new-one/score").status_code == 200
    service.workspace.change_settings(currency="EUR")
    assert service.refresh()
    assert client.get("/v1/accounts/new-one/score").json()["currency"] == "EUR"


def test_ten_thousand_events_are_taken_at_once_and_no_more(own_client):
    sent = rows(*range(10_000))
    assert own_client.post("/v1/events", json={"events": sent}).json()["landed"] == 10_000
    more = own_client.post("/v1/events", json={"events": [*sent, *sent[:1]]})
    assert more.status_code == 413


SERVER = """
import sys
from datetime import UTC, datetime
import uvicorn
from features.workspace import Workspace
from registry.store.store import MemoryModelStore
from serving.api.app import create_app

app = create_app(Workspace(sys.argv[1], environment={}), store=MemoryModelStore(),
                 now=lambda: datetime(2026, 3, 1, tzinfo=UTC))
server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))

class Told(uvicorn.Server):
    async def startup(self, sockets=None):
        await super().startup(sockets)
        print(self.servers[0].sockets[0].getsockname()[1], flush=True)

Told(server.config).run()
"""


def test_what_was_acknowledged_is_there_after_a_kill_and_becomes_fresh(own_workspace):
    lake = Lake(own_workspace.events_dir, own_workspace.quarantine_dir)
    before = lake.manifest.rows
    for life in range(2):
        server = Program(SERVER, str(own_workspace.root))
        port = int(server.stdout.readline())
        answer = httpx.post(
            f"http://127.0.0.1:{port}/v1/events",
            timeout=60,
            json={"events": rows(*range(100 * life, 100 * life + 100))},
        )
        os.kill(server.pid, signal.SIGKILL)
        assert server.wait(timeout=120) == -signal.SIGKILL
        server.close()
        assert answer.status_code == 200
        assert {item["status"] for item in answer.json()["items"]} == {"on_timeline"}
        there = set(lake.scan().select("event_id").collect()["event_id"])
        assert {f"n{n}" for n in range(100 * (life + 1))} <= there
    assert lake.manifest.rows == before + 200
    fresh = AccountRefresh(own_workspace).catch_up(
        moment=AS_OF, publish=WorkspaceFeatures(own_workspace).publish
    )
    assert fresh is None or fresh.frame["account_id"].to_list() == ["acct-05"]


def test_the_running_service_keeps_up_by_itself(own_workspace, store):
    app = create_app(own_workspace, store=store, now=lambda: AS_OF)
    with served(app) as address:
        before = httpx.get(f"{address}/v1/accounts/acct-05/score", timeout=60).json()
        httpx.post(f"{address}/v1/events", json={"events": rows(*range(60))}, timeout=60)
        after, until = before, time.monotonic() + 60
        shown = "churn_probability"
        while after[shown] == before[shown] and time.monotonic() < until:
            after = httpx.get(f"{address}/v1/accounts/acct-05/score", timeout=60).json()
            time.sleep(0.05)
    assert after["churn_probability"] != before["churn_probability"]
