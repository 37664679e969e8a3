"""Which stores of a workspace the service looks at, and how."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from features.workspace_files import UnusableStoreError
from serving.auth.api_keys import ApiKeyError, ApiKeys
from serving.decisions.saved_reports import ReportFiles
from serving.scoring.models_served import models_problem, without_paths
from serving.state.store_conditions import Look, WatchedStore

if TYPE_CHECKING:
    from serving.state.service_state import ServiceState

PROBE = ".probe"
PROBE_BYTES = 4096


def watched_stores(service: ServiceState) -> tuple[WatchedStore, ...]:
    """The stores of a service, in the order in which they are shown."""
    workspace, clock = service.workspace, service.steady_clock
    reports = ReportFiles(workspace)
    return (
        WatchedStore(
            name="ledger",
            missing="nothing is decided, claimed, approved or reported; scores are served",
            look=lambda: without_paths(service.ledger_problem() or "") or None,
        ),
        WatchedStore(
            name="events",
            missing="timelines, next actions and what depends on them may be missing, and no events "
            "are taken",
            look=_refusal_of(service.timelines.check),
        ),
        WatchedStore(
            name="snapshots",
            missing="the snapshot before is used, or nothing is compared with that day",
            look=lambda: without_paths(service.rebuild.snapshots_problem() or "") or None,
        ),
        WatchedStore(
            name="online store",
            missing="scores go on from memory, and those of new events may be late",
            look=lambda: without_paths(service.rebuild.online_problem() or "") or None,
        ),
        WatchedStore(
            name="models",
            missing="the models in memory go on; after a start the champion before answers, or the "
            "health formula",
            look=lambda: models_problem(workspace, service.store),
        ),
        WatchedStore(
            name="reports",
            missing="a report that is damaged is not shown, and damaged effects are not counted on",
            look=lambda: without_paths(reports.problem() or "") or None,
        ),
        WatchedStore(
            name="settings",
            missing="the settings hold that were read before",
            look=lambda: without_paths(service.settings_problem() or "") or None,
        ),
        WatchedStore(
            name="keys",
            missing="no key is taken",
            look=lambda: _keys_problem(service.keys),
        ),
        WatchedStore(
            name="disk",
            missing="nothing new is stored",
            look=lambda: _disk_problem(workspace.root),
        ),
        WatchedStore(
            name="clock",
            missing="leases, keys and deadlines go by the steady time, and not by the clock",
            look=lambda: clock.problem if clock is not None else None,
        ),
    )


def _keys_problem(keys: ApiKeys) -> str | None:
    try:
        keys.all()
    except ApiKeyError as error:
        return without_paths(str(error))
    return None


WHAT_TO_DO = {
    errno.ENOSPC: "Make room on the disk.",
    errno.EDQUOT: "Make room on the disk, or let this user take more of it.",
    errno.EROFS: "Look for a fault of the disk: a file system is often made read-only after one. "
    "Then mount it for writing and start the service again.",
}
"""By the number of an operating system's error."""


def _refusal_of(check: Callable[[], object]) -> Look:
    def look() -> str | None:
        try:
            check()
        except UnusableStoreError as error:
            return without_paths(str(error))
        return None

    return look


def _disk_problem(folder: Path) -> str | None:
    """Why nothing can be written into a folder, by trying it."""
    probe = folder / f"{PROBE}.{os.getpid()}.tmp"
    try:
        probe.write_bytes(bytes(PROBE_BYTES))
        probe.unlink()
    except OSError as error:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)
        todo = WHAT_TO_DO.get(error.errno or 0, "Let the user of the service write there.")
        return f"The workspace cannot be written ({error.strerror}). {todo}"
    return None
