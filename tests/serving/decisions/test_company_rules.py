"""The service goes by the company's own rules, names their version, and holds on to the last good ones."""

from __future__ import annotations

import time
from pathlib import Path

import polars as pl
import pytest
from keepwell_command import run_keepwell
from small_company import AS_OF

from features.alerts.rule_set import RULES_FILE, RulesError
from serving.decisions.company_rules import SHIPPED_RULES, rules_of
from serving.ledger.replay.replay import replay, shared_digest
from serving.recommendations.rules_preview import preview_signs
from serving.recommendations.snapshot import decisions_as_of

OWN = """
off = ["health_below_40", "health_below_60"]

[[alert]]
id = "here"
title = "They are there"
urgency = 3
responses = ["ask_why"]
cases = [{ when = ["tenure_days >= 0"], words = "has been a customer for {tenure_days:.0f} days" }]

[[action]]
id = "ask_why"
name = "Ask why"
objective = "retain"
channel = "internal"
owner_role = "csm"
cost_usd = 0
hours = 0
cool_down_days = 30
max_autonomy = 2
prior = { outcome = "churn", mean = 0.3 }
text = "Ask why."
"""


def write(folder: Path, text: str) -> None:
    (folder / RULES_FILE).write_text(text, encoding="utf-8")


def until(true, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_own_rules_are_in_scores_decisions_pages_and_replay(
    own_workspace, store, make_client
) -> None:
    write(own_workspace.root, OWN)
    client = make_client(own_workspace, store)
    [item] = client.post("/v1/next-actions", json={"limit": 1}).json()["items"]
    assert "ask_why" in {one["action"] for one in item["ranked"]}
    why = next(one for one in item["ranked"] if one["action"] == "ask_why")["why"]
    assert "They are there" in why or "they are there" in why.lower()
    page = client.get(f"/accounts/{item['account_id']}").text
    assert "They are there" in page
    assert "ask_why" in {one["id"] for one in client.get("/v1/actions").json()["items"]}
    ledger = client.app.state.service.ledger
    stored = ledger.decision(item["decision_id"])
    assert stored.versions["rules"] == rules_of(own_workspace).version
    assert replay(stored, ledger.shared_input(shared_digest(stored))).difference is None


def test_a_broken_file_changes_nothing_while_it_is_served(
    own_workspace, store, make_client
) -> None:
    write(own_workspace.root, OWN)
    client = make_client(own_workspace, store)
    service = client.app.state.service
    good = service.company.current()
    write(own_workspace.root, OWN.replace("tenure_days >= 0", "tenure_dys >= 0"))
    until(lambda: client.get("/readyz").json()["detail"] is not None)
    assert "Did you mean 'tenure_days'?" in client.get("/readyz").json()["detail"]
    assert service.company.current() is good
    write(own_workspace.root, "")
    until(lambda: service.company.current() is not good)
    assert service.company.current().version == ""
    service.refresh()
    assert "here" not in {a.id for signs in service.portfolio.alerts.values() for a in signs}


def test_a_service_does_not_start_on_rules_that_cannot_be_used(
    own_workspace, store, make_client
) -> None:
    write(own_workspace.root, OWN.replace('"ask_why"', '"ask_wy"', 1))
    with pytest.raises(RulesError, match="Did you mean 'ask_why'"):
        make_client(own_workspace, store)


@pytest.mark.parametrize(
    ("change", "line", "said"),
    [
        (("cost_usd = 0", "cost_usd = -1"), 11, "`cost_usd` is -1; it has to be at least 0"),
        (('text = "Ask why."\n', ""), 11, "Action 'ask_why' lacks `text`. Add it."),
        (("mean = 0.3", "mean = 3"), 11, "Action 'ask_why', `prior`: `mean` is 3"),
        (('responses = ["ask_why"]', 'responses = ["ask_wy"]'), 4, "Did you mean 'ask_why'?"),
        (('channel = "internal"', 'eligible = ["nobody > 1"]\nchannel = "internal"'), 11, "nobody"),
        (('off = ["health', 'off = ["helth'), 0, "`off` names 'helth_below_40'"),
    ],
)
def test_what_is_wrong_is_said_once_with_the_line(
    own_workspace, change: tuple[str, str], line: int, said: str
) -> None:
    write(own_workspace.root, OWN.replace(*change))
    with pytest.raises(RulesError) as error:
        rules_of(own_workspace)
    place = f"rules.toml, line {line}" if line else "rules.toml"
    assert str(error.value).startswith(f"{place}: ") or str(error.value).startswith(f"{place}, ")
    assert said in str(error.value)
    assert str(error.value).count("rules.toml") == 1


def test_without_a_file_the_shipped_rules_hold(own_workspace, store) -> None:
    assert rules_of(own_workspace) is SHIPPED_RULES
    assert all(
        "rules" not in one.decision.versions for one in decisions_as_of(own_workspace, store, AS_OF)
    )
    write(own_workspace.root, 'off = ["no_such_sign"]')
    with pytest.raises(RulesError, match="`off` names 'no_such_sign'"):
        rules_of(own_workspace)


def test_a_preview_counts_episodes_and_leavers_as_the_snapshots_say(own_workspace) -> None:
    write(own_workspace.root, OWN)
    found = preview_signs(
        own_workspace, now=SHIPPED_RULES.alerts, then=rules_of(own_workspace).alerts
    )
    signs = {one.id: one for one in found.signs}
    assert set(signs) == {"here", "health_below_40", "health_below_60"}
    assert (signs["here"].now.episodes, signs["health_below_60"].then.episodes) == (0, 0)
    folder = own_workspace.snapshots_dir
    frames = [pl.read_parquet(path) for path in sorted(folder.glob("as_of_*.parquet"))]
    there = {
        name
        for frame in frames
        for name in frame.filter(
            (pl.col("tenure_days") >= 0) & (pl.col("contract_status") != "ended")
        )["account_id"]
    }
    assert signs["here"].then.accounts == len(there)
    assert signs["here"].then.episodes >= len(there)


def test_the_commands_check_and_preview(own_workspace) -> None:
    root = own_workspace.root
    file = root.parent / "mine.toml"
    file.write_text(OWN, encoding="utf-8")
    done = run_keepwell("rules", "check", str(file), "-w", str(root), cwd=root.parent)
    assert done.returncode == 0, done.stderr
    assert "new warning signs: here" in done.stdout
    assert "new actions: ask_why" in done.stdout
    done = run_keepwell("rules", "preview", str(file), "-w", str(root), cwd=root.parent)
    assert done.returncode == 0, done.stderr
    assert "ask_why" in done.stdout
    file.write_text(OWN.replace("urgency = 3", "urgency = 9"), encoding="utf-8")
    done = run_keepwell("rules", "check", str(file), "-w", str(root), cwd=root.parent)
    assert done.returncode == 3
    assert "rules.toml, line 4, alert 'here': `urgency` is 5" in " ".join(done.stderr.split())
    assert run_keepwell("rules", "check", "-w", str(root), cwd=root.parent).returncode == 3
