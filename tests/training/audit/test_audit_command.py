"""The command `keepwell audit` ends with 1 on a leaky file and with 0 on an honest one."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from keepwell_command import run_keepwell

from features.compute.backfill import backfill, month_starts
from features.compute.snapshot_store import SnapshotStore
from features.events.schema import EVENT_SCHEMA
from features.lake.lake import Lake
from features.workspace import Workspace
from training.audit.report import AuditError
from training.audit.workspace import set_of_workspace

ROOT = Path(__file__).parents[3]
END = datetime(2023, 6, 1, tzinfo=UTC)


def keepwell(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return run_keepwell(*words, cwd=cwd)


@pytest.fixture(scope="module")
def place(small_company, tmp_path_factory) -> Path:
    """A workspace with a small company's contracts and its snapshots, and an honest set of it."""
    root = tmp_path_factory.mktemp("audited")
    workspace = Workspace(root / "ws")
    company = small_company(n_accounts=60)
    lake = Lake(workspace.events_dir, workspace.quarantine_dir)
    lake.append(
        company.events.select(*EVENT_SCHEMA),
        source="test",
        file="events",
        now=company.known_until,
        complete_until=company.known_until,
    )
    workspace.change_settings(complete_until=END)
    backfill(workspace, month_starts(datetime(2023, 1, 1, tzinfo=UTC), END))
    snapshots = SnapshotStore(workspace.snapshots_dir).read_all()
    rng = np.random.default_rng(1)
    snapshots.select("account_id", "as_of", "mrr", "tenure_days", "renewals_count").with_columns(
        label=pl.Series(rng.random(snapshots.height) < 0.2)
    ).filter(pl.col("as_of") < END - timedelta(days=90)).write_parquet(root / "honest.parquet")
    return root


def test_an_honest_file_ends_with_zero(place: Path) -> None:
    done = keepwell("audit", "honest.parquet", "--horizon", "90", "-w", "ws", cwd=place)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 features: nothing was found." in done.stdout
    assert "there is no column split" in done.stdout


def test_a_leaky_file_ends_with_one_and_names_the_column(place: Path) -> None:
    honest = pl.read_parquet(place / "honest.parquet")
    honest.with_columns(reason_code=pl.col("label") * 3 + 1).write_parquet(place / "leaky.parquet")
    done = keepwell("audit", "leaky.parquet", "--out", "audit.json", "-w", "ws", cwd=place)
    assert done.returncode == 1, done.stderr
    assert "One feature alone is too good: reason_code" in done.stdout
    assert "AUC of 1.000" in done.stdout
    assert "→ Ask when this value is written." in done.stdout
    report = json.loads((place / "audit.json").read_text(encoding="utf-8"))
    assert not report["is_clean"]
    assert {finding["feature"] for finding in report["findings"]} == {"reason_code"}


def test_what_is_neither_a_label_nor_a_file_is_refused(place: Path) -> None:
    done = keepwell("audit", "chrun", "-w", "ws", cwd=place)
    assert done.returncode == 3
    assert "There is no label 'chrun', and no file of that name. Choose one of: churn," in " ".join(
        done.stderr.split()
    )


def test_the_label_and_the_horizon_are_named_as_in_a_training(place: Path) -> None:
    done = keepwell("audit", "expansion", "--horizon", "45", "-w", "ws", cwd=place)
    assert "within 45 days" in " ".join((done.stdout + done.stderr).split())


def test_snapshots_of_older_declarations_are_to_be_made_again(place: Path) -> None:
    workspace = Workspace(place / "ws")
    store = SnapshotStore(workspace.snapshots_dir)
    first = store.moments()[0]
    whole = store.read(first)
    whole.drop("mrr_per_seat").write_parquet(store.path(first))
    try:
        with pytest.raises(AuditError, match=r"lacks 1 feature\(s\) .* such as mrr_per_seat"):
            set_of_workspace(workspace, "churn", as_of=END)
    finally:
        whole.write_parquet(store.path(first))
