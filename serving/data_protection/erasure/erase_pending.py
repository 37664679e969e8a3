"""Erase again, in a restored workspace, whoever was erased after its backup was made.

Only digests say who was erased, so the names that the workspace holds are hashed and compared. A subject
whose name it does not hold is noted as erased, so that no later file brings its rows in.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from features.events.subject import SUBJECT_KINDS, Subject, SubjectKind
from features.lake.erased_subjects import ErasedSubjects
from features.workspace import Workspace
from serving.data_protection.erasure.damaged_snapshots import mend_snapshots
from serving.data_protection.erasure.digest_lookup import names_by_digest
from serving.data_protection.erasure.erase import (
    Progress,
    Receipt,
    begin_erasure,
    finish_erasure,
    under_way,
)
from serving.data_protection.erasure.protocol import SubjectRequest
from serving.data_protection.pending_erasures import (
    ErasureLine,
    name_of_key,
    note_erasure,
    pending_erasures,
    set_pending,
)

log = logging.getLogger("keepwell.serving")

BY = "keepwell restore"


@dataclass(frozen=True, kw_only=True)
class ErasedAgain:
    """What was done about the erasures that a workspace lacked."""

    receipts: tuple[Receipt, ...] = ()
    held_nothing: tuple[ErasureLine, ...] = ()
    pending: tuple[ErasureLine, ...] = ()


def erase_pending(
    workspace: Workspace,
    subject_request: Callable[[Subject], SubjectRequest],
    *,
    clock: Callable[[], datetime],
    learned: Callable[[Subject], tuple[str, ...]] = lambda subject: (),
    progress: Progress = lambda name: None,
) -> ErasedAgain:
    """Apply the pending erasures whose digests the key of the workspace made, oldest first.

    A legal hold of the backup does not prevent them: it had ended when they were carried out.

    Args:
        workspace: the restored workspace.
        subject_request: a subject in this workspace.
        clock: the moment of now.
        learned: what models had learned from a subject, in words.
        progress: is told of each place.
    """
    receipts = []
    for words in mend_snapshots(workspace):
        log.warning(words)
    journal = under_way(workspace)
    if journal is not None:
        at = subject_request(journal.subject)
        receipts.append(finish_erasure(at, journal, clock=clock, progress=progress))
    lacking, erased = pending_erasures(workspace), ErasedSubjects(workspace.root)
    key = erased.key
    can = [line for line in lacking if key is not None and _is_of(line, key)]
    names = {} if not can or key is None else _names(workspace, subject_request, key, can, progress)
    nothing = []
    for line in can:
        held = [names[digest] for digest in line.digests if digest in names]
        if held:
            at = subject_request(Subject(kind=_kind(line), id=held[0], names=tuple(held[1:])))
            at = replace(at, by=BY, reason=f"erasure {line.erasure_id} of {line.at[:10]}")
            begun = begin_erasure(
                at, learned=learned(at.subject), again=line.erasure_id, digests=line.digests
            )
            receipts.append(finish_erasure(at, begun, clock=clock, progress=progress))
        elif line.key is not None:
            erased.add_digests(line.digests, kind=_kind(line), at=clock(), erasure=line.erasure_id)
            nothing.append(line)
        else:
            continue  # perhaps of another key: a person has to say who it was
        if line.allowed_at is not None:
            note_erasure(workspace, line)
            erased.drop(line.erasure_id)
    left = pending_erasures(workspace)
    set_pending(workspace, left)
    return ErasedAgain(receipts=tuple(receipts), held_nothing=tuple(nothing), pending=left)


def _is_of(line: ErasureLine, key: bytes) -> bool:
    return line.key in (None, name_of_key(key))


def _names(
    workspace: Workspace,
    subject_request: Callable[[Subject], SubjectRequest],
    key: bytes,
    lines: list[ErasureLine],
    progress: Progress,
) -> dict[str, str]:
    """The names of the subjects of these erasures, by digest."""
    progress("names")
    anybody = subject_request(Subject(kind="account", id="anybody"))
    elsewhere = {one for one in (anybody.database, anybody.outbox) if not isinstance(one, Path)}
    wanted: dict[SubjectKind, set[str]] = {}
    for line in lines:
        wanted.setdefault(_kind(line), set()).update(line.digests)
    return names_by_digest(workspace, elsewhere, key=key, wanted=wanted)


def _kind(line: ErasureLine) -> SubjectKind:
    return next(kind for kind in SUBJECT_KINDS if kind == line.kind)
