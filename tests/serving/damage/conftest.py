"""A small company with everything in its workspace, and another one whose files are put in its place."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from damaged_workspace import make_key, write_report
from small_company import AS_OF, READS, add_model, event, make_bundle, make_workspace

from experiments.effects.belief import MeasuredEffects
from experiments.effects.effects_file import write_effects
from experiments.policy.contact.limits_file import LIMITS_FILE
from features.events.schema import events_frame
from features.health.formula import FORMULAS
from features.health.formula_text import formula_text
from features.lake.lake import Lake
from features.workspace import FORMULA_FILE, Workspace
from registry.store.mlflow import MlflowModelStore
from serving.decisions.exploration_settings import CHANCE_FILE
from serving.decisions.saved_plan import SavedPlan, save_plan
from serving.ledger.kill_switch import Controls, Scope
from serving.ledger.ledger import Ledger

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
    _add_settings(workspace)
    _add_stop(workspace, "ann")
    return root


@pytest.fixture(scope="session")
def other(untouched: Path) -> Path:
    """Another workspace: other accounts, a later generation of its lake, a run of another name."""
    root = untouched.with_name("other")
    workspace = make_workspace(root, more=[event("elsewhere", "user.session", 3, quantity=60.0)])
    write_report(root, title="Of others")
    _add_settings(workspace)
    workspace.change_settings(tenant="Others & Sons")
    make_key(root)
    _add_stop(workspace, "bob")
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


def _add_settings(workspace: Workspace) -> None:
    root = workspace.root
    own = replace(FORMULAS["balanced"], id="own", former_id=None)
    (root / FORMULA_FILE).write_text(formula_text(own))
    workspace.change_settings(health_formula="own")
    (root / CHANCE_FILE).write_text('explore = true\nkey_id = "2026"\n')
    (root / LIMITS_FILE).write_text("caution = 1.0\n")
    write_effects(MeasuredEffects(), workspace.reports_dir)
    plan = SavedPlan(
        as_of=AS_OF,
        made_at=AS_OF,
        made_by="key-1",
        currency="USD",
        value=1.0,
        share_of_bound=0.9,
        actions=3,
        waiting=4,
        limits=(),
    )
    save_plan(workspace, plan)


def _add_stop(workspace: Workspace, by: str) -> None:
    with closing(Ledger(workspace.ledger_db)) as ledger:
        scope = Scope(action="success_call")
        Controls(ledger.database).record("stop", scope, by=by, reason="x" * 500, at=AS_OF)


def _add_events(workspace: Workspace, file: str) -> None:
    lake = Lake(workspace.events_dir, workspace.quarantine_dir)
    lake.append(events_frame(MORE_EVENTS), source="hand", file=file, now=AS_OF)
