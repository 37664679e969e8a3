"""A model that monitoring found against in a segment does not answer there, and every answer
says why: over the real application, while it runs."""

from __future__ import annotations

import json
import logging
import shutil

import pytest
from small_company import AS_OF, add_model, make_bundle

from features.workspace import Workspace
from features.workspace_files import write_atomically
from registry.bundle.segment_gate import (
    EVERYONE,
    SWITCH_FILE,
    TO_WITHHOLD,
    Look,
    SegmentSwitch,
    segment_key,
)
from registry.store.store import MemoryModelStore
from serving.recommendations.snapshot import scores_as_of

BECAUSE = "its log loss was 0.02 above the health formula's"
READS = ("errors_28d", "active_days_28d")


def withhold(workspace, fingerprint: str, key: str) -> None:
    switch = SegmentSwitch()
    for number in range(TO_WITHHOLD):
        look = Look(finding="worse", known_to=AS_OF.replace(hour=number), because=BECAUSE)
        switch = switch.looked(fingerprint, {key: look}, at=AS_OF)
    write_atomically(workspace.monitoring_dir / SWITCH_FILE, switch.text().encode())


@pytest.fixture
def own_workspace(shared_workspace, tmp_path):
    return Workspace(shutil.copytree(shared_workspace.root, tmp_path / "own"), environment={})


@pytest.fixture
def models(store):
    """The champions of the shared store in one that a test may promote in."""
    own = MemoryModelStore()
    for label in ("churn", "expansion", "churn-formula"):
        add_model(own, label, store.champion(label))
    return own


@pytest.fixture
def service(own_workspace, models, make_client):
    return make_client(own_workspace, models)


def accounts(service) -> list[dict]:
    items = service.get("/v1/accounts", params={"limit": 100}).json()["items"]
    return [
        service.get(f"/v1/accounts/{item['account_id']}/score").json()
        for item in items
        if item["source"] is not None
    ]


def test_the_formula_answers_in_the_segment_and_the_model_elsewhere(own_workspace, models, service):
    before = {a["account_id"]: a["source"] for a in accounts(service)}
    withhold(own_workspace, models.champion("churn").fingerprint, segment_key("small"))
    assert service.app.state.service.refresh()
    by_segment: dict[str, set[tuple[str, str | None]]] = {"small": set(), "mid": set()}
    for one in accounts(service):
        if "contract has ended" in (one["degraded"] or "").lower():
            continue
        assert before[one["account_id"]] == "model"
        number = int(one["account_id"].removeprefix("acct-"))
        by_segment["small" if number % 2 else "mid"].add((one["source"], one["degraded"]))
    assert by_segment["mid"] == {("model", None)}
    assert by_segment["small"] == {
        (
            "health_formula",
            "For accounts of segment small the model is withheld since 2026-03-01: "
            + BECAUSE
            + ".",
        )
    }


def test_withheld_accounts_have_the_probability_of_the_formula(own_workspace, models):
    plain = {s.account_id: s for s in scores_as_of(own_workspace, models, AS_OF)}
    withhold(own_workspace, models.champion("churn").fingerprint, EVERYONE)
    held = [s for s in scores_as_of(own_workspace, models, AS_OF) if not s.has_left]
    assert held
    assert {s.model_version for s in held} == {"churn-formula version 1"}
    assert any(s.churn_probability_90d != plain[s.account_id].churn_probability_90d for s in held)
    assert {s.expansion is None for s in held} == {False}  # of another model


def test_no_growth_is_promised_where_the_expansion_model_is_withheld(own_workspace, models):
    withhold(own_workspace, models.champion("expansion").fingerprint, segment_key("mid"))
    for score in scores_as_of(own_workspace, models, AS_OF):
        if score.has_left:
            continue
        assert score.source == "model"
        held = score.attributes["segment"] == "mid"
        assert (score.expansion is None) is held
        assert (score.expected_expansion is None) is held
        assert (BECAUSE in (score.expansion_note or "")) is held


def test_a_new_champion_answers_again(own_workspace, models, service):
    withhold(own_workspace, models.champion("churn").fingerprint, EVERYONE)
    service.app.state.service.refresh()
    assert "model" not in {a["source"] for a in accounts(service)}
    add_model(models, "churn", make_bundle(own_workspace, READS, [0.7, -0.2]))
    service.app.state.service.refresh()
    assert {a["model_version"] for a in accounts(service) if a["source"] == "model"} == {
        "churn version 2"
    }


def test_the_pages_say_it(own_workspace, models, service):
    withhold(own_workspace, models.champion("churn").fingerprint, segment_key("small"))
    service.app.state.service.refresh()
    assert "The health formula answers for 23 accounts" in service.get("/").text
    assert BECAUSE in service.get("/accounts/acct-01").text.replace("&#39;", "'")
    said = "For accounts of segment small the model is withheld since 2026-03-01"
    assert said in service.get("/models").text


def test_where_the_switch_can_not_be_read_the_formula_answers_and_says_so(
    own_workspace, models, service, caplog
):
    write_atomically(own_workspace.monitoring_dir / SWITCH_FILE, b"{")
    with caplog.at_level(logging.ERROR, logger="keepwell.serving"):
        service.app.state.service.refresh()
    assert "The formula answers for every account" in caplog.text
    told = accounts(service)
    assert {a["source"] for a in told} == {"health_formula"}
    assert any("(segments.json) cannot be read; whoever runs" in a["degraded"] for a in told)


def test_the_figures_of_monitoring_are_read_with_those_of_the_service(own_workspace, service):
    assert "keepwell_feature_drift" not in service.get("/metrics").text
    write_atomically(
        own_workspace.monitoring_dir / "as_of_20260301T000000Z" / "churn.json",
        json.dumps(
            {
                "figures": [
                    {"name": "keepwell_feature_drift", "labels": {"label": "churn"}, "value": 0.25},
                    {
                        "name": "keepwell_estimate_reliable",
                        "labels": {"label": "churn"},
                        "value": None,
                    },
                ]
            }
        ).encode(),
    )
    told = service.get("/metrics").text
    assert 'keepwell_feature_drift{label="churn"} 0.25' in told
    assert 'keepwell_estimate_reliable{label="churn"} NaN' in told
    assert "keepwell_accounts" in told
