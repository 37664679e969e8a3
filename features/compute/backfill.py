"""Compute the snapshots of a workspace's accounts at chosen moments.

Reads the lake by account range, runs the sweep, publishes the newest snapshots to the online store and
writes the files. Memory holds the events of a few ranges, not of the whole history, and the snapshots
of all accounts and moments until they are written, about 1.8 kB each.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

import polars as pl

from features._dates import format_moment
from features.compute.account_ranges import AccountRanges
from features.compute.encode import columns_read, encode_timelines
from features.compute.lost_columns import keep_stored_values, lost_columns
from features.compute.snapshot_store import SnapshotError, SnapshotStore
from features.compute.snapshots import compute_snapshots
from features.lake.admission.horizons import applied_horizons
from features.lake.lake import Lake
from features.lake.manifest import Manifest
from features.workspace import Workspace, WorkspaceSettings

EVENTS_AT_ONCE = 300_000
"""Events of one range of accounts. As many ranges as cores, and two more, are in memory."""

Progress = Callable[[str, int, int], None]


def month_starts(first: datetime, last: datetime) -> tuple[datetime, ...]:
    """The starts of the months from ``first`` to ``last``, both included.

    >>> from datetime import UTC
    >>> [d.month for d in month_starts(datetime(2023, 11, 2, tzinfo=UTC),
    ...                                datetime(2024, 1, 1, tzinfo=UTC))]
    [12, 1]
    """
    months = range(first.year * 12 + first.month - 1, last.year * 12 + last.month)
    starts = (
        first.replace(
            year=m // 12, month=m % 12 + 1, day=1, hour=0, minute=0, second=0, microsecond=0
        )
        for m in months
    )
    return tuple(start for start in starts if first <= start <= last)


def backfill(
    workspace: Workspace,
    as_ofs: Sequence[datetime],
    *,
    progress: Progress | None = None,
    events_at_once: int = EVENTS_AT_ONCE,
    publish: Callable[[pl.DataFrame], object] | None = None,
) -> pl.DataFrame:
    """Compute and write the snapshots of every account at these moments.

    ``publish`` gets the snapshots before their files are written. If the process is killed in
    between, a file is missing, and the next run computes and publishes it again. So no file has
    features that were not published.

    Returns:
        The snapshots that were written.

    Raises:
        SnapshotError: nothing was known at any of the moments, or one lies after the data.
    """
    lake = Lake(workspace.events_dir, workspace.quarantine_dir)
    manifest, settings = lake.manifest, workspace.settings  # others may write while this reads
    check_moments(as_ofs, manifest)
    digest = snapshot_digest(manifest, settings)
    features = settings.catalogue
    expressed = {kind for feature in features.expressions for kind in feature.reads}
    threads = len(os.sched_getaffinity(0))  # the process may not use all cores
    frames: list[pl.DataFrame] = []

    def made(events: pl.DataFrame, whole: pl.DataFrame) -> pl.DataFrame:
        return compute_snapshots(
            [encode_timelines(events, features)],
            whole,
            as_ofs,
            features,
            first_recorded=manifest.first_recorded,
            formula=settings.formula,
        )

    ranges = AccountRanges(
        lake,
        columns_read(features),
        events_at_once=events_at_once,
        threads=threads,
        whole_kinds=expressed,
        manifest=manifest,
    )
    for frame in ranges.map_ranges(made):
        if progress is not None:
            progress("accounts", len(frames), len(ranges))
        frames.append(frame)
    if progress is not None:
        progress("accounts", len(ranges), len(ranges))
    if not frames or sum(frame.height for frame in frames) == 0:
        raise empty_backfill_error()
    store = SnapshotStore(workspace.snapshots_dir)
    horizons = applied_horizons(workspace.root)
    snapshots = keep_stored_values(pl.concat(frames), store, features, settings.formula, horizons)
    if publish is not None:
        publish(snapshots)
    store.write(snapshots, digest=digest)
    return snapshots


def snapshot_digest(manifest: Manifest, settings: WorkspaceSettings) -> str:
    """Digest of everything that decides a snapshot: events, declarations, health formula."""
    parts = (
        manifest.digest,
        sorted(settings.catalogue.digests.items()),
        settings.formula.version,
    )
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()


def find_stale_moments(workspace: Workspace, as_ofs: Iterable[datetime]) -> tuple[datetime, ...]:
    """The moments without a snapshot, or with one made from other events or declarations."""
    store = SnapshotStore(workspace.snapshots_dir)
    now = snapshot_digest(Lake(workspace.events_dir).manifest, workspace.settings)
    return tuple(moment for moment in as_ofs if store.digest(moment) != now)


def empty_backfill_error() -> SnapshotError:
    """The error of a backfill that would be empty."""
    return SnapshotError(
        "No account was known at the moments asked for. Choose later ones, or ingest the "
        "events that lie before them (keepwell ingest)."
    )


def check_moments(as_ofs: Sequence[datetime], manifest: Manifest) -> None:
    """Refuse moments for which the sources are not complete.

    Raises:
        SnapshotError: a moment lies after the end of the data.
    """
    end = manifest.complete_until
    late = [moment for moment in as_ofs if end is not None and moment > end]
    if end is not None and late:
        raise SnapshotError(
            f"The sources are complete until {format_moment(end)}, and a snapshot as of "
            f"{format_moment(min(late))} would miss what happened since. Choose "
            f"{format_moment(end)} or earlier, or ingest newer files."
        )


def make_again(
    workspace: Workspace,
    moment: datetime,
    *,
    publish: Callable[[pl.DataFrame], object] | None = None,
) -> str | None:
    """Make a damaged snapshot again from the events; or why they do not hold what it was made of.

    The lock of the workspace is held here.
    """
    settings = workspace.settings
    lost = lost_columns(
        settings.catalogue,
        settings.formula,
        applied_horizons(workspace.root),
        moment,
    )
    if lost:
        return f"Retention has removed events that {len(lost)} features of this day were computed from."
    backfill(workspace, [moment], publish=publish)
    if moment in SnapshotStore(workspace.snapshots_dir).damaged():
        return "No account was known on that day."
    return None
