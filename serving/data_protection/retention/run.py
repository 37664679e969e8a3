"""Remove what is older than the rules of retention allow, and leave a receipt that counts it.

First the horizons are noted, so that no file brings back what goes; then the lake is aged, and older
entries of places are removed. Doing it again finds nothing more: a run that was killed is finished by the
next. Whoever is under a legal hold is left out, and counted.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from features.compute.backfill import snapshot_digest
from features.compute.snapshot_store import SnapshotStore
from features.lake.admission.horizons import FOLDER, Horizon, extend_horizons
from features.lake.lake import Lake
from features.lake.retention import HeldNames, LakeRetention, RetentionChanges
from features.workspace import Workspace
from features.workspace_files import hold_lock, locked_for_long, write_atomically
from registry.integrity.signing import SigningKey
from serving.data_protection.erasure.holds import Holds
from serving.data_protection.retention.policy import (
    MESSAGES,
    PLANS,
    QUARANTINE,
    SHADOW,
    Rule,
    horizons_of,
    read_rules,
)
from serving.ledger.stores.old_messages import remove_old_messages

LAST_RUN_FILE = "last-run.json"
RECEIPT_FILE = "receipt-{}.json"
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class AppliedRule:
    """What one rule came to.

    ``changed`` rows stay without whoever caused them, ``removed`` entries are gone, ``held_back``
    entries are of somebody under a legal hold.
    """

    what: str
    days: int
    because: str
    before: str
    changed: int = 0
    removed: int = 0
    held_back: int = 0


@dataclass(frozen=True, kw_only=True)
class RetentionReceipt:
    """What a run removed. It names nobody."""

    run: str
    at: str
    by: str
    rules: tuple[AppliedRule, ...]
    signature: str | None = None

    @property
    def touched(self) -> int:
        """How many entries were changed or removed."""
        return sum(one.changed + one.removed for one in self.rules)

    def content(self) -> dict[str, Any]:
        """The receipt as it is stored, without its signature."""
        return {
            "version": VERSION,
            "run": self.run,
            "at": self.at,
            "by": self.by,
            "rules": [asdict(one) for one in self.rules],
        }

    def signed(self) -> bytes:
        """What is signed."""
        return json.dumps(self.content(), sort_keys=True, ensure_ascii=False).encode()


def run_retention(
    workspace: Workspace,
    *,
    outbox: Path | str,
    now: datetime,
    by: str,
    key: SigningKey | None = None,
    dry_run: bool = False,
) -> RetentionReceipt:
    """Apply the rules of a workspace as of now; with ``dry_run`` only count.

    Raises:
        RetentionError: the rules cannot be read, or would remove what figures need.
        WorkspaceBusyError: another run is at it, or others write events for long.
    """
    rules = read_rules(workspace.root)
    horizons = horizons_of(
        rules,
        workspace.settings.catalogue,
        now=now,
    )
    with _alone(workspace):
        held = held_names(workspace)
        refused = next((one.before(now) for one in rules if one.what == QUARANTINE), None)
        lake = _age(workspace, horizons, held, refused, dry_run=dry_run)
        applied = tuple(_applied(workspace, one, lake, held, outbox, now, dry_run) for one in rules)
        receipt = RetentionReceipt(
            run=secrets.token_hex(8), at=now.astimezone(UTC).isoformat(), by=by, rules=applied
        )
        if not dry_run:
            receipt = _store(workspace, receipt, key)
    return receipt


def held_names(workspace: Workspace) -> HeldNames:
    """The accounts and persons in the lake that are under a legal hold, by list or by their data."""
    holds = Holds(workspace)
    by_data = holds.accounts_held_by_data()
    listed = holds.all()
    if not listed:
        return HeldNames(accounts=by_data)
    events = Lake(workspace.events_dir).scan()
    found: dict[str, frozenset[str]] = {}
    for kind, column in (("account", "account_id"), ("person", "user_id")):
        names = events.select(pl.col(column).drop_nulls().unique()).collect()[column]
        found[kind] = holds.held_among(kind, names)  # type: ignore[arg-type]
    resolved = len(found["account"]) + len(found["person"])
    return HeldNames(
        accounts=by_data | found["account"],
        persons=found["person"],
        some_unknown=resolved < len(listed),
    )


def _age(
    workspace: Workspace,
    horizons: Mapping[str, Horizon],
    held: HeldNames,
    refused_before: datetime | None,
    *,
    dry_run: bool,
) -> RetentionChanges:
    lake = Lake(workspace.events_dir, workspace.quarantine_dir)
    if not (horizons or refused_before) or not lake.manifest.generation:
        return RetentionChanges()
    ageing = LakeRetention(lake, horizons, held, refused_before=refused_before)
    if dry_run:
        return ageing.count()
    extend_horizons(workspace.root, horizons.values())
    before = snapshot_digest(lake.manifest, workspace.settings)
    aged = ageing.run()
    if aged.touched:
        _fit_snapshots(workspace, before)
    return aged


def _fit_snapshots(workspace: Workspace, before: str) -> None:
    """Let snapshots that fitted the lake of before fit the one of now: no value of theirs changes."""
    store = SnapshotStore(workspace.snapshots_dir)
    now = snapshot_digest(Lake(workspace.events_dir).manifest, workspace.settings)
    for moment in store.moments():
        if store.digest(moment) == before:
            store.write(store.read(moment), digest=now)


def _applied(
    workspace: Workspace,
    rule: Rule,
    lake: RetentionChanges,
    held: HeldNames,
    outbox: Path | str,
    now: datetime,
    dry_run: bool,
) -> AppliedRule:
    before = rule.before(now)
    changed, removed, held_back = 0, 0, 0
    if rule.what == QUARANTINE:
        removed, held_back = lake.refused_removed, lake.refused_held_back
    elif rule.what == MESSAGES:
        with locked_for_long("the outbox", then="Run it again when that process is done."):
            found = remove_old_messages(
                outbox,
                before,
                is_held=lambda account, body: account in held.accounts or held.is_in(body),
                only_count=dry_run,
            )
        removed, held_back = found.removed, found.held_back
    elif rule.what in (SHADOW, PLANS):
        folder = workspace.shadow_dir if rule.what == SHADOW else workspace.plans_dir
        removed, held_back = _remove_files(folder, before, held, dry_run=dry_run)
    else:
        changed, removed = lake.changed[rule.what], lake.removed[rule.what]
        held_back = lake.held_back[rule.what]
    return AppliedRule(
        what=rule.what,
        days=rule.days,
        because=rule.because,
        before=before.astimezone(UTC).isoformat(),
        changed=changed,
        removed=removed,
        held_back=held_back,
    )


def _remove_files(
    folder: Path, before: datetime, held: HeldNames, *, dry_run: bool
) -> tuple[int, int]:
    """Remove files that nobody has written to since; one that names who is held stays."""
    removed = held_back = 0
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.stat().st_mtime >= before.timestamp():
            continue
        if held.some_unknown or any(held.is_in(text) for text in _texts_of(path, held)):
            held_back += 1
            continue
        removed += 1
        if not dry_run:
            path.unlink(missing_ok=True)
    return removed, held_back


def _texts_of(path: Path, held: HeldNames) -> Iterable[str]:
    if not held.accounts | held.persons:
        return
    if path.suffix == ".parquet":
        frame = pl.read_parquet(path)
        for column in (name for name, dtype in frame.schema.items() if dtype == pl.String):
            yield from frame[column].drop_nulls().unique()
    else:
        yield path.read_text(encoding="utf-8", errors="replace")


def _store(
    workspace: Workspace, receipt: RetentionReceipt, key: SigningKey | None
) -> RetentionReceipt:
    """Write the receipt of a run that removed something, and note when the last run was."""
    folder = workspace.root / FOLDER
    if receipt.touched:
        signature = None if key is None else key.signature(receipt.signed())
        receipt = RetentionReceipt(**{**vars(receipt), "signature": signature})
        content = {**receipt.content(), "signature": signature}
        path = folder / RECEIPT_FILE.format(receipt.run)
        write_atomically(path, json.dumps(content, indent=1, ensure_ascii=False).encode())
    content = {"version": VERSION, "at": receipt.at, "run": receipt.run}
    write_atomically(folder / LAST_RUN_FILE, json.dumps(content, indent=1).encode())
    return receipt


@contextmanager
def _alone(workspace: Workspace) -> Iterator[None]:
    busy = "Another process is applying the rules of retention. Wait for it to end."
    with hold_lock(workspace.root / FOLDER, busy=busy):
        yield
