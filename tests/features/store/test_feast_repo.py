"""A data scientist uses the workspace's feature repository with plain ``feast`` commands."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from feast import FeatureStore

from features.catalogue.catalogue import load_catalogue
from features.compute.snapshot_store import SnapshotStore
from features.compute.snapshots import build_snapshots
from features.events.schema import Event, events_frame, properties_text
from features.store.feast import WorkspaceFeatures
from features.store.feast_repo import FeastRepoError, configuration, write_repo
from features.workspace import Workspace

FIRST = datetime(2024, 1, 1, tzinfo=UTC)
AS_OFS = (datetime(2024, 2, 1, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC))
ROOT = Path(__file__).parents[3]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path / "first", environment={})
    workspace.change_settings(clock=AS_OFS[1])
    terms = properties_text({"seats": 5, "price_plan": "Starter", "renewal_on": "2024-12-31"})
    events = [
        Event(
            account_id=name,
            kind="contract.started",
            quantity=100.0,
            event_id=name,
            occurred_at=FIRST,
            recorded_at=FIRST,
            properties=terms,
        )
        for name in ("acme", "zeta")
    ]
    SnapshotStore(workspace.snapshots_dir).write(
        build_snapshots(
            events_frame(events),
            AS_OFS,
            load_catalogue(),
            first_recorded={"contract.started": FIRST},
        )
    )
    return workspace


FEAST = Path(sys.executable).parent / "feast"
ONE_AFTER_ANOTHER = """
import sys
from feast.cli.cli import cli  # what the command imports, which takes five seconds

for line in sys.argv[1:]:
    cli.main(line.split(), standalone_mode=False)
"""


def feast(workspace: Workspace, *command: str | Path) -> str:
    done = subprocess.run(
        command,
        cwd=workspace.feast_dir,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONWARNINGS": "ignore", "COLUMNS": "200"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_plain_feast_commands_apply_list_and_fill_the_store(workspace: Workspace) -> None:
    write_repo(workspace)
    said = feast(
        workspace,
        sys.executable,
        "-c",
        ONE_AFTER_ANOTHER,
        "apply",
        "feature-views list",
        "materialize 2024-01-15T00:00:00 2024-02-15T00:00:00 --views account_contract",
    )
    _, head, listed = said.partition("NAME ")
    assert head
    for theme in ("account_adoption", "account_contract", "account_attributes"):
        assert theme in listed
    features = WorkspaceFeatures(workspace)
    february = features.store.get_online_features(
        features=["account_contract:tenure_days"], entity_rows=[{"account_id": "acme"}]
    ).to_dict()
    feast(
        workspace,
        FEAST,
        "materialize-incremental",
        "2024-03-02T00:00:00",
        "--views",
        "account_contract",
    )
    march = features.store.get_online_features(
        features=["account_contract:tenure_days"], entity_rows=[{"account_id": "acme"}]
    ).to_dict()
    assert (february["tenure_days"], march["tenure_days"]) == ([31.0], [60.0])


def test_what_feast_registers_lies_in_the_workspace_wherever_it_is_asked_from(
    workspace: Workspace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    WorkspaceFeatures(workspace).publish(SnapshotStore(workspace.snapshots_dir).read(AS_OFS[1]))
    assert WorkspaceFeatures(workspace).online(["acme"])["mrr"].to_list() == [100.0]
    assert list(elsewhere.iterdir()) == []
    assert (workspace.feast_dir / "registry.db").exists()
    plain = FeatureStore(repo_path=str(workspace.feast_dir))
    assert "account_contract" in {view.name for view in plain.list_feature_views()}


def test_the_repository_moves_with_its_workspace(workspace: Workspace) -> None:
    snapshot = SnapshotStore(workspace.snapshots_dir).read(AS_OFS[1])
    WorkspaceFeatures(workspace).publish(snapshot)
    moved = Workspace(workspace.root.rename(workspace.root.with_name("second")), environment={})
    assert WorkspaceFeatures(moved).online(["acme"])["mrr"].to_list() == [100.0]
    rows = pl.DataFrame({"account_id": ["acme"], "as_of": [AS_OFS[1]]})
    assert WorkspaceFeatures(moved).historical(rows, ["mrr"])["mrr"].to_list() == [100.0]
    assert not workspace.root.exists()


def test_ages_are_measured_at_the_clock_of_the_workspace(workspace: Workspace) -> None:
    assert configuration(workspace).online_store.now == AS_OFS[1]
    workspace.change_settings(clock=AS_OFS[1] + timedelta(days=1))
    assert configuration(workspace).online_store.now == AS_OFS[1] + timedelta(days=1)
    workspace.change_settings(clock=None)
    assert configuration(workspace).online_store.now is None


def test_the_repository_is_written_only_where_it_differs(workspace: Workspace) -> None:
    configuration(workspace)
    written = {path: path.stat().st_mtime_ns for path in workspace.feast_dir.iterdir()}
    configuration(workspace)
    assert {path: path.stat().st_mtime_ns for path in workspace.feast_dir.iterdir()} == written


@pytest.mark.parametrize("text", ["$KEEPWELL_NO_SECRET", "${KEEPWELL_NO_SECRET}"])
def test_a_variable_that_is_not_set_is_named(workspace: Workspace, text: str) -> None:
    workspace.change_settings(redis=f"localhost:6379,password={text}")
    with pytest.raises(FeastRepoError, match="names KEEPWELL_NO_SECRET, which the environment"):
        configuration(workspace)


def test_a_secret_stays_out_of_the_files(
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KEEPWELL_SECRET", "open sesame")
    workspace.change_settings(redis='h:1,db=0,password="${KEEPWELL_SECRET}"')
    assert "sesame" in configuration(workspace).online_store.connection_string
    texts = [path.read_text(encoding="utf-8") for path in workspace.feast_dir.iterdir()]
    assert not any("sesame" in text for text in texts)
