"""Erasures that a restored workspace still lacks, and the refusal to serve before they are applied.

A backup of last month knows nothing of the erasures since then. So each backup copies the erasures of
its workspace to the target: those of ``erasures/subjects.json`` and those of ``erasures.jsonl``. A
restore looks for erasures that the backup does not hold, in the target, in the workspace that it
replaces and in a file that the command names. These are *pending*, in ``erasures.pending.jsonl``, and the
workspace is not served until each of their subjects is erased in it.

A line holds the id of the erasure, its moment, its kind and its subject. The subject is a keyed digest, so
a line names nobody, and a second erasure of the same subject has the same digest. The line also names
the key of the digest, since under another key nothing would be found, and the moment from which rows of the
subject are taken in again, if they are.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path

from features.format_version import newer_format
from features.lake.erased_subjects import FOLDER, SECRET_FILE, ErasedSubjects
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
    subject: str  # the digest of the id
    names: tuple[str, ...] = ()  # the digests of further names
    key: str | None = None  # which key the digests were made with; None: nobody knows
    allowed_at: str | None = None  # since when rows of the subject are taken in again
    version: int = VERSION

    @property
    def digests(self) -> tuple[str, ...]:
        """The digest of the id, then those of further names."""
        return (self.subject, *self.names)


def name_of_key(key: bytes | None) -> str | None:
    """A name for a key of digests, from which the key cannot be computed."""
    return None if key is None else hmac.digest(key, b"name of this key", "sha256").hex()[:16]


def done_erasures(workspace: Workspace) -> tuple[ErasureLine, ...]:
    """The erasures that were carried out in this workspace, oldest first."""
    erased = ErasedSubjects(workspace.root)
    key = name_of_key(erased.key)
    listed = (
        ErasureLine(
            erasure_id=one.erasure,
            at=one.erased_at.isoformat(),
            kind=one.kind,
            subject=one.digests[0],
            names=one.digests[1:],
            key=key,
        )
        for one in erased.entries
    )
    return joined((*read_lines(workspace.root / DONE_FILE), *listed))


def note_erasure(workspace: Workspace, line: ErasureLine) -> None:
    """Add an erasure to those that were carried out; it is pending no more."""
    done = joined((*read_lines(workspace.root / DONE_FILE), line))
    write_atomically(workspace.root / DONE_FILE, as_bytes(done))
    pending = pending_erasures(workspace)
    if line.erasure_id in {one.erasure_id for one in pending}:
        set_pending(workspace, (one for one in pending if one.erasure_id != line.erasure_id))


def note_allowed(workspace: Workspace, erasure_ids: Iterable[str], *, at: datetime) -> None:
    """Note that rows of erased subjects are taken in again, before they are taken off the list.

    Their erasures stay among those that were carried out, or a restore would carry them out again.
    """
    wanted = set(erasure_ids)
    for line in done_erasures(workspace):
        if line.erasure_id in wanted:
            note_erasure(workspace, replace(line, allowed_at=at.isoformat()))


def pending_erasures(workspace: Workspace) -> tuple[ErasureLine, ...]:
    """The erasures that still have to be applied to this workspace."""
    pending = read_lines(workspace.root / PENDING_FILE)
    if not pending:
        return ()
    done = done_erasures(workspace)
    ids = {one.erasure_id for one in done}
    subjects = {one.subject for one in done if one.allowed_at is None}
    return tuple(
        one for one in pending if one.erasure_id not in ids and one.subject not in subjects
    )


def set_pending(workspace: Workspace, lines: Iterable[ErasureLine]) -> None:
    """Replace the list of pending erasures; an empty one is no file."""
    held = joined(lines)
    if held:
        write_atomically(workspace.root / PENDING_FILE, as_bytes(held))
    else:
        (workspace.root / PENDING_FILE).unlink(missing_ok=True)


def refuse_pending_erasures(workspace: Workspace) -> None:
    """Refuse to serve a workspace that holds data of somebody who was erased.

    Raises:
        PendingErasuresError: erasures are pending.
    """
    pending = pending_erasures(workspace)
    if pending:
        raise PendingErasuresError(pending_in_words(workspace, pending))


def pending_in_words(workspace: Workspace, pending: tuple[ErasureLine, ...]) -> str:
    """The sentences that tell a person which erasures a workspace lacks, and what to do."""
    told = ", ".join(f"{one.erasure_id} ({one.kind}, {one.at[:10]})" for one in pending)
    return (
        f"The workspace {workspace.root} was restored from a backup that is older than "
        f"{len(pending)} erasure{'s' * (len(pending) > 1)}: {told}. It is not served before "
        f"they are applied. {_what_to_do(workspace, pending)}"
    )


def _what_to_do(workspace: Workspace, pending: tuple[ErasureLine, ...]) -> str:
    """How a person applies pending erasures whose subjects were not found by their digests."""
    own = name_of_key(ErasedSubjects(workspace.root).key)
    if any(one.key is not None and one.key != own for one in pending):
        return (
            f"Their digests need the key of the former workspace: restore with --secrets FOLDER, where "
            f"FOLDER is that workspace or holds a copy of its {FOLDER}/{SECRET_FILE}, or copy that file "
            f"to {workspace.root / FOLDER}, and start again. A backup that is encrypted "
            f"(KEEPWELL_BACKUP_KEY) holds it. Without it, erase each of them by its id (keepwell "
            f"erase account ID, keepwell erase person ID)."
        )
    return (
        "Erase each of these again (keepwell erase account ID, keepwell erase person ID); the reason "
        "in its receipt says which case it was."
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
            newer = newer_format(content.get("version"), newest=VERSION, what=f"{where}:{number}")
            if newer is not None:
                raise ErasureListError(newer)
            found.append(ErasureLine(**{**content, "names": tuple(content.get("names", ()))}))
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


def joined(lines: Iterable[ErasureLine]) -> tuple[ErasureLine, ...]:
    """Each erasure once, oldest first."""
    by_id: dict[str, ErasureLine] = {}
    for line in lines:
        known = by_id.get(line.erasure_id)
        if known is None or known.allowed_at is None:
            by_id[line.erasure_id] = line
    return tuple(sorted(by_id.values(), key=lambda line: (line.at, line.erasure_id)))
