"""The command measures what logged actions cause, and says why where it cannot."""

from __future__ import annotations

import json
import subprocess
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from causal_worlds import event_world
from keepwell_command import run_keepwell

from experiments.effects.effects_file import read_effects
from features.compute.snapshot_store import SnapshotStore
from features.lake.lake import Lake
from features.workspace import Workspace

ROOT = Path(__file__).parents[2]


def effects(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return run_keepwell("effects", *words, "-w", "w", cwd=cwd)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "workspace.toml").write_text(
        "complete_until = 2026-01-01T00:00:00Z\n", encoding="utf-8"
    )
    return Workspace(tmp_path / "w")


def test_effects_are_measured_and_written_for_the_ranking_to_read(
    workspace: Workspace,
    tmp_path: Path,
) -> None:
    world = event_world(np.random.default_rng(3), programmes=("pilot",))
    Lake(workspace.events_dir, workspace.quarantine_dir).append(
        world.events, source="test", file="world", now=world.as_of
    )
    SnapshotStore(workspace.snapshots_dir).write(world.features)
    done = effects("--as-of", "2026-01-01", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "success_call" in done.stdout
    assert "No action that people decided about" in done.stdout
    found = read_effects(workspace.reports_dir).effects
    assert {effect.grade for effect in found} == {"A"}
    written = json.loads((workspace.reports_dir / "effects.json").read_text(encoding="utf-8"))
    assert {check["name"] for check in written["checks"]["success_call"]} >= {"balance", "overlap"}
    month = effects("--as-of", "2026-01-01", "--horizon", "30", cwd=tmp_path)
    assert month.returncode == 0, month.stderr
    assert "These effects over 30 days take the place of those over 90 days." in month.stdout
    assert {e.horizon_days for e in read_effects(workspace.reports_dir).effects} == {30}
    for words in ((), ("--horizon", "30")):
        done = run_keepwell("report", "--as-of", "2026-01-01", *words, "-w", "w", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    titles = {
        path.name: json.loads(path.read_text(encoding="utf-8"))["title"]
        for path in workspace.reports_dir.glob("report*.json")
    }
    assert titles == {
        "report.json": "What our actions caused",
        "report-30-days.json": "What our actions caused, followed for 30 days",
    }


def test_actions_are_followed_as_far_as_contracts_are_known(
    workspace: Workspace, tmp_path: Path
) -> None:
    world = event_world(np.random.default_rng(3), programmes=("pilot",))
    lake = Lake(workspace.events_dir, workspace.quarantine_dir)
    use_ends = world.as_of - timedelta(days=200)
    used = world.events.filter(pl.col("recorded_at") < use_ends).head(1)
    used = used.with_columns(
        event_id=pl.lit("used"), kind=pl.lit("user.session"), properties=pl.lit("{}")
    )
    for source, rows, end in (("crm", world.events, world.as_of), ("product", used, use_ends)):
        lake.append(rows, source=source, file="world", now=end, complete_until=end)
    SnapshotStore(workspace.snapshots_dir).write(world.features)
    workspace.change_settings(complete_until=lake.complete_until)
    assert workspace.settings.complete_until == use_ends
    done = effects(cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    written = json.loads((workspace.reports_dir / "effects.json").read_text(encoding="utf-8"))
    assert written["as_of"] == world.as_of.isoformat()


def test_a_workspace_without_snapshots_is_one_paragraph(
    workspace: Workspace,
    tmp_path: Path,
) -> None:
    world = event_world(np.random.default_rng(3), accounts=20, months=2)
    Lake(workspace.events_dir, workspace.quarantine_dir).append(
        world.events, source="test", file="world", now=world.as_of
    )
    done = effects("--as-of", "2026-01-01", cwd=tmp_path)
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert "There is no snapshot from before 2026-01-01" in " ".join(done.stderr.split())
    assert not (workspace.reports_dir / "effects.json").exists()
