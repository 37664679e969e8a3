"""The backfill gives the same snapshots whatever range of accounts it reads at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from polars.testing import assert_frame_equal

from features.backfill import backfill, month_starts
from features.lake import Lake
from features.snapshots import SnapshotError, SnapshotStore
from features.telemetry import Event, events_frame, properties_text
from features.workspace import Workspace

FIRST = datetime(2024, 1, 1, tzinfo=UTC)
END = datetime(2024, 4, 1, tzinfo=UTC)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path, environment={})
    events = []
    for account in ("a", "b", "c", "d"):
        events.append(Event(event_id=f"{account}-contract", account_id=account, quantity=50.0,
                            kind="contract.started", occurred_at=FIRST, recorded_at=FIRST,
                            properties=properties_text({"seats": 3})))
        events += [Event(event_id=f"{account}-{day}", account_id=account, kind="feature.used",
                         occurred_at=FIRST + timedelta(days=day),
                         recorded_at=FIRST + timedelta(days=day),
                         properties=properties_text({"name": "search"}))
                   for day in range(1, 80)]
    Lake(workspace.events_dir).append(events_frame(events), source="test", file="test", now=END,
                                      complete_until=END)
    return workspace


def test_ranges_of_accounts_change_nothing(workspace: Workspace) -> None:
    moments = month_starts(FIRST + timedelta(days=1), END)
    whole = backfill(workspace, moments)
    said: list[tuple[str, int, int]] = []
    parts = backfill(workspace, moments, events_at_once=100,
                     progress=lambda *step: said.append(step))
    assert_frame_equal(parts.sort("account_id", "as_of"), whole, check_exact=True)
    assert len(said) > 2
    kept = SnapshotStore(workspace.snapshots_dir)
    assert kept.moments() == moments
    assert_frame_equal(kept.read_all().sort("account_id", "as_of"), whole, check_exact=True)


def test_a_moment_after_the_end_of_the_data_is_refused(workspace: Workspace) -> None:
    with pytest.raises(SnapshotError, match="complete until 2024-04-01"):
        backfill(workspace, [END + timedelta(days=1)])


def test_a_moment_before_anything_was_known_is_refused(workspace: Workspace) -> None:
    with pytest.raises(SnapshotError, match="No account was known"):
        backfill(workspace, [FIRST])
