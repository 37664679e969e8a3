"""Apply retention once a night while the service runs, in one of its processes."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from features.lake.admission.horizons import FOLDER
from features.workspace import Workspace
from features.workspace_files import WorkspaceBusyError
from serving.data_protection.retention.policy import POLICY_FILE
from serving.data_protection.retention.run import LAST_RUN_FILE, RetentionReceipt

log = logging.getLogger("keepwell.retention")

NIGHT_BEGINS = 2
"""The hour, in UTC, from which a new day's run is due."""


def is_due(last: datetime | None, now: datetime) -> bool:
    """Whether a run is due: none for a day, or none since this night began.

    >>> night = datetime(2026, 3, 2, 2, tzinfo=UTC)
    >>> [is_due(at, night) for at in (None, night - timedelta(hours=3), night)]
    [True, True, False]
    >>> is_due(night, night + timedelta(hours=21)), is_due(night, night + timedelta(hours=24))
    (False, True)
    >>> is_due(night + timedelta(days=365), night)
    True
    """
    if last is None or last > now + timedelta(days=1):  # by a clock that was put back since
        return True
    begins = now.astimezone(UTC).replace(hour=NIGHT_BEGINS, minute=0, second=0, microsecond=0)
    return now - last >= timedelta(days=1) or last < begins <= now


def last_run(workspace: Workspace) -> datetime | None:
    """When retention ran last; None where it never did, or nobody knows."""
    path = workspace.root / FOLDER / LAST_RUN_FILE
    try:
        return datetime.fromisoformat(json.loads(path.read_text(encoding="utf-8"))["at"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def run_if_due(
    workspace: Workspace, run: Callable[[], RetentionReceipt], *, now: datetime
) -> RetentionReceipt | None:
    """Run retention where the workspace has rules and a run is due; another process may be at it."""
    if not (workspace.root / POLICY_FILE).exists() or not is_due(last_run(workspace), now):
        return None
    try:
        receipt = run()
    except WorkspaceBusyError as busy:
        log.info("retention waits: %s", busy)
        return None
    if receipt.touched:
        log.info(
            "retention removed or changed %s entries: receipt %s", receipt.touched, receipt.run
        )
    return receipt
