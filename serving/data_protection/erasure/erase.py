"""Erase a subject from all places of a workspace: a plan, a journal, a receipt.

The journal names the subject until the end, for a killed erasure has to be finished; whoever opens the
workspace next says so and finishes it. First the list of the erased is written, so that nothing comes
back meanwhile. At the end every place is looked at once more, because a service that runs may have
written in between. The receipt names nobody: it has the digests of the list.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from features.events.subject import Subject
from features.format_version import newer_format
from features.lake.erased_subjects import FOLDER, ErasedSubjects
from features.workspace import Workspace
from features.workspace_files import (
    WorkspaceError,
    hold_lock,
    locked_for_long,
    write_atomically,
)
from registry.integrity.signing import SigningKey
from serving.data_protection.erasure.database_erasers import events_written_by
from serving.data_protection.erasure.erasers import ERASERS
from serving.data_protection.erasure.feature_erasers import current_digest
from serving.data_protection.erasure.holds import Holds
from serving.data_protection.erasure.protocol import SubjectRequest

JOURNAL_FILE = "under-way.json"
REQUEST_FILE = "request-{}.json"
RECEIPT_FILE = "receipt-{}.json"
VERSION = 1
MOST_ROUNDS = 5
"""So often all places are looked at again, where a running service writes meanwhile."""

SECONDS_BETWEEN_ROUNDS = 1.0

Progress = Callable[[str], None]

HELD_NOTHING = (
    "Nothing was held under this id or these names. It is noted as erased: rows of a later export that "
    "hold it are left out."
)


class ErasureError(WorkspaceError):
    """The erasure cannot be carried out like this."""


COUNT_AGAIN = "Try again when that process is done; an erasure that has begun stays to be finished."
RESUME = (
    "What is erased stays erased, and the rest is finished by `keepwell erase resume` or the next start "
    "of the service: run it when that process is done."
)


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What an erasure did. It names nobody."""

    erasure: str
    kind: str
    digests: tuple[str, ...]
    by: str
    approved_by: str | None
    reason: str
    began_at: str
    ended_at: str
    found: Mapping[str, int]
    left: Mapping[str, int]
    learned: tuple[str, ...] = ()
    signature: str | None = None

    @property
    def says(self) -> str:
        """What came of it, as a sentence."""
        if self.left:
            return (
                f"{sum(self.left.values()):,} entries were still held at the end: erase it again."
            )
        number = sum(self.found.values())
        return f"{number:,} entries were held, and none is now." if number else HELD_NOTHING

    def to_dict(self) -> dict[str, Any]:
        """The receipt as it is stored, without its signature."""
        content = {"version": VERSION, "says": self.says, **vars(self)}
        content.pop("signature")
        return {**content, "digests": list(self.digests), "learned": list(self.learned)}

    def content(self) -> bytes:
        """What is signed."""
        return json.dumps(self.to_dict(), sort_keys=True, ensure_ascii=False).encode()


@dataclass(frozen=True, kw_only=True)
class Journal:
    """An erasure that is under way."""

    erasure: str
    kind: str
    id: str
    names: tuple[str, ...]
    pseudonym: str
    by: str
    approved_by: str | None
    reason: str
    at: str
    digest_before: str | None
    found: Mapping[str, int]
    learned: tuple[str, ...] = ()
    written: tuple[str, ...] = ()
    done: tuple[str, ...] = field(default=())
    digests: tuple[str, ...] = ()  # of the list of the erased; an erasure again has the same

    @property
    def subject(self) -> Subject:
        """Who is erased."""
        return Subject(
            kind=self.kind,  # type: ignore[arg-type]
            id=self.id,
            names=tuple(self.names),
            pseudonym=self.pseudonym,
        )


def count_places(at: SubjectRequest) -> dict[str, int]:
    """How much each place holds about a subject; places that hold nothing are there with 0."""
    at = replace(at, written=at.written or events_written_by(at))
    found = {}
    for place in ERASERS:
        with locked_for_long(place.name, then=COUNT_AGAIN):
            found[place.name] = place.find(at)
    return found


