"""Feast gives back what the snapshots hold, through the offline and through the online store."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from feast import FeatureView, Field, FileSource
from feast.types import Int64
from polars.testing import assert_frame_equal

from features.catalogue import catalogue
from features.feast_store import FeatureStoreError, WorkspaceFeatures, account
from features.packed_store import Layout, PackedStoreError
from features.snapshots import SnapshotError, SnapshotStore, build_snapshots
from features.telemetry import Event, events_frame, properties_text
from features.workspace import Workspace

FIRST = datetime(2024, 1, 1, tzinfo=UTC)
AS_OFS = (datetime(2024, 2, 1, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC))


def few_events() -> list[Event]:
    events = []
    for number, account_id in enumerate(("acme", "zeta")):
        terms = properties_text({"seats": 5, "price_plan": "Starter", "renewal_on": "2024-12-31"})
        events.append(Event(account_id=account_id, kind="contract.started", quantity=100.0,
                            event_id=f"c{number}", occurred_at=FIRST, recorded_at=FIRST,
                            properties=terms))
        for day in range(1, 50, number + 2):
            moment = FIRST + timedelta(days=day)
            events.append(Event(account_id=account_id, kind="feature.used", user_id="u1",
                                event_id=f"f{number}-{day}", occurred_at=moment,
                                recorded_at=moment, properties=properties_text({"name": "search"})))
    return events


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, pl.DataFrame]:
    workspace = Workspace(tmp_path_factory.mktemp("workspace"), environment={})
    workspace.change_settings(use_names=("search",), max_feature_age_days=20.0)
    frame = build_snapshots(
        events_frame(few_events()), AS_OFS, catalogue(("search",)),
        first_recorded={"contract.started": FIRST, "feature.used": FIRST})
    SnapshotStore(workspace.snapshots_dir).write(frame)
    return workspace, frame


def test_the_historical_join_gives_the_snapshots(filled: tuple[Workspace, pl.DataFrame]) -> None:
    workspace, frame = filled
    rows = frame.select("account_id", "as_of").reverse()
    joined = WorkspaceFeatures(workspace).historical(rows)
    expected = rows.join(frame, on=["account_id", "as_of"], maintain_order="left")
    assert_frame_equal(joined, expected.select(joined.columns), check_exact=True)


def test_the_historical_join_reads_only_the_columns_asked_for(
    filled: tuple[Workspace, pl.DataFrame],
) -> None:
    workspace, frame = filled
    joined = WorkspaceFeatures(workspace).historical(frame.select("account_id", "as_of"),
                                                     ["mrr", "price_plan"])
    assert joined.columns == ["account_id", "as_of", "mrr", "price_plan"]


def test_a_snapshot_older_than_the_maximum_age_is_unknown(
    filled: tuple[Workspace, pl.DataFrame],
) -> None:
    workspace, _ = filled
    late = pl.DataFrame({"account_id": ["acme"] * 2,
                         "as_of": [AS_OFS[1] + timedelta(days=days) for days in (10, 40)]})
    joined = WorkspaceFeatures(workspace).historical(late, ["mrr"])
    assert joined["mrr"].to_list() == [100.0, None]


def test_the_online_store_gives_the_newest_snapshot(
    filled: tuple[Workspace, pl.DataFrame],
) -> None:
    workspace, frame = filled
    features = WorkspaceFeatures(workspace)
    assert features.publish(frame.reverse()) == 2
    answer = features.online(["zeta", "acme", "nobody"])
    newest = frame.filter(pl.col("as_of") == AS_OFS[1]).sort("account_id", descending=True)
    assert_frame_equal(answer, newest.select(answer.columns), check_exact=True)


def test_an_older_snapshot_never_replaces_a_newer_one(
    filled: tuple[Workspace, pl.DataFrame],
) -> None:
    workspace, frame = filled
    features = WorkspaceFeatures(workspace)
    features.publish(frame)
    features.publish(frame.filter(pl.col("as_of") == AS_OFS[0]))
    assert features.online(["acme"])["as_of"].to_list() == [AS_OFS[1]]


def test_feast_itself_writes_what_the_arrow_path_writes(
    filled: tuple[Workspace, pl.DataFrame],
) -> None:
    workspace, frame = filled
    features = WorkspaceFeatures(workspace)
    features.publish(frame)
    own = features.online(["acme", "zeta"])
    workspace.online_db.unlink()
    again = WorkspaceFeatures(workspace)
    again.store.materialize(AS_OFS[0] - timedelta(days=1), AS_OFS[1] + timedelta(days=1),
                            disable_event_timestamp=False)
    assert_frame_equal(again.online(["acme", "zeta"]), own, check_exact=True)


def test_plain_feast_commands_see_the_views(filled: tuple[Workspace, pl.DataFrame]) -> None:
    workspace, _ = filled
    command = shutil.which("feast", path=str(Path(sys.executable).parent))
    assert command is not None
    root = Path(__file__).parents[2]
    environment = {**os.environ, "KEEPWELL_WORKSPACE": str(workspace.root),
                   "PYTHONPATH": str(root), "PYTHONWARNINGS": "ignore"}
    for words in (["apply"], ["feature-views", "list"]):
        done = subprocess.run([command, "-c", str(root / "features" / "feast_repo"), *words],
                              env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    for theme in ("account_adoption", "account_contract", "account_attributes"):
        assert theme in done.stdout


def test_without_snapshots_the_error_says_how_to_make_some(tmp_path: Path) -> None:
    features = WorkspaceFeatures(Workspace(tmp_path, environment={}))
    rows = pl.DataFrame({"account_id": ["acme"], "as_of": [AS_OFS[0]]})
    with pytest.raises(FeatureStoreError, match="keepwell snapshot"):
        features.historical(rows)
    with pytest.raises(SnapshotError, match="There is none yet"):
        SnapshotStore(tmp_path / "snapshots").read(AS_OFS[0])
    with pytest.raises(SnapshotError, match="There is no snapshot in"):
        SnapshotStore(tmp_path / "snapshots").read_all()


def test_a_name_that_the_catalogue_lacks_is_refused(
    filled: tuple[Workspace, pl.DataFrame],
) -> None:
    workspace, frame = filled
    with pytest.raises(FeatureStoreError, match="no happiness"):
        WorkspaceFeatures(workspace).historical(frame.select("account_id", "as_of"), ["happiness"])


def test_a_field_that_the_packed_row_can_not_hold_is_refused(tmp_path: Path) -> None:
    view = FeatureView(name="odd", entities=[account], schema=[Field(name="n", dtype=Int64)],
                       source=FileSource(path=str(tmp_path / "x.parquet"), timestamp_field="t"))
    with pytest.raises(PackedStoreError, match=r"odd\.n"):
        Layout.of_view(view)
