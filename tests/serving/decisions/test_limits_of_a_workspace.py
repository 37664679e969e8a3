"""The service, its commands and the replay of its decisions go by the limits of the workspace."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from small_company import AS_OF

from experiments.planning.team import Pool, Team
from experiments.policy.account_state import Limits
from experiments.policy.contact.limits_file import LIMITS_FILE, LimitsError
from experiments.report.workspace import full_cost, write_workspace_report
from features import reloaded_file
from registry.playbook.playbook import load_playbook
from serving.decisions import live_limits as current_limits
from serving.decisions.live_limits import CurrentLimits
from serving.ledger.replay.replay import replay, shared_digest
from serving.recommendations.plans import plan_as_of
from serving.recommendations.snapshot import decisions_as_of

FELT = load_playbook().contact_channels
NO_CONTACTS = "contacts_per_week = 0\nonboarding_contacts_per_week = 0\n"
ROLES = tuple({action.owner_role for action in load_playbook().actions})


@pytest.fixture
def quiet(own_workspace) -> Path:
    path = Path(own_workspace.root / LIMITS_FILE)
    path.write_text(NO_CONTACTS, encoding="utf-8")
    return path


def felt(items: list[dict[str, object]]) -> set[str]:
    return (
        {
            one["channel"]
            for item in items
            for one in item["ranked"]
            if one["channel"] in FELT and not load_playbook().by_id[one["action"]].service_message
        }
        if items
        else set()
    )


def test_the_service_keeps_them_and_a_decision_replays_without_the_file(
    quiet, own_workspace, store, make_client
):
    client = make_client(own_workspace, store)
    items = client.post("/v1/next-actions", json={"limit": 48}).json()["items"]
    assert felt(items) == set()
    full = [one for item in items for one in item["withheld"] if one["reason"] == "week_is_full"]
    assert full
    assert full[0]["why"].startswith("At most 0 contacts a week")
    quiet.unlink()
    ledger = client.app.state.service.ledger
    for item in items[:8]:
        decision = ledger.decision(item["decision_id"])
        assert json.loads(decision.inputs)["question"]["limits"]["contacts_per_week"] == 0
        found = replay(decision, ledger.shared_input(shared_digest(decision)))
        assert found.difference is None


@pytest.fixture
def at_once(monkeypatch) -> None:
    """Files count as soon as they are written."""
    monkeypatch.setattr(current_limits, "SETTLED_SECONDS", 0.0)


@pytest.mark.usefixtures("at_once")
def test_a_file_that_changes_counts_from_then_on(quiet, own_workspace, store, make_client):
    client = make_client(own_workspace, store)
    ask = {"limit": 48}
    assert felt(client.post("/v1/next-actions", json=ask).json()["items"]) == set()
    quiet.write_text("contacts_per_week = 9\n", encoding="utf-8")
    assert felt(client.post("/v1/next-actions", json=ask).json()["items"])
    assert client.get("/readyz").json()["detail"] is None
    quiet.write_text(NO_CONTACTS, encoding="utf-8")
    assert felt(client.post("/v1/next-actions", json=ask).json()["items"]) == set()


@pytest.mark.usefixtures("at_once")
def test_a_changed_file_that_can_not_be_used_keeps_what_held_and_is_told(
    quiet, own_workspace, store, make_client, caplog
):
    client = make_client(own_workspace, store)
    quiet.write_text("quite_hours = [8, 20]\n", encoding="utf-8")
    assert felt(client.post("/v1/next-actions", json={"limit": 48}).json()["items"]) == set()
    said = r"Did you mean quiet_hours\? .*Until then the limits hold that held before"
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "ok")
    assert re.search(said, ready.json()["detail"])
    assert [one for one in caplog.messages if re.search(said, one)] == [ready.json()["detail"]]
    quiet.write_text("contacts_per_week = 9\n", encoding="utf-8")
    assert client.get("/readyz").json()["detail"] is None
    assert felt(client.post("/v1/next-actions", json={"limit": 48}).json()["items"])


def test_what_is_just_being_written_or_replaced_waits(tmp_path, monkeypatch):
    monkeypatch.setattr(current_limits, "SETTLED_SECONDS", 3_600.0)
    clock = SimpleNamespace(
        passed=7_200.0, time=lambda: time.time() + clock.passed, sleep=time.sleep
    )
    monkeypatch.setattr(reloaded_file, "time", clock)
    path = tmp_path / LIMITS_FILE
    path.write_text(NO_CONTACTS, encoding="utf-8")
    limits = CurrentLimits(tmp_path)
    assert limits.current().contacts_per_week == 0
    clock.passed = 0.0
    path.write_text("", encoding="utf-8")  # as an editor does before it writes
    assert limits.current().contacts_per_week == 0
    path.unlink()  # or another program, before it moves its own file here
    assert limits.current().contacts_per_week == 0
    path.write_text("contacts_per_week = 1", encoding="utf-8")
    assert limits.current().contacts_per_week == 0
    clock.passed = 7_200.0
    assert limits.current().contacts_per_week == 1
    clock.passed = 0.0
    path.unlink()
    assert limits.current().contacts_per_week == 1
    assert limits.problem is None
    clock.passed = 7_200.0
    assert limits.current().contacts_per_week == 1
    assert limits.problem is not None


@pytest.mark.usefixtures("at_once")
def test_a_file_that_is_gone_keeps_what_held_and_an_empty_one_does_not(
    quiet, own_workspace, store, make_client
):
    client = make_client(own_workspace, store)
    limits = client.app.state.service.limits
    quiet.unlink()
    for _ in range(2):
        assert limits.current().contacts_per_week == 0
        said = client.get("/readyz").json()["detail"]
        assert "limits.toml is missing, which was there" in said
        assert "write an empty file to go back to the usual ones" in said
    quiet.write_text("", encoding="utf-8")
    assert limits.current() == Limits()
    assert client.get("/readyz").json()["detail"] is None


@pytest.mark.usefixtures("at_once")
def test_a_file_that_never_was_is_not_missed(tmp_path):
    limits = CurrentLimits(tmp_path)
    assert (limits.current(), limits.problem) == (Limits(), None)
    (tmp_path / LIMITS_FILE).write_text("contacts_per_week = 1", encoding="utf-8")
    assert limits.current().contacts_per_week == 1
    (tmp_path / LIMITS_FILE).unlink()
    assert limits.current().contacts_per_week == 1
    assert limits.problem is not None


def test_at_the_start_a_file_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(current_limits, "SETTLED_SECONDS", 0.5)
    path = tmp_path / LIMITS_FILE
    path.write_text("", encoding="utf-8")
    writer = threading.Timer(0.1, path.write_text, (NO_CONTACTS,))
    writer.start()
    assert CurrentLimits(tmp_path).current().contacts_per_week == 0
    writer.join()


@pytest.mark.usefixtures("at_once")
def test_what_could_not_be_read_is_tried_again_and_told_once(tmp_path, caplog):
    path = tmp_path / LIMITS_FILE
    path.write_text("contacts_per_week = 1", encoding="utf-8")
    limits = CurrentLimits(tmp_path)
    path.unlink()
    path.mkdir()
    assert [limits.current().contacts_per_week for _ in range(3)] == [1, 1, 1]
    assert "limits.toml cannot be read" in str(limits.problem)
    assert len([one for one in caplog.messages if "cannot be read" in one]) == 1
    path.rmdir()
    path.write_text("contacts_per_week = 2", encoding="utf-8")
    assert limits.current().contacts_per_week == 2
    assert limits.problem is None


@pytest.mark.usefixtures("at_once")
def test_another_file_of_the_same_size_and_time_is_another(tmp_path):
    path, other = tmp_path / LIMITS_FILE, tmp_path / "other"
    for place, count in ((path, 1), (other, 2)):
        place.write_text(f"contacts_per_week = {count}", encoding="utf-8")
        os.utime(place, (1_700_000_000, 1_700_000_000))
    limits = CurrentLimits(tmp_path)
    assert limits.current().contacts_per_week == 1
    assert limits.current() is limits.current()
    other.replace(path)
    assert limits.current().contacts_per_week == 2


def test_plans_and_the_commands_keep_them_too(quiet, own_workspace, store, make_client):
    team = Team(pools=(Pool(id="service", hours=900.0, skills=ROLES),))
    channels = {
        action.id: action.channel
        for action in load_playbook().actions
        if not action.service_message
    }
    offered = plan_as_of(own_workspace, store, AS_OF, team).actions["action_id"].to_list()
    assert offered
    assert not {channels.get(one) for one in offered} & FELT
    decided = decisions_as_of(own_workspace, store, AS_OF)
    assert {one.decision.inputs for one in decided} == {None}
    assert all(
        channels.get(c.action_id) not in FELT for one in decided for c in one.recommendation.ranked
    )
    body = {"pools": [{"id": "service", "hours": 900, "skills": list(ROLES)}]}
    plan = make_client(own_workspace, store).post("/v1/plans", json=body).json()
    assert {one["action_id"] for one in plan["actions"]} == set(offered)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("contacts_per_week = -3", r"limits\.toml: The limit contacts_per_week is -3"),
        ("[channel_caps]\npigeon = 1", "the channel 'pigeon'"),
        ("quiet_hours = [8, 24]", "quiet_hours"),
        ("quite_hours = [8, 20]", "Did you mean quiet_hours"),
    ],
)
def test_a_service_with_limits_that_are_none_does_not_start(
    own_workspace, store, make_client, text, message
):
    (own_workspace.root / LIMITS_FILE).write_text(text, encoding="utf-8")
    with pytest.raises(LimitsError, match=message):
        make_client(own_workspace, store)
    with pytest.raises(LimitsError, match=message):
        decisions_as_of(own_workspace, store, AS_OF)


def test_a_report_counts_hours_at_what_they_cost_here(own_workspace):
    action = load_playbook().by_id["success_call"]
    dear = replace(Limits(), hourly_cost=600.0, money_per_usd=2.0)
    assert full_cost(action, dear) == pytest.approx(
        2 * action.cost_usd + 10 * (full_cost(action, Limits()) - action.cost_usd)
    )
    pages = []
    for text in ("", "hourly_cost = 600\n"):
        (own_workspace.root / LIMITS_FILE).write_text(text, encoding="utf-8")
        page, _ = write_workspace_report(own_workspace, as_of=AS_OF, written_at=AS_OF)
        pages.append(page.read_text(encoding="utf-8"))
    assert pages[0] != pages[1]
