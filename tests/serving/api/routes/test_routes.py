"""The API end to end: real snapshot, online store, lake, policy and ledger."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path

import jsonschema
import polars as pl
import pytest
from scores_one_by_one import score_frame_for_file
from small_company import add_model, event, make_bundle

import serving
from features.compute.backfill import backfill
from features.events.schema import events_frame
from features.lake.lake import Lake
from features.store.feast import WorkspaceFeatures
from registry.store.mlflow import MlflowModelStore
from registry.store.store import MemoryModelStore
from serving.api.schemas.wire_model import EXAMPLE_ACCOUNT, EXAMPLE_MOMENT
from serving.auth.gate import declared_needs
from serving.http.headers import self_contained_policy
from serving.ledger.replay.replay import policy_code, replay, shared_digest
from serving.recommendations.snapshot import recommendations_as_of, scores_as_of


@pytest.fixture(scope="module")
def document(client):
    return client.get("/openapi.json").json()


def test_every_shape_has_a_name_of_its_own(document):
    assert [name for name in document["components"]["schemas"] if "__" in name] == []


def test_the_list_has_the_agreed_shape(client):
    content = client.get("/v1/accounts?limit=2").json()
    assert list(content)[:2] == ["items", "next_cursor"]
    assert len(content["items"]) == 2
    assert content["accounts"] == 48
    assert content["currency"] == "USD"
    following = client.get(f"/v1/accounts?limit=500&cursor={content['next_cursor']}").json()
    assert len(following["items"]) == 46
    assert following["next_cursor"] is None


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("segment=mid", 24),
        ("csm=csm-1", 16),
        ("status=ended", 1),
        ("service_tier=enterprise", 24),
        ("search=company%2007", 1),
        ("segment=none-such", 0),
    ],
)
def test_the_list_is_filtered(client, query, count):
    content = client.get(f"/v1/accounts?{query}").json()
    assert content["accounts"] == len(content["items"]) == count


def test_sums_over_ended_contracts_are_null_and_say_why(client, make_client, shared_workspace):
    content = client.get("/v1/accounts?status=ended").json()
    assert (content["accounts"], content["contract_ended"]) == (1, 1)
    assert content["revenue_at_risk"] is None
    assert client.get("/v1/accounts").json()["contract_ended"] == 1
    without = make_client(shared_workspace, MemoryModelStore())
    assert without.get("/v1/accounts").json()["revenue_at_risk"] is None
    assert "keepwell_revenue_at_risk NaN" in without.get("/metrics").text


def test_tier_and_level_filter_by_their_tables(client):
    for row in client.get("/v1/accounts?tier=critical").json()["items"]:
        assert row["risk_tier"] == "critical"
    for row in client.get("/v1/accounts?level=healthy").json()["items"]:
        assert row["level"] == "healthy"


def test_an_account_says_all_that_is_known(client):
    account = client.get("/v1/accounts/acct-00").json()
    assert account["name"] == "Company 00"
    assert [h["horizon_days"] for h in account["churn"]] == [30, 60, 90]
    assert account["features"]["errors_28d"] == 40
    assert account["features"]["csat_90d"] is None
    assert account["health"]["formula"] == "balanced"
    assert account["reasons"]["levers"][0]["text"] == "40 errors in the last 28 days"


def test_a_score_says_where_it_comes_from_and_how_fresh_it_is(client):
    score = client.get("/v1/accounts/acct-00/score?horizon_days=30").json()
    assert (score["source"], score["degraded"]) == ("model", None)
    assert score["model_version"] == "churn version 1"
    assert score["as_of"] == "2026-03-01T00:00:00Z"
    fresh = {f["kind"]: f for f in score["freshness"]}
    assert fresh["error.raised"]["age_hours"] == 36
    assert score["churn_probability_low"] <= score["churn_probability"]
    at_90 = client.get("/v1/accounts/acct-00/score").json()
    assert at_90["churn_probability"] > score["churn_probability"]
    assert at_90["revenue_at_risk"] == score["revenue_at_risk"]


def test_several_scores_come_in_the_order_asked(client):
    body = {"account_ids": ["acct-05", "nobody", "acct-03", "acct-05"], "horizon_days": 60}
    content = client.post("/v1/scores", json=body).json()
    assert [s["account_id"] for s in content["items"]] == ["acct-05", "acct-03"]
    assert content["unknown"] == ["nobody"]
    assert content["items"][0] == client.get("/v1/accounts/acct-05/score?horizon_days=60").json()


def test_the_timeline_is_in_words_newest_first(client):
    content = client.get("/v1/accounts/acct-00/timeline?limit=5").json()
    times = [event["occurred_at"] for event in content["items"]]
    assert times == sorted(times, reverse=True)
    assert content["items"][0]["text"] == "Met an error (timeout)"
    since = client.get("/v1/accounts/acct-00/timeline?since=2026-02-27T00:00:00Z").json()
    assert all(e["occurred_at"] >= "2026-02-27" for e in since["items"])


class TestFallback:
    """The same address answers in the same shape, whatever there is to score with."""

    @pytest.mark.parametrize("case", ["no champion", "old features"])
    def test_the_formula_answers_and_says_why(
        self, shared_workspace, store, make_client, client, case
    ):
        as_of = client.app.state.service.portfolio.as_of
        if case == "no champion":
            other = make_client(shared_workspace, MemoryModelStore())
            why = "No churn model has been promoted."
        else:
            other = make_client(shared_workspace, store, now=lambda: as_of + timedelta(days=90))
            why = "The features are of 1 March 2026, 90 days old, and may be at most 35 days old."
        path = "/v1/accounts/acct-00/score"
        usual, fallback = client.get(path).json(), other.get(path).json()
        assert set(fallback) == set(usual)
        assert (fallback["source"], fallback["degraded"]) == ("health_formula", why)
        assert fallback["health_score"] == usual["health_score"]
        assert (fallback["churn_probability"] is None) == (case == "no champion")
        page = other.get("/", headers={"Accept": "text/html"}).text
        assert "The health formula answers for every account" in page
        assert why in page

    def test_a_damaged_bundle_on_disk_is_told_without_where_it_lies(
        self, own_workspace, make_client, client
    ):
        models = MlflowModelStore(own_workspace.tracking_uri)
        add_model(models, "churn", make_bundle(own_workspace, ("errors_28d", "seats"), [0.9, 0.1]))
        [bundle] = own_workspace.root.rglob("arrays.npz")
        content = bytearray(bundle.read_bytes())
        content[len(content) // 2] ^= 0xFF
        bundle.write_bytes(content)
        other = make_client(own_workspace, MlflowModelStore(own_workspace.tracking_uri))
        bodies = {
            "/v1/scores": {"account_ids": ["acct-00"]},
            "/v1/next-actions": {"account_ids": ["acct-00"]},
        }
        for path in ("/v1/accounts", "/v1/accounts/acct-00", "/v1/accounts/acct-00/score", *bodies):
            ask = {"json": bodies[path]} if path in bodies else {}
            answer = other.request("POST" if ask else "GET", path, **ask)
            assert answer.status_code == 200, answer.text
            one = (answer.json().get("items") or [answer.json()])[0]
            assert one["source"] == "health_formula"
            assert one["degraded"].startswith(
                "The churn model could not be used: The file 'arrays.npz' in "
            )
            assert str(own_workspace.root) not in answer.text
            if path != "/v1/next-actions":  # that one writes
                usual = client.request("POST" if ask else "GET", path, **ask).json()
                assert set(one) == set((usual.get("items") or [usual])[0])
        page = other.get("/", headers={"Accept": "text/html"}).text
        assert "truncated or altered" in page
        assert str(own_workspace.root) not in page

    def test_an_empty_workspace_says_what_to_run(self, tmp_path, store, make_client):
        from features.workspace import Workspace

        empty = make_client(Workspace(tmp_path / "empty", environment={}), store)
        answer = empty.get("/v1/accounts")
        assert answer.status_code == 503
        assert answer.json()["type"] == "/problems#not-ready"
        assert "keepwell snapshot" in answer.json()["next"]
        ready = empty.get("/readyz")
        assert ready.status_code == 503
        assert ready.json()["status"] == "starting"
        assert empty.get("/healthz").json()["status"] == "ok"
        assert empty.get("/v1/actions").status_code == 200

    def test_a_promotion_is_noticed_without_a_restart(
        self, shared_workspace, store, make_client, churn_bundle
    ):
        models = MemoryModelStore()
        models.__dict__.update(
            {
                k: {n: list(v) if isinstance(v, list) else v for n, v in d.items()}
                for k, d in store.__dict__.items()
            }
        )
        running = make_client(shared_workspace, models)
        service = running.app.state.service
        assert not service.refresh()
        from datetime import UTC, datetime

        from registry.store.store import TrainingRun

        at = datetime(2026, 3, 1, tzinfo=UTC)
        run = models.record_run(
            TrainingRun(
                label="churn", name="again", bundle=churn_bundle, started_at=at, ended_at=at
            )
        )
        models.promote("churn", models.register("churn", run), evidence={}, by="ann", at=at)
        assert service.refresh()
        assert running.get("/v1/accounts/acct-00").json()["model_version"] == "churn version 2"
        models.rollback("churn", by="ann", at=at)
        service.refresh()
        assert running.get("/v1/accounts/acct-00").json()["model_version"] == "churn version 1"


class TestDecisions:
    """Recommended, stored, reported, seen by the next recommendation."""

    @pytest.fixture
    def decided(self, own_client):
        body = {"account_ids": ["acct-00", "nobody"], "actions_per_account": 3}
        return own_client.post("/v1/next-actions", json=body).json()

    def test_a_recommendation_is_ranked_and_doing_nothing_competes(self, decided):
        [one] = decided["items"]
        assert decided["unknown"] == ["nobody"]
        cautious = [c["cautious_value"] for c in one["ranked"]]
        assert cautious == sorted(cautious, reverse=True)
        assert one["ranked"][-1]["action"] == "do_nothing"
        assert one["ranked"][-1]["expected_value"] == 0
        assert one["propensity"] == 1
        assert all(c["why"] and c["evidence_grade"] for c in one["ranked"])
        assert all(w["why"] for w in one["withheld"])

    def test_it_is_stored_with_all_that_it_was_decided_on(self, own_client, decided):
        service = own_client.app.state.service
        stored = service.ledger.decision(decided["items"][0]["decision_id"])
        assert stored.account_id == "acct-00"
        assert stored.eligible[0]["action_id"] == decided["items"][0]["action"]
        assert stored.versions == {
            "score_source": "model",
            "model": "churn version 1",
            "formula": "balanced",
            "policy": policy_code(),
        }
        assert replay(stored, service.ledger.shared_input(shared_digest(stored))).difference is None
        assert len(stored.input_digest) == 32

    def test_asking_again_at_the_same_moment_is_the_same_decision(self, own_client, decided):
        again = own_client.post("/v1/next-actions", json={"account_ids": ["acct-00"]}).json()
        assert again["items"][0]["decision_id"] == decided["items"][0]["decision_id"]
        assert own_client.app.state.service.ledger.counts() == (1, 0)

    def test_without_ids_the_accounts_with_most_at_risk_are_meant(self, own_client):
        answer = own_client.post("/v1/next-actions", json={"limit": 3}).json()
        listed = own_client.get("/v1/accounts?limit=3").json()["items"]
        assert [i["account_id"] for i in answer["items"]] == [i["account_id"] for i in listed]

    def test_every_account_that_is_named_is_answered_or_the_request_is_refused(self, own_client):
        ids = [f"acct-{number:02d}" for number in range(30)]
        answer = own_client.post("/v1/next-actions", json={"account_ids": ids}).json()
        assert [one["account_id"] for one in answer["items"]] + answer["unknown"] == ids
        refused = own_client.post("/v1/next-actions", json={"account_ids": ids, "limit": 3})
        assert refused.status_code == 413
        assert "30 account ids were sent, and one request takes 3 at most" in refused.text

    def test_an_outcome_is_stored_and_on_the_timeline(self, own_client, decided):
        decision = decided["items"][0]
        answer = own_client.post(
            f"/v1/decisions/{decision['decision_id']}/outcomes",
            json={"kind": "executed", "by": "csm-0"},
            headers={"Idempotency-Key": "one"},
        )
        assert answer.status_code == 201
        assert answer.json()["action"] == decision["action"]
        kinds = {
            e["kind"]
            for e in own_client.get("/v1/accounts/acct-00/timeline?limit=2").json()["items"]
        }
        assert kinds == {"action.decided", "action.executed"}
        assert own_client.app.state.service.ledger.undelivered() == ((), (), ())

    def test_the_same_key_and_body_answer_as_the_first_time(self, own_client, decided):
        path = f"/v1/decisions/{decided['items'][0]['decision_id']}/outcomes"
        key = {"Idempotency-Key": "one"}
        first = own_client.post(path, json={"kind": "executed"}, headers=key)
        again = own_client.post(path, json={"kind": "executed"}, headers=key)
        other = own_client.post(path, json={"kind": "executed", "by": "ann"}, headers=key)
        assert (first.status_code, again.status_code, other.status_code) == (201, 201, 422)
        assert first.json() == again.json()
        assert other.json()["type"] == "/problems#idempotency-key-reused"

    def test_what_was_carried_out_can_not_be_declined_afterwards(self, own_client, decided):
        path = f"/v1/decisions/{decided['items'][0]['decision_id']}/outcomes"
        own_client.post(path, json={"kind": "executed"}, headers={"Idempotency-Key": "one"})
        before = own_client.get("/v1/accounts/acct-00/timeline").json()
        answer = own_client.post(
            path,
            json={"kind": "declined", "reason": "wrong moment"},
            headers={"Idempotency-Key": "two"},
        )
        assert (answer.status_code, answer.json()["type"]) == (
            409,
            "/problems#contradicting-outcome",
        )
        assert "was reported as executed on 2026-03-01" in answer.json()["detail"]
        assert own_client.get("/v1/accounts/acct-00/timeline").json() == before
        assert own_client.app.state.service.ledger.counts() == (1, 1)

    def test_what_was_done_is_not_recommended_again_at_once(self, own_client, decided):
        decision = decided["items"][0]
        own_client.post(
            f"/v1/decisions/{decision['decision_id']}/outcomes",
            json={"kind": "executed"},
            headers={"Idempotency-Key": "one"},
        )
        again = own_client.post("/v1/next-actions", json={"account_ids": ["acct-00"]}).json()
        [one] = again["items"]
        assert decision["action"] not in [c["action"] for c in one["ranked"]]
        assert one["decision_id"] != decision["decision_id"]

    def test_what_a_person_declined_has_not_been_done(self, own_client, decided):
        decision = decided["items"][0]
        own_client.post(
            f"/v1/decisions/{decision['decision_id']}/outcomes",
            json={"kind": "declined", "reason": "wrong moment"},
            headers={"Idempotency-Key": "one"},
        )
        again = own_client.post("/v1/next-actions", json={"account_ids": ["acct-00"]}).json()
        assert again["items"][0]["action"] == decision["action"]

    def test_while_another_process_writes_the_outcome_is_kept_and_delivered_later(
        self, own_client, own_workspace, decided, monkeypatch
    ):
        from features.lake.lake import Lake
        from serving.timeline import store as timelines

        monkeypatch.setattr(timelines, "WAIT_SECONDS", 0.05)  # a test does not wait 5 s
        path = f"/v1/decisions/{decided['items'][0]['decision_id']}/outcomes"
        with Lake(own_workspace.events_dir, own_workspace.quarantine_dir).batch():
            answer = own_client.post(
                path, json={"kind": "executed"}, headers={"Idempotency-Key": "one"}
            )
            assert answer.status_code == 201
            assert len(own_client.app.state.service.ledger.undelivered()[1]) == 1
        assert own_client.app.state.service.deliver()
        assert own_client.app.state.service.ledger.undelivered() == ((), (), ())


class TestEvents:
    """What is acknowledged is on disk; what is refused says why."""

    def send(self, client, *events):
        return client.post("/v1/events", json={"events": list(events)})

    def good(self, **changes):
        return {
            "event_id": "e-1",
            "account_id": "acct-00",
            "kind": "survey.answered",
            "occurred_at": "2026-02-27T10:00:00Z",
            "quantity": 9,
            "properties": {"survey": "nps", "scale": "10"},
        } | changes

    def test_a_good_row_lands_beside_a_bad_one(self, own_client, own_workspace):
        content = self.send(
            own_client,
            self.good(),
            self.good(event_id="e-2", kind="nonsense"),
            self.good(event_id="e-3", occurred_at="2026-02-27 10:00"),
        ).json()
        assert [row["status"] for row in content["items"]] == ["on_timeline", "refused", "refused"]
        assert (content["landed"], content["refused"]) == (1, 2)
        assert content["items"][1]["reason"] == (
            "kind 'nonsense' is not known. GET /docs lists every kind; send one of your own as "
            "'custom.nonsense'."
        )
        assert content["items"][2]["reason"] == (
            "occurred_at has no time zone; write it with one, such as 2026-03-01T09:30:00Z"
        )
        lake = own_client.app.state.service.timelines._lake
        assert "e-1" in lake.scan().collect()["event_id"]
        assert lake.quarantined().collect().height == 2

    def test_the_same_rows_again_change_nothing(self, own_client):
        self.send(own_client, self.good())
        again = self.send(own_client, self.good()).json()
        assert (again["landed"], again["duplicates"]) == (0, 1)
        assert again["items"][0]["status"] == "on_timeline"

    def test_a_row_of_the_future_is_not_acknowledged(self, own_client):
        content = self.send(own_client, self.good(occurred_at="2031-01-01T00:00:00Z")).json()
        assert content["items"][0]["status"] != "on_timeline"
        assert content["items"][0]["reason"]

    @pytest.mark.parametrize(
        "row",
        [
            {},
            {"account_id": "a"},
            {"account_id": 7, "kind": [], "occurred_at": {}},
            {
                "account_id": "a",
                "kind": "user.session",
                "occurred_at": "2026-02-27T10:00:00Z",
                "properties": {"nested": {"a": 1}},
            },
            {
                "account_id": "a",
                "kind": "user.session",
                "occurred_at": "2026-02-27T10:00:00Z",
                "event_count": -1,
            },
            {"account_id": "\ud800", "kind": "user.session", "occurred_at": "2026-02-27T10:00:00Z"},
        ],
    )
    def test_a_strange_row_is_refused_with_a_reason_and_breaks_nothing(self, own_client, row):
        answer = own_client.post(
            "/v1/events",
            content=json.dumps({"events": [row]}),
            headers={"Content-Type": "application/json"},
        )
        assert answer.status_code in (200, 422), answer.text
        if answer.status_code == 200:
            assert answer.json()["items"][0]["status"] == "refused"
            assert answer.json()["items"][0]["reason"]

    def test_while_another_process_writes_nothing_is_acknowledged(
        self, own_client, own_workspace, monkeypatch
    ):
        from features.lake.lake import Lake
        from serving.timeline import store as timelines

        monkeypatch.setattr(timelines, "WAIT_SECONDS", 0.05)  # a test does not wait 5 s
        with Lake(own_workspace.events_dir, own_workspace.quarantine_dir).batch():
            answer = self.send(own_client, self.good())
        assert answer.status_code == 503
        assert answer.json()["type"] == "/problems#busy"
        assert answer.headers["retry-after"] == "5"


def test_the_playbook_is_listed_with_what_is_ours(client):
    content = client.get("/v1/actions").json()
    assert len(content["items"]) >= 90
    assert len(content["sequences"]) == 11
    assert all("prior" in action["ours"] for action in content["items"])


def test_models_are_listed_with_metrics_and_who_serves(client):
    content = client.get("/v1/models").json()
    churn = next(m for m in content["items"] if m["label"] == "churn")
    assert churn["serving"]
    assert churn["metrics"]["log_loss_90d_low"] == 0.18
    assert content["refusals"] == {}


def test_reports_are_listed_and_read(own_client, own_workspace):
    folder = own_workspace.reports_dir
    folder.mkdir(parents=True)
    (folder / "call.json").write_text(
        json.dumps({"title": "Success call", "headline": "No clear effect."}), encoding="utf-8"
    )
    (folder / "call.html").write_text(
        "<html><head><style>p{}</style></head><main><p>No clear effect.</p></main></html>",
        encoding="utf-8",
    )
    (folder / "broken.json").write_text("{", encoding="utf-8")
    (folder / "list.json").write_text("[]", encoding="utf-8")
    [row] = own_client.get("/v1/reports").json()["items"]
    assert (row["name"], row["headline"]) == ("call", "No clear effect.")
    assert own_client.get(row["json_url"]).json()["title"] == "Success call"
    page = own_client.get(row["html"])
    assert '<a href="/reports">← All reports</a>' in page.text
    policy = page.headers["content-security-policy"]
    assert policy == self_contained_policy(page.text)
    assert "default-src 'none'" in policy
    assert "style-src 'sha256-" in policy
    assert "unsafe" not in policy
    assert "script-src" not in policy
    (folder / "call.html").unlink()
    answer = own_client.get("/reports/call")
    assert answer.status_code == 404
    assert "/v1/reports/call" in answer.json()["next"]


def test_an_account_with_a_contract_and_no_events_says_what_is_unknown(
    own_workspace, store, make_client, as_of
):
    lake = Lake(own_workspace.events_dir, own_workspace.quarantine_dir)
    lake.append(
        events_frame(
            [event("quiet", "contract.started", 100, quantity=500.0, seats=5, price_plan="starter")]
        ),
        source="hand",
        file="q",
        now=as_of,
    )
    snapshots = backfill(own_workspace, [as_of])
    WorkspaceFeatures(own_workspace).publish(snapshots)

    [score] = [s for s in scores_as_of(own_workspace, store, as_of) if s.account_id == "quiet"]
    assert score.features["csat_90d"] is None
    assert score.health.score is None
    assert score.health.unknown == ("engagement", "satisfaction", "payment")
    [actions] = [
        a
        for a in recommendations_as_of(own_workspace, store, as_of)["accounts"]
        if a["account_id"] == "quiet"
    ]
    assert actions["ranked"]
    quiet = make_client(own_workspace, store)
    answer = quiet.get("/v1/accounts/quiet")
    assert (answer.status_code, answer.json()["features"]["csat_90d"]) == (200, None)
    page = quiet.get("/accounts/quiet", headers={"Accept": "text/html"})
    assert page.status_code == 200
    assert "Not enough data: " in page.text
    assert "engagement, satisfaction, payment" in page.text
    assert "No use of the product is known in the 15 weeks since the account is known." in page.text


def test_no_reports_is_an_empty_list(client):
    assert client.get("/v1/reports").json() == {"items": []}


def test_figures_count_requests_by_route_and_never_by_account(own_client):
    for account in ("acct-01", "acct-02", "nobody"):
        own_client.get(f"/v1/accounts/{account}")
    own_client.get("/secret-path")
    text = own_client.get("/metrics").text
    assert (
        'keepwell_requests_total{method="GET",route="/v1/accounts/{account_id}",status="200"} 2.0'
    ) in text
    assert 'keepwell_accounts{source="model"} 47.0' in text
    assert "acct-01" not in text
    assert "secret-path" not in text


def test_two_services_in_one_process_count_for_themselves(shared_workspace, store, make_client):
    one, other = make_client(shared_workspace, store), make_client(shared_workspace, store)
    one.get("/v1/accounts")
    assert 'route="/v1/accounts"' not in other.get("/metrics").text


def test_the_batch_of_the_command_line_gives_the_same_scores(client, shared_workspace, store):
    portfolio = client.app.state.service.portfolio
    batch = scores_as_of(shared_workspace, store, portfolio.as_of)
    assert [s.account_id for s in batch] == [s.account_id for s in portfolio.scores]
    assert [s.churn for s in batch] == [s.churn for s in portfolio.scores]
    assert [s.reasons for s in batch] == [s.reasons for s in portfolio.scores]


def test_the_batch_ranks_actions_for_every_account(own_client, own_workspace, store, as_of):
    answer = recommendations_as_of(own_workspace, store, as_of)
    assert len(answer["accounts"]) == 48
    assert json.loads(json.dumps(answer, allow_nan=False)) == answer
    top = answer["accounts"][0]
    served = own_client.post(
        "/v1/next-actions", json={"account_ids": [top["account_id"]], "actions_per_account": 50}
    ).json()["items"][0]
    assert [c["action_id"] for c in top["ranked"]] == [c["action"] for c in served["ranked"]]


@pytest.fixture(scope="module")
def scores(shared_workspace, store, as_of):
    return score_frame_for_file(scores_as_of(shared_workspace, store, as_of))


@pytest.fixture(scope="module")
def accounts(shared_workspace, store, as_of):
    return recommendations_as_of(shared_workspace, store, as_of)["accounts"]


class TestFiles:
    """The files of the command line are described as they are, and agree with each other."""

    def described(self, header):
        text = (
            Path(serving.__file__).parents[1] / "docs" / "reference" / "output-files.md"
        ).read_text(encoding="utf-8")
        table = text.partition(f"| {header} | says |")[2].partition("\n\n")[0]
        first = [line.split("|")[1] for line in table.splitlines()[2:]]
        return sorted(name for cell in first for name in re.findall(r"`(\w+)`", cell))

    def test_the_columns_of_the_scores_are_described(self, scores):
        assert self.described("column") == sorted(scores.columns)

    def test_the_fields_of_the_actions_are_described(self, accounts):
        assert self.described("field") == sorted(accounts[0])
        ranked = {name for account in accounts for one in account["ranked"] for name in one}
        assert self.described("field of `ranked`") == sorted(ranked)

    @pytest.mark.parametrize("models", ["all", "none"])
    def test_both_files_say_the_same_source(
        self, scores, accounts, models, shared_workspace, as_of
    ):
        if models == "none":
            empty = MemoryModelStore()
            scores = score_frame_for_file(scores_as_of(shared_workspace, empty, as_of))
            accounts = recommendations_as_of(shared_workspace, empty, as_of)["accounts"]
        said = dict(scores.select("account_id", "score_source").iter_rows())
        assert said == {a["account_id"]: a["score_source"] for a in accounts}
        assert said["acct-47"] == "none"  # its contract has ended
        assert said["acct-00"] == ("model" if models == "all" else "health_formula")

    def test_points_come_with_their_unit(self, scores):
        units = (
            scores.filter(pl.col("reason_1").is_not_null())
            .select("score_source", "points_unit")
            .unique()
        )
        assert dict(units.iter_rows()) == {"model": "percentage points", "none": "health points"}


def examples_in(part, named):
    """Every example of an OpenAPI document with the schema it stands at."""
    if isinstance(part, list):
        for inner in part:
            yield from examples_in(inner, named)
    elif isinstance(part, dict):
        told = part.get("examples", ())
        if isinstance(told, dict):
            told = [named[one["$ref"].rpartition("/")[2]]["value"] for one in told.values()]
        told = [*told, *([part["example"]] if "example" in part else [])]
        schema = {k: v for k, v in part.get("schema", part).items() if k != "examples"}
        yield from ((schema, example) for example in told)
        for inner in part.values():
            yield from examples_in(inner, named)


class TestOpenApi:
    """The document's examples are requests that work."""

    def filled(self, text, client, accounts):
        text = (
            text.replace("{account_id}", "acct-00")
            .replace(EXAMPLE_ACCOUNT, "acct-00")
            .replace(EXAMPLE_MOMENT, "2026-02-27T10:00:00Z")
            .replace("{name}", "call")
        )
        if "{decision_id}" in text:
            approved = "/claims" in text
            text = text.replace("{decision_id}", self.decision(client, next(accounts), approved))
        if "{claim_id}" in text:
            decision = self.decision(client, next(accounts), True)
            claim = client.post(
                f"/v1/decisions/{decision}/claims",
                json={"by": "mailer"},
                headers={"Idempotency-Key": f"claim {decision}"},
            ).json()
            text = text.replace("{claim_id}", claim["claim_id"])
        return text

    def decision(self, client, account, approved):
        [item] = client.post("/v1/next-actions", json={"account_ids": [account]}).json()["items"]
        assert item["action"] != "do_nothing", account
        name = item["decision_id"]
        if approved:
            client.post(
                f"/v1/decisions/{name}/approvals",
                json={"verdict": "approved", "by": "x"},
                headers={"Idempotency-Key": f"approve {name}"},
            )
        return name

    def test_every_example_request_works(self, own_client, own_workspace):
        own_workspace.reports_dir.mkdir(parents=True)
        (own_workspace.reports_dir / "call.json").write_text("{}", encoding="utf-8")
        document = own_client.get("/openapi.json").json()
        sent = 0
        accounts = (f"acct-{n:02d}" for n in range(1, 47))
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                content = operation.get("requestBody", {}).get("content", {})
                schema = content.get("application/json", {}).get("schema", {})
                bodies = [None]
                if "$ref" in schema:
                    name = schema["$ref"].rpartition("/")[2]
                    bodies = document["components"]["schemas"][name]["examples"]
                for number, body in enumerate(bodies):
                    text = (
                        None
                        if body is None
                        else self.filled(json.dumps(body), own_client, accounts)
                    )
                    answer = own_client.request(
                        method,
                        self.filled(path, own_client, accounts),
                        content=text,
                        headers={
                            "Content-Type": "application/json",
                            "Idempotency-Key": f"{path}-{number}",
                        },
                    )
                    assert answer.status_code in (200, 201), (path, text, answer.text)
                    sent += 1
        assert sent >= 17

    def test_every_example_is_one_of_its_schema_and_needs_no_filling_in(self, document):
        components = dict(document["components"])
        named = components.pop("examples")
        found = list(examples_in(document | {"components": components}, named))
        assert len(found) >= 12
        for schema, example in found:
            is_problem = "ProblemAnswer" in str(schema)  # its advice names routes
            assert is_problem or not re.search(r"\{\w+\}", json.dumps(example)), example
            jsonschema.validate(example, schema | {"components": document["components"]})

    def test_intervals_say_what_they_cover(self, document):
        covers = "It does not say how certain the score of this one account is."
        assert covers in document["info"]["description"]
        for name, schema in document["components"]["schemas"].items():
            for field, said in schema.get("properties", {}).items():
                if re.fullmatch(r"(churn_probability\w*_)?(low|high)", field):
                    assert covers in said["description"], (name, field)

    def test_every_route_says_how_it_refuses(self, document):
        for path, methods in document["paths"].items():
            for operation in methods.values():
                refusals = [s for s in operation["responses"] if s.startswith(("4", "5"))]
                assert refusals or path == "/healthz", path
                assert operation["summary"], path

    def test_the_key_of_an_outcome_is_declared_as_needed(self, document, client):
        operation = document["paths"]["/v1/decisions/{decision_id}/outcomes"]["post"]
        [key] = [p for p in operation["parameters"] if p["in"] == "header"]
        assert (key["name"], key["required"]) == ("Idempotency-Key", True)
        assert (key["schema"]["minLength"], key["schema"]["maxLength"]) == (1, 200)
        page = client.get("/docs", headers={"Accept": "text/html"}).text
        assert "Needs the header Idempotency-Key: New for each outcome" in page

    def test_every_write_says_that_it_takes_a_key_and_nothing_else_does(self, document, client):
        taking = {
            f"{method.upper()} {path}"
            for path, methods in document["paths"].items()
            for method, one in methods.items()
            if "Idempotency-Key" in [p["name"] for p in one.get("parameters", ())]
        }
        assert taking == {
            route
            for route, need in declared_needs(client.app.routes).items()
            if need.writes and " /v1/" in route
        }

    def test_refusals_are_documented_as_problem_json(self, document):
        found = document["paths"]["/v1/accounts/{account_id}"]["get"]["responses"]["404"]
        assert list(found["content"]) == ["application/problem+json"]
