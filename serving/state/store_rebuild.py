"""Make damaged snapshots and a damaged online store again, from the events, beside answering.

Of the processes that serve a workspace, the one that holds its lock does it. Nothing is made again while
a command writes, an erasure or the rules of retention are under way. What failed is tried again after a
while that doubles, and at once when the events or the damage have changed.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import datetime, timedelta

import polars as pl

from features.compute.backfill import make_again
from features.compute.snapshot_store import DamagedSnapshotError, SnapshotError, SnapshotStore
from features.lake.admission import horizons
from features.lake.erased_subjects import FOLDER as ERASURES
from features.lake.lake import Lake
from features.reloaded_file import stamp_of
from features.store.feast import WorkspaceFeatures
from features.streaming.refresh import AccountRefresh
from features.workspace import Workspace
from features.workspace_files import (
    UnusableStoreError,
    WorkspaceBusyError,
    WorkspaceError,
    hold_lock,
)
from serving.scoring.models_served import without_paths

log = logging.getLogger("keepwell.serving")

ONLINE_PAUSE = timedelta(minutes=5)
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=30), timedelta(hours=1)

BUSY = "Another process is at work on this workspace, and snapshots are made again after it."


class StoreRebuild:
    """Makes again what can be computed from the events of a workspace.

    Args:
        workspace: the workspace.
        features: its online store, to which a newer snapshot is published.
        seconds: a steady count of seconds, for pauses.
    """

    def __init__(
        self,
        workspace: Workspace,
        features: WorkspaceFeatures,
        *,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._workspace = workspace
        self._features = features
        self._snapshots = SnapshotStore(workspace.snapshots_dir)
        self._seconds = seconds
        self._failed: Hashable = None
        self._pause = FIRST_PAUSE
        self._again_at = 0.0
        self._said = ""
        self._online_said = ""
        self._online_failed: str | None = None
        self._online_again_at = 0.0
        self.online_made = 0

    def snapshots_problem(self) -> str | None:
        """What is wrong with the newest damaged snapshot, and what is done about it; None: nothing."""
        damaged = self._snapshots.damaged()
        if not damaged:
            return None
        reason = str(next(iter(damaged.values())))
        others = f" So are {len(damaged) - 1} older ones." if len(damaged) > 1 else ""
        return " ".join(filter(None, (reason + others, self._said)))

    def step(self) -> bool:
        """Make the newest damaged snapshot again, if there is one and it is time; whether it was made."""
        damaged = self._snapshots.damaged()
        if not damaged:
            self._all_is_well()
            self._list_snapshots()
            return False
        moment = next(iter(damaged))
        state = self._state(tuple(damaged))
        if state == self._failed and self._seconds() < self._again_at:
            return False
        try:
            with self._alone():
                if moment not in self._snapshots.damaged():
                    return True  # another process has made it
                self._said = "It is being made again from the events."
                log.warning("%s It is made again from the events.", damaged[moment])
                self._make(moment)
        except WorkspaceBusyError as error:
            self._said = f"It is made again once no other process is at work: {error}"
            return False
        except (SnapshotError, WorkspaceError, OSError, sqlite3.Error) as error:
            self._note_failure(state, without_paths(str(error)))
            return False
        except BaseException:
            self._note_failure(state, "the log says why.")
            raise
        log.info("the snapshot as of %s was made again", moment)
        self._all_is_well()
        return True

    def online_problem(self) -> str | None:
        """What is wrong with the online store, and what is done about it; None: nothing."""
        problem = self._features.online_problem()
        return problem and " ".join(filter(None, (problem, self._online_said)))

    def step_online(self) -> bool:
        """Make an online store again that is not the one that was written; whether it was made.

        It begins with the newest snapshot that is whole. What events have changed since follows.
        """
        problem = self._features.online_problem()
        if problem is None:
            self._online_said = ""
            return False
        if problem == self._online_failed and self._seconds() < self._online_again_at:
            return False
        try:
            with self._alone():
                if self._features.online_problem() is None:
                    return True  # another process has made it
                self._online_said = "It is being made again from the newest snapshot."
                log.warning("%s It is made again from the newest snapshot.", problem)
                self._features.rebuild_online(self._newest_whole())
                with closing(AccountRefresh(self._workspace)) as touched:
                    touched.start_over()
        except WorkspaceBusyError as error:
            self._online_said = f"It is made again once no other process is at work: {error}"
            return False
        except (SnapshotError, WorkspaceError, OSError, sqlite3.Error) as error:
            self._online_failed = problem
            self._online_again_at = self._seconds() + ONLINE_PAUSE.total_seconds()
            self._online_said = (
                f"It could not be made again: {error} It is tried again every "
                f"{ONLINE_PAUSE.total_seconds() / 60:g} minutes."
            )
            log.error("the online store could not be made again: %s", error)
            return False
        self._online_said, self._online_failed = "", None
        self.online_made += 1
        log.info("the online store was made again")
        return True

    def _newest_whole(self) -> pl.DataFrame:
        """The newest snapshot that is as it was written."""
        for moment in reversed(self._snapshots.moments()):
            with suppress(DamagedSnapshotError):
                return self._snapshots.read(moment)
        raise SnapshotError("There is no snapshot that is whole.")

    def _make(self, moment: datetime) -> None:
        why = make_again(self._workspace, moment, publish=self._features.publish)
        if why is not None:
            raise UnusableStoreError(
                f"{why} Put the file back from a backup; the command that is named above makes it "
                f"without what is lost."
            )

    def _list_snapshots(self) -> None:
        """Write the list of snapshots where an older version or a restored backup left none."""
        if self._snapshots.is_listed or not self._snapshots.moments():
            return
        with suppress(WorkspaceError, OSError), self._alone():
            pass

    @contextmanager
    def _alone(self) -> Iterator[None]:
        root = self._workspace.root
        with ExitStack() as locks:
            locks.enter_context(self._workspace.lock())
            for folder in (ERASURES, horizons.FOLDER):
                locks.enter_context(hold_lock(root / folder, busy=BUSY))
            self._snapshots.adopt()
            yield

    def _state(self, damaged: Hashable) -> Hashable:
        """What a failure depends on."""
        manifest = stamp_of(Lake(self._workspace.events_dir).folder / "manifest.json")
        return damaged, manifest

    def _note_failure(self, state: Hashable, why: str) -> None:
        self._pause = self._pause * 2 if state == self._failed else FIRST_PAUSE
        self._pause = min(self._pause, LONGEST_PAUSE)
        self._failed, self._again_at = state, self._seconds() + self._pause.total_seconds()
        self._said = (
            f"It could not be made again: {why} It is tried again when events come in, and every "
            f"{self._pause.total_seconds() / 60:g} minutes."
        )
        log.error("a snapshot could not be made again: %s", why)

    def _all_is_well(self) -> None:
        self._failed, self._pause, self._said = None, FIRST_PAUSE, ""
