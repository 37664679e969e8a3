"""Read the snapshots that are whole, and make damaged ones again before somebody is looked for in them."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from features.compute.backfill import make_again
from features.compute.snapshot_store import DamagedSnapshotError, SnapshotError, SnapshotStore
from features.lake.manifest import LakeDamagedError
from features.store.feast import WorkspaceFeatures
from features.workspace import Workspace


def whole_snapshots(workspace: Workspace, *, newest_first: bool = False) -> Iterator[pl.DataFrame]:
    """The snapshots that are as they were written."""
    store = SnapshotStore(workspace.snapshots_dir)
    for moment in sorted(store.moments(), reverse=newest_first):
        try:
            yield store.read(moment)
        except DamagedSnapshotError:
            continue


def mend_snapshots(workspace: Workspace) -> tuple[str, ...]:
    """Make damaged snapshots again, before somebody is looked for in them; what was done, in words.

    One that the events do not hold any more is removed: nobody can see whom it names.

    Raises:
        WorkspaceBusyError: another process writes to the workspace.
    """
    store = SnapshotStore(workspace.snapshots_dir)
    if not store.damaged():
        return ()
    said = []
    with workspace.lock():
        for moment in store.damaged():
            try:
                why = make_again(workspace, moment, publish=WorkspaceFeatures(workspace).publish)
            except LakeDamagedError:
                raise  # nothing can be made of damaged events, and they have to be put back first
            except SnapshotError as exc:
                why = str(exc)
            name = store.path(moment).name
            if why is None:
                said.append(f"The snapshot {name} was damaged and was made again from the events.")
            else:
                store.remove(moment)
                said.append(
                    f"The snapshot {name} was damaged, and is removed, since nobody can see whom it "
                    f"names: {why} What can be computed is made with: keepwell snapshot --as-of "
                    f"{moment:%Y-%m-%d}"
                )
    return tuple(said)
