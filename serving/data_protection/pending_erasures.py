"""Erasures that a restored workspace still lacks, and the refusal to serve before they are applied.

A backup of last month knows nothing of what was forgotten since. So every erasure leaves a line of JSON
in the workspace (``erasures.jsonl``), each backup copies the lines to its target, and a restore looks
for lines that the backup does not hold: in the target, in the workspace that it replaces, and in a
file that is named. Those lines are pending (``erasures.pending.jsonl``), and nothing serves the
workspace until the list is empty.

A line says under which id, when, of what kind and of whom. The subject is a text that only the erasure
itself understands, such as a keyed hash, so that the list does not hold what was erased.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

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
    return read_lines(workspace.root / DONE_FILE)


def note_erasure(workspace: Workspace, line: ErasureLine) -> None:
    """Add an erasure to those that were carried out; it is pending no more."""
    done = _joined((*done_erasures(workspace), line))
    write_atomically(workspace.root / DONE_FILE, as_bytes(done))
    pending = pending_erasures(workspace)
    if line.erasure_id in {one.erasure_id for one in pending}:
        set_pending(workspace, (one for one in pending if one.erasure_id != line.erasure_id))


def pending_erasures(workspace: Workspace) -> tuple[ErasureLine, ...]:
    """The erasures that still have to be applied to this workspace."""
    return read_lines(workspace.root / PENDING_FILE)


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
        raise PendingErasuresError(
            f"The workspace {workspace.root} was restored from a backup that is older than "
            f"{len(pending)} erasure{'s' * (len(pending) > 1)} (the first: {pending[0].erasure_id} "
            f"of {pending[0].at[:10]}). It is not served before they are applied: "
            f"keepwell erase pending --workspace {workspace.root}"
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
