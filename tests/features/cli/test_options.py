"""An error of a command is one readable paragraph and an exit code; shared words mean one thing."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from features.cli.options import (
    CommandError,
    models_address,
    moment_of,
    read_text_file,
    require_workspace,
    run,
    show_progress,
)
from features.lake.lake import LakeError
from features.workspace import TRACKING_VARIABLE, Workspace
from features.workspace_files import WorkspaceBusyError

MEANT = {
    "a command that cannot": (CommandError("Say which."), 3, "Say which."),
    "an error of ours": (LakeError("The lake is odd."), 3, "The lake is odd."),
    "the disk": (PermissionError(13, "Permission denied", "x"), 3, "Permission denied: 'x'"),
    "another writer": (WorkspaceBusyError("Another process writes."), 4, "Another process writes."),
    "a fault of ours": (KeyError("mrr"), 1, "Keepwell failed: KeyError: 'mrr'. That is a fault"),
}


@pytest.fixture(autouse=True)
def _no_words(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["keepwell"])
    monkeypatch.delenv(TRACKING_VARIABLE, raising=False)


def ends_with(error: Exception) -> int:
    def command() -> None:
        raise error

    with pytest.raises(SystemExit) as ended:
        run(command)
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.mark.parametrize("case", MEANT)
def test_an_error_is_a_paragraph_and_an_exit_code(case, capsys):
    error, code, words = MEANT[case]
    assert ends_with(error) == code
    told = capsys.readouterr()
    assert words in " ".join(told.err.split())
    assert "Traceback" not in told.err
    assert told.out == ""


@pytest.mark.parametrize("case", MEANT)
def test_a_traceback_changes_no_exit_code(case, capsys, monkeypatch):
    error, code, _ = MEANT[case]
    monkeypatch.setattr(sys, "argv", ["keepwell", "ingest", "--traceback"])
    assert ends_with(error) == code
    assert sys.argv == ["keepwell", "ingest"]
    assert "Traceback" in capsys.readouterr().err


def test_a_command_that_ends_well_says_nothing(capsys):
    run(lambda: None)
    assert capsys.readouterr() == ("", "")


def test_a_step_is_told_when_it_begins_and_when_it_is_over(capsys):
    with show_progress("Ingesting") as progress:
        progress("files", 1, 2)
        assert capsys.readouterr().out == "Ingesting …\n"
    assert capsys.readouterr().out.startswith("✓ Ingesting (")


def test_a_day_is_its_start_in_utc(tmp_path):
    place = Workspace(tmp_path, environment={})
    assert moment_of(place, datetime(2024, 2, 29)) == datetime(2024, 2, 29, tzinfo=UTC)  # noqa: DTZ001
    place.change_settings(complete_until=datetime(2024, 1, 1, tzinfo=UTC))
    assert moment_of(place, None) == datetime(2024, 1, 1, tzinfo=UTC)


def test_a_workspace_that_is_there_is_given_back(tmp_path):
    assert require_workspace(tmp_path) == tmp_path


def test_a_workspace_that_is_not_there_is_said_with_what_to_do(tmp_path):
    with pytest.raises(
        CommandError, match=r"There is no workspace .*/ws\. Make one with `make run`"
    ):
        require_workspace(tmp_path / "ws")


def test_models_are_the_workspaces_own_unless_the_environment_names_others(tmp_path, monkeypatch):
    assert models_address(Workspace(tmp_path)) == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv(TRACKING_VARIABLE, "https://mlflow.example")
    assert models_address(Workspace(tmp_path)) == "https://mlflow.example"
    monkeypatch.setenv(TRACKING_VARIABLE, "mlflow.db")
    with pytest.raises(CommandError, match=r"is 'mlflow\.db', which is no address"):
        models_address(Workspace(tmp_path))
    monkeypatch.setenv(TRACKING_VARIABLE, f"sqlite:///{tmp_path}/other.db")
    with pytest.raises(CommandError, match=r"other\.db, and there is no such file"):
        models_address(Workspace(tmp_path))


def test_a_text_that_can_not_be_read_says_what_is_wanted(tmp_path: Path):
    (tmp_path / "team.toml").write_text("[[csm]]\n", encoding="utf-8")
    assert read_text_file(tmp_path / "team.toml", "a team") == "[[csm]]\n"
    with pytest.raises(CommandError, match=r"No such file or directory\. Name a team\."):
        read_text_file(tmp_path / "other.toml", "a team")
    (tmp_path / "latin.toml").write_bytes(b"\xe9")
    with pytest.raises(CommandError, match=r"latin\.toml is not text in UTF-8 \(byte 0\)"):
        read_text_file(tmp_path / "latin.toml", "a team")
