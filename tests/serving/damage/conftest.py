"""A small company with everything in its workspace, and another one whose files are put in its place."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from damaged_workspace import write_report
from small_company import AS_OF, READS, add_model, event, make_bundle, make_workspace

from features.events.schema import events_frame
from features.lake.lake import Lake
from features.workspace import Workspace
from registry.store.mlflow import MlflowModelStore

MORE_EVENTS = [event("acct-03", "feature.used", 2.5, count=3, name="search")]


@pytest.fixture(scope="session")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """To be copied: events in two parts, two snapshots, a model in MLflow, a report."""
    root = tmp_path_factory.mktemp("damage") / "untouched"
    workspace = make_workspace(root)
    _add_events(workspace, "second")
    models = MlflowModelStore(workspace.tracking_uri)
    add_model(models, "churn", make_bundle(workspace, READS, [0.9, -0.7, -0.2, 0.1, -0.3]))
    write_report(root, title="Success calls")
    return root


@pytest.fixture(scope="session")
def other(untouched: Path) -> Path:
    """Another workspace: other accounts, a later generation of its lake, a run of another name."""
    root = untouched.with_name("other")
    workspace = make_workspace(root, more=[event("elsewhere", "user.session", 3, quantity=60.0)])
    write_report(root, title="Of others")
    workspace.change_settings(tenant="Others & Sons")
    for name in ("artifacts", "mlflow.db"):
        place = untouched / name
        (shutil.copytree if place.is_dir() else shutil.copy2)(place, root / name)
    with closing(sqlite3.connect(root / "mlflow.db")) as link, link:
        for table, column in (
            ("runs", "run_uuid"),
            ("latest_metrics", "run_uuid"),
            ("model_versions", "run_id"),
        ):
            link.execute(f"UPDATE {table} SET {column} = 'f' || substr({column}, 2)")
    for file in root.glob("artifacts/*/*/artifacts/bundle/*.npz"):
        np.savez(file, of_others=np.zeros(3))
    return root


@pytest.fixture
def workspace(untouched: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    root = tmp_path / "served"
    shutil.copytree(untouched, root)
    return root


def _add_events(workspace: Workspace, file: str) -> None:
    lake = Lake(workspace.events_dir, workspace.quarantine_dir)
    lake.append(events_frame(MORE_EVENTS), source="hand", file=file, now=AS_OF)
