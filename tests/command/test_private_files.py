"""What a command writes, nobody but its owner can read, whatever the umask of the shell."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from forked_programs import run_program
from keepwell_command import COMMAND, ROOT
from small_company import make_workspace

from features.workspace import Workspace
from features.workspace_files import shut_to_others, write_atomically


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with umask(0):
        return make_workspace(tmp_path_factory.mktemp("private") / "w").root


@pytest.fixture
def workspace(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "w"))


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def command(*words: str, cwd: Path) -> str:
    """A command in a shell whose umask shuts nothing."""
    ran = run_program(
        f"import os\nos.umask(0)\n{COMMAND}",
        *words,
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", "COLUMNS": "200", "HOME": str(cwd), "PYTHONPATH": str(ROOT)},
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stderr


def open_to_others(folder: Path) -> list[str]:
    return [
        f"{stat.filemode(each.lstat().st_mode)} {each.relative_to(folder.parent)}"
        for each in (folder, *sorted(folder.rglob("*")))
        if not each.is_symlink() and each.lstat().st_mode & 0o077
    ]


def test_a_workspace_that_commands_make_is_its_owners(tmp_path: Path) -> None:
    for words in (
        ("simulate", "w", "--preset", "tiny"),
        ("ingest", "w/events", "--mapping", "w/events/mapping.toml", "--workspace", "own"),
        ("snapshot", "--workspace", "own"),
        ("keys", "create", "x", "--owner", "ann", "--role", "admin", "--workspace", "own"),
        ("webhooks", "list", "--workspace", "own"),
        ("stop", "--by", "ann", "--reason", "tested", "--workspace", "own"),
        ("score", "--workspace", "own", "--out", "scores.csv"),
    ):
        command(*words, cwd=tmp_path)
    own = tmp_path / "own"
    for name in ("ledger.db", "keys.db", "keys.secret", "online.db", "workspace.toml"):
        assert (own / name).is_file(), name
    assert open_to_others(own) == []
    assert open_to_others(tmp_path / "scores.csv") == []


def test_an_older_workspace_is_shut_as_it_is_opened_and_its_owner_is_told(workspace: Path) -> None:
    for each in (workspace, *workspace.rglob("*")):
        each.chmod(each.stat().st_mode | 0o055)
    outside = workspace.parent / "outside.txt"
    outside.write_text("of another program", encoding="utf-8")
    outside.chmod(0o644)
    (workspace / "link").symlink_to(outside)
    told = command("keys", "list", "--workspace", "w", cwd=workspace.parent)
    assert "other users of this machine could open the workspace w; now its owner alone" in told
    assert open_to_others(workspace) == []
    assert stat.S_IMODE(outside.stat().st_mode) == 0o644
    assert command("keys", "list", "--workspace", "w", cwd=workspace.parent) == ""


def test_a_folder_that_is_no_workspace_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "script").touch()
    (tmp_path / "mine" / "script").chmod(0o755)
    (tmp_path / "mine").chmod(0o755)
    command("keys", "list", "--workspace", "mine", cwd=tmp_path)
    assert stat.S_IMODE((tmp_path / "mine" / "script").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "mine").stat().st_mode) == 0o755


def test_the_folder_of_a_workspace_is_shut_also_where_a_program_makes_it(tmp_path: Path) -> None:
    with umask(0):
        Workspace(tmp_path / "settings", environment={}).change_settings(tenant="A")
        with Workspace(tmp_path / "lock", environment={}).lock():
            pass
    for name in ("settings", "lock"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o700


def test_an_export_that_is_replaced_stays_as_open_as_its_owner_made_it(tmp_path: Path) -> None:
    file = tmp_path / "scores.csv"
    with umask(0o077):
        write_atomically(file, b"1")
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        file.chmod(0o640)
        write_atomically(file, b"2")
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_a_shut_folder_is_not_walked(workspace: Path) -> None:
    workspace.chmod(0o700)
    settings = workspace / "workspace.toml"
    settings.chmod(0o644)
    assert not shut_to_others(workspace)
    assert stat.S_IMODE(settings.stat().st_mode) == 0o644
