"""Read every chunk of backups again, and say which backups cannot be restored.

A damaged chunk is renamed, so that the next backup stores its content again. Every backup that names it is
then whole again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from serving.data_protection.backup.chunks import ChunkStore, path_of
from serving.data_protection.backup.encryption import open_sealing
from serving.data_protection.backup.errors import DamagedBackupError, MissingObjectError
from serving.data_protection.backup.manifest import Backup, Chunk, backup_ids, read_backup
from serving.data_protection.backup.target import Target

DAMAGED = "damaged/"

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class DamagedBackup:
    """A backup that cannot be restored, and the first reason."""

    backup_id: str
    reason: str
    files: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class VerificationResult:
    """What was read and what was found."""

    backups: int
    chunks: int
    bytes_read: int
    damages: tuple[DamagedBackup, ...]


def verify_backups(
    target: Target,
    *,
    key: str | None,
    now: datetime,
    backup_id: str | None = None,
    progress: Progress = lambda step, done, total: None,
) -> VerificationResult:
    """Read all that backups name, each chunk once.

    Raises:
        BackupError: the target cannot be used, or there is no such backup.
    """
    sealing = open_sealing(target, key)
    with target.hold(alone=False, now=now):
        damages: list[DamagedBackup] = []
        backups: list[Backup] = []
        wanted: Sequence[str] = backup_ids(target) if backup_id is None else (backup_id,)
        for one in wanted:
            try:
                backups.append(read_backup(target, sealing, one))
            except DamagedBackupError as error:
                damages.append(DamagedBackup(backup_id=one, reason=str(error)))
        store = ChunkStore(target=target, sealing=sealing)
        chunks = {name: size for backup in backups for name, size in backup.manifest.chunks.items()}
        bad: dict[str, str] = {}
        read = 0
        for number, (name, size) in enumerate(sorted(chunks.items()), 1):
            progress("chunks", number, len(chunks))
            try:
                read += len(store.read(Chunk(name=name, stored=size)))
            except DamagedBackupError as error:
                bad[name] = str(error)
                _set_aside(target, name)
        for backup in backups:
            hit = {
                file.path: chunk.name
                for file in backup.manifest.files
                for chunk in file.chunks
                if chunk.name in bad
            }
            if hit:
                reason = bad[next(iter(hit.values()))]
                damages.append(DamagedBackup(backup_id=backup.id, reason=reason, files=tuple(hit)))
    return VerificationResult(
        backups=len(wanted), chunks=len(chunks), bytes_read=read, damages=tuple(damages)
    )


def _set_aside(target: Target, name: str) -> None:
    try:
        target.write(f"{DAMAGED}{name}", target.read(path_of(name)))
    except MissingObjectError:
        return
    target.delete(path_of(name))
