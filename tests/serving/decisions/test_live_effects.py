"""Measured effects reach the answers, and a broken file is said and stops nothing."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime

from experiments.effects.action_effect import ActionEffect
from experiments.effects.belief import MeasuredEffects
from experiments.effects.effects_file import EFFECTS_FILE, write_effects
from experiments.policy.account_state import AccountState, Limits, PastAction
from experiments.policy.recommend import recommend
from registry.playbook.playbook import load_playbook
from serving.decisions.live_effects import evidence_in, measured_effects
from serving.decisions.saved_reports import reports_in
from serving.pages.views.actions_view import action_view


def effect(action="usage_analysis", estimate=0.02):
    return ActionEffect(
        action_id=action,
        segment=None,
        estimate=estimate,
        standard_error=0.002,
        n=900,
        effective_n=400.0,
        grade="A",
        measured_from=datetime(2025, 1, 1, tzinfo=UTC),
        measured_to=datetime(2025, 6, 1, tzinfo=UTC),
        source="A lottery.",
        outcome="retention",
        horizon_days=90,
        low=estimate - 0.004,
        high=estimate + 0.004,
        why="Drawn by lot.",
    )


def test_no_file_is_no_evidence_and_no_problem(tmp_path):
    assert evidence_in(tmp_path) == MeasuredEffects()


def test_a_broken_file_is_said(tmp_path):
    (tmp_path / EFFECTS_FILE).write_text("{", encoding="utf-8")
    assert "is not valid JSON" in (evidence_in(tmp_path).problem or "")


def test_a_file_is_read_again_when_it_changed_and_only_then(tmp_path):
    measured = measured_effects(tmp_path)
    assert measured.current() == MeasuredEffects()
    path = write_effects(MeasuredEffects(effects=(effect(),)), tmp_path)
    first = measured.current()
    assert first.effects == (effect(),)
    assert measured.current() is first
    write_effects(MeasuredEffects(effects=(effect(), effect("success_call"))), tmp_path)
    os.utime(path, ns=(1, 1))
    assert len(measured.current().effects) == 2
    path.unlink()
    assert measured.current() == MeasuredEffects()


def test_the_answer_says_how_much_is_playbook_and_how_much_is_data(own_client, own_workspace):
    own_workspace.reports_dir.mkdir(parents=True, exist_ok=True)
    asked = {"limit": 48, "actions_per_account": 50}
    before = own_client.post("/v1/next-actions", json=asked).json()["items"]
    ranked = [c for item in before for c in item["ranked"]]
    assert {c["playbook_share"] for c in ranked if c["action"] != "do_nothing"} == {1.0}
    action = next(
        c["action"] for c in ranked if c["belief"] is not None and c["objective"] == "retain"
    )
    path = write_effects(
        MeasuredEffects(effects=(effect(action, 0.05),)), own_workspace.reports_dir
    )
    try:
        after = own_client.post("/v1/next-actions", json=asked).json()["items"]
        found = [c for item in after for c in item["ranked"] if c["action"] == action]
        assert found
        for candidate in found:
            belief = candidate["belief"]
            assert 0 < candidate["playbook_share"] < 1
            assert belief["data_share"] + belief["playbook_share"] == 1
            assert (belief["n"], belief["measured"], belief["measured_grade"]) == (900, 0.05, "A")
            assert belief["effect_low"] < belief["effect"] < belief["effect_high"]
        path.write_text("[]", encoding="utf-8")
        broken = own_client.post("/v1/next-actions", json=asked).json()["items"]
        assert any(
            "could not be used, so the playbook stands alone" in note for note in broken[0]["notes"]
        )
    finally:
        path.unlink()


def test_money_hours_and_fatigue_are_in_the_answer(own_client):
    items = own_client.post("/v1/next-actions", json={"limit": 48}).json()["items"]
    for candidate in (c for item in items for c in item["ranked"]):
        assert candidate["expected_value"] == candidate["benefit"] - candidate["cost"]
        assert candidate["hours_cost"] <= candidate["cost"]
        assert {"margin", "at_stake", "contacts_28d", "fatigue"} <= candidate.keys()
    assert all(w["stage"] and w["why"] and w["until"] for item in items for w in item["withheld"])


def test_the_page_says_between_what_bounds_we_believe():
    moment = datetime(2026, 3, 2, 10, tzinfo=UTC)
    state = AccountState(
        account_id="a1",
        as_of=moment,
        mrr=2000.0,
        score_source="model",
        churn_probability=0.2,
        health_score=31.0,
        attributes={"contract_status": "active"},
        features={},
    )
    history = [PastAction(action_id="tips_email", at=datetime(2026, 2, 10, tzinfo=UTC))]
    answer = recommend(
        state,
        playbook=load_playbook(),
        limits=Limits(),
        history=history,
        as_of=moment,
        evidence=MeasuredEffects(effects=(effect("success_call", 0.05),)),
    )
    call = next(c for c in answer.ranked if c.action_id == "success_call")
    view = action_view(call, "USD", as_of=moment)
    assert "For this account most likely between +" in view.evidence
    assert "1 contact in four weeks took 5.0% off the effect" in view.how
    assert view.how.startswith("It is not weighed: it is done whatever it is worth. It costs")
    assert "is expected" not in view.how
    assert view.worth_from == "What it takes"
    weighed = action_view(replace(call, basis="value"), "USD", as_of=moment)
    assert "on the cautious estimate that ranks the list" in weighed.how
    assert action_view(answer.ranked[-1], "USD", as_of=moment).evidence == ""


def test_measured_effects_are_no_report(tmp_path):
    write_effects(MeasuredEffects(effects=(effect(),)), tmp_path)
    (tmp_path / "causal.json").write_text('{"title": "Calls"}', encoding="utf-8")
    assert [report.name for report in reports_in(tmp_path)] == ["causal"]
