"""A playbook engine over HTTP: it claims, prolongs, completes or fails, and is told why not."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from fastapi.testclient import TestClient

from registry.playbook.playbook import load_playbook

HOUR = timedelta(hours=1)
keys = itertools.count()


class Clock:
    """The workspace's moment, moved by hand."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at


@pytest.fixture
def clock(as_of: datetime) -> Clock:
    return Clock(as_of)


class Engine:
    """The service, asked as one that acts."""

    def __init__(self, client: TestClient) -> None:
        self.client = client

    def post(
        self,
        path: str,
        body: dict[str, object] | None = None,
        *,
        status: int = 201,
        key: str | None = None,
    ) -> dict[str, object]:
        answer = self.client.post(
            path, json=body or {}, headers={"Idempotency-Key": key or f"k-{next(keys)}"}
        )
        content = answer.json()
        assert answer.status_code == status, content
        content["retry_after"] = answer.headers.get("retry-after")
        return content

    def decide(self, account: str = "acct-00") -> dict[str, object]:
        [item] = self.post("/v1/next-actions", {"account_ids": [account]}, status=200)["items"]
        return item

    def trust(self, level: int = 4) -> None:
        self.post("/v1/controls/levels", {"level": level, "reason": "trusted", "by": "boss"})

    def claim(
        self, decision_id: object, *, by: str = "mailer", status: int = 201, key: str | None = None
    ) -> dict[str, object]:
        return self.post(
            f"/v1/decisions/{decision_id}/claims",
            {"by": by, "lease_seconds": 600},
            status=status,
            key=key,
        )

    def approve(
        self, decision_id: object, *, by: str = "ann", verdict: str = "approved", status: int = 201
    ) -> dict[str, object]:
        return self.post(
            f"/v1/decisions/{decision_id}/approvals",
            {"verdict": verdict, "by": by, "reason": "looked at it"},
            status=status,
        )

    def slug(self, content: dict[str, object]) -> str:
        return str(content["type"]).removeprefix("/problems#")


@pytest.fixture
def engine(own_workspace, store, make_client: Callable[..., TestClient], clock: Clock) -> Engine:
    return Engine(make_client(own_workspace, store, now=clock))


def test_a_decision_says_until_when_it_is_valid_and_how_far_it_may_go(engine, clock):
    decided = engine.decide()
    assert decided["valid_until"] == (clock.at + timedelta(days=7)).isoformat().replace(
        "+00:00", "Z"
    )
    assert decided["autonomy"] == min(2, decided["ranked"][0]["max_autonomy"])
    seen = engine.client.get(f"/v1/decisions/{decided['decision_id']}").json()
    assert seen["action"] == decided["action"] != "do_nothing"
    assert seen["proposed_by"] == "embedded"
    assert (seen["claims"], seen["approvals"]) == ([], [])


def test_from_approval_to_done_and_onto_the_timeline(engine, clock):
    decided = engine.decide("acct-01")
    name = decided["decision_id"]
    assert engine.slug(engine.claim(name, status=409)) == "not-claimable"
    approved = engine.approve(name)
    assert (approved["verdict"], approved["by"]) == ("approved", "ann")
    claim = engine.claim(name)
    assert (claim["state"], claim["by"]) == ("claimed", "mailer")
    path = f"/v1/claims/{claim['claim_id']}"
    clock.at += timedelta(minutes=5)
    beaten = engine.post(f"{path}/heartbeat", {"by": "mailer"}, status=200)
    assert beaten["lease_until"] > claim["lease_until"]
    done = engine.post(f"{path}/complete", {"by": "mailer"}, status=200)
    assert done["state"] == "completed"
    assert engine.client.get(path).json()["state"] == "completed"
    events = engine.client.get("/v1/accounts/acct-01/timeline").json()["items"]
    assert "action.executed" in {event["kind"] for event in events}
    seen = engine.client.get(f"/v1/decisions/{name}").json()
    assert [one["state"] for one in seen["claims"]] == ["completed"]
    metrics = engine.client.get("/metrics").text
    assert 'keepwell_claims_total{step="completed"} 1.0' in metrics


def test_a_person_is_not_the_program_that_proposed(engine):
    name = engine.decide("acct-01")["decision_id"]
    refused = engine.approve(name, by="embedded", status=403)
    assert engine.slug(refused) == "self-approval"


def test_a_repeated_request_is_one_claim(engine):
    engine.trust()
    decided = next(
        d for d in (engine.decide(f"acct-{n:02d}") for n in range(12)) if d["autonomy"] == 4
    )
    first = engine.claim(decided["decision_id"], key="same")
    again = engine.claim(decided["decision_id"], key="same")
    assert first == again
    other = engine.claim(decided["decision_id"], by="other", status=409)
    assert engine.slug(other) == "already-claimed"
    assert other["retry_after"] == "600"