def begin_erasure(
    at: SubjectRequest,
    *,
    approved_by: str | None = None,
    learned: tuple[str, ...] = (),
    found: Mapping[str, int] | None = None,
    again: str | None = None,
    digests: tuple[str, ...] = (),
) -> Journal:
    """Write the journal, from which on the erasure is finished by whoever comes next.

    Args:
        at: the subject, and who erases it why.
        approved_by: the second person, where one is needed.
        learned: what models had learned from the subject, in words.
        found: what each place holds, where that was counted.
        again: the id of an erasure that was carried out before, and that a restored workspace lacks.
        digests: those of that erasure.

    Raises:
        HeldSubjectError: the subject is under a legal hold.
        ErasureError: another erasure is under way.
    """
    if again is None:
        Holds(at.workspace).check(at.subject)
    if under_way(at.workspace) is not None:
        raise ErasureError(
            "Another erasure is under way and was not finished. Finish it first: keepwell erase resume"
        )
    journal = Journal(
        erasure=again or secrets.token_hex(8),
        kind=at.subject.kind,
        id=at.subject.id,
        names=at.subject.names,
        pseudonym=at.subject.pseudonym,
        by=at.by,
        approved_by=approved_by,
        reason=at.reason,
        at=at.at.isoformat(),
        digest_before=current_digest(at.workspace),
        found=dict(found or count_places(at)),
        learned=learned,
        written=events_written_by(at),
        digests=digests or ErasedSubjects(at.workspace.root).digests(at.subject),
    )
    _write_journal(at.workspace, journal)
    return journal


def under_way(workspace: Workspace) -> Journal | None:
    """The erasure that was begun and not finished, if there is one.

    Raises:
        ErasureError: its journal cannot be read.
    """
    path = workspace.root / FOLDER / JOURNAL_FILE
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        newer = newer_format(content.pop("version", None), newest=VERSION, what=JOURNAL_FILE)
        if newer is not None:
            raise ErasureError(newer)
        lists = ("names", "learned", "written", "done", "digests")
        tuples = {name: tuple(content.get(name, ())) for name in lists}
        return Journal(**{**content, **tuples})
    except (ValueError, TypeError, KeyError) as exc:
        raise ErasureError(
            f"{FOLDER}/{JOURNAL_FILE} cannot be read ({exc}), so an erasure may be half done. Erase "
            f"the same subject again after removing that file."
        ) from exc


def finish_erasure(
    at: SubjectRequest,
    journal: Journal,
    *,
    clock: Callable[[], datetime],
    progress: Progress = lambda name: None,
) -> Receipt:
    """Go through all places that are not done yet, look at all again, write the receipt.

    Raises:
        ErasureError: another process is at it.
    """
    with _alone(at.workspace):
        for draft in (at.workspace.root / FOLDER).glob(f".{JOURNAL_FILE}.*.tmp"):
            draft.unlink(missing_ok=True)  # of an erasure that was killed: it names the subject
        subject, erased = journal.subject, ErasedSubjects(at.workspace.root)
        began = datetime.fromisoformat(journal.at)
        at = replace(
            at,
            subject=subject,
            by=journal.by,
            at=began,
            reason=journal.reason,
            digest_before=journal.digest_before,
            written=journal.written,
        )
        digests = journal.digests or erased.digests(subject)
        erased.add_digests(digests, kind=subject.kind, at=began, erasure=journal.erasure)
        for place in ERASERS:
            if place.name not in journal.done:
                progress(place.name)
                with locked_for_long(place.name, then=RESUME):
                    place.erase(at)
                journal = replace(journal, done=(*journal.done, place.name))
                _write_journal(at.workspace, journal)
        left = _look_again(at, progress)
        return _end(at, journal, digests, left, clock())


