"""Remove older backups, and the chunks that no backup names any more.

It holds the target alone, so that no backup relies on a chunk that is about to be removed. Manifests are
removed first: a process that is killed in between leaves chunks without a backup, never a backup
without chunks.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from serving.data_protection.backup.chunks import FOLDER
from serving.data_protection.backup.encryption import open_sealing
from serving.data_protection.backup.errors import BackupError, DamagedBackupError
from serving.data_protection.backup.manifest import FOLDER as BACKUPS
from serving.data_protection.backup.manifest import SUFFIX, backup_ids, read_backup
from serving.data_protection.backup.target import Target
from serving.data_protection.backup.verify import DAMAGED


@dataclass(frozen=True, kw_only=True)
class RemovedBackups:
    """What was removed."""

    backups: tuple[str, ...]
    chunks: int
    bytes: int


def keep_newest(target: Target, *, number: int, key: str | None, now: datetime) -> RemovedBackups:
    """Keep this many backups, and remove the others.

    Raises:
        BackupError: a manifest that stays cannot be read: nobody knows which chunks it needs, or the
            newest backups hold a damaged ledger, and older ones may be the last good ones.
    """
    sealing = open_sealing(target, key)
    with target.hold(alone=True, now=now):
        known = backup_ids(target)
        stay, go = known[-number:], known[:-number]
        needed: set[str] = set()
        is_whole = not stay
        for one in stay:
            try:
                manifest = read_backup(target, sealing, one).manifest
            except DamagedBackupError as error:
                raise BackupError(
                    f"{error} Nothing was removed, since nobody knows which chunks that backup "
                    f"needs; look at it with --verify."
                ) from error
            needed |= manifest.chunks.keys()
            is_whole = is_whole or manifest.ledger is None or manifest.ledger.finding is None
        if go and not is_whole:
            raise BackupError(
                f"None of the {number} newest backups holds a whole ledger. Nothing was removed: an "
                f"older one may be the last good one."
            )
        for one in go:
            target.delete(f"{BACKUPS}{one}{SUFFIX}")
        target.settle()
        idle = {
            path: size
            for path, size in target.sizes(FOLDER).items()
            if path.rpartition("/")[2] not in needed
        }
        for path in (*idle, *target.sizes(DAMAGED)):
            target.delete(path)
    return RemovedBackups(backups=go, chunks=len(idle), bytes=sum(idle.values()))
