"""The commands that change the champion: on evidence, with a second person, and told afterwards."""

from __future__ import annotations

import shutil
import socket
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from keepwell_command import run_keepwell
from typer.testing import CliRunner

from features.cli.options import out
from features.compute.backfill import backfill, month_starts
from features.events.schema import EVENT_SCHEMA
from features.lake.lake import Lake
from features.steady_clock import Machine, SteadyClock
from features.workspace import Workspace
from keepwell import app
from registry.store.approval import ApprovalError
from registry.store.mlflow import MlflowModelStore

ROOT = Path(__file__).parents[3]
GOOD, USELESS = "1", "2"


def keepwell(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return run_keepwell(*words, "-w", "ws", cwd=cwd, columns=400)


def said_by(place: Workspace, *words: str) -> str:
    """What the command says, in this process; a refusal is raised."""
    done = CliRunner().invoke(app, [*words, "-w", str(place.root)])
    if done.exception is not None:
        assert done.exit_code == 1, done.output
        raise done.exception
    return done.output


@pytest.fixture(autouse=True)
def wide(monkeypatch) -> None:
    """No line is broken, whatever COLUMNS was when another test made the console."""
    monkeypatch.setattr(out, "_width", 400)


@pytest.fixture(scope="module")
def made(small_company, tmp_path_factory) -> Path:
    """A workspace with contracts, snapshots, and two versions: one that knows, one that does not.

    The models read features that only this test has; the audit is of the workspace's own rows.
    """
    workspace = Workspace(tmp_path_factory.mktemp("made") / "ws", environment={})
    company, useless = small_company(), small_company(told=0.0)
    lake = Lake(workspace.events_dir, workspace.quarantine_dir)
    lake.append(
        company.events.select(*EVENT_SCHEMA),
        source="test",
        file="events",
        now=company.known_until,
        complete_until=company.known_until,
    )
    workspace.change_settings(complete_until=company.known_until)
    backfill(workspace, month_starts(datetime(2022, 3, 1, tzinfo=UTC), company.known_until))
    store = MlflowModelStore(workspace.tracking_uri)
    for trained in (company, useless):
        trained.train(store=store, trials=0, by=None)
    return workspace.root


@pytest.fixture
def place(made, tmp_path) -> Workspace:
    return Workspace(shutil.copytree(made, tmp_path / "ws"), environment={})


def checks_in(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("- ")]


def champion(place: Workspace) -> list[int]:
    return [one.version for one in MlflowModelStore(place.tracking_uri).history("churn")]


def test_a_worse_model_needs_somebody_who_stands_for_it(place):
    done = keepwell(
        "models",
        "promote",
        "churn",
        USELESS,
        "--by",
        "Ann",
        "--despite-evidence",
        cwd=place.root.parent,
    )
    assert done.returncode == 0, done.stderr
    assert "- failed: Higher probabilities are not shown to come more often" in done.stdout
    assert "churn version 2 serves now." in done.stdout
    assert champion(place) == [2]
    told = said_by(place, "models", "history", "churn")
    assert "version 2 promoted by Ann, despite the evidence" in told
    assert checks_in(told) == checks_in(done.stdout)


def test_with_a_second_person_a_promotion_waits_for_another_name(place):
    place.change_settings(second_person=True, capacity=50)
    words = ("models", "promote", "churn", GOOD, "--by")
    with pytest.raises(ApprovalError, match="Nobody has asked for a promotion of 'churn'"):
        said_by(place, *words, "Bob", "--approve")
    asked = said_by(place, *words, "Ann Lee")
    assert "- passed: Better than the health formula" in asked
    assert "- passed: The audit of its training rows found no leak." in asked
    assert "Its first 50 accounts of each cutoff" in asked
    assert "Asked for by Ann Lee. It serves as soon as another person approves" in asked
    assert champion(place) == []
    waiting = said_by(place, "models", "history", "churn")
    assert "version 1 asked for by Ann Lee; another person has to approve it" in waiting
    same = keepwell(*words, "ann lee", "--approve", cwd=place.root.parent)
    assert same.returncode == 3
    assert "somebody else has to approve it" in same.stderr
    assert champion(place) == []
    other = said_by(place, *words, "Bob", "--approve")
    assert "asked for by Ann Lee and approved by Bob" in other
    told = said_by(place, "models", "history", "churn")
    assert "version 1 promoted by Ann Lee, approved by Bob" in told
    assert checks_in(told) == checks_in(asked)
    assert "asked for by Ann Lee; another" not in told


def test_a_promotion_goes_by_the_clock_of_the_workspace(place):
    """The clock of the machine was turned a year forward since the service noted the time."""
    right = datetime.now(UTC) - timedelta(days=365)
    SteadyClock(Machine(clock=lambda: right), place.root).note()
    place.change_settings(second_person=True)
    words = ("models", "promote", "churn", GOOD, "--by")
    said_by(place, *words, "Ann")
    store = MlflowModelStore(place.tracking_uri)
    asked = store.pending_request("churn")
    assert abs(asked.at - right) < timedelta(hours=1)
    said_by(place, *words, "Bob", "--approve")
    (change,) = store.history("churn")
    assert abs(change.at - right) < timedelta(hours=1)


def test_a_model_whose_rows_can_not_be_audited_is_refused(place):
    for snapshot in place.snapshots_dir.iterdir():
        snapshot.unlink()
    done = keepwell("models", "promote", "churn", GOOD, "--by", "Ann", cwd=place.root.parent)
    assert done.returncode == 3
    assert "- failed: Its training rows could not be audited for leaks: " in done.stdout
    assert len(checks_in(done.stdout)) == 11
    assert "was not promoted, for the reasons above. Nothing was changed." in done.stderr
    assert champion(place) == []
    assert "No version of churn was ever promoted" in said_by(place, "models", "history", "churn")


def test_nobody_promotes_without_a_name(place):
    done = keepwell("models", "promote", "churn", GOOD, "--by", " ", cwd=place.root.parent)
    assert done.returncode == 3
    assert "--by is missing or empty. Say who decides" in done.stderr


def test_a_model_trained_while_the_server_is_away_is_uploaded_with_one_command(place, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        away = f"http://127.0.0.1:{closed.getsockname()[1]}"
    monkeypatch.setenv("KEEPWELL_TRACKING_URI", away)
    command, there = CliRunner(), ("-w", str(place.root))
    trained = command.invoke(app, ["train", "churn", "--trials", "0", *there])
    assert trained.exit_code == 0, trained.exception
    assert "its run waits to be uploaded" in trained.output
    early = command.invoke(app, ["models", "upload", *there])
    assert f"The tracking store {away} could not keep the run" in str(early.exception)
    monkeypatch.delenv("KEEPWELL_TRACKING_URI")
    done = command.invoke(app, ["models", "upload", *there])
    assert "churn version 3 is there now" in done.output
    assert command.invoke(app, ["models", "upload", *there]).output == "No run waits.\n"
    assert champion(place) == []
