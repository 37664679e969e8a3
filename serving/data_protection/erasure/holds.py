"""Legal holds: subjects that must not be erased, with the reason and who said so.

Stored as keyed digests beside the list of the erased. The data themselves may say it too: the newest
``legal_hold`` of an account that is neither no nor empty holds it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import polars as pl

from features.events.subject import Subject, SubjectKind
from features.format_version import newer_format
from features.lake.erased_subjects import ErasedSubjects
from features.lake.lake import Lake
from features.workspace import Workspace
from features.workspace_files import WorkspaceError, write_atomically

HOLDS_FILE, FORMAT = "holds.json", 1
ALL_THAT_IS_KNOWN = datetime(9999, 1, 1, tzinfo=UTC)
NO_HOLD = ("", "no", "false", "0")


class HeldSubjectError(WorkspaceError):
    """The subject must not be erased."""


@dataclass(frozen=True, kw_only=True)
class Hold:
    """One hold, by the digest of the id."""

    kind: SubjectKind
    digest: str
    by: str
    at: str
    reason: str


class Holds:
    """The holds of a workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._erased = ErasedSubjects(workspace.root)
        self._path = self._erased.folder / HOLDS_FILE

    def all(self) -> tuple[Hold, ...]:
        """Every hold, oldest first."""
        if not self._path.exists():
            return ()
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
            if isinstance(content, list):  # as it was written before it stated a version
                content = {"holds": content}
            newer = newer_format(content.get("format"), newest=FORMAT, what=HOLDS_FILE)
            if newer is None:
                return tuple(Hold(**one) for one in content["holds"])
        except (ValueError, TypeError, KeyError, AttributeError) as exc:
            raise WorkspaceError(
                f"{self._path.name} cannot be read ({exc}), so nobody knows who is held. Put it back "
                f"from a backup; nothing is erased before."
            ) from exc
        raise WorkspaceError(newer)

    def add(
        self, kind: SubjectKind, subject_id: str, *, by: str, at: datetime, reason: str
    ) -> None:
        """Hold a subject from now on."""
        hold = Hold(
            kind=kind,
            digest=self._erased.digest(kind, subject_id),
            by=by,
            at=at.isoformat(),
            reason=reason,
        )
        others = [one for one in self.all() if one.digest != hold.digest]
        self._write([*others, hold])

    def end(self, kind: SubjectKind, subject_id: str) -> bool:
        """End a hold; False where there was none."""
        digest = self._erased.digest(kind, subject_id)
        left = [one for one in self.all() if one.digest != digest]
        if len(left) == len(self.all()):
            return False
        self._write(left)
        return True

    def take_over(self, holds: Iterable[Hold]) -> int:
        """Hold whoever is held elsewhere under the same key of digests; how many were not held here."""
        here = self.all()
        digests = {one.digest for one in here}
        new = [one for one in holds if one.digest not in digests]
        if new:
            self._write([*here, *new])
        return len(new)

    def check(self, subject: Subject) -> None:
        """Refuse to erase a subject that is held.

        Raises:
            HeldSubjectError: it is, with the reason.
        """
        digests = {self._erased.digest(subject.kind, name) for name in subject.all_names}
        for hold in self.all():
            if hold.digest in digests:
                raise HeldSubjectError(
                    f"This {subject.kind} is under a legal hold since {hold.at[:10]}, by {hold.by}: "
                    f"{hold.reason}. Nothing was erased. When the hold is over: keepwell erase "
                    f"release {subject.kind} ID"
                )
        if subject.kind == "account" and self._data_say_hold(subject.id):
            raise HeldSubjectError(
                "The data say that this account is under a legal hold (legal_hold of its newest "
                "account.updated). Nothing was erased. When it is over, let the source say no."
            )

    def held_among(self, kind: SubjectKind, names: Iterable[str]) -> frozenset[str]:
        """Which of these names are those of subjects that are held."""
        digests = {hold.digest for hold in self.all() if hold.kind == kind}
        if not digests:
            return frozenset()
        return frozenset(one for one in names if self._erased.digest(kind, one) in digests)

    def accounts_held_by_data(self) -> frozenset[str]:
        """The accounts of which the newest ``legal_hold`` of their data holds them."""
        said = (
            Lake(self._workspace.events_dir)
            .as_of(ALL_THAT_IS_KNOWN)
            .filter(
                pl.col("kind") == "account.updated",
                pl.col("properties").str.contains('"legal_hold"', literal=True),
            )
            .sort("occurred_at", "recorded_at")
            .group_by("account_id", maintain_order=True)
            .last()
            .select("account_id", "properties")
            .collect()
        )
        newest = {account: json.loads(text).get("legal_hold") for account, text in said.iter_rows()}
        return frozenset(
            account
            for account, value in newest.items()
            if str(value).strip().casefold() not in NO_HOLD
        )

    def _data_say_hold(self, account_id: str) -> bool:
        return account_id in self.accounts_held_by_data()

    def _write(self, holds: list[Hold]) -> None:
        content = {"format": FORMAT, "holds": [asdict(one) for one in holds]}
        write_atomically(self._path, json.dumps(content, indent=1).encode())
