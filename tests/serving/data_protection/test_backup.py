"""A backup of a workspace that is being served and written to, and the workspace that comes of it."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import zlib
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from backup_worlds import (
    KEY,
    check_timeline,
    decide,
    figures_of,
    replays,
    scores_of,
    send_event,
    writing_to,
)
from fastapi.testclient import TestClient
from postgres_server import PostgresServer
from real_server import running

from features.events.subject import Subject
from features.lake.erased_subjects import ErasedSubjects
from features.workspace import Workspace
from features.workspace_files import WorkspaceBusyError, hold_lock
from registry.store.store import MemoryModelStore
from serving.auth.api_keys import ApiKeys
from serving.data_protection.backup import encryption
from serving.data_protection.backup.chunks import FOLDER as CHUNKS
from serving.data_protection.backup.encryption import DESCRIPTION, open_sealing
from serving.data_protection.backup.errors import BackupError, DamagedBackupError
from serving.data_protection.backup.keep_newest import keep_newest
from serving.data_protection.backup.make import BackupResult, make_backup
from serving.data_protection.backup.manifest import Chunk, backup_ids, read_backup, write_manifest
from serving.data_protection.backup.restore import RestoredWorkspace, RestoreOptions, restore
from serving.data_protection.backup.target import FolderTarget, Target, open_target
from serving.data_protection.backup.verify import verify_backups
from serving.data_protection.pending_erasures import (
    ErasureLine,
    PendingErasuresError,
    note_erasure,
    pending_erasures,
    refuse_pending_erasures,
)
from serving.ledger.database.noted_head import accepted_heads, read_note
from serving.ledger.database.tables import CHAIN
from serving.ledger.ledger import Ledger
from serving.ledger.stores.ledger_copy import LedgerCopyError, ledger_facts
from serving.ledger.stores.subjects import Erasing, LedgerSubjects
from serving.settings import BACKUP_KEY_VARIABLE

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def stored(workspace: Workspace, target: Target, **more: object) -> BackupResult:
    given = {"now": NOW, "key": None, **more}
    return make_backup(workspace, target, **given)  # type: ignore[arg-type]


def restored(
    target: Target, place: Path, options: RestoreOptions | None = None, *, key: str | None = None
) -> RestoredWorkspace:
    return restore(
        target, Workspace(place, environment={}), options or RestoreOptions(), key=key, now=NOW
    )


@pytest.fixture
def target(tmp_path: Path) -> FolderTarget:
    return FolderTarget(tmp_path / "target")


@pytest.fixture(scope="module")
def used_once(
    untouched_workspace: Workspace, store: MemoryModelStore, new_clients, tmp_path_factory
) -> Path:
    """Decisions, feedback and a key, which nobody serves any more; to be copied."""
    root = tmp_path_factory.mktemp("used") / "workspace"
    shutil.copytree(untouched_workspace.root, root)
    workspace = Workspace(root, environment={})
    with new_clients() as make:
        client = make(workspace, store)
        for number in range(3):
            decide(client, number)
        send_event(client, 0)
        client.app.state.service.deliver()
    with closing(ApiKeys(root, pepper=None)) as keys:
        keys.create(name="laptop", owner="ann", role="admin", now=NOW)
    return root


@pytest.fixture
def used(used_once: Path, tmp_path: Path) -> Workspace:
    shutil.copytree(used_once, tmp_path / "used")
    return Workspace(tmp_path / "used", environment={})


def test_backups_that_are_made_under_load_are_each_one_state(
    own_client: TestClient,
    own_workspace: Workspace,
    target: FolderTarget,
    tmp_path: Path,
    make_client,
    store: MemoryModelStore,
) -> None:
    """Restored: head, counts, scores and replays of the moment, and the service goes on from there."""
    with running(own_client.app) as address, writing_to(address) as writer:
        made = []
        for number in range(3):
            writer.wait_for(2 * (number + 1))
            made.append(stored(own_workspace, target, now=NOW + timedelta(minutes=number)))
    own_client.app.state.service.close()
    last = stored(own_workspace, target, now=NOW + timedelta(hours=1))
    with make_client(own_workspace, store) as client:
        scores = scores_of(client)
        assert len(scores) > 40
    assert 0 < last.chunks_added < last.chunks / 2
    for number, one in enumerate(made):
        found = restored(
            target, tmp_path / f"new-{number}", RestoreOptions(backup_id=one.backup.id)
        )
        again = Workspace(tmp_path / f"new-{number}", environment={})
        kept = one.backup.manifest.ledger
        assert kept is not None
        assert found.ledger is not None
        assert (kept.finding, kept.records, kept.head, kept.counts) == (
            None,
            found.ledger.records,
            found.ledger.head,
            found.ledger.counts,
        )
        assert set(replays(again.ledger_db).values()) == {None}
        check_timeline(again)
    restored(target, tmp_path / "whole")
    whole = Workspace(tmp_path / "whole", environment={})
    assert figures_of(whole) == figures_of(own_workspace)
    with make_client(whole, store) as client:
        assert scores_of(client) == scores
        assert len(decide(client, 10_000)) == 3
    grown = ledger_facts(whole.ledger_db)
    assert grown.finding is None
    assert grown.records > figures_of(own_workspace).counts["decisions"]


def test_a_second_backup_adds_what_is_new(used: Workspace, target: FolderTarget) -> None:
    first = stored(used, target)
    again = stored(used, target, now=NOW + timedelta(hours=1))
    assert first.chunks_added > 20
    assert (again.chunks, again.chunks_added, again.bytes_added) == (first.chunks, 0, 0)
    assert len(backup_ids(target)) == 2
    with closing(Ledger(used.ledger_db)) as ledger, ledger.database.writing() as connection:
        connection.execute(sa.text("CREATE TABLE more AS SELECT * FROM chain"))
    third = stored(used, target, now=NOW + timedelta(hours=2))
    assert 0 < third.chunks_added < third.chunks / 3


def test_what_one_file_holds_is_restored_to_the_byte(
    used: Workspace, target: FolderTarget, tmp_path: Path
) -> None:
    stored(used, target)
    restored(target, tmp_path / "new")
    for path in sorted(used.root.rglob("*.parquet")):
        name = path.relative_to(used.root)
        assert (tmp_path / "new" / name).read_bytes() == path.read_bytes()
    assert (tmp_path / "new").stat().st_mode & 0o077 == 0
    for name in ("keys.db", "ledger.db"):
        here, there = (root / name for root in (used.root, tmp_path / "new"))
        assert there.stat().st_mode & 0o777 == here.stat().st_mode & 0o700
    with closing(sqlite3.connect(tmp_path / "new" / "ledger.db")) as link:
        assert link.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_the_target_tells_nobody_what_is_in_it_when_there_is_a_key(
    used: Workspace, target: FolderTarget, tmp_path: Path
) -> None:
    plain = FolderTarget(tmp_path / "plain")
    assert stored(used, plain).backup.manifest.left_out == ("keys.secret",)
    assert stored(used, target, key=KEY).backup.manifest.left_out == ()
    known = (b"acct-01", b"Sample", b"keys.secret", b"ledger.db", b"decisions")
    everything = b"".join(
        path.read_bytes() + str(path).encode()
        for path in target.folder.rglob("*")
        if path.is_file()
    )
    assert [text for text in known if text in everything] == []
    assert any(
        text in path.read_bytes()
        for text in known
        for path in plain.folder.rglob("*")
        if path.is_file()
    )
    names = [{path.rpartition("/")[2] for path in one.sizes(CHUNKS)} for one in (plain, target)]
    assert names[0] & names[1] == set()
    restored(target, tmp_path / "new", key=KEY)
    assert (tmp_path / "new" / "keys.secret").read_bytes() == (
        used.root / "keys.secret"
    ).read_bytes()
    assert (tmp_path / "new" / "keys.secret").stat().st_mode & 0o077 == 0
    restored(plain, tmp_path / "without")
    assert not (tmp_path / "without" / "keys.secret").exists()
    assert (tmp_path / "without" / "keys.db").exists()  # else anybody could do anything


@pytest.mark.parametrize(
    ("made_with", "asked_with", "words"),
    [
        (KEY, None, f"are encrypted. Set {BACKUP_KEY_VARIABLE}"),
        (KEY, f"{KEY} of others", "is not the one that the backups"),
        (None, KEY, "without encryption"),
        (KEY, "short", "fewer than 16 characters"),
    ],
)
def test_another_key_is_an_error_in_words(
    used: Workspace,
    target: FolderTarget,
    tmp_path: Path,
    made_with: str | None,
    asked_with: str | None,
    words: str,
) -> None:
    stored(used, target, key=made_with)
    with pytest.raises(BackupError, match=words):
        stored(used, target, key=asked_with)
    with pytest.raises(BackupError, match=words):
        restored(target, tmp_path / "new", key=asked_with)
    with pytest.raises(BackupError, match=words):
        verify_backups(target, key=asked_with, now=NOW)
    assert not (tmp_path / "new").exists()
    assert len(backup_ids(target)) == 1


def every_chunk(target: FolderTarget) -> list[Path]:
    return sorted(path for path in (target.folder / CHUNKS).rglob("*") if path.is_file())


@pytest.mark.parametrize("key", [None, KEY])
@pytest.mark.parametrize("how", ["altered", "truncated", "missing"])
def test_a_damaged_chunk_is_found_and_stored_again(
    used: Workspace, target: FolderTarget, tmp_path: Path, how: str, key: str | None
) -> None:
    first = stored(used, target, key=key)
    assert verify_backups(target, key=key, now=NOW).damages == ()
    chunk = every_chunk(target)[7]
    content = chunk.read_bytes()
    if how == "missing":
        chunk.unlink()
    else:
        at = len(content) // 2
        chunk.write_bytes(
            content[:at] if how == "truncated" else content[:at] + b"?!?" + content[at + 3 :]
        )
    with pytest.raises(DamagedBackupError):
        restored(target, tmp_path / "new", key=key)
    assert list(tmp_path.glob(".new*")) == []
    assert not (tmp_path / "new").exists()
    found = verify_backups(target, key=key, now=NOW)
    assert [one.backup_id for one in found.damages] == [first.backup.id]
    assert found.damages[0].files != ()
    assert stored(used, target, key=key, now=NOW + timedelta(hours=1)).chunks_added == 1
    assert verify_backups(target, key=key, now=NOW).damages == ()
    restored(target, tmp_path / "new", RestoreOptions(backup_id=first.backup.id), key=key)


def test_a_manifest_that_was_altered_is_not_restored(
    used: Workspace, target: FolderTarget, tmp_path: Path
) -> None:
    made = stored(used, target)
    file = target.folder / "backups" / f"{made.backup.id}.json"
    file.write_text(file.read_text().replace("Sample", "Simple"))
    with pytest.raises(DamagedBackupError, match="not what was written"):
        restored(target, tmp_path / "new")
    assert [one.backup_id for one in verify_backups(target, key=None, now=NOW).damages] == [
        made.backup.id
    ]


def test_a_newer_format_is_refused_in_words(
    used: Workspace, target: FolderTarget, tmp_path: Path
) -> None:
    stored(used, target)
    described = json.loads((target.folder / DESCRIPTION).read_text())
    (target.folder / DESCRIPTION).write_text(json.dumps({**described, "version": 2}))
    with pytest.raises(BackupError, match="version 2, of a newer Keepwell"):
        restored(target, tmp_path / "new")
    with pytest.raises(BackupError, match="of a newer Keepwell"):
        stored(used, target)


def test_another_tenant_has_a_target_of_its_own(used: Workspace, target: FolderTarget) -> None:
    stored(used, target)
    used.change_settings(tenant="Others")
    with pytest.raises(BackupError, match="holds backups of 'Sample & Sons'"):
        stored(used, target)


def test_nothing_is_restored_over_something(
    used: Workspace, target: FolderTarget, tmp_path: Path
) -> None:
    stored(used, target)
    place = tmp_path / "there"
    place.mkdir()
    (place / "workspace.toml").write_text('tenant = "Before"\n')
    with pytest.raises(BackupError, match="nothing was changed"):
        restored(target, place)
    with pytest.raises(BackupError, match="is a file"):
        restored(target, place / "workspace.toml")
    found = restored(target, place, RestoreOptions(replaces=True))
    assert found.aside is not None
    assert (found.aside / "workspace.toml").read_text() == 'tenant = "Before"\n'
    assert Workspace(place, environment={}).settings.tenant == "Sample & Sons"
    empty = tmp_path / "empty"
    empty.mkdir()
    assert restored(target, empty).aside is None
    assert sorted(one.name for one in tmp_path.iterdir() if "restoring" in one.name) == []


def test_a_workspace_that_is_served_is_not_replaced(
    used: Workspace, target: FolderTarget, make_client, store: MemoryModelStore
) -> None:
    stored(used, target)
    for name in ("keys.db", "keys.secret"):
        (used.root / name).unlink()
    client = make_client(used, store)
    decide(client, 70)
    child = os.fork()  # the kernel tells of others only
    if child == 0:
        try:
            restored(target, used.root, RestoreOptions(replaces=True))
        except BackupError as error:
            os._exit(7 if f"Process {os.getppid()} has the ledger" in str(error) else 8)
        finally:
            os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    client.app.state.service.close()
    assert restored(target, used.root, RestoreOptions(replaces=True)).aside is not None


def test_the_head_of_what_was_restored_is_noted_with_the_reason(
    used: Workspace, target: FolderTarget, tmp_path: Path
) -> None:
    made = stored(used, target)
    found = restored(target, tmp_path / "new", RestoreOptions(by="ann"))
    place = Workspace(tmp_path / "new", environment={}).ledger_head
    note = read_note(place)
    assert note is not None
    assert found.ledger is not None
    assert (note.place, note.link) == (found.ledger.records, found.ledger.head)
    (accepted,) = accepted_heads(place)[-1:]
    assert (accepted.by, accepted.reason) == ("ann", f"restored from backup {made.backup.id}")


class TestUntil:
    """The ledger of an earlier moment."""

    def test_a_place_leaves_out_what_came_after(
        self, used: Workspace, target: FolderTarget, tmp_path: Path
    ) -> None:
        stored(used, target)
        with closing(Ledger(used.ledger_db)) as ledger, ledger.database.reading() as connection:
            links = {row.place: row.link for row in connection.execute(sa.select(CHAIN)).all()}
        for place in (0, 1, len(links) // 2, len(links)):
            found = restored(target, tmp_path / f"new-{place}", RestoreOptions(until=place))
            assert found.cut_at == place
            assert found.ledger is not None
            assert (found.ledger.finding, found.ledger.records) == (None, place)
            assert found.ledger.head == links.get(place, "0" * 64)
            assert set(replays(tmp_path / f"new-{place}" / "ledger.db").values()) <= {None}
            note = read_note(tmp_path / f"new-{place}" / "ledger.head")
            assert note is not None
            assert note.place == place
        with pytest.raises(LedgerCopyError, match="is none of them"):
            restored(target, tmp_path / "beyond", RestoreOptions(until=len(links) + 1))
        assert not (tmp_path / "beyond").exists()

    def test_a_moment_takes_what_was_stored_by_then(
        self, own_workspace: Workspace, make_client, store, target: FolderTarget, tmp_path: Path
    ) -> None:
        clock = [NOW]
        client = make_client(own_workspace, store, wall_clock=lambda: clock[0])
        known = []
        for hour in range(3):
            clock[0] = NOW + timedelta(hours=2 * hour)
            known.append([one["decision_id"] for one in decide(client, hour)])
        client.app.state.service.deliver()
        client.app.state.service.close()
        stored(own_workspace, target)
        place = tmp_path / "new"
        found = restored(target, place, RestoreOptions(until=NOW + timedelta(hours=3)))
        assert found.ledger is not None
        assert found.ledger.counts["decisions"] == 6
        again = Workspace(place, environment={})
        clock[0] = NOW + timedelta(hours=5)
        client = make_client(again, store, wall_clock=lambda: clock[0])
        decide(client, 2)  # sent again: its answer was forgotten with its effect
        assert ledger_facts(again.ledger_db).counts["decisions"] == 9
        assert [one["decision_id"] for one in decide(client, 0)] == known[0]
        client.app.state.service.close()
        assert ledger_facts(again.ledger_db).finding is None

    def test_an_erasure_of_later_is_said_again(
        self, used: Workspace, target: FolderTarget, tmp_path: Path
    ) -> None:
        """What it took from earlier records is gone; the ledger of then says by whom."""
        with closing(Ledger(used.ledger_db)) as ledger:
            records = ledger_facts(used.ledger_db).records
            decided = ledger.decisions_of("acct-00")
            assert decided
            LedgerSubjects(ledger.database).erase(
                Subject(kind="account", id="acct-00"), Erasing(by="ann", at=NOW, reason="asked for")
            )
        stored(used, target)
        found = restored(target, tmp_path / "new", RestoreOptions(until=records))
        assert found.ledger is not None
        assert (found.ledger.finding, found.ledger.records) == (None, records + 1)
        with closing(Ledger(tmp_path / "new" / "ledger.db")) as ledger:
            assert ledger.decisions_of("acct-00") == ()
            (redaction,) = ledger.verify().redactions
            assert (redaction.by, redaction.reason) == ("ann", "asked for")
        assert restored(target, tmp_path / "first", RestoreOptions(until=1)).ledger is not None


def test_erasures_of_later_are_pending_and_nothing_is_served_before(
    used: Workspace, target: FolderTarget, tmp_path: Path
) -> None:
    earlier = ErasureLine(
        erasure_id="e-1", at="2026-03-01T10:00:00+00:00", kind="person", subject="a"
    )
    later = ErasureLine(
        erasure_id="e-2", at="2026-03-01T13:00:00+00:00", kind="account", subject="b"
    )
    elsewhere = ErasureLine(
        erasure_id="e-3", at="2026-03-01T14:00:00+00:00", kind="person", subject="c"
    )
    note_erasure(used, earlier)
    old = stored(used, target)
    note_erasure(used, later)
    stored(used, target, now=NOW + timedelta(hours=2))
    place = tmp_path / "new"
    found = restored(target, place, RestoreOptions(backup_id=old.backup.id, erasures=(elsewhere,)))
    again = Workspace(place, environment={})
    assert found.pending == pending_erasures(again) == (later, elsewhere)
    with pytest.raises(PendingErasuresError, match="2 erasures"):
        refuse_pending_erasures(again)
    for line in found.pending:
        note_erasure(again, line)
    refuse_pending_erasures(again)
    assert restored(target, tmp_path / "newest").pending == ()


def test_whoever_was_erased_after_the_backup_is_erased_again(
    used: Workspace, target: FolderTarget
) -> None:
    """The list of the erased is compared, and its key stays that of the workspace."""
    stored(used, target)
    erased, ann = ErasedSubjects(used.root), Subject(kind="person", id="ann@example.org")
    erased.add(ann, at=NOW + timedelta(hours=1), erasure="e-7")
    found = restored(target, used.root, RestoreOptions(replaces=True))
    assert [one.erasure_id for one in found.pending] == ["e-7"]
    with pytest.raises(PendingErasuresError, match=r"e-7 \(person, 2026-03-01"):
        refuse_pending_erasures(used)
    again = Subject(kind="person", id="ann@example.org")
    ErasedSubjects(used.root).add(again, at=NOW + timedelta(hours=2), erasure="e-8")
    refuse_pending_erasures(used)
    stored(used, target, now=NOW + timedelta(hours=3))
    assert restored(target, used.root, RestoreOptions(replaces=True)).pending == ()


def test_old_backups_go_and_what_others_need_stays(
    used: Workspace, target: FolderTarget, tmp_path: Path
) -> None:
    made = [stored(used, target)]
    for number in range(3):
        used.change_settings(capacity=30 + number)
        made.append(stored(used, target, now=NOW + timedelta(hours=1 + number)))
    chunks = len(every_chunk(target))
    removed = keep_newest(target, number=2, key=None, now=NOW)
    assert removed.backups == (made[0].backup.id, made[1].backup.id)
    assert removed.chunks == chunks - len(every_chunk(target)) == 2
    assert verify_backups(target, key=None, now=NOW).damages == ()
    restored(target, tmp_path / "new", RestoreOptions(backup_id=made[2].backup.id))
    assert Workspace(tmp_path / "new", environment={}).settings.capacity == 31
    with pytest.raises(BackupError, match="holds no backup"):
        restored(target, tmp_path / "gone", RestoreOptions(backup_id=made[0].backup.id))


def test_nothing_is_removed_while_a_backup_is_made(used: Workspace, target: FolderTarget) -> None:
    stored(used, target)
    with (
        target.hold(alone=False, now=NOW),
        pytest.raises(BackupError, match="Another process is working"),
    ):
        keep_newest(FolderTarget(target.folder), number=1, key=None, now=NOW)
    keep_newest(target, number=1, key=None, now=NOW)


def test_a_backup_waits_for_who_writes_events_and_says_so(
    used: Workspace, target: FolderTarget
) -> None:
    with (
        hold_lock(used.events_dir, busy="never"),
        pytest.raises(WorkspaceBusyError, match="try again"),
    ):
        stored(used, target, wait_seconds=0.05)
    assert backup_ids(target) == ()


def test_a_damaged_database_or_lake_is_told_and_no_backup_made(
    used: Workspace, target: FolderTarget
) -> None:
    part = next(used.events_dir.glob("*.parquet"))
    content = part.read_bytes()
    part.unlink()
    with pytest.raises(BackupError, match=r"is missing\. No backup was made"):
        stored(used, target)
    part.write_bytes(content)
    used.online_db.write_bytes(b"garbage" * 2000)
    with pytest.raises(BackupError, match="made again with `keepwell snapshot`"):
        stored(used, target)
    assert backup_ids(target) == ()


def test_a_ledger_that_was_tampered_with_is_stored_and_told(
    used: Workspace, target: FolderTarget
) -> None:
    good = stored(used, target)
    with closing(sqlite3.connect(used.ledger_db)) as link:
        link.execute("DROP TRIGGER decisions_no_update")
        link.execute("UPDATE decisions SET action = 'another' WHERE rowid = 1")
        link.commit()
    bad = stored(used, target, now=NOW + timedelta(hours=1)).backup.manifest.ledger
    assert bad is not None
    assert bad.finding is not None
    with pytest.raises(BackupError, match="the last good one"):
        keep_newest(target, number=1, key=None, now=NOW)
    assert good.backup.id in backup_ids(target)


@pytest.mark.parametrize("key", [None, KEY])
def test_an_object_storage_is_a_target_too(
    used: Workspace, tmp_path: Path, key: str | None
) -> None:
    target = open_target(f"memory://{tmp_path.name}-{key is None}/backups")
    made = stored(used, target, key=key)
    assert stored(used, target, key=key, now=NOW + timedelta(hours=1)).chunks_added == 0
    assert verify_backups(target, key=key, now=NOW).damages == ()
    restored(target, tmp_path / "new", key=key)
    assert figures_of(Workspace(tmp_path / "new", environment={})) == figures_of(used)
    with (
        target.hold(alone=False, now=NOW),
        pytest.raises(BackupError, match="its lease lapses at"),
    ):
        keep_newest(target, number=1, key=key, now=NOW)
    assert keep_newest(target, number=1, key=key, now=NOW).backups == (made.backup.id,)
    assert target.sizes("leases/") == {}


def test_a_target_of_an_unknown_kind_is_refused_in_words() -> None:
    with pytest.raises(BackupError, match="nowhere:// cannot be used"):
        open_target("nowhere://bucket/secret")


def forged(target: FolderTarget, backup_id: str, **changes: object) -> None:
    """Write a newer manifest whose first file is another."""
    sealing = open_sealing(target, None)
    manifest = read_backup(target, sealing, backup_id).manifest
    one = replace(manifest.files[0], **changes)
    evil = replace(manifest, files=(one, *manifest.files[1:]), made_at=NOW + timedelta(hours=1))
    write_manifest(target, sealing, evil)


def test_a_path_of_a_manifest_leads_nowhere_else(
    used: Workspace, target: FolderTarget, tmp_path
) -> None:
    """Whoever can write the target cannot write elsewhere on the machine that restores."""
    made = stored(used, target)
    forged(target, made.backup.id, path="../escaped")
    with pytest.raises(DamagedBackupError, match="outside of the workspace"):
        restored(target, tmp_path / "new")
    assert not (tmp_path / "escaped").exists()


def test_a_restored_file_is_its_owners_whatever_the_manifest_says(
    used: Workspace, target: FolderTarget, tmp_path
) -> None:
    made = stored(used, target)
    forged(target, made.backup.id, mode=0o4777)
    restored(target, tmp_path / "new")
    name = made.backup.manifest.files[0].path
    assert (tmp_path / "new" / name).stat().st_mode & 0o7777 == 0o700


def test_an_object_that_unpacks_to_far_more_than_any_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(encryption, "MOST_UNPACKED", 1_000_000)
    largest = encryption.PACKED + zlib.compress(bytes(1_000_000))
    assert encryption.Sealing().open(largest, "a") == bytes(1_000_000)
    for bomb in (zlib.compress(bytes(1_000_001)), largest[1:] + b"more", largest[1:-1]):
        with pytest.raises(DamagedBackupError):
            encryption.Sealing().open(encryption.PACKED + bomb, "a")
    own = encryption.Sealing().seal(bytes(1_000_001), "a")
    assert encryption.Sealing().open(own, "a") == bytes(1_000_001)


def test_the_name_of_a_chunk_leads_nowhere_else(
    used: Workspace, target: FolderTarget, tmp_path
) -> None:
    made = stored(used, target)
    forged(target, made.backup.id, chunks=(Chunk(name="../" * 9 + "dev/zero", stored=1),))
    with pytest.raises(DamagedBackupError, match="which cannot be one"):
        restored(target, tmp_path / "new")


@pytest.mark.postgres
def test_a_ledger_on_a_server_is_stored_with_the_workspace(
    own_workspace: Workspace,
    make_client,
    store: MemoryModelStore,
    target: FolderTarget,
    tmp_path: Path,
    postgres: PostgresServer,
) -> None:
    """And restored to a file, or to an empty database."""
    address = postgres.database()
    client = make_client(own_workspace, store, ledger_url=address)
    for number in range(3):
        decide(client, number)
    client.app.state.service.deliver()
    stored(own_workspace, target, ledger_url=address)
    client.app.state.service.close()
    before = figures_of(own_workspace, ledger=address)
    restored(target, tmp_path / "file")
    assert figures_of(Workspace(tmp_path / "file", environment={})) == before
    with pytest.raises(LedgerCopyError, match="holds records already"):
        restored(target, tmp_path / "taken", RestoreOptions(ledger_url=address))
    empty = postgres.database()
    restored(target, tmp_path / "server", RestoreOptions(ledger_url=empty))
    again = Workspace(tmp_path / "server", environment={})
    assert not again.ledger_db.exists()
    assert figures_of(again, ledger=empty) == before
    restored(target, tmp_path / "cut", RestoreOptions(until=2))
    assert ledger_facts(tmp_path / "cut" / "ledger.db").records == 2
