"""Restore a workspace from a backup, whole or with the ledger of an earlier moment.

Every file is written to a folder beside the place and compared with the manifest; then the folder is moved
into the place in one step. A process that is killed at any moment leaves the old workspace or the
restored one. The next restore removes a folder that a killed one left beside the place.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from features.lake.erased_subjects import SECRET_FILE, ErasedSubjects
from features.workspace import Workspace
from serving.data_protection.backup.chunks import ChunkStore
from serving.data_protection.backup.encryption import Sealing, open_sealing
from serving.data_protection.backup.erasures import TARGETS_FILE, stored_erasures, stored_key
from serving.data_protection.backup.errors import BackupError, DamagedBackupError
from serving.data_protection.backup.make import new_hash
from serving.data_protection.backup.manifest import (
    Backup,
    FileCopy,
    newest_backup,
    read_backup,
)
from serving.data_protection.backup.swap import process_with_open, put_in_place, sync_folder
from serving.data_protection.backup.target import Target
from serving.data_protection.given_secrets import lacking_secrets, take_secrets
from serving.data_protection.pending_erasures import (
    ErasureLine,
    done_erasures,
    joined,
    note_erasure,
    pending_erasures,
    set_pending,
)
from serving.data_protection.safety_switches import (
    AppliedSwitches,
    FormerSwitches,
    apply_keys_and_holds,
    apply_stops,
    former_stops,
    with_stops,
)
from serving.ledger.database.noted_head import HeadNotes, NotedHead
from serving.ledger.stores.ledger_copy import (
    LedgerFacts,
    cut_ledger,
    cut_messages,
    ledger_facts,
    load_ledger,
)

MARK = ".restoring.lock"
"""Is in a folder that is not finished; the folder of an older workspace never has it."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class RestoredWorkspace:
    """The backup that was restored, and where the workspace of before is now (``aside``).

    ``lacking`` are the secrets that it needs and does not have.
    """

    backup: Backup
    ledger: LedgerFacts | None
    cut_at: int | None
    aside: Path | None
    pending: tuple[ErasureLine, ...]
    switches: AppliedSwitches
    lacking: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RestoreOptions:
    """What to restore, and how.

    Attributes:
        backup_id: which backup; None for the newest.
        until: the last place of the ledger, or a moment on the clock of the service.
        replaces: whether a workspace that is there is moved aside.
        ledger_url: the database that the ledger is written to; None for the file of the workspace.
        erasures: erasures that are known elsewhere.
        by: who restores, for the note of the ledger's head.
        head_elsewhere: a second place where the head is noted.
        secrets: a folder with the secrets that a target without encryption does not hold.
    """

    backup_id: str | None = None
    until: datetime | int | None = None
    replaces: bool = False
    ledger_url: str | None = None
    erasures: tuple[ErasureLine, ...] = ()
    by: str = "keepwell restore"
    head_elsewhere: Path | None = None
    secrets: Path | None = None


