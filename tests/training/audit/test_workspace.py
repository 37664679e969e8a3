"""The history of an audit is what the workspace knew at the moment that is asked about."""

from __future__ import annotations

from datetime import timedelta

from features.events.schema import Event, events_frame
from features.lake.lake import Lake
from features.workspace import Workspace
from training.audit.workspace import history_of


def test_the_history_holds_no_correction_that_was_recorded_later(tmp_path, timelines) -> None:
    first = timelines.event("a", "contract.started", "2026-01-01", 100.0)
    corrected = timelines.event("a", "contract.started", "2026-01-01", 250.0, recorded="2026-03-01")
    workspace = Workspace(tmp_path)
    lake = Lake(workspace.events_dir, workspace.quarantine_dir)
    for version in (first, corrected):
        frame = events_frame([Event(**{**vars(version), "event_id": "x"})])
        lake.append(frame, source="test", file="made", now=corrected.recorded_at)

    def versions(day: str) -> list[tuple[object, ...]]:
        events = history_of(workspace, as_of=timelines.at(day)).events.collect()
        return events.sort("recorded_at").select("quantity", "superseded_at").rows()

    after = corrected.recorded_at + timedelta(days=1)
    assert versions("2026-02-01") == [(100.0, None)]
    assert versions(f"{after:%Y-%m-%d}") == [(100.0, corrected.recorded_at), (250.0, None)]
