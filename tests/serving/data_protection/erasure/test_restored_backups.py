"""An old backup that is restored holds nobody who was erased since, from when its folder is there."""

from __future__ import annotations

import shutil
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from backup_worlds import KEY
from canary_world import ACCOUNT, OF_ACCOUNT, OF_PERSON, PERSON, World, canary, everything
from typer.testing import CliRunner, Result

import keepwell
from features.lake.erased_subjects import ErasedSubjects
from features.workspace import Workspace
from serving.auth.api_keys import ApiKeys
from serving.cli.data_protection.run_erasure import apply_pending_erasures
from serving.data_protection.backup.erasures import known_targets
from serving.data_protection.erasure.digest_lookup import names_by_digest
from serving.data_protection.pending_erasures import (
    ErasureLine,
    PendingErasuresError,
    name_of_key,
    pending_erasures,
    refuse_pending_erasures,
    set_pending,
)
from serving.ledger.ledger import Ledger

BY = ["--by", "dpo", "--reason", "letter 17"]
LATER = datetime(2026, 3, 3, tzinfo=UTC)


def command(*words: str, key: str | None = KEY) -> Result:
    environment = {"KEEPWELL_BACKUP_KEY": key or ""}
    return CliRunner().invoke(keepwell.app, words, env=environment, catch_exceptions=True)


def said(result: Result) -> str:
    return " ".join(f"{result.output} {result.exception or ''}".split())


def erased_after_a_backup(world: World, target: Path, key: str | None) -> str:
    """The id of a backup of before the account and the person were erased."""
    where = ["--workspace", str(world.workspace.root)]
    assert command("backup", str(target), *where, key=key).exit_code == 0
    (made,) = (target / "backups").iterdir()
    for kind, name in (("account", ACCOUNT), ("person", PERSON)):
        done = command("erase", kind, name, *BY, *where, key=key)
        assert done.exit_code == 0, said(done)
        assert "Listed beside the backups" in said(done)
    return made.stem


def canaries_in(root: Path) -> set[str]:
    held = everything(root)
    return {canary(n) for n in OF_ACCOUNT | OF_PERSON if canary(n).encode() in held}


def test_a_restored_backup_holds_nobody_who_was_erased_since(world: World, tmp_path: Path) -> None:
    """On a machine that has the target and its key, and nothing else."""
    assert len(world.canaries()) >= 40
    backup = erased_after_a_backup(world, tmp_path / "target", KEY)
    world.client.app.state.service.close()  # type: ignore[attr-defined]
    world.workspace.root.rename(tmp_path / "gone")
    place = tmp_path / "restored"
    back = command(
        "restore", str(tmp_path / "target"), "--backup", backup, "--workspace", str(place)
    )
    assert back.exit_code == 0, said(back)
    assert "2 erasures came after this backup: 2 carried out again" in said(back)
    assert canaries_in(place) == set()
    again = Workspace(place, environment={})
    refuse_pending_erasures(again)
    with closing(Ledger(again.ledger_db)) as ledger:
        verified = ledger.verify()
    assert verified.finding is None
    assert {one.about for one in verified.redactions} == {"account", "person"}
    erased = ErasedSubjects(place)
    assert list(erased.among("account", [ACCOUNT])) == [ACCOUNT]
    assert list(erased.among("person", [PERSON])) == [PERSON]


def test_without_the_key_of_the_digests_nothing_is_served(world: World, tmp_path: Path) -> None:
    """A target without encryption holds no secret; the key of the former workspace is asked for."""
    backup = erased_after_a_backup(world, tmp_path / "target", None)
    place, target = tmp_path / "restored", str(tmp_path / "target")
    words = ("restore", target, "--backup", backup, "--workspace", str(place))
    back = command(*words, key=None)
    assert back.exit_code == 0, said(back)
    assert "2 left" in said(back)
    assert "Not in the backup, since it is not encrypted: erasures/subjects.secret" in said(back)
    assert "restore again with --secrets FOLDER" in said(back)
    again = Workspace(place, environment={})
    with pytest.raises(PendingErasuresError, match=r"copy of its erasures/subjects\.secret"):
        refuse_pending_erasures(again)
    assert len(canaries_in(place)) > 30
    (place / "erasures").mkdir(exist_ok=True)
    shutil.copy(world.workspace.root / "erasures" / "subjects.secret", place / "erasures")
    apply_pending_erasures(again)
    refuse_pending_erasures(again)
    assert canaries_in(place) == set()


