"""The manifest of a backup: its files with their chunks, and the counts that a restore compares.

It is written last and never changed; without it the chunks are not a backup. Its name holds the moment
and a hash of the stored manifest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from serving.data_protection.backup.encryption import Sealing
from serving.data_protection.backup.errors import BackupError, DamagedBackupError
from serving.data_protection.backup.target import Target

FORMAT, VERSION = "keepwell backup", 1
FOLDER, SUFFIX = "backups/", ".json"


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """A part of a file: its name in the target, and how many bytes are stored there."""

    name: str
    stored: int


@dataclass(frozen=True, kw_only=True)
class FileCopy:
    """One file of the workspace; ``digest`` is that of its whole content, keyed like the chunks."""

    path: str
    mode: int
    bytes: int
    digest: str
    chunks: tuple[Chunk, ...]


@dataclass(frozen=True, kw_only=True)
class LedgerCopy:
    """Records, head and counts of the ledger, which a restore compares."""

    came_from: str  # "sqlite" or "postgresql"
    version: int
    records: int
    head: str
    counts: Mapping[str, int]
    finding: str | None = None  # what `keepwell ledger verify` says of it


@dataclass(frozen=True, kw_only=True)
class LakeCopy:
    """Counts of the lake."""

    generation: int
    rows: int
    events: int
    digest: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """One backup."""

    made_at: datetime
    keepwell: str
    tenant: str
    region: str | None
    files: tuple[FileCopy, ...]
    ledger: LedgerCopy | None
    lake: LakeCopy | None
    left_out: tuple[str, ...] = ()  # secrets, where the target is not encrypted
    not_listed: tuple[str, ...] = ()  # files that no place covers
    elsewhere: tuple[str, ...] = ()  # what the workspace keeps outside of its folder

    @property
    def bytes(self) -> int:
        """Bytes of all files."""
        return sum(file.bytes for file in self.files)

    @property
    def chunks(self) -> dict[str, int]:
        """The chunks by name, with their stored sizes."""
        return {chunk.name: chunk.stored for file in self.files for chunk in file.chunks}


@dataclass(frozen=True, kw_only=True)
class Backup:
    """A manifest under its id."""

    id: str
    manifest: Manifest


def write_manifest(target: Target, sealing: Sealing, manifest: Manifest) -> Backup:
    """Store a manifest, which makes it a backup."""
    content = {
        "format": FORMAT,
        "version": VERSION,
        **asdict(manifest),
        "made_at": manifest.made_at.astimezone(UTC).isoformat(),
        "files": [
            {**vars(file), "chunks": [[one.name, one.stored] for one in file.chunks]}
            for file in manifest.files
        ],
    }
    text = (json.dumps(content, indent=1, default=dict) + "\n").encode()
    stored = sealing.seal(text, FORMAT) if sealing.is_encrypted else text
    moment = f"{manifest.made_at.astimezone(UTC):%Y%m%dT%H%M%S}{manifest.made_at.microsecond:06d}Z"
    backup_id = f"{moment}-{_digest(stored)}"
    target.settle()
    target.write(f"{FOLDER}{backup_id}{SUFFIX}", stored)
    target.settle()
    return Backup(id=backup_id, manifest=manifest)


def backup_ids(target: Target) -> tuple[str, ...]:
    """The ids of the backups, oldest first."""
    names = target.sizes(FOLDER)
    return tuple(sorted(name.removeprefix(FOLDER).removesuffix(SUFFIX) for name in names))


def read_backup(target: Target, sealing: Sealing, backup_id: str) -> Backup:
    """A backup by its id.

    Raises:
        BackupError: there is none, it is damaged, or a newer Keepwell made it.
    """
    known = backup_ids(target)
    if backup_id not in known:
        listed = f"The newest is {known[-1]}." if known else "It holds none."
        raise BackupError(
            f"{target.address} holds no backup {backup_id!r}. {listed} `keepwell backup TARGET "
            f"--list` shows all."
        )
    stored = target.read(f"{FOLDER}{backup_id}{SUFFIX}")
    damaged = DamagedBackupError(
        f"The manifest of backup {backup_id} in {target.address} is not what was written. Restore "
        f"another backup (`keepwell backup TARGET --list`), and make a new one."
    )
    if _digest(stored) != backup_id.rpartition("-")[2]:
        raise damaged
    try:
        text = sealing.open(stored, FORMAT) if sealing.is_encrypted else stored
        content = json.loads(text)
        found, version = content.pop("format"), int(content.pop("version"))
        if found == FORMAT and version > VERSION:
            raise BackupError(
                f"Backup {backup_id} has format version {version}, of a newer Keepwell; this one "
                f"reads versions up to {VERSION}. Restore it with the newer Keepwell."
            )
        return Backup(id=backup_id, manifest=_from_json(content))
    except (ValueError, KeyError, TypeError, DamagedBackupError) as error:
        raise damaged from error


def newest_backup(target: Target, sealing: Sealing) -> Backup | None:
    """The newest backup; None where there is none."""
    known = backup_ids(target)
    return read_backup(target, sealing, known[-1]) if known else None


def _digest(stored: bytes) -> str:
    return hashlib.sha256(stored).hexdigest()[:16]


def _from_json(content: dict[str, Any]) -> Manifest:
    known = dict(content)
    known["made_at"] = datetime.fromisoformat(content["made_at"])
    known["files"] = tuple(
        FileCopy(
            **{
                **file,
                "chunks": tuple(Chunk(name=name, stored=size) for name, size in file["chunks"]),
            }
        )
        for file in content["files"]
    )
    known["ledger"] = None if content["ledger"] is None else LedgerCopy(**content["ledger"])
    known["lake"] = None if content["lake"] is None else LakeCopy(**content["lake"])
    for name in ("left_out", "not_listed", "elsewhere"):
        known[name] = tuple(content[name])
    return Manifest(**known)
