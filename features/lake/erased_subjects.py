"""Remember whom the workspace forgot, without knowing them: keyed digests of their names.

The list lets ingestion leave out rows that would bring an erased subject back, and a restored backup
find whom to erase again: a name that is met is hashed and looked up. The key is a file of its own. Who
has the list alone learns how many were erased and when; who has both can only test a name.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
from collections.abc import Iterable, Mapping, Set
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl

from features.events.schema import LINE, PROPERTIES
from features.events.subject import SUBJECT_KINDS, Subject, SubjectKind
from features.events.validation import DraftPiece
from features.format_version import newer_format
from features.reloaded_file import ReloadedFile
from features.workspace_files import WorkspaceError, write_atomically

FOLDER = "erasures"
SUBJECTS_FILE, SECRET_FILE = "subjects.json", "subjects.secret"
VERSION = 1
BY = "by"
WRITTEN = ("reason", "comment", "note", "text")
"""Properties that hold what the person in the property ``by`` wrote."""

ERASED = "it is about an erased subject"
"""Why ingestion leaves a row out."""


@dataclass(frozen=True, kw_only=True)
class ErasedSubject:
    """Somebody who was erased: digests of the id and of further names."""

    kind: SubjectKind
    digests: tuple[str, ...]  # the first is that of the id
    erased_at: datetime
    erasure: str  # the id of the erasure, which its receipt has too


class ErasedSubjects:
    """The list of a workspace. Making the object makes no file."""

    def __init__(self, workspace: Path) -> None:
        self.folder = workspace / FOLDER
        self._reader = _list_file(self.folder / SUBJECTS_FILE)

    @property
    def entries(self) -> tuple[ErasedSubject, ...]:
        """Everybody who was erased and not allowed again.

        Raises:
            WorkspaceError: the list is damaged.
        """
        return self._reader.current()

    def add(self, subject: Subject, *, at: datetime, erasure: str) -> None:
        """Note an erasure; the same one is noted once."""
        self.add_digests(self.digests(subject), kind=subject.kind, at=at, erasure=erasure)

    def add_digests(
        self, digests: tuple[str, ...], *, kind: SubjectKind, at: datetime, erasure: str
    ) -> None:
        """Note the erasure of somebody of whom only the digests are known."""
        entry = ErasedSubject(kind=kind, digests=digests, erased_at=at, erasure=erasure)
        others = [one for one in self.entries if one.digests[0] != digests[0]]
        self._write((*others, entry))

    def digests(self, subject: Subject) -> tuple[str, ...]:
        """The digests of a subject: of its id, then of its further names."""
        return tuple(self.digest(subject.kind, name) for name in (subject.id, *subject.names))

    def allow(self, kind: SubjectKind, subject_id: str) -> bool:
        """Let a subject in again; False where nobody of this id was erased."""
        if not self.entries:
            return False
        digest = self.digest(kind, subject_id)
        left = tuple(one for one in self.entries if digest not in one.digests)
        if left == self.entries:
            return False
        self._write(left)
        return True

    def drop(self, erasure: str) -> None:
        """Let the subject of an erasure in again, whoever it is."""
        left = tuple(one for one in self.entries if one.erasure != erasure)
        if left != self.entries:
            self._write(left)

    @property
    def key(self) -> bytes | None:
        """The key of the digests; None as long as nobody has needed one."""
        path = self.folder / SECRET_FILE
        return path.read_bytes() if path.exists() else None

    def digest(self, kind: SubjectKind, name: str) -> str:
        """The keyed digest of a name of an account or of a person."""
        return hmac.digest(self._key(), f"{kind}\0{name}".encode(), "sha256").hex()

    def among(self, kind: SubjectKind, names: Iterable[str]) -> dict[str, ErasedSubject]:
        """Which of these names are those of erased subjects of this kind, each with its entry."""
        by_digest = {
            digest: one for one in self.entries if one.kind == kind for digest in one.digests
        }
        if not by_digest:
            return {}
        key, found = self._key(), {}
        for name in names:
            digest = hmac.digest(key, f"{kind}\0{name}".encode(), "sha256").hex()
            if digest in by_digest:
                found[name] = by_digest[digest]
        return found

    def mark(self, piece: DraftPiece) -> DraftPiece:
        """A piece of a file in which rows about erased subjects are left out.

        Where a person is only named by a property, the row stays, without that property, and
        quarantine shows nothing of it.
        """
        draft = piece.draft
        if not self.entries or draft.is_empty():
            return piece
        erased = pl.lit(False)
        for column, kind in (("account_id", "account"), ("user_id", "person")):
            names = draft[column].drop_nulls().unique().to_list()
            found = list(self.among(kind, names))  # type: ignore[arg-type]
            if found:
                erased = erased | pl.col(column).is_in(found).fill_null(value=False)
        marked = draft.with_columns(
            pl.when(erased).then(pl.lit(ERASED)).otherwise("left").alias("left")
        )
        without = self._without_names(marked["properties"].drop_nulls().unique().to_list())
        if not without:
            return replace(piece, draft=marked)
        named = pl.Series(list(without), dtype=pl.String).implode()
        lines = marked.filter(pl.col("properties").is_in(named))[LINE].implode()
        raw = piece.raw.with_columns(
            pl.when(pl.col(LINE).is_in(lines)).then(None).otherwise(pl.col(name)).alias(name)
            for name in piece.raw.columns
            if name != LINE
        )
        changed = marked.with_columns(
            pl.col("properties").replace(list(without), list(without.values()))
        )
        return replace(piece, draft=changed, raw=raw)

    def _without_names(self, texts: Iterable[str]) -> dict[str, str]:
        """Properties that name an erased person, and the same without that name."""
        read = {text: _properties(text) for text in texts}
        named: dict[SubjectKind, set[str]] = {
            kind: set(
                self.among(
                    kind,
                    {value for one in read.values() for value in one.values() if _is_name(value)},
                )
            )
            for kind in SUBJECT_KINDS
        }
        if not any(named.values()):
            return {}
        gone = set().union(*named.values())
        return {
            text: PROPERTIES.encode(_without(one, gone))
            for text, one in read.items()
            if gone & {value for value in one.values() if _is_name(value)}
        }

    def _key(self) -> bytes:
        path = self.folder / SECRET_FILE
        if not path.exists():
            if self.entries:
                raise WorkspaceError(
                    f"{FOLDER}/{SECRET_FILE} is missing, so nobody can tell who was erased. Put it "
                    f"back from a backup."
                )
            self.folder.mkdir(parents=True, exist_ok=True)
            draft = path.with_name(f"{SECRET_FILE}.{secrets.token_hex(4)}")
            with os.fdopen(os.open(draft, os.O_CREAT | os.O_WRONLY, 0o600), "wb") as file:
                file.write(secrets.token_bytes(32))
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(draft, path)  # whoever is first has made it
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        return path.read_bytes()

    def _write(self, entries: tuple[ErasedSubject, ...]) -> None:
        content = {
            "version": VERSION,
            "subjects": [
                {**asdict(one), "erased_at": one.erased_at.astimezone(UTC).isoformat()}
                for one in entries
            ],
        }
        write_atomically(self.folder / SUBJECTS_FILE, json.dumps(content, indent=1).encode())


@lru_cache(maxsize=16)
def _list_file(path: Path) -> ReloadedFile[tuple[ErasedSubject, ...]]:
    return ReloadedFile(path, _read, tuple)


def _read(path: Path) -> tuple[ErasedSubject, ...]:
    try:
        content: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        newer = newer_format(content.get("version"), newest=VERSION, what=path.name)
        if newer is None:
            return tuple(
                ErasedSubject(
                    kind=one["kind"],
                    digests=tuple(one["digests"]),
                    erased_at=datetime.fromisoformat(one["erased_at"]),
                    erasure=one["erasure"],
                )
                for one in content["subjects"]
            )
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise WorkspaceError(
            f"{FOLDER}/{path.name} cannot be read ({exc}). Put it back from a backup: without it, "
            f"data of erased subjects could come back."
        ) from exc
    raise WorkspaceError(newer)


def _properties(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _without(properties: Mapping[str, Any], names: Set[str]) -> dict[str, Any]:
    """Properties without these names, and without what the one in ``by`` wrote, if it is of them."""
    left = {name: value for name, value in properties.items() if value not in names}
    if BY in properties and BY not in left:
        left = {name: value for name, value in left.items() if name not in WRITTEN}
    return left


def _is_name(value: object) -> bool:
    return isinstance(value, str) and value != ""