def _look_again(at: SubjectRequest, progress: Progress) -> dict[str, int]:
    """What places still hold, after what was written meanwhile was erased too."""
    progress("looking again")
    for _ in range(MOST_ROUNDS):
        left = {name: count for name, count in count_places(at).items() if count}
        if not left:
            return {}
        for place in ERASERS:
            if place.name in left:
                with locked_for_long(place.name, then=RESUME):
                    place.erase(at)
        time.sleep(SECONDS_BETWEEN_ROUNDS)
    return {name: count for name, count in count_places(at).items() if count}


def _end(
    at: SubjectRequest,
    journal: Journal,
    digests: tuple[str, ...],
    left: Mapping[str, int],
    now: datetime,
) -> Receipt:
    receipt = Receipt(
        erasure=journal.erasure,
        kind=journal.kind,
        digests=digests,
        by=journal.by,
        approved_by=journal.approved_by,
        reason=journal.reason,
        began_at=journal.at,
        ended_at=now.isoformat(),
        found=journal.found,
        left=left,
        learned=journal.learned,
    )
    if at.key is not None:
        receipt = replace(receipt, signature=at.key.signature(receipt.content()))
    content = {**receipt.to_dict(), "signature": receipt.signature}
    path = at.workspace.root / FOLDER / RECEIPT_FILE.format(receipt.erasure)
    write_atomically(path, json.dumps(content, indent=1, ensure_ascii=False).encode())
    (at.workspace.root / FOLDER / JOURNAL_FILE).unlink()
    return receipt


def is_signed(file: Path, key: SigningKey) -> bool:
    """Whether a key signed a receipt as it is now."""
    content = json.loads(file.read_text(encoding="utf-8"))
    signature = content.pop("signature") or ""
    signed = json.dumps(content, sort_keys=True, ensure_ascii=False).encode()
    return key.has_signed(signed, signature)


def request_erasure(at: SubjectRequest) -> str:
    """Note that somebody asks for an erasure that a second person has to approve; its id."""
    request = secrets.token_hex(4)
    content = {
        "version": VERSION,
        "kind": at.subject.kind,
        "id": at.subject.id,
        "names": list(at.subject.names),
        "by": at.by,
        "reason": at.reason,
        "at": at.at.isoformat(),
    }
    path = at.workspace.root / FOLDER / REQUEST_FILE.format(request)
    write_atomically(path, json.dumps(content, indent=1, ensure_ascii=False).encode())
    return request


def take_request(workspace: Workspace, request: str, *, by: str) -> Mapping[str, Any]:
    """What was asked for, if this person may approve it.

    Raises:
        ErasureError: nobody asked for it, or this person did.
    """
    path = workspace.root / FOLDER / REQUEST_FILE.format(request)
    if not request.isalnum() or not path.exists():
        raise ErasureError(
            f"Nobody has asked for an erasure {request!r:.40}. One person asks (keepwell erase "
            f"account ID), which prints the id to approve; another one approves."
        )
    content: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    newer = newer_format(content.get("version"), newest=VERSION, what=path.name)
    if newer is not None:
        raise ErasureError(newer)
    if " ".join(str(content["by"]).split()).casefold() == " ".join(by.split()).casefold():
        raise ErasureError(f"{by} asked for this erasure, so somebody else has to approve it.")
    return content


def drop_request(workspace: Workspace, request: str) -> None:
    """Forget a request: it was carried out."""
    (workspace.root / FOLDER / REQUEST_FILE.format(request)).unlink(missing_ok=True)


def _write_journal(workspace: Workspace, journal: Journal) -> None:
    content = {"version": VERSION, **vars(journal)}
    path = workspace.root / FOLDER / JOURNAL_FILE
    write_atomically(path, json.dumps(content, indent=1, ensure_ascii=False).encode())
    path.chmod(0o600)


@contextmanager
def _alone(workspace: Workspace) -> Iterator[None]:
    busy = "Another process is erasing in this workspace. Wait for it to end."
    with hold_lock(workspace.root / FOLDER, busy=busy):
        yield
