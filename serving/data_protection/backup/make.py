"""Make a backup: copy the workspace consistently, add what is new to the target, write the manifest last.

A process that is killed at any moment leaves the earlier backups, and chunks that the next backup uses.
Every new chunk is read back before the manifest is written.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from features.version import code_version
from features.workspace import Workspace
from features.workspace_files import hold_lock
from serving.data_protection.backup.chunks import ChunkStore
from serving.data_protection.backup.consistent_copy import SourceFile, SourceFiles, consistent_copy
from serving.data_protection.backup.encryption import DESCRIPTION, Sealing, open_sealing
from serving.data_protection.backup.erasures import remember_target, send_erasures
from serving.data_protection.backup.errors import BackupError, MissingObjectError
from serving.data_protection.backup.manifest import (
    Backup,
    FileCopy,
    LakeCopy,
    LedgerCopy,
    Manifest,
    newest_backup,
    write_manifest,
)
from serving.data_protection.backup.target import Target
from serving.ledger.stores.ledger_copy import ledger_facts

SCRATCH = ".backup"
"""The folder of a workspace for copies of its databases, while they are read."""

PAGES, PIECE = 1 << 16, 1 << 22
"""Bytes of a chunk: of a database, of which few pages change, and of another file."""

ATTEMPTS = 5
"""How often a file is read that is being changed in its place."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class BackupResult:
    """A backup that was made, and how much of it was new to the target."""

    backup: Backup
    chunks: int
    chunks_added: int
    bytes_added: int


def make_backup(
    workspace: Workspace,
    target: Target,
    *,
    now: datetime,
    key: str | None,
    ledger_url: str | None = None,
    elsewhere: tuple[str, ...] = (),
    wait_seconds: float = 60.0,
    progress: Progress = lambda step, done, total: None,
) -> BackupResult:
    """Store the state of a workspace in a target.

    Args:
        workspace: the workspace, which others may be serving and writing.
        target: where backups are.
        now: the moment of the backup.
        key: encrypts, where there is one.
        ledger_url: the ledger's database, where it is not in the workspace.
        elsewhere: what else the workspace keeps outside of its folder, in words.
        wait_seconds: how long to wait for others who write events.
        progress: is told of each file.

    Raises:
        BackupError: the target cannot be used, or a database of the workspace is damaged.
        WorkspaceBusyError: another backup of this workspace is being made, or events come in for long.
    """
    with (
        _scratch(workspace) as scratch,
        _sealed(target, key, now) as sealing,
        target.hold(alone=False, now=now),
    ):
        before = newest_backup(target, sealing)
        _check_tenant(workspace, target, before)
        named = {} if before is None else before.manifest.chunks
        store = ChunkStore(target=target, sealing=sealing, named=named)
        store.look()
        with consistent_copy(
            workspace, ledger_url=ledger_url, scratch=scratch, wait_seconds=wait_seconds
        ) as state:
            manifest = _stored(workspace, state, store, now, elsewhere, progress)
        send_erasures(target, sealing, workspace)
        backup = write_manifest(target, sealing, manifest)
    remember_target(workspace, target.address)
    counts = store.counts
    return BackupResult(
        backup=backup,
        chunks=counts.needed,
        chunks_added=counts.added,
        bytes_added=counts.bytes_added,
    )


def _stored(
    workspace: Workspace,
    state: SourceFiles,
    store: ChunkStore,
    now: datetime,
    elsewhere: tuple[str, ...],
    progress: Progress,
) -> Manifest:
    settings = workspace.settings
    wanted = [
        file
        for file in state.files
        if file.place.in_backup == "always" or store.sealing.is_encrypted
    ]
    files = []
    for number, file in enumerate(wanted, 1):
        progress(file.path, number, len(wanted))
        copied = _store_file(file, store)
        if copied is not None:
            files.append(copied)
    return Manifest(
        made_at=now,
        keepwell=code_version(),
        tenant=settings.tenant,
        region=getattr(settings, "region", None),
        files=tuple(files),
        ledger=None if state.ledger is None else _ledger(state.ledger, state.ledger_from),
        lake=None
        if state.lake is None
        else LakeCopy(
            generation=state.lake.generation,
            rows=state.lake.rows,
            events=state.lake.events,
            digest=state.lake.digest,
        ),
        left_out=tuple(file.path for file in state.files if file not in wanted),
        not_listed=state.not_listed,
        elsewhere=elsewhere,
    )


def _store_file(file: SourceFile, store: ChunkStore) -> FileCopy | None:
    """Add the chunks of a file; None where it was removed since."""
    size = PAGES if file.place.kind == "SQLite" else PIECE
    for _ in range(ATTEMPTS):
        whole, length, chunks = new_hash(store.sealing), 0, []
        try:
            with file.content.open("rb") as content:
                opened = _looks(content.fileno())
                while piece := content.read(size):
                    whole.update(piece)
                    length += len(piece)
                    chunks.append(store.add(piece))
                if _looks(content.fileno()) == opened:
                    return FileCopy(
                        path=file.path,
                        mode=file.mode,
                        bytes=length,
                        digest=whole.hexdigest(),
                        chunks=tuple(chunks),
                    )
        except FileNotFoundError:
            return None
    raise BackupError(
        f"{file.path} was changed {ATTEMPTS} times while it was read. No backup was made; try again."
    )


def new_hash(sealing: Sealing) -> Any:
    """An empty hash of a whole file, keyed as the names of chunks are."""
    if sealing.name_key is None:
        return hashlib.sha256()
    return hmac.new(sealing.name_key, digestmod=hashlib.sha256)


def _looks(handle: int) -> tuple[int, int]:
    found = os.fstat(handle)
    return found.st_size, found.st_mtime_ns


def _ledger(copy: Path, came_from: str) -> LedgerCopy:
    """What the copied ledger comes to; the copy is opened, and may be upgraded by that."""
    facts = ledger_facts(copy)
    return LedgerCopy(came_from=came_from, **vars(facts))


def _check_tenant(workspace: Workspace, target: Target, before: Backup | None) -> None:
    if before is not None and before.manifest.tenant != workspace.settings.tenant:
        raise BackupError(
            f"{target.address} holds backups of {before.manifest.tenant!r}, and this workspace is of "
            f"{workspace.settings.tenant!r}. Name another target: one holds one tenant."
        )


@contextmanager
def _scratch(workspace: Workspace) -> Iterator[Path]:
    """A folder of this backup inside the workspace; what a killed backup left is removed."""
    busy = f"Another backup of {workspace.root} is being made. Wait for it to end and try again."
    home = workspace.root / SCRATCH
    with hold_lock(home, busy=busy):
        for left in home.iterdir():
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(dir=home))  # only its owner may read it
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _sealed(target: Target, key: str | None, now: datetime) -> Iterator[Sealing]:
    """How the target is sealed; its description is written once, by a process that is alone."""
    try:
        target.read(DESCRIPTION)
    except MissingObjectError:
        with target.hold(alone=True, now=now):
            sealing = open_sealing(target, key, may_make=True)
    else:
        sealing = open_sealing(target, key)
    yield sealing
