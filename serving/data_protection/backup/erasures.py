"""Store the list of erasures in the target, one sealed object for each; it stays when backups are removed.

A workspace remembers its targets, so that an erasure is listed there at once and not only by the next
backup. An encrypted target also holds the key of the digests, because a backup that was made before
the first erasure has none, and may be restored on a machine that has nothing but the target.
"""

from __future__ import annotations

import json
from datetime import datetime

from features.format_version import newer_format
from features.lake.erased_subjects import ErasedSubjects
from features.workspace import Workspace
from features.workspace_files import WorkspaceError, write_atomically
from serving.data_protection.backup.encryption import Sealing, open_sealing
from serving.data_protection.backup.errors import BackupError, MissingObjectError
from serving.data_protection.backup.target import Target, open_target
from serving.data_protection.pending_erasures import (
    ErasureLine,
    as_bytes,
    done_erasures,
    joined,
    lines_of,
)

FOLDER, SUFFIX, ALLOWED = "erasures/", ".jsonl", ".allowed.jsonl"
KEY_OBJECT = "erasures.key"
TARGETS_FILE, VERSION = "backup.targets.json", 1


def send_erasures(target: Target, sealing: Sealing, workspace: Workspace) -> int:
    """Store the erasures of a workspace that the target does not list yet; how many that were."""
    known = set(target.sizes(FOLDER))
    new = {name: line for line in done_erasures(workspace) if (name := _path(line)) not in known}
    key = ErasedSubjects(workspace.root).key
    if sealing.is_encrypted and key is not None and stored_key(target, sealing) != key:
        target.write(KEY_OBJECT, sealing.seal(key, KEY_OBJECT))
    for name, line in new.items():
        target.write(name, sealing.seal(as_bytes([line]), name))
    target.settle()
    return len(new)


def stored_erasures(target: Target, sealing: Sealing) -> tuple[ErasureLine, ...]:
    """The erasures that a target lists, each as it was told last."""
    return joined(
        line
        for name in sorted(target.sizes(FOLDER))
        for line in lines_of(sealing.open(target.read(name), name), f"{target.address}/{name}")
    )


def stored_key(target: Target, sealing: Sealing) -> bytes | None:
    """The key of the digests of erasures; None where the target holds none."""
    try:
        return sealing.open(target.read(KEY_OBJECT), KEY_OBJECT) if sealing.is_encrypted else None
    except MissingObjectError:
        return None


def remember_target(workspace: Workspace, address: str) -> None:
    """Remember where a workspace is backed up; addresses of targets have no password."""
    known = known_targets(workspace)
    if address in known:
        return
    content = {"version": VERSION, "targets": [*known, address]}
    write_atomically(workspace.root / TARGETS_FILE, json.dumps(content, indent=1).encode())


def known_targets(workspace: Workspace) -> tuple[str, ...]:
    """Where this workspace was backed up.

    Raises:
        WorkspaceError: the list cannot be read.
    """
    try:
        content = json.loads((workspace.root / TARGETS_FILE).read_text(encoding="utf-8"))
        newer = newer_format(content.get("version"), newest=VERSION, what=TARGETS_FILE)
        if newer is None:
            return tuple(str(one) for one in content["targets"])
    except FileNotFoundError:
        return ()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WorkspaceError(
            f"{TARGETS_FILE} cannot be read ({error}). Remove it; the next `keepwell backup` writes "
            f"it again."
        ) from error
    raise WorkspaceError(newer)


def list_erasures_in_targets(
    workspace: Workspace, *, key: str | None, now: datetime
) -> dict[str, str | None]:
    """List the erasures of a workspace in all its targets; by target why that could not be."""
    told: dict[str, str | None] = {}
    for address in known_targets(workspace):
        try:
            target = open_target(address)
            sealing = open_sealing(target, key)  # before a folder that is not mounted is made
            with target.hold(alone=False, now=now):
                send_erasures(target, sealing, workspace)
            told[address] = None
        except (BackupError, OSError) as error:
            told[address] = str(error)
    return told


def _path(line: ErasureLine) -> str:
    return f"{FOLDER}{line.erasure_id}{SUFFIX if line.allowed_at is None else ALLOWED}"
