"""What was switched off after a backup is off in the restored workspace, or is named as not known."""

from __future__ import annotations

import shutil
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

import keepwell
from features.lake.erased_subjects import ErasedSubjects
from features.workspace import Workspace
from serving.auth.api_keys import ApiKeys
from serving.data_protection.erasure.holds import Holds
from serving.ledger.database.database import LedgerDatabase
from serving.ledger.kill_switch import Controls, Scope, stops
from serving.ledger.ledger import Ledger

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)


def command(*words: str) -> str:
    environment = {"KEEPWELL_BACKUP_KEY": "a key of tests, kept elsewhere"}
    done = CliRunner().invoke(keepwell.app, words, env=environment, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())


def stop(root: Path, scope: Scope, reason: str) -> None:
    with closing(LedgerDatabase(root / "ledger.db", heads=())) as database:
        Controls(database).record("stop", scope, by="ann", reason=reason, at=NOW)


def stopped(root: Path) -> dict[str, str]:
    with closing(LedgerDatabase(root / "ledger.db", heads=())) as database:
        return {one.scope.words: one.reason for one in stops(Controls(database).all())}


def states(root: Path) -> dict[str, str]:
    with closing(ApiKeys(root)) as keys:
        return {one.name: one.state(LATER) for one in keys.all()}


@pytest.fixture
def backed_up(own_workspace: Workspace, tmp_path: Path) -> Workspace:
    """A workspace with two keys, a stop and a hold of before its backup, and one of each of after it."""
    root = own_workspace.root
    with closing(ApiKeys(root)) as keys:
        made = {
            name: keys.create(name=name, owner="ann", role="admin", now=NOW)
            for name in ("stays", "goes", "changes")
        }
    stop(root, Scope(action="discount"), "before")
    Holds(own_workspace).add("account", "acct-01", by="dpo", at=NOW, reason="case 1")
    command("backup", str(tmp_path / "target"), "--workspace", str(root))
    with closing(ApiKeys(root)) as keys:
        keys.revoke(made["goes"].key.key_id, now=LATER)
        keys.rotate(made["changes"].key.key_id, overlap=timedelta(0), now=NOW)
        assert keys.caller(made["changes"].secret, LATER) is None
    (tmp_path / "secret").write_text(made["changes"].secret)
    stop(root, Scope(), "a wrong price list")
    Holds(own_workspace).add("account", "acct-02", by="dpo", at=LATER, reason="case 2")
    return own_workspace


def test_what_was_switched_off_after_the_backup_is_off(backed_up: Workspace, tmp_path: Path):
    root = backed_up.root
    said = command("restore", str(tmp_path / "target"), "--workspace", str(root), "--replace")
    assert states(root) == {"stays": "live", "goes": "revoked", "changes": "live"}
    with closing(ApiKeys(root)) as keys:
        assert keys.caller((tmp_path / "secret").read_text(), LATER) is None
    reasons = stopped(root)
    assert set(reasons) == {"the action discount", "everything"}
    assert reasons["everything"].startswith("a wrong price list (of 2026-03-01 12:00 UTC")
    assert len(Holds(backed_up).all()) == 2
    held = Holds(backed_up).held_among("account", ["acct-01", "acct-02", "acct-03"])
    assert held == {"acct-01", "acct-02"}
    assert "stops: everything; legal holds: 1" in said
    assert "revoked or ended keys: key-" in said
    assert "Not known here" not in said
    with closing(Ledger(root / "ledger.db")) as ledger:  # the head of after the stop is noted
        assert ledger.verify().finding is None
    again = command("restore", str(tmp_path / "target"), "--workspace", str(root), "--replace")
    assert "stops: everything; legal holds: 1" in again, "a second restore knows it as well"


def test_what_cannot_be_known_is_named(backed_up: Workspace, tmp_path: Path) -> None:
    """On a new machine, and where files of the former workspace cannot be read."""
    target, root = str(tmp_path / "target"), backed_up.root
    elsewhere = command("restore", target, "--workspace", str(tmp_path / "new"))
    for what in ("API keys that were revoked", "stops", "legal holds"):
        assert f"{what} (no workspace was replaced)" in elsewhere
    assert set(stopped(tmp_path / "new")) == {"the action discount"}
    (root / "ledger.db").write_bytes(b"not a database" * 1000)
    (root / "keys.db").unlink()
    (ErasedSubjects(root).folder / "holds.json").write_text("[")
    for ending in ("-wal", "-shm"):
        (root / f"ledger.db{ending}").unlink(missing_ok=True)
    said = command("restore", target, "--workspace", str(root), "--replace")
    assert "API keys that were revoked (the former workspace holds no keys.db)" in said
    assert "legal holds (holds.json cannot be read" in said
    assert "stops (" in said
    assert states(root)["goes"] == "live"


def test_nothing_of_the_former_workspace_is_changed(backed_up: Workspace, tmp_path: Path) -> None:
    root = backed_up.root
    shutil.copytree(root, tmp_path / "as-it-was")
    command("restore", str(tmp_path / "target"), "--workspace", str(root), "--replace")
    (aside,) = root.parent.glob(f"{root.name}.before-*")
    for name in ("ledger.db", "keys.db", "erasures/holds.json"):
        assert (aside / name).read_bytes() == (tmp_path / "as-it-was" / name).read_bytes()