def test_a_folder_of_secrets_is_all_that_another_machine_needs(
    world: World, tmp_path: Path
) -> None:
    """The target is not encrypted, the workspace is gone, and its secrets were kept apart."""
    backup = erased_after_a_backup(world, tmp_path / "target", None)
    world.client.app.state.service.close()  # type: ignore[attr-defined]
    apart, wrong = tmp_path / "apart", tmp_path / "wrong"
    for name in ("keys.secret", "webhooks.secret", "erasures/subjects.secret"):
        for folder in (apart, wrong):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(world.workspace.root / name, folder / name)
    (wrong / "erasures" / "subjects.secret").write_bytes(b"of another workspace")
    world.workspace.root.rename(tmp_path / "gone")
    place = tmp_path / "restored"
    words = ("restore", str(tmp_path / "target"), "--backup", backup, "--workspace", str(place))
    for folder, why in ((wrong, "came after this backup need"), (tmp_path, "holds no secret")):
        refused = command(*words, "--secrets", str(folder), key=None)
        assert refused.exit_code != 0
        assert why in said(refused)
        assert not place.exists()
    back = command(*words, "--secrets", str(apart), key=None)
    assert back.exit_code == 0, said(back)
    assert "2 erasures came after this backup: 2 carried out again" in said(back)
    assert "Not in the backup" not in said(back)
    assert canaries_in(place) == set()
    refuse_pending_erasures(Workspace(place, environment={}))
    for name in ("keys.secret", "webhooks.secret"):
        assert (place / name).read_bytes() == (apart / name).read_bytes()
        assert (place / name).stat().st_mode & 0o077 == 0
    with closing(ApiKeys(place)) as keys:
        assert keys.caller(world.client.headers["X-API-Key"], LATER) is not None


@pytest.mark.slow
def test_in_the_place_of_the_workspace_the_key_is_taken_over(world: World, tmp_path: Path) -> None:
    backup = erased_after_a_backup(world, tmp_path / "target", None)
    world.client.app.state.service.close()  # type: ignore[attr-defined]
    root, target = world.workspace.root, str(tmp_path / "target")
    words = ("restore", target, "--backup", backup, "--workspace", str(root), "--replace")
    back = command(*words, key=None)
    assert back.exit_code == 0, said(back)
    assert canaries_in(root) == set()
    assert known_targets(world.workspace) == (target,)


def test_a_customer_who_came_back_is_not_erased_again(own_workspace: Workspace, tmp_path: Path):
    """Of before it goes, as it did; of a backup of after it came back it stays."""
    target, root = str(tmp_path / "target"), own_workspace.root
    where = ["--workspace", str(root)]
    assert command("backup", target, *where).exit_code == 0
    (first,) = (path.stem for path in (tmp_path / "target" / "backups").iterdir())
    for words in (("erase", "account", "acct-07", *BY), ("erase", "allow", "account", "acct-07")):
        done = command(*words, *where, *BY[:2])
        assert done.exit_code == 0, said(done)
    assert command("backup", target, *where).exit_code == 0
    for backup, others in ((["--backup", first], "1 carried out again"), ([], "")):
        place = tmp_path / f"restored-{len(backup)}"
        back = command("restore", target, *backup, "--workspace", str(place))
        assert back.exit_code == 0, said(back)
        assert others in said(back)
        assert ("came after this backup" in said(back)) is bool(others)
        assert ErasedSubjects(place).entries == ()
        refuse_pending_erasures(Workspace(place, environment={}))


