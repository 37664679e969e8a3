"""What a rule has come to hold back since it was decided is not claimed, and decided again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from experiments.policy.contact.limits_file import LIMITS_FILE
from experiments.randomisation.keyed_draw import Draw
from registry.playbook.playbook import load_playbook
from serving.decisions import live_limits as current_limits
from serving.ledger.claims import AccountNow
from serving.ledger.errors import UnknownDecisionError
from serving.recommendations.claim_recheck import recheck_of
from serving.timeline.plan_draws import draws_of_lottery, lottery_name, store_draws

BOOK = load_playbook()


@pytest.fixture
def client(own_workspace, store, make_client: Callable[..., TestClient], monkeypatch) -> TestClient:
    monkeypatch.setattr(current_limits, "SETTLED_SECONDS", 0.0)
    return make_client(own_workspace, store)


def post(client: TestClient, path: str, body: dict[str, Any], *, key: str) -> Any:
    return client.post(path, json=body, headers={"Idempotency-Key": key})


def claim(client: TestClient, decision_id: str, *, key: str = "claim") -> Any:
    return post(
        client,
        f"/v1/decisions/{decision_id}/claims",
        {"by": "mailer", "lease_seconds": 600},
        key=key,
    )


def tell(client: TestClient, account_id: str, kind: str, as_of, **properties: str) -> None:
    """What another system writes on the timeline, an hour before the data end."""
    answer = client.post(
        "/v1/events",
        json={
            "events": [
                {
                    "event_id": f"{kind}-{sorted(properties)}",
                    "account_id": account_id,
                    "kind": kind,
                    "occurred_at": (as_of - timedelta(hours=1)).isoformat(),
                    "recorded_at": (as_of - timedelta(hours=1)).isoformat(),
                    "properties": properties,
                }
            ]
        },
    )
    assert answer.status_code == 200, answer.text
    assert [row["status"] for row in answer.json()["items"]] == ["on_timeline"], answer.text


def contact(client: TestClient) -> dict[str, Any]:
    """A decision to contact an account, which somebody approved."""
    items = client.post("/v1/next-actions", json={"limit": 48}).json()["items"]
    found = next(
        item
        for item in items
        if item["autonomy"] >= 2
        and (action := BOOK.by_id.get(item["action"])) is not None
        and action.channel in BOOK.contact_channels
        and not action.service_message
    )
    post(
        client,
        f"/v1/decisions/{found['decision_id']}/approvals",
        {"verdict": "approved", "by": "ann", "reason": "looked at it"},
        key="approval",
    )
    return found


def test_what_nothing_happened_to_is_claimed(client):
    answer = claim(client, contact(client)["decision_id"])
    assert answer.status_code == 201, answer.text


def test_a_legal_hold_since_then_stops_it_and_it_is_decided_again(client, as_of):
    decided = contact(client)
    tell(client, decided["account_id"], "account.updated", as_of, legal_hold="yes")
    refused = claim(client, decided["decision_id"])
    assert refused.status_code == 409
    content = refused.json()
    assert content["type"].endswith("#held-back")
    assert content["detail"].startswith(
        f"On what is known now, {decided['action']} is held back: The account is under a legal "
        f"hold."
    )
    assert "It was decided again: " in content["detail"]
    again = content["detail"].split("It was decided again: ")[1].split(",")[0]
    assert again != decided["decision_id"]
    assert client.get(f"/v1/decisions/{again}").json()["action"] not in (
        decided["action"],
        "do_nothing",
    )
    assert client.get(f"/v1/decisions/{decided['decision_id']}").json()["claims"] == []


def test_what_another_system_did_and_only_the_timeline_tells_is_not_done_twice(client, as_of):
    decided = contact(client)
    tell(client, decided["account_id"], "action.executed", as_of, action=decided["action"])
    refused = claim(client, decided["decision_id"])
    assert refused.status_code == 409, refused.text
    assert f"{decided['action']} is held back: " in refused.json()["detail"]
    assert "It was decided again" in refused.json()["detail"]


def test_what_a_lottery_has_come_to_leave_alone_is_not_claimed(client, as_of):
    decided = contact(client)
    service = client.app.state.service
    lot = Draw(
        lottery_id=lottery_name(decided["action"], f"{as_of:%Y-%m-%d}"),
        key_id="k",
        of=(decided["account_id"], "another"),
        drawn=("another",),
    )
    at = as_of - timedelta(hours=1)
    draws = draws_of_lottery(lot, decided["action"], at=at, made_by="ann")
    store_draws(service.ledger, service.timelines, draws, at=as_of)
    refused = claim(client, decided["decision_id"])
    assert refused.status_code == 409, refused.text
    assert "A lottery put this off" in refused.json()["detail"]


def test_limits_that_are_tighter_now_are_kept(client, own_workspace):
    decided = contact(client)
    path = own_workspace.root / LIMITS_FILE
    path.write_text("contacts_per_week = 0\nonboarding_contacts_per_week = 0\n", encoding="utf-8")
    refused = claim(client, decided["decision_id"])
    assert refused.status_code == 409
    assert "is held back: At most 0 contacts a week" in refused.json()["detail"]
    assert refused.json()["next"].endswith("and claim that one.")
    path.write_text('quiet_hours = [0, 23]\ntime_zone = "Pacific/Auckland"\n', encoding="utf-8")
    at_night = claim(client, decided["decision_id"], key="night")
    assert (at_night.status_code, at_night.json()["type"]) == (409, "/problems#quiet-hours")
    assert 1 <= int(at_night.headers["retry-after"]) <= 24 * 3600
    path.write_text("contacts_per_week = 3\n", encoding="utf-8")
    assert claim(client, decided["decision_id"], key="next").status_code == 201


def test_who_claimed_before_has_the_same_answer_after(client, as_of):
    decided = contact(client)
    first = claim(client, decided["decision_id"])
    tell(client, decided["account_id"], "account.updated", as_of, legal_hold="yes")
    again = claim(client, decided["decision_id"])
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()


def test_what_is_worth_less_than_before_goes_ahead(client, own_workspace):
    decided = contact(client)
    service = client.app.state.service
    decision = service.ledger.decision(decided["decision_id"])
    (own_workspace.root / LIMITS_FILE).write_text("tolerance = 1e9\n", encoding="utf-8")
    items = client.post("/v1/next-actions", json={"account_ids": [decided["account_id"]]}).json()[
        "items"
    ]
    held = {one["action"]: one["reason"] for one in items[0]["withheld"]}
    assert held[decided["action"]] == "does_not_pay"
    recheck = recheck_of(service, decision)
    assert recheck is not None
    assert recheck(AccountNow(outcomes=(), put_off=None, under_way=())) is None


def test_an_account_that_is_not_scored_and_a_decision_that_is_none(client):
    service = client.app.state.service
    decided = contact(client)
    decision = service.ledger.decision(decided["decision_id"])
    assert recheck_of(service, replace(decision, account_id="nobody")) is None
    with pytest.raises(UnknownDecisionError, match="No decision"):
        service.ledger.decision("no-such")
    assert claim(client, "no-such").status_code == 404


def test_what_became_of_the_decision_itself_does_not_hold_back_its_next_try(client):
    decided = contact(client)
    taken = claim(client, decided["decision_id"]).json()
    failed = post(
        client,
        f"/v1/claims/{taken['claim_id']}/fail",
        {"by": "mailer", "reason": "bounced"},
        key="f",
    )
    assert failed.status_code == 200, failed.text
    told = post(
        client,
        f"/v1/decisions/{decided['decision_id']}/outcomes",
        {"kind": "outcome", "result": "no_answer"},
        key="o",
    )
    assert told.status_code == 201, told.text
    assert claim(client, decided["decision_id"], key="again").status_code == 201


def test_where_nothing_is_left_to_do_nobody_is_sent_to_claim_that(client, own_workspace):
    decided = contact(client)
    (own_workspace.root / LIMITS_FILE).write_text(
        "actions_per_week = 0\ncontacts_per_week = 0\nonboarding_contacts_per_week = 0\n",
        encoding="utf-8",
    )
    refused = claim(client, decided["decision_id"])
    assert refused.status_code == 409
    assert refused.json()["detail"].endswith("It was decided again: nothing is to be done now.")
    assert refused.json()["next"].startswith("Do not carry it out. Ask again with POST")


def lists_of_mails(client: TestClient) -> list[tuple[str, list[str]]]:
    """Decisions whose lists hold two e-mails or more that go ahead by themselves."""
    post(client, "/v1/controls/levels", {"level": 4, "reason": "trusted"}, key="trust")
    items = client.post("/v1/next-actions", json={"limit": 48, "actions_per_account": 9}).json()
    found = [
        (
            item["decision_id"],
            [
                one["action"]
                for one in item["ranked"]
                if one["action"] in BOOK.by_id
                and one["basis"] == "value"
                and BOOK.by_id[one["action"]].channel == "email"
                and not BOOK.by_id[one["action"]].service_message
                and BOOK.by_id[one["action"]].max_autonomy == 4
            ],
        )
        for item in items["items"]
    ]
    return [(decision, mails) for decision, mails in found if len(mails) >= 2]


def take(client: TestClient, decision_id: str, action: str) -> Any:
    return post(
        client,
        f"/v1/decisions/{decision_id}/claims",
        {"by": f"mailer of {action}", "lease_seconds": 600, "action": action},
        key=f"{decision_id} {action}",
    )


def test_of_two_claims_at_one_moment_only_one_gets_the_last_contact_of_the_week(
    client, own_workspace
):
    [(decision, mails), *_] = lists_of_mails(client)
    one_a_week = "contacts_per_week = 1\nonboarding_contacts_per_week = 1\n"
    (own_workspace.root / LIMITS_FILE).write_text(one_a_week, encoding="utf-8")
    start = threading.Barrier(len(mails))

    def at_once(action: str) -> Any:
        start.wait(timeout=60)
        return take(client, decision, action)

    with ThreadPoolExecutor(len(mails)) as engines:
        answers = list(engines.map(at_once, mails))
    assert sorted(one.status_code for one in answers) == [201, *[409] * (len(mails) - 1)]
    refused = [one.json()["detail"] for one in answers if one.status_code == 409]
    assert all("is held back: At most 1 contacts a week" in detail for detail in refused)


def test_what_was_ranked_together_is_claimed_together_in_any_order(client):
    for number, (decision, mails) in enumerate(lists_of_mails(client)[:6]):
        for action in mails if number % 2 else reversed(mails):
            answer = take(client, decision, action)
            assert answer.status_code == 201, answer.text