def test_what_comes_too_late_is_decided_again(engine, clock):
    name = engine.decide("acct-01")["decision_id"]
    clock.at += timedelta(days=7)
    refused = engine.claim(name, status=409)
    assert engine.slug(refused) == "decision-expired"
    again = refused["detail"].partition("decided again: ")[2].partition(",")[0]
    assert engine.client.get(f"/v1/decisions/{again}").json()["account_id"] == "acct-01"
    assert again in refused["next"]


def test_a_failed_claim_says_why(engine):
    name = engine.decide("acct-01")["decision_id"]
    engine.approve(name)
    claim = engine.claim(name)
    failed = engine.post(
        f"/v1/claims/{claim['claim_id']}/fail", {"by": "mailer", "reason": "bounced"}, status=200
    )
    assert (failed["state"], failed["reason"]) == ("failed", "bounced")
    theirs = engine.claim(name)
    refused = engine.post(f"/v1/claims/{theirs['claim_id']}/complete", {"by": "other"}, status=403)
    assert engine.slug(refused) == "not-yours"


def test_nothing_was_carried_out_in_the_future(engine, clock):
    name = engine.decide("acct-01")["decision_id"]
    engine.approve(name)
    claim = engine.claim(name)
    refused = engine.post(
        f"/v1/claims/{claim['claim_id']}/complete",
        {"by": "mailer", "occurred_at": (clock.at + HOUR).isoformat()},
        status=422,
    )
    assert refused["errors"] == [
        {
            "where": "occurred_at",
            "message": "lies after the data of this workspace, which end at "
            "2026-03-01 00:00:00 UTC; leave it out for that "
            "moment",
        }
    ]


class TestWhereTheDataEndedYearsAgo:
    """Only exports come in: the time of the data stands still, the clock of the service runs."""

    @pytest.fixture
    def real(self, as_of: datetime) -> Clock:
        return Clock(as_of + timedelta(days=1_500))

    @pytest.fixture
    def engine(self, own_workspace, store, make_client, as_of, real) -> Engine:
        return Engine(make_client(own_workspace, store, now=lambda: as_of, wall_clock=real))

    def test_a_decision_is_claimed_lapses_and_is_carried_out_by_another(self, engine, real, as_of):
        decided = engine.decide("acct-01")
        name = decided["decision_id"]
        assert moment(decided["decided_at"]) == as_of
        assert moment(decided["valid_until"]) == real.at + timedelta(days=7)
        assert moment(engine.approve(name)["at"]) == real.at
        first = engine.claim(name)
        assert moment(first["lease_until"]) == real.at + timedelta(minutes=10)
        engine.claim(name, by="other", status=409)
        real.at += timedelta(minutes=10)
        assert engine.client.get(f"/v1/claims/{first['claim_id']}").json()["state"] == "lapsed"
        second = engine.claim(name, by="other")
        real.at -= timedelta(minutes=9)
        refused = engine.post(
            f"/v1/claims/{first['claim_id']}/heartbeat", {"by": "mailer"}, status=409
        )
        assert engine.slug(refused) == "claim-over"
        done = engine.post(f"/v1/claims/{second['claim_id']}/complete", {"by": "other"}, status=200)
        assert moment(done["ended_at"]) == real.at + timedelta(minutes=9)
        [event] = [
            one
            for one in engine.client.get("/v1/accounts/acct-01/timeline").json()["items"]
            if one["kind"] == "action.executed"
        ]
        assert moment(event["occurred_at"]) == as_of

    def test_asked_again_on_the_day_it_is_the_same_decision_and_later_another(self, engine, real):
        first = engine.decide("acct-01")["decision_id"]
        real.at += HOUR
        assert engine.decide("acct-01")["decision_id"] == first
        real.at += timedelta(days=7)
        refused = engine.claim(first, status=409)
        assert engine.slug(refused) == "decision-expired"
        again = engine.decide("acct-01")["decision_id"]
        assert again != first
        assert again in refused["detail"]
        engine.approve(again)
        engine.claim(again)

    def test_a_veto_window_passes(self, engine, real):
        engine.trust(3)
        decided = engine.post("/v1/next-actions", {}, status=200)["items"]
        name = next(
            one["decision_id"]
            for one in decided
            if one["autonomy"] == 3 and one["action"] != "do_nothing"
        )
        assert engine.claim(name, status=409)["retry_after"] == "14400"
        real.at += timedelta(hours=4)
        engine.claim(name)

    def test_a_stop_and_a_key_go_by_the_clock(self, engine, real):
        assert moment(engine.post("/v1/controls/stop", {"reason": "x"})["at"]) == real.at
        keys = engine.client.app.state.service.keys
        new = keys.create(
            name="laptop",
            owner="ann",
            role="engine",
            now=real.at,
            expires_at=real.at + timedelta(days=90),
        )
        ask = {"headers": {"X-API-Key": new.secret}}
        assert engine.client.get("/v1/accounts", **ask).status_code == 200
        real.at += timedelta(days=91)
        assert engine.client.get("/v1/accounts", **ask).status_code == 401


