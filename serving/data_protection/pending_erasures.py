"""Erasures that a restored workspace still lacks, and the refusal to serve before they are applied.

A backup of last month knows nothing of what was forgotten since. So each backup copies the erasures of
the workspace to its target (the list of the erased, and ``erasures.jsonl`` for others who forget), and
a restore looks for those that the backup does not hold: in the target, in the workspace that it
replaces, and in a file that is named. They are pending (``erasures.pending.jsonl``), and nothing serves
the workspace until each of their subjects is erased in it.

A line says under which id, when, of what kind and of whom. The subject is the keyed digest of the list of
the erased, so that nobody is named; it is the same after the same subject is erased again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from features.lake.erased_subjects import ErasedSubjects
from features.workspace import Workspace
from features.workspace_files import WorkspaceError, write_atomically

DONE_FILE = "erasures.jsonl"
PENDING_FILE = "erasures.pending.jsonl"
VERSION = 1


class ErasureListError(WorkspaceError):
    """A list of erasures cannot be read."""


class PendingErasuresError(WorkspaceError):
    """A restored workspace lacks erasures that were carried out after its backup."""


@dataclass(frozen=True, kw_only=True)
class ErasureLine:
    """One erasure: its id, its moment, and what it was about."""

    erasure_id: str
    at: str  # ISO 8601 in UTC
    kind: str  # "person" or "account"
    subject: str  # understood by the erasure only
    version: int = VERSION


def done_erasures(workspace: Workspace) -> tuple[ErasureLine, ...]:
    """The erasures that were carried out in this workspace, oldest first."""
    listed = (
        ErasureLine(
            erasure_id=one.erasure,
            at=one.erased_at.isoformat(),
            kind=one.kind,
            subject=one.digests[0],
        )
        for one in ErasedSubjects(workspace.root).entries
    )
    return _joined((*read_lines(workspace.root / DONE_FILE), *listed))


def note_erasure(workspace: Workspace, line: ErasureLine) -> None:
    """Add an erasure to those that were carried out; it is pending no more."""
    done = _joined((*read_lines(workspace.root / DONE_FILE), line))
    write_atomically(workspace.root / DONE_FILE, as_bytes(done))
    pending = pending_erasures(workspace)
    if line.erasure_id in {one.erasure_id for one in pending}:
        set_pending(workspace, (one for one in pending if one.erasure_id != line.erasure_id))


def pending_erasures(workspace: Workspace) -> tuple[ErasureLine, ...]:
    """The erasures that still have to be applied to this workspace."""
    pending = read_lines(workspace.root / PENDING_FILE)
    if not pending:
        return ()
    done = done_erasures(workspace)
    ids, subjects = {one.erasure_id for one in done}, {one.subject for one in done}
    return tuple(
        one for one in pending if one.erasure_id not in ids and one.subject not in subjects
    )


def set_pending(workspace: Workspace, lines: Iterable[ErasureLine]) -> None:
    """Replace the list of pending erasures; an empty one is no file."""
    held = _joined(lines)
    if held:
        write_atomically(workspace.root / PENDING_FILE, as_bytes(held))
    else:
        (workspace.root / PENDING_FILE).unlink(missing_ok=True)


def refuse_pending_erasures(workspace: Workspace) -> None:
    """Let nobody serve a workspace that holds what was to be forgotten.

    Raises:
        PendingErasuresError: erasures are pending.
    """
    pending = pending_erasures(workspace)
    if pending:
        told = ", ".join(f"{one.erasure_id} ({one.kind}, {one.at[:10]})" for one in pending)
        raise PendingErasuresError(
            f"The workspace {workspace.root} was restored from a backup that is older than "
            f"{len(pending)} erasure{'s' * (len(pending) > 1)}: {told}. It is not served before "
            f"they are applied: erase each of these again (keepwell erase account ID, keepwell "
            f"erase person ID); the reason in its receipt says which case it was."
        )


def read_lines(file: Path) -> tuple[ErasureLine, ...]:
    """The erasures that a file lists; none where there is no file.

    Raises:
        ErasureListError: a line cannot be read, or a newer Keepwell wrote it.
    """
    try:
        text = file.read_bytes()
    except FileNotFoundError:
        return ()
    return lines_of(text, str(file))


def lines_of(text: bytes, where: str) -> tuple[ErasureLine, ...]:
    """The erasures in a text of lines.

    Raises:
        ErasureListError: a line cannot be read, or a newer Keepwell wrote it.
    """
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            content = json.loads(line)
            if int(content.get("version", 1)) > VERSION:
                raise ErasureListError(
                    f"{where}:{number} has version {content['version']}, of a newer Keepwell; this "
                    f"one reads versions up to {VERSION}. Use the newer Keepwell."
                )
            found.append(ErasureLine(**content))
            datetime.fromisoformat(found[-1].at)
        except (ValueError, TypeError, AttributeError) as error:
            raise ErasureListError(
                f"{where}:{number} is no line about an erasure ({error}). Put the file back from a "
                f"copy: it says what must not come back."
            ) from error
    return tuple(found)


def as_bytes(lines: Iterable[ErasureLine]) -> bytes:
    """Erasures as a text of lines."""
    return b"".join(json.dumps(asdict(line)).encode() + b"\n" for line in lines)


def _joined(lines: Iterable[ErasureLine]) -> tuple[ErasureLine, ...]:
    """Each erasure once, oldest first."""
    by_id = {line.erasure_id: line for line in lines}
    return tuple(sorted(by_id.values(), key=lambda line: (line.at, line.erasure_id)))
