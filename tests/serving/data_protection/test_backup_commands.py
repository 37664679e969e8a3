"""The commands that back up and restore, as an operator gives them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from backup_worlds import KEY
from keepwell_command import run_keepwell

from features.steady_clock import Machine, SteadyClock
from features.workspace import Workspace
from serving.data_protection.backup.encryption import open_sealing
from serving.data_protection.backup.manifest import newest_backup
from serving.data_protection.backup.target import FolderTarget
from serving.data_protection.pending_erasures import ErasureLine, as_bytes


def test_the_commands_do_all_of_it(own_workspace: Workspace, tmp_path: Path) -> None:
    """As an operator does it; and nobody serves what should have been forgotten."""
    target, place = str(tmp_path / "target"), str(tmp_path / "new")
    here = ("--workspace", str(own_workspace.root))
    made = run_keepwell("backup", target, *here, cwd=tmp_path, KEEPWELL_BACKUP_KEY=KEY)
    assert made.returncode == 0, made.stderr
    assert "were new" in made.stdout
    without = run_keepwell("backup", target, *here, cwd=tmp_path)
    assert (without.returncode, without.stdout.count("Set KEEPWELL_BACKUP_KEY")) == (3, 0)
    assert "are encrypted. Set KEEPWELL_BACKUP_KEY" in without.stderr
    listed = run_keepwell("backup", target, "--list", cwd=tmp_path, KEEPWELL_BACKUP_KEY=KEY)
    assert own_workspace.settings.tenant in listed.stdout
    line = ErasureLine(erasure_id="e-9", at="2099-01-01T00:00:00+00:00", kind="person", subject="x")
    (tmp_path / "erasures.jsonl").write_bytes(as_bytes([line]))
    back = run_keepwell(
        "restore",
        target,
        "--workspace",
        place,
        "--erasures",
        str(tmp_path / "erasures.jsonl"),
        cwd=tmp_path,
        KEEPWELL_BACKUP_KEY=KEY,
    )
    assert back.returncode == 0, back.stderr
    assert "1 erasure came after this backup" in back.stdout
    served = run_keepwell("serve", "--port", "0", "--workspace", place, cwd=tmp_path)
    assert served.returncode == 3
    assert "is not served before they are applied" in " ".join(served.stderr.split())
    again = run_keepwell("backup", target, "--verify", cwd=tmp_path, KEEPWELL_BACKUP_KEY=KEY)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "each as it was written" in again.stdout


def test_they_go_by_the_clock_of_the_workspace(own_workspace: Workspace, tmp_path: Path) -> None:
    """The clock of the machine was turned a year forward since the service noted the time."""
    target, here = tmp_path / "target", ("--workspace", str(own_workspace.root))
    right = datetime.now(UTC) - timedelta(days=365)
    SteadyClock(Machine(clock=lambda: right), own_workspace.root).note()
    made = run_keepwell("backup", str(target), *here, cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    folder = FolderTarget(target)
    newest = newest_backup(folder, open_sealing(folder, None))
    assert newest is not None
    assert abs(newest.manifest.made_at - right) < timedelta(hours=1)
    back = run_keepwell("restore", str(target), *here, "--replace", cwd=tmp_path)
    assert back.returncode == 0, back.stderr
    (aside,) = tmp_path.glob("**/*.before-*")
    assert f".before-{right:%Y%m}" in aside.name