def restore(
    target: Target,
    workspace: Workspace,
    options: RestoreOptions,
    *,
    key: str | None,
    now: datetime,
    progress: Progress = lambda step, done, total: None,
    erase_again: Callable[[Workspace], object] = lambda staged: None,
) -> RestoredWorkspace:
    """Put the workspace of a backup in a place.

    Args:
        target: where the backup is.
        workspace: the place.
        options: which backup, and how.
        key: decrypts, where the target is encrypted.
        now: the moment of the restore.
        progress: is told of each file.
        erase_again: applies pending erasures to the restored workspace, before it is in its place.

    Raises:
        BackupError: the backup cannot be read, is damaged, or the place is not free.
        SecretsError: the folder of secrets does not hold those that are needed.
        LedgerCopyError: there is no such place in the ledger, or its database is not empty.
    """
    _check_place(workspace, options)
    sealing = open_sealing(target, key)
    with target.hold(alone=False, now=now):
        backup = (
            newest_backup(target, sealing)
            if options.backup_id is None
            else read_backup(target, sealing, options.backup_id)
        )
        if backup is None:
            raise BackupError(f"{target.address} holds no finished backup. Make one first.")
        with _beside(workspace.root) as staging:
            _write_files(backup, ChunkStore(target=target, sealing=sealing), staging, progress)
            staged = Workspace(staging)
            staged.refuse_newer()
            former = former_stops(workspace)
            ledger, cut_at, stopped = _ledger(backup, staged, options, former, now)
            if ledger is not None:
                _note_head(staged.ledger_head, backup, ledger, cut_at, options.by, now)
            _set_pending(target, sealing, workspace, staged, options)
            if options.secrets is not None:
                take_secrets(options.secrets, staged, pending_erasures(staged))
            _keep_key_of_the_erased(workspace, staged, stored_key(target, sealing))
            switches = with_stops(apply_keys_and_holds(workspace, staged), stopped, former)
            if pending_erasures(staged):
                erase_again(staged)
                if ledger is not None and options.ledger_url is None:
                    ledger = ledger_facts(staged.ledger_db)
            _sync(staging)
            aside = workspace.root.with_name(
                f"{workspace.root.name}.before-{now:%Y%m%dT%H%M%S}-{secrets.token_hex(2)}"
            )
            _check_place(workspace, options)
            (workspace.root / MARK).unlink(
                missing_ok=True
            )  # of a restore that was killed at its end
            was_there = put_in_place(staging, workspace.root, aside)
            if ledger is not None and options.head_elsewhere is not None:
                _note_head(options.head_elsewhere, backup, ledger, cut_at, options.by, now)
            (workspace.root / MARK).unlink()
    pending = pending_erasures(workspace)
    return RestoredWorkspace(
        backup=backup,
        ledger=ledger,
        cut_at=cut_at,
        aside=aside if was_there else None,
        pending=pending,
        switches=switches,
        lacking=lacking_secrets(workspace, backup.manifest.left_out, pending),
    )


def _check_place(workspace: Workspace, options: RestoreOptions) -> None:
    root = workspace.root
    if root.exists() and not root.is_dir():
        raise BackupError(f"{root} is a file. Name a folder that is empty or not there yet.")
    if not root.exists() or not any(root.iterdir()):
        return
    if not options.replaces:
        raise BackupError(
            f"{root} holds something already, and nothing was changed. Name a folder that is empty "
            f"or not there yet, or add --replace, which moves what is there aside."
        )
    process = process_with_open(workspace.ledger_db)
    if process is not None:
        raise BackupError(
            f"Process {process} has the ledger of {root} open: what it still stores would be lost. "
            f"Stop the service, then restore; nothing was changed."
        )


@contextmanager
def _beside(root: Path) -> Iterator[Path]:
    """A marked folder beside a place; what killed restores left there is removed."""
    root.parent.mkdir(parents=True, exist_ok=True)
    for left in root.parent.glob(f".{root.name}.restoring-*"):
        if (left / MARK).exists():
            shutil.rmtree(left)
    staging = root.with_name(f".{root.name}.restoring-{secrets.token_hex(4)}")
    staging.mkdir(mode=0o700)
    (staging / MARK).touch()
    try:
        yield staging
    finally:
        if (staging / MARK).exists():
            shutil.rmtree(staging, ignore_errors=True)


def _write_files(backup: Backup, store: ChunkStore, staging: Path, progress: Progress) -> None:
    files = backup.manifest.files
    for number, file in enumerate(files, 1):
        progress(file.path, number, len(files))
        _write_file(file, store, staging)


def _write_file(file: FileCopy, store: ChunkStore, staging: Path) -> None:
    path = (staging / file.path).resolve()
    if not path.is_relative_to(staging.resolve()):
        raise DamagedBackupError(f"The manifest names {file.path!r}, outside of the workspace.")
    path.parent.mkdir(parents=True, exist_ok=True)
    whole, length = new_hash(store.sealing), 0
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(handle, "wb") as content:
        for chunk in file.chunks:
            piece = store.read(chunk)
            content.write(piece)
            whole.update(piece)
            length += len(piece)
        content.flush()
        os.fsync(content.fileno())
    if (whole.hexdigest(), length) != (file.digest, file.bytes):
        raise DamagedBackupError(
            f"{file.path} does not come out as it was stored. Restore another backup; nothing was "
            f"changed."
        )
    path.chmod(file.mode & 0o700)  # its owner's alone, whatever a manifest says


