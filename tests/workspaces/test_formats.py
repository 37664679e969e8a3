"""Each release has its workspace here, an upgrade is whole or did not happen, a newer form is refused."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import sqlite3
import tarfile
import time
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from keepwell_command import run_keepwell

from features.format_version import newer_format
from features.lake.manifest import LakeError, read_manifest
from features.workspace import FORMAT, FORMAT_FILE, Workspace
from features.workspace_files import WorkspaceError
from serving.data_protection.backup.make import make_backup
from serving.data_protection.backup.restore import RestoreOptions, restore
from serving.data_protection.backup.target import FolderTarget
from serving.ledger.database.migrations import NEWEST
from serving.ledger.stores.ledger_copy import ledger_facts

HERE = Path(__file__).parent
NAMES = tuple(sorted(path.name.removesuffix(".tar.xz") for path in HERE.glob("*.tar.xz")))
OPENED = (HERE / "test_older_workspace_opens.py").read_text(encoding="utf-8")
HEAD = re.findall(r'^HEAD = "(\w+)"', OPENED, re.MULTILINE)[0]
ROOT = HERE.parents[1]
LIVES, SOAK = 10, 500


@pytest.fixture(scope="module")
def older_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ledger of the oldest workspace; to be copied."""
    folder = tmp_path_factory.mktemp("older")
    with tarfile.open(HERE / f"{NAMES[0]}.tar.xz") as archive:
        archive.extract("workspace/ledger.db", folder, filter="data")
    return folder / "workspace" / "ledger.db"


def test_every_release_has_a_workspace_here() -> None:
    releases = re.findall(
        r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    readme = (HERE / "README.md").read_text(encoding="utf-8")
    kept = dict(re.findall(r"^\| `(\w+)\.tar\.xz` \| (\d+\.\d+\.\d+) ", readme, re.MULTILINE))
    assert releases
    assert set(releases) <= set(kept.values())
    assert set(kept) == set(NAMES)
    assert [name for name in NAMES if f'"{name}"' not in OPENED] == []  # each is opened by a test


def version_in(ledger: Path) -> int:
    """The version that a file states, read without opening it as a ledger."""
    with closing(sqlite3.connect(ledger)) as link:
        return int(link.execute("SELECT max(version) FROM ledger_versions").fetchone()[0])


def kill_upgrades(older: Path, folder: Path, kills: int) -> Counter[str]:
    """Kill whoever upgrades an older ledger; it is the old one or the new one, and whole."""
    chance, count, took = random.Random(kills), Counter[str](), 0.3
    before = version_in(older)
    assert before < NEWEST
    while count["killed"] < kills:
        place = folder / "ledger.db"
        for left in folder.glob("ledger.db*"):
            left.unlink()
        shutil.copyfile(older, place)
        began = time.monotonic()
        child = os.fork()
        if child == 0:
            try:
                ledger_facts(place)
                os._exit(0)
            finally:
                os._exit(1)
        until, status = began + chance.uniform(0, took), None
        while status is None and time.monotonic() < until:
            found, code = os.waitpid(child, os.WNOHANG)
            status = code if found else None
            time.sleep(0.0005)
        if status is None:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            count["killed"] += 1
        else:
            assert os.waitstatus_to_exitcode(status) == 0
            took = 0.9 * (time.monotonic() - began) + 0.1 * took
            count["done"] += 1
        version = version_in(place)
        assert version in (before, NEWEST)
        count[f"version {version}"] += 1
        facts = ledger_facts(place)
        assert (facts.finding, facts.head, facts.version) == (None, HEAD, NEWEST)
    return count


def test_a_killed_upgrade_of_a_ledger_is_whole_or_did_not_happen(
    older_ledger: Path, tmp_path: Path
) -> None:
    kill_upgrades(older_ledger, tmp_path, LIVES)


@pytest.mark.slow
def test_five_hundred_killed_upgrades_are_whole_or_did_not_happen(
    older_ledger: Path, tmp_path: Path
) -> None:
    count = kill_upgrades(older_ledger, tmp_path, SOAK)
    assert len([name for name in count if name.startswith("version")]) == 2, count
    print(dict(count))  # noqa: T201


@pytest.fixture
def newer(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path / "newer", environment={})
    workspace.change_settings(tenant="Small company")
    workspace.format_file.write_text(json.dumps({"version": FORMAT + 1}))
    return workspace


def test_a_workspace_states_its_version(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "new", environment={})
    workspace.refuse_newer()  # an older one states none
    workspace.change_settings(tenant="Small company")
    assert json.loads(workspace.format_file.read_text())["version"] == FORMAT
    workspace.refuse_newer()
    workspace.format_file.write_text("?")
    with pytest.raises(WorkspaceError, match=f"{FORMAT_FILE} in .* is damaged"):
        workspace.refuse_newer()


def test_a_newer_workspace_is_neither_read_nor_written(newer: Workspace) -> None:
    with pytest.raises(WorkspaceError, match="of a newer Keepwell"):
        _ = newer.settings
    with pytest.raises(WorkspaceError, match="of a newer Keepwell"):
        newer.change_settings(tenant="Others")
    with pytest.raises(WorkspaceError, match="of a newer Keepwell"), newer.lock():
        pass


@pytest.mark.parametrize("words", [("serve",), ("snapshot",), ("score", "--out", "scores.csv")])
def test_a_command_refuses_a_newer_workspace_in_words(
    newer: Workspace, tmp_path: Path, words: tuple[str, ...]
) -> None:
    held = sorted(path.name for path in newer.root.rglob("*"))
    ended = run_keepwell(*words, "--workspace", str(newer.root), cwd=tmp_path)
    assert ended.returncode == 3, ended.stdout + ended.stderr
    assert f"The workspace {newer.root} has format version {FORMAT + 1}, of a newer" in ended.stderr
    assert "Use the newer Keepwell" in ended.stderr
    assert sorted(path.name for path in newer.root.rglob("*")) == held


def test_a_newer_workspace_is_not_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backup of a newer Keepwell is refused before anything is put in its place."""
    workspace = Workspace(tmp_path / "made", environment={})
    workspace.change_settings(tenant="Small company")
    target, now = FolderTarget(tmp_path / "target"), datetime(2026, 3, 1, tzinfo=UTC)
    with monkeypatch.context() as later:
        later.setattr("features.workspace.FORMAT", FORMAT + 1)
        workspace.format_file.write_text(json.dumps({"version": FORMAT + 1}))
        make_backup(workspace, target, now=now, key=None)
    with pytest.raises(WorkspaceError, match="of a newer Keepwell"):
        make_backup(workspace, target, now=now, key=None)
    with pytest.raises(WorkspaceError, match="of a newer Keepwell"):
        restore(target, Workspace(tmp_path / "back"), RestoreOptions(), key=None, now=now)
    assert [path.name for path in tmp_path.iterdir() if "back" in path.name] == []


def test_a_newer_manifest_of_a_lake_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"format": 2, "of": "another form"}))
    with pytest.raises(LakeError, match=r"manifest\.json in .* has format version 2, of a newer"):
        read_manifest(tmp_path / "manifest.json")


def test_what_states_no_version_is_of_the_first() -> None:
    assert newer_format(None, newest=1, what="It") is None
    assert newer_format(1, newest=1, what="It") is None
    assert newer_format("2", newest=3, what="It") is not None
