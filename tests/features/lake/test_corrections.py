"""A correction holds from when it was recorded; what was answered before stays as it was."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from features.compute.backfill import backfill
from features.compute.snapshot_store import SnapshotStore
from features.ingest.run import ingest
from features.lake.lake import Lake
from features.workspace import Workspace

MAPPING = """
name = "shop"
complete_until = 2026-06-01T00:00:00Z
[tables.use]
files = ["*.csv"]
kind = "feature.used"
event_id = "id"
account = "company"
occurred_at = "at"
recorded_at = "known"
event_count = "n"
"""
FIRST = "x,a,2026-03-01T00:00:00Z,2026-03-01T00:00:00Z,5\n"
CORRECTED = "x,a,2026-03-01T00:00:00Z,2026-03-10T00:00:00Z,7\n"
OTHER = "y,a,2026-03-02T00:00:00Z,2026-03-02T00:00:00Z,100\n"
BEFORE, AT, AFTER = (datetime(2026, 3, day, tzinfo=UTC) for day in (9, 10, 11))


def ingested(folder: Path, *files: str) -> Workspace:
    (folder / "mapping.toml").write_text(MAPPING)
    workspace = Workspace(folder / "workspace", environment={})
    for number, rows in enumerate(files):
        path = folder / f"use_{number}.csv"
        path.write_text("id,company,at,known,n\n" + rows)
        ingest(workspace, [path], folder / "mapping.toml")
    return workspace


def uses(workspace: Workspace, *as_ofs: datetime) -> list[float]:
    frame = backfill(workspace, as_ofs).sort("as_of")
    return frame["feature_uses_28d"].to_list()


@pytest.mark.parametrize(
    "files",
    [
        (FIRST + OTHER, CORRECTED),
        (FIRST + OTHER + CORRECTED,),
        (CORRECTED + OTHER + FIRST,),  # an export that begins with the newest row
    ],
    ids=["in two files", "in one file", "newest first"],
)
def test_a_correction_supersedes_from_its_knowledge_time_on(tmp_path, files):
    workspace = ingested(tmp_path, *files)
    versions = Lake(workspace.events_dir).scan().filter(event_id="x").sort("recorded_at").collect()
    assert versions.select("event_count", "superseded_at").rows() == [(5, AT), (7, None)]
    assert uses(workspace, BEFORE, AT, AFTER) == [105, 105, 107]


def test_old_snapshots_stay_as_they_were(tmp_path):
    workspace = ingested(tmp_path, FIRST + OTHER)
    before = backfill(workspace, (BEFORE,))
    path = SnapshotStore(workspace.snapshots_dir).path(BEFORE)
    written = pl.read_parquet(path)
    (tmp_path / "use_9.csv").write_text("id,company,at,known,n\n" + CORRECTED)
    ingest(workspace, [tmp_path / "use_9.csv"], tmp_path / "mapping.toml")
    assert_frame_equal(pl.read_parquet(path), written, check_exact=True)
    assert_frame_equal(backfill(workspace, (BEFORE,)), before, check_exact=True)
    assert uses(workspace, AFTER) == [107]