def test_a_target_that_is_away_is_told_of(own_workspace: Workspace, tmp_path: Path) -> None:
    where = ["--workspace", str(own_workspace.root)]
    assert command("backup", str(tmp_path / "target"), *where).exit_code == 0
    (tmp_path / "target").rename(tmp_path / "unmounted")
    done = command("erase", "account", "acct-07", *BY, *where)
    assert done.exit_code == 0, said(done)
    assert "before the next `keepwell backup` to it" in said(done)
    assert not (tmp_path / "target").exists()


def test_an_erasure_that_is_interrupted_is_carried_out_at_the_next_start(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    erased, lines = ErasedSubjects(world.workspace.root), []
    for number, (kind, name) in enumerate((("account", ACCOUNT), ("person", PERSON))):
        lines.append(
            ErasureLine(
                erasure_id=f"e{number}",
                at=(LATER + timedelta(hours=number)).isoformat(),
                kind=kind,
                subject=erased.digest(kind, name),  # type: ignore[arg-type]
                key=name_of_key(erased.key),
            )
        )
    set_pending(world.workspace, lines)
    steps: list[str] = []

    def killed(name: str) -> None:
        steps.append(name)
        if len(steps) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        apply_pending_erasures(world.workspace, killed)
    assert pending_erasures(world.workspace) != ()
    apply_pending_erasures(world.workspace)
    assert pending_erasures(world.workspace) == ()
    assert canaries_in(world.workspace.root) == set()


def test_a_legal_hold_of_the_backup_is_older_than_the_erasure(own_workspace: Workspace) -> None:
    """Or nobody could have erased it."""
    where = ["--workspace", str(own_workspace.root)]
    assert command("erase", "hold", "account", "acct-07", *BY, *where).exit_code == 0
    erased = ErasedSubjects(own_workspace.root)
    line = ErasureLine(
        erasure_id="e1",
        at=LATER.isoformat(),
        kind="account",
        subject=erased.digest("account", "acct-07"),
        key=name_of_key(erased.key),
    )
    set_pending(own_workspace, [line])
    apply_pending_erasures(own_workspace)
    refuse_pending_erasures(own_workspace)
    (receipt,) = (own_workspace.root / "erasures").glob("receipt-e1.json")
    assert "entries were held, and none is now" in receipt.read_text()


def test_somebody_who_is_not_held_is_noted_and_left_out_of_the_next_file(
    own_workspace: Workspace,
) -> None:
    erased = ErasedSubjects(own_workspace.root)
    line = ErasureLine(
        erasure_id="e1",
        at=LATER.isoformat(),
        kind="account",
        subject=erased.digest("account", "acct-new"),
        key=name_of_key(erased.key),
    )
    set_pending(own_workspace, [line])
    apply_pending_erasures(own_workspace)
    refuse_pending_erasures(own_workspace)
    assert list(erased.among("account", ["acct-new", "acct-07"])) == ["acct-new"]


def test_names_are_found_by_their_digests_wherever_they_are_written(
    own_workspace: Workspace,
) -> None:
    reports = own_workspace.root / "reports"
    reports.mkdir(exist_ok=True)
    (reports / "a.html").write_text("<p>Talk to Ann O&#x27;Neil, then decide.</p>")
    (reports / "b.json").write_text('{"notes": ["{\\"by\\": \\"J\\u00f6rg Lee\\"}"]}')
    (reports / "c.md").write_text("Ask ann@example.org. Or six-more.")
    names = ["Ann O'Neil", "Jörg Lee", "ann@example.org", "six", "acct-07"]
    erased = ErasedSubjects(own_workspace.root)
    digests = {erased.digest("person", name): name for name in names}
    assert erased.key is not None
    found = names_by_digest(own_workspace, (), key=erased.key, wanted={"person": set(digests)})
    assert found == {digest: name for digest, name in digests.items() if name != "six"}