def moment(text: object) -> datetime:
    return datetime.fromisoformat(str(text))


def test_the_kill_switch_stops_what_is_under_way_and_what_would_begin(engine):
    first, second = (engine.decide(name)["decision_id"] for name in ("acct-01", "acct-02"))
    engine.approve(first)
    engine.approve(second)
    claim = engine.claim(first)
    engine.post("/v1/controls/stop", {"reason": "wrong prices", "by": "boss"})
    refused = engine.claim(second, status=409)
    assert engine.slug(refused) == "stopped"
    assert "boss stopped everything" in refused["detail"]
    refused = engine.post(f"/v1/claims/{claim['claim_id']}/heartbeat", {"by": "mailer"}, status=409)
    assert engine.slug(refused) == "stopped"
    assert engine.decide("acct-03")["autonomy"] == 0
    controls = engine.client.get("/v1/controls").json()
    assert [one["reason"] for one in controls["stopped"]] == ["wrong prices"]
    engine.post("/v1/controls/resume", {"reason": "mended", "by": "boss"})
    assert engine.client.get("/v1/controls").json()["stopped"] == []
    engine.claim(second)


def test_what_is_not_stopped_can_not_be_resumed(engine):
    refused = engine.post("/v1/controls/resume", {"reason": "?", "segment": "mid"}, status=422)
    assert engine.slug(refused) == "unknown-control"
    assert "stopped is nothing" in refused["detail"]


@pytest.mark.parametrize(
    ("field", "name"), [("action", "sucess_call"), ("segment", "Mid"), ("csm", "csm-99")]
)
def test_a_stop_of_a_misspelt_name_would_stop_nothing(engine, field, name):
    refused = engine.post("/v1/controls/stop", {field: name, "reason": "x"}, status=422)
    assert refused["errors"] == [{"where": field, "message": "there is none of this name"}]


def test_discounts_never_go_ahead_by_themselves(engine):
    offer = next(a.id for a in load_playbook().actions if a.channel == "offer")
    refused = engine.post(
        "/v1/controls/levels", {"action": offer, "level": 3, "reason": "x"}, status=422
    )
    assert engine.slug(refused) == "level-too-high"
    engine.post("/v1/controls/levels", {"action": offer, "level": 2, "reason": "x"})


def test_a_full_week_says_when_it_is_not(engine):
    engine.post("/v1/controls/capacities", {"most_a_week": 1, "reason": "one caller"})
    first, second = (engine.decide(name)["decision_id"] for name in ("acct-01", "acct-02"))
    engine.approve(first)
    engine.approve(second)
    engine.claim(first)
    refused = engine.claim(second, status=409)
    assert engine.slug(refused) == "capacity-used"
    assert refused["retry_after"] == "600"


def test_without_the_ledger_there_are_suggestions_and_no_decisions(engine, own_workspace):
    ledger = engine.client.app.state.service.ledger
    ledger.close()
    path = own_workspace.ledger_db
    aside = path.with_name("aside")
    for each in path.parent.glob("ledger.db*"):
        each.rename(aside if each == path else aside.with_name(f"aside-{each.name}"))
    path.mkdir()
    answer = engine.client.post("/v1/next-actions", json={"account_ids": ["acct-01"]})
    [item] = answer.json()["items"]
    assert (answer.status_code, answer.headers["retry-after"]) == (200, "2")
    assert (item["decision_id"], item["valid_until"]) == (None, None)
    assert item["autonomy"] <= 1
    assert "this is a suggestion" in item["notes"][-1]
    for method, address, body in (
        ("POST", "/v1/decisions/d/claims", {}),
        ("POST", "/v1/decisions/d/outcomes", {"kind": "executed"}),
        ("GET", "/v1/decisions/d", None),
        ("GET", "/v1/controls", None),
        ("POST", "/v1/controls/stop", {"reason": "x"}),
    ):
        refused = engine.client.request(
            method, address, json=body, headers={"Idempotency-Key": f"k-{next(keys)}"}
        )
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "2"), address
        assert engine.slug(refused.json()) == "ledger-unreachable"
    assert engine.client.get("/readyz").status_code == 503
    assert engine.client.get("/accounts/acct-01").status_code == 200
    path.rmdir()
    aside.rename(path)
    assert engine.decide("acct-01")["decision_id"] is not None
