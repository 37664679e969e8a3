"""The commands: what they refuse, two people, holds, and a start that finishes what was interrupted."""

from __future__ import annotations

import json
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import keepwell
from features.ingest.run import ingest_rows
from features.lake.erased_subjects import ErasedSubjects
from features.lake.lake import Lake
from features.workspace import Workspace
from serving.data_protection.erasure.erase import under_way

BY = ["--by", "dpo"]


@pytest.fixture
def place(untouched_workspace: Workspace, tmp_path: Path) -> Workspace:
    shutil.copytree(untouched_workspace.root, tmp_path / "own")
    return Workspace(tmp_path / "own", environment={})


def keepwell_erase(place: Workspace, *words: str) -> Result:
    return CliRunner().invoke(
        keepwell.app, ["erase", *words, "--workspace", str(place.root)], catch_exceptions=True
    )


def said(result: Result) -> str:
    return " ".join(f"{result.output} {result.exception or ''}".split())


def holds_account(place: Workspace, account: str) -> bool:
    return account in Lake(place.events_dir).scan().collect()["account_id"].to_list()


def test_an_account_under_hold_stays_until_the_hold_ends(place: Workspace) -> None:
    held = keepwell_erase(place, "hold", "account", "acct-07", "--reason", "in court", *BY)
    assert held.exit_code == 0, said(held)
    refused = keepwell_erase(place, "account", "acct-07", "--reason", "17", *BY)
    assert "under a legal hold" in said(refused)
    assert "in court" in said(refused)
    assert holds_account(place, "acct-07")
    assert "in court" in said(keepwell_erase(place, "holds"))
    for path in (place.root / "erasures").iterdir():
        assert b"acct-07" not in path.read_bytes()
    assert keepwell_erase(place, "release", "account", "acct-07", *BY).exit_code == 0
    assert "There is no legal hold" in said(keepwell_erase(place, "release", "account", "x", *BY))
    erased = keepwell_erase(place, "account", "acct-07", "--reason", "17", *BY)
    assert erased.exit_code == 0, said(erased)
    assert not holds_account(place, "acct-07")
    allowed = keepwell_erase(place, "allow", "account", "acct-07", *BY)
    assert allowed.exit_code == 0, said(allowed)
    assert "No account of this id was erased" in said(
        keepwell_erase(place, "allow", "account", "acct-07", *BY)
    )


def test_a_second_person_approves(place: Workspace) -> None:
    place.change_settings(second_person=True)
    asked = keepwell_erase(place, "account", "acct-07", "--reason", "17", *BY)
    found = re.search(r"keepwell erase approve ([0-9a-f]+)", said(asked))
    assert found is not None
    assert holds_account(place, "acct-07")
    assert "somebody else has to" in said(keepwell_erase(place, "approve", found[1], *BY))
    assert "Nobody has asked" in said(keepwell_erase(place, "approve", "abc123", "--by", "ann"))
    approved = keepwell_erase(place, "approve", found[1], "--by", "ann")
    assert approved.exit_code == 0, said(approved)
    assert not holds_account(place, "acct-07")


def test_what_cannot_be_meant_is_refused(place: Workspace) -> None:
    for words, why in (
        (("account", "acct-07", "--reason", " ", *BY), "--reason is empty"),
        (("account", "acct-07", "--reason", "acct-07 asked", *BY), "names the subject"),
        (("account", "acct-07", "--reason", "17"), "--by is missing"),
        (("account", "erased-77", "--reason", "17", *BY), "cannot be the id"),
        (("hold", "company", "acct-07", "--reason", "17", *BY), "neither of account, person"),
    ):
        assert why in said(keepwell_erase(place, *words)), words
    assert holds_account(place, "acct-07")
    assert "No erasure is under way" in said(keepwell_erase(place, "resume"))


def test_an_id_that_nobody_has_leaves_a_receipt_that_says_so(place: Workspace) -> None:
    """It is noted as erased all the same: the next export may hold it."""
    done = keepwell_erase(place, "account", "acct-7", "--reason", "17", *BY)
    assert done.exit_code == 0, said(done)
    assert "Compare its spelling" in said(done)
    (file,) = (place.root / "erasures").glob("receipt-*.json")
    receipt = json.loads(file.read_text())
    assert receipt["says"].startswith("Nothing was held under this id or these names.")
    assert set(receipt["found"].values()) == {0}
    assert holds_account(place, "acct-07")
    assert list(ErasedSubjects(place.root).among("account", ["acct-7", "acct-07"])) == ["acct-7"]


def test_an_interrupted_erasure_is_finished_by_the_next_command(
    place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr("serving.data_protection.erasure.erase.ERASERS", (Killed(),))
        keepwell_erase(place, "account", "acct-07", "--reason", "17", *BY)
    assert under_way(place) is not None
    finished = keepwell_erase(place, "resume")
    assert "was interrupted and is finished now" in said(finished)
    assert finished.exit_code == 0, said(finished)
    assert not holds_account(place, "acct-07")


class Killed:
    """A place in which the process ends."""

    name = "killed"
    paths = ()

    def find(self, at: object) -> int:
        return 1

    def erase(self, at: object) -> int:
        raise KeyboardInterrupt


def test_what_is_held_about_a_person_is_handed_out_by_command(
    place: Workspace, tmp_path: Path
) -> None:
    lake = Lake(place.events_dir, place.quarantine_dir)
    row = {
        "account_id": "acct-05",
        "user_id": "ann@example.org",
        "kind": "feature.used",
        "occurred_at": "2026-02-01T00:00:00Z",
        "properties": {"name": "search"},
    }
    ingest_rows(lake, [row], now=datetime(2026, 2, 2, tzinfo=UTC), source="api")
    file = tmp_path / "ann.json"
    words = ["export", "person", "ann@example.org", "--out", str(file), *BY]
    done = CliRunner().invoke(keepwell.app, [*words, "--workspace", str(place.root)])
    assert done.exit_code == 0, said(done)
    held = json.loads(file.read_text())
    assert held["format"] == "keepwell.export"
    (event,) = held["held"]["events"]
    assert event["user_id"] == "ann@example.org"
    assert file.stat().st_mode & 0o077 == 0