def _ledger(
    backup: Backup,
    staged: Workspace,
    options: RestoreOptions,
    former: FormerSwitches,
    now: datetime,
) -> tuple[LedgerFacts | None, int | None, tuple[str, ...]]:
    """Compare the ledger, cut it where asked, stop again what was stopped, hand it to its database."""
    stored = backup.manifest.ledger
    if stored is None:
        if options.until is not None:
            raise BackupError(
                f"Backup {backup.id} holds no ledger, so there is nothing to restore up to a moment. "
                f"Leave --until out."
            )
        return None, None, ()
    facts = ledger_facts(staged.ledger_db)
    if stored.finding is None and (
        (facts.finding, facts.records, facts.head) != (None, stored.records, stored.head)
        or any(facts.counts.get(name) != count for name, count in stored.counts.items())
    ):
        raise DamagedBackupError(
            f"The restored ledger is not the one of backup {backup.id}: "
            f"{facts.finding or 'its head or its counts differ'}. Nothing was changed; restore "
            f"another backup."
        )
    cut_at = None
    if options.until is not None:
        facts, cut_at = _cut(staged, options.until)
    stopped = apply_stops(staged.ledger_db, former, now=now) if former.stops else ()
    if stopped:
        facts = ledger_facts(staged.ledger_db)
    if options.ledger_url is not None:
        messages = staged.root / "webhooks.db"
        load_ledger(options.ledger_url, staged.ledger_db, messages if messages.exists() else None)
        staged.ledger_db.unlink()
        messages.unlink(missing_ok=True)
    return facts, cut_at, stopped


def _note_head(
    place: Path, backup: Backup, ledger: LedgerFacts, cut_at: int | None, by: str, now: datetime
) -> None:
    """Note the head of the restored ledger on purpose, or it would be refused as an older one."""
    cut = "" if cut_at is None else f" up to place {cut_at}"
    HeadNotes(place).replace(
        NotedHead(place=ledger.records, link=ledger.head),
        by=by,
        reason=f"restored from backup {backup.id}{cut}",
        at=now,
    )


def _cut(staged: Workspace, until: datetime | int) -> tuple[LedgerFacts, int]:
    draft = staged.ledger_db.with_name(".ledger.db.cut.tmp")
    cut = cut_ledger(staged.ledger_db, draft, until=until)
    draft.replace(staged.ledger_db)
    messages = staged.root / "webhooks.db"
    if messages.exists():
        cut_messages(messages, cut.place)
    return ledger_facts(staged.ledger_db), cut.place


def _set_pending(
    target: Target,
    sealing: Sealing,
    workspace: Workspace,
    staged: Workspace,
    options: RestoreOptions,
) -> None:
    """Note as pending every known erasure that the restored workspace does not hold."""
    done = {line.erasure_id: line for line in done_erasures(staged)}
    known = joined(
        (
            *pending_erasures(staged),
            *stored_erasures(target, sealing),
            *done_erasures(workspace),
            *pending_erasures(workspace),
            *options.erasures,
        )
    )
    set_pending(staged, (line for line in known if line.erasure_id not in done))
    for line in known:
        if line.allowed_at is not None and line.erasure_id in done:
            note_erasure(staged, line)  # who was let in since is let in
            ErasedSubjects(staged.root).drop(line.erasure_id)


def _keep_key_of_the_erased(workspace: Workspace, staged: Workspace, stored: bytes | None) -> None:
    """Take over the key of the digests of the erased, so that a second erasure has the same digest.

    The list of targets is taken over too, from the workspace that is replaced.
    """
    before, after = (ErasedSubjects(one.root) for one in (workspace, staged))
    key = before.key or stored
    if key is not None and after.key is None:
        after.folder.mkdir(exist_ok=True)
        handle = os.open(after.folder / SECRET_FILE, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(key)
            os.fsync(file.fileno())
    if (workspace.root / TARGETS_FILE).exists():
        shutil.copy2(workspace.root / TARGETS_FILE, staged.root / TARGETS_FILE)


def _sync(folder: Path) -> None:
    """Sync what was changed after it was written, and all folders."""
    for path in folder.rglob("*"):
        if path.is_dir():
            sync_folder(path)
    for name in ("ledger.db", "webhooks.db", "ledger.head", "keys.db"):
        path = folder / name
        if path.exists():
            with path.open("rb") as held:
                os.fsync(held.fileno())
    sync_folder(folder)
