"""Apply again to a restored workspace what was switched off after its backup: API keys, stops, legal holds.

The workspace that is replaced still holds them. It is only read, from copies of its files. What cannot be
read there, or where no workspace is replaced, is named as not known. What was allowed again after the
backup stays switched off, since that is the safe side.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from features.lake.erased_subjects import ErasedSubjects
from features.workspace import Workspace
from features.workspace_files import WorkspaceError
from serving.auth.api_keys import KEYS_FILE
from serving.data_protection.erasure.holds import Holds
from serving.ledger.database.database import LedgerDatabase, database_errors
from serving.ledger.database.migrations import LedgerVersionError
from serving.ledger.errors import LedgerError, UnreadableDatabaseError
from serving.ledger.kill_switch import Control, Controls, stops
from serving.ledger.stores.api_keys import ApiKeyStore

KEYS, STOPS, HOLDS = "API keys that were revoked", "stops", "legal holds"


@dataclass(frozen=True, kw_only=True)
class AppliedSwitches:
    """What was applied again.

    Attributes:
        keys: the ids of keys that were revoked, or of which a secret was ended, after the backup.
        stops: the scopes of stops in words.
        holds: how many legal holds.
        not_known: what cannot be known, each with its reason.
    """

    keys: tuple[str, ...] = ()
    stops: tuple[str, ...] = ()
    holds: int = 0
    not_known: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FormerSwitches:
    """The stops of the workspace that is replaced, and why they are not known where they are not."""

    stops: tuple[Control, ...] = ()
    not_known: str | None = None


def former_stops(former: Workspace) -> FormerSwitches:
    """The stops that hold in the workspace that is replaced."""
    if not former.root.exists() or not any(former.root.iterdir()):
        return FormerSwitches(not_known=f"{STOPS} (no workspace was replaced)")
    if not former.ledger_db.exists():
        return FormerSwitches(not_known=f"{STOPS} (the former workspace holds no ledger.db)")
    found: list[Control] = []

    def read() -> None:
        with (
            _copied(former.ledger_db) as copy,
            database_errors(),
            closing(LedgerDatabase(copy, heads=())) as database,
        ):
            found.extend(stops(Controls(database).all()))

    problem = _problem_of(read)
    return FormerSwitches(
        stops=tuple(found), not_known=None if problem is None else f"{STOPS} ({problem})"
    )


def apply_stops(ledger: Path, former: FormerSwitches, *, now: datetime) -> tuple[str, ...]:
    """Record stops that a restored ledger does not hold; their scopes in words."""
    with closing(LedgerDatabase(ledger, heads=())) as database:
        controls = Controls(database)
        there = {one.scope for one in stops(controls.all())}
        lacking = [one for one in former.stops if one.scope not in there]
        for one in lacking:
            controls.record(
                "stop",
                one.scope,
                by=one.by,
                reason=f"{one.reason} (of {one.at:%Y-%m-%d %H:%M} UTC, set again by a restore)",
                at=now,
            )
    return tuple(one.scope.words for one in lacking)


def apply_keys_and_holds(former: Workspace, restored: Workspace) -> AppliedSwitches:
    """Revoke keys, end secrets and hold subjects in a restored workspace as in the one it replaces."""
    if not former.root.exists() or not any(former.root.iterdir()):
        return AppliedSwitches(
            not_known=tuple(f"{what} (no workspace was replaced)" for what in (KEYS, HOLDS))
        )
    keys: list[str] = []
    held: list[int] = []
    problems = {
        KEYS: _problem_of(lambda: keys.extend(_revoke_again(former, restored))),
        HOLDS: _problem_of(lambda: held.append(_hold_again(former, restored))),
    }
    return AppliedSwitches(
        keys=tuple(keys),
        holds=sum(held),
        not_known=tuple(f"{what} ({why})" for what, why in problems.items() if why is not None),
    )


def with_stops(
    applied: AppliedSwitches, words: tuple[str, ...], former: FormerSwitches
) -> AppliedSwitches:
    """The whole account: keys and holds, and the stops of the ledger."""
    lacking = () if former.not_known is None else (former.not_known,)
    return replace(applied, stops=words, not_known=(*applied.not_known, *lacking))


def _revoke_again(former: Workspace, restored: Workspace) -> list[str]:
    if not (former.root / KEYS_FILE).exists():
        if (restored.root / KEYS_FILE).exists():
            raise WorkspaceError(f"the former workspace holds no {KEYS_FILE}")
        return []
    if not (restored.root / KEYS_FILE).exists():
        return []
    changed = []
    with (
        _copied(former.root / KEYS_FILE) as copy,
        database_errors(),
        closing(ApiKeyStore(copy)) as before,
        closing(ApiKeyStore(restored.root / KEYS_FILE)) as after,
        after.changing() as change,
    ):
        known = before.keys()
        for key_id, key in change.keys().items():
            later = known.get(key_id)
            if later is None:
                continue
            is_changed = later.revoked_at is not None and key.revoked_at is None
            if later.revoked_at is not None and key.revoked_at is None:
                change.revoke(key_id, later.revoked_at)
            ends = {one.digest: one.ends_at for one in later.secrets}
            for secret in key.secrets:
                ends_at = ends.get(secret.digest)
                if ends_at is not None and (secret.ends_at is None or ends_at < secret.ends_at):
                    change.end_secret(secret.digest, ends_at)
                    is_changed = True
            if is_changed:
                changed.append(key_id)
    return changed


def _hold_again(former: Workspace, restored: Workspace) -> int:
    holds = Holds(former).all()
    if not holds:
        return 0
    if ErasedSubjects(former.root).key != ErasedSubjects(restored.root).key:
        raise WorkspaceError("erasures/subjects.secret of the former workspace is another one")
    return Holds(restored).take_over(holds)


def _problem_of(read: Callable[[], None]) -> str | None:
    try:
        read()
    except (
        WorkspaceError,
        LedgerError,
        LedgerVersionError,
        UnreadableDatabaseError,
        OSError,
        sqlite3.Error,
    ) as error:
        return str(error).rstrip(".")
    return None


@contextmanager
def _copied(file: Path) -> Iterator[Path]:
    """A copy of a database that nobody has open, so that reading changes nothing of it."""
    with tempfile.TemporaryDirectory() as folder:
        for ending in ("", "-wal"):
            part = file.with_name(file.name + ending)
            if part.exists():
                shutil.copy2(part, Path(folder) / part.name)
        yield Path(folder) / file.name
