"""From and up to which moment data teach: the cutoffs with use, and the end of what decides an outcome.

Exports end on different days. A table of contracts that reaches a month further than the logs of use
tells what became of the accounts in that month, so labels go by its end, and features by theirs. Before the
first use was known, features say nothing, so a cutoff from then (made to see what has changed in four weeks,
say) is none.
"""

from __future__ import annotations

from datetime import datetime

from features.compute.snapshot_store import SnapshotStore
from features.lake.lake import Lake
from features.workspace import Workspace
from training.dataset.labels import Label


def outcome_end(workspace: Workspace, label: Label) -> datetime | None:
    """Up to when the tables that decide a label are whole; None where nothing says so.

    An end that somebody wrote into ``workspace.toml``, other than that of the tables, holds for all.
    """
    stated = workspace.settings.complete_until
    manifest = Lake(workspace.events_dir, workspace.quarantine_dir).manifest
    if stated != manifest.complete_until:
        return stated
    return manifest.complete_until_for(label.reads)


def known_until(workspace: Workspace, label: Label, as_of: datetime | None) -> datetime:
    """Up to when a label is known to who asks at a moment; None: as far as the tables that decide it.

    Raises:
        WorkspaceError: nothing states a moment.
    """
    end = outcome_end(workspace, label)
    asked = as_of or workspace.settings.clock or end or workspace.now()
    return asked if end is None else min(asked, end)


def first_use(workspace: Workspace) -> datetime | None:
    """When the first event came to be known that is no contract and no attribute; None without any."""
    known = Lake(workspace.events_dir, workspace.quarantine_dir).manifest.first_recorded
    return min((at for kind, at in known.items() if not says_who_or_contract(kind)), default=None)


def cutoffs_with_use(workspace: Workspace) -> tuple[datetime, ...]:
    """The moments of the snapshots, without those before the first use; all of them where there is no use."""
    moments = SnapshotStore(workspace.snapshots_dir).moments()
    first = first_use(workspace)
    later = tuple(at for at in moments if first is None or at > first)
    return later or moments


def says_who_or_contract(kind: str) -> bool:
    """Whether a kind of event tells of a contract or an attribute, and not of what an account did."""
    return kind.startswith("contract.") or kind == "account.updated"
