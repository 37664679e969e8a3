"""The interface of an eraser, which finds, exports and erases a subject in some places."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from features.events.subject import Subject
from features.workspace import Workspace
from registry.integrity.signing import SigningKey


@dataclass(frozen=True, kw_only=True)
class SubjectRequest:
    """A subject in a workspace, and who erases it when and why."""

    workspace: Workspace
    subject: Subject
    by: str
    at: datetime
    reason: str
    database: Path | str  # of the ledger and the outbox, where the settings name one
    outbox: Path | str
    key: SigningKey | None = field(default=None, repr=False)
    written: tuple[str, ...] = ()  # ids of events whose texts the subject wrote
    digest_before: str | None = None  # of snapshots that fit the lake of before


class Eraser(Protocol):
    """How a subject is found and erased in some places."""

    @property
    def name(self) -> str:
        """How plans and receipts call it."""
        ...

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths of ``PLACES`` that it is about."""
        ...

    def find(self, at: SubjectRequest) -> int:
        """How many rows, entries or files are about the subject or name it."""
        ...

    def held(self, at: SubjectRequest) -> Iterator[Mapping[str, object]]:
        """Each of them, as values that JSON can hold or that have a text."""
        ...

    def erase(self, at: SubjectRequest) -> int:
        """Erase it; how many were changed. Doing it again changes nothing more."""
        ...
