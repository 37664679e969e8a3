"""The price list of a workspace reaches the policy, and is followed while the service runs."""

from __future__ import annotations

import json

import pytest

from registry.playbook.prices import PRICES_FILE, PricesError
from serving.decisions import live_limits
from serving.decisions.live_limits import CurrentPrices
from serving.ledger.replay.replay import replay, shared_digest

LIST = """
[[plan]]
name = "starter"
month = 100
next = "business"

[[plan]]
name = "business"
month = 900
"""


@pytest.fixture(autouse=True)
def at_once(monkeypatch) -> None:
    """Files count as soon as they are written."""
    monkeypatch.setattr(live_limits, "SETTLED_SECONDS", 0.0)


def stored_plans(client) -> tuple[list[dict], set[str]]:
    """Decisions about all accounts, and the plans of the price lists that they were made with."""
    items = client.post("/v1/next-actions", json={"limit": 48}).json()["items"]
    ledger = client.app.state.service.ledger
    questions = [json.loads(ledger.decision(one["decision_id"]).inputs) for one in items]
    return items, {name for one in questions for name in one["question"]["prices"]["plans"]}


def test_decisions_hold_the_list_and_replay_without_the_file(own_workspace, store, make_client):
    client = make_client(own_workspace, store)
    path = own_workspace.root / PRICES_FILE
    assert stored_plans(client)[1] == set()
    path.write_text(LIST, encoding="utf-8")
    items, plans = stored_plans(client)
    assert plans == {"starter", "business"}
    path.unlink()
    ledger = client.app.state.service.ledger
    for item in items[:4]:
        decision = ledger.decision(item["decision_id"])
        found = replay(decision, ledger.shared_input(shared_digest(decision)))
        assert found.difference is None


def test_a_list_that_can_not_be_used_keeps_what_held_and_is_told(own_workspace, store, make_client):
    path = own_workspace.root / PRICES_FILE
    path.write_text(LIST, encoding="utf-8")
    client = make_client(own_workspace, store)
    path.write_text('[[plan]]\nname = "starter"\nprize = 3\n', encoding="utf-8")
    assert stored_plans(client)[1] == {"starter", "business"}
    detail = client.get("/readyz").json()["detail"]
    assert "prize" in detail
    assert "Until then the prices hold that held before" in detail


def test_a_list_that_is_gone_keeps_what_held_and_is_told(own_workspace, store, make_client):
    path = own_workspace.root / PRICES_FILE
    path.write_text(LIST, encoding="utf-8")
    client = make_client(own_workspace, store)
    path.unlink()
    assert stored_plans(client)[1] == {"starter", "business"}
    assert "prices.toml is missing, which was there" in client.get("/readyz").json()["detail"]
    path.write_text("", encoding="utf-8")
    assert stored_plans(client)[1] == set()
    assert client.get("/readyz").json()["detail"] is None


def test_at_the_start_there_is_nothing_to_hold_on_to(tmp_path):
    (tmp_path / PRICES_FILE).write_text("[[plan]]\nname = 3\n", encoding="utf-8")
    with pytest.raises(PricesError, match="name"):
        CurrentPrices(tmp_path)
