"""Feast gives back what the snapshots hold, through the offline and through the online store."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from feast import FeatureStore
from polars.testing import assert_frame_equal

from features.catalogue.catalogue import load_catalogue
from features.compute.snapshot_store import SnapshotError, SnapshotStore
from features.compute.snapshots import build_snapshots
from features.events.schema import Event, events_frame, properties_text
from features.store.feast import FeatureStoreError, WorkspaceFeatures
from features.workspace import Workspace

FIRST = datetime(2024, 1, 1, tzinfo=UTC)
AS_OFS = (datetime(2024, 2, 1, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC))


def few_events() -> list[Event]:
    events = []
    for number, account_id in enumerate(("acme", "zeta")):
        terms = properties_text({"seats": 5, "price_plan": "Starter", "renewal_on": "2024-12-31"})
        events.append(
            Event(
                account_id=account_id,
                kind="contract.started",
                quantity=100.0,
                event_id=f"c{number}",
                occurred_at=FIRST,
                recorded_at=FIRST,
                properties=terms,
            )
        )
        for day in range(1, 50, number + 2):
            moment = FIRST + timedelta(days=day)
            events.append(
                Event(
                    account_id=account_id,
                    kind="feature.used",
                    user_id="u1",
                    event_id=f"f{number}-{day}",
                    occurred_at=moment,
                    recorded_at=moment,
                    properties=properties_text({"name": "search"}),
                )
            )
    return events


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, pl.DataFrame]:
    workspace = Workspace(tmp_path_factory.mktemp("workspace"), environment={})
    workspace.change_settings(use_names=("search",), max_feature_age_days=20.0)
    frame = build_snapshots(
        events_frame(few_events()),
        AS_OFS,
        load_catalogue(("search",)),
        first_recorded={"contract.started": FIRST, "feature.used": FIRST},
    )
    SnapshotStore(workspace.snapshots_dir).write(frame)
    return workspace, frame


def test_the_historical_join_gives_the_snapshots(filled: tuple[Workspace, pl.DataFrame]) -> None:
    workspace, frame = filled
    rows = frame.select("account_id", "as_of").reverse()
    joined = WorkspaceFeatures(workspace).historical(rows)
    expected = rows.join(frame, on=["account_id", "as_of"], maintain_order="left")
    assert_frame_equal(joined, expected.select(joined.columns), check_exact=True)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_data_scientist_reads_the_rows_of_the_snapshots(
    filled: tuple[Workspace, pl.DataFrame],
) -> None:
    """Plain Feast, at any moment: the newest snapshot of the account that is not too old."""
    workspace, frame = filled
    rng = random.Random(4)
    seconds = [-1, 0, 1, 86_400 * 20, *rng.sample(range(5_000_000), 20)]
    rows = pl.DataFrame(
        [
            (
                rng.choice(["acme", "zeta", "nobody"]),
                AS_OFS[0] + timedelta(seconds=rng.choice(seconds)),
            )
            for _ in range(60)
        ],
        schema=["account_id", "at"],
        orient="row",
    ).unique()
    entities = rows.rename({"at": "event_timestamp"}).to_pandas()
    features = WorkspaceFeatures(workspace)
    names = ["mrr", "feature_uses_28d", "days_since_feature_use", "price_plan"]
    table = features.store.get_historical_features(
        entities, features=features.references
    ).to_arrow()
    joined = pl.DataFrame(pl.from_arrow(table)).select(
        "account_id", pl.col("event_timestamp").cast(pl.Datetime("us", "UTC")).alias("at"), *names
    )
    expected = rows.sort("at").join_asof(
        frame.sort("as_of"),
        left_on="at",
        right_on="as_of",
        by="account_id",
        strategy="backward",
        tolerance=timedelta(days=20),
        check_sortedness=False,
    )
    keys = ["account_id", "at"]
    assert_frame_equal(
        joined.sort(keys), expected.select(joined.columns).sort(keys), check_exact=True
    )
    assert joined["mrr"].null_count() not in (0, joined.height)


def test_the_historical_join_reads_only_the_columns_asked_for(
    filled: tuple[Workspace, pl.DataFrame],
) -> None:
    workspace, frame = filled
    joined = WorkspaceFeatures(workspace).historical(
        frame.select("account_id", "as_of"), ["mrr", "price_plan"]
    )
    assert joined.columns == ["account_id", "as_of", "mrr", "price_plan"]


def test_a_snapshot_older_than_the_maximum_age_is_unknown(
    filled: tuple[Workspace, pl.DataFrame],
) -> None:
    workspace, _ = filled
    late = pl.DataFrame(
        {
            "account_id": ["acme"] * 2,
            "as_of": [AS_OFS[1] + timedelta(days=days) for days in (10, 40)],
        }
    )
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


def test_the_registry_is_written_only_when_a_declaration_changed(
    filled: tuple[Workspace, pl.DataFrame],
) -> None:
    workspace, _ = filled
    registry = workspace.feast_dir / "registry.db"
    WorkspaceFeatures(workspace).online(["acme"])
    before = registry.read_bytes()
    WorkspaceFeatures(workspace).online(["acme"])
    assert registry.read_bytes() == before
    workspace.change_settings(max_feature_age_days=21.0)
    try:
        WorkspaceFeatures(workspace).online(["acme"])
        assert registry.read_bytes() != before
    finally:
        workspace.change_settings(max_feature_age_days=20.0)


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
    again.store.materialize(
        AS_OFS[0] - timedelta(days=1), AS_OFS[1] + timedelta(days=1), disable_event_timestamp=False
    )
    assert_frame_equal(again.online(["acme", "zeta"]), own, check_exact=True)


def test_without_snapshots_the_error_says_how_to_make_some(tmp_path: Path) -> None:
    features = WorkspaceFeatures(Workspace(tmp_path, environment={}))
    rows = pl.DataFrame({"account_id": ["acme"], "as_of": [AS_OFS[0]]})
    with pytest.raises(FeatureStoreError, match="keepwell snapshot"):
        features.historical(rows)
    with pytest.raises(SnapshotError, match="There is none yet"):
        SnapshotStore(tmp_path / "snapshots").read(AS_OFS[0])
    with pytest.raises(SnapshotError, match="There is no snapshot in"):
        SnapshotStore(tmp_path / "snapshots").read_all()


def test_snapshots_made_before_a_feature_was_declared_are_to_be_made_again(
    filled: tuple[Workspace, pl.DataFrame],
    tmp_path: Path,
) -> None:
    _, frame = filled
    workspace = Workspace(tmp_path, environment={})
    workspace.change_settings(use_names=("search",))
    older = frame.filter(pl.col("as_of") == AS_OFS[0]).drop("mrr", "health_score")
    snapshots = SnapshotStore(workspace.snapshots_dir)
    snapshots.write(older)
    snapshots.write(frame.filter(pl.col("as_of") == AS_OFS[1]))
    expected = r"1 of 2 snapshots \(as_of_20240201T000000Z.*first\).*2 of.*\(health_score, mrr\)"
    with pytest.raises(FeatureStoreError, match=expected):
        WorkspaceFeatures(workspace).historical(frame.select("account_id", "as_of"))
    snapshots.write(frame.filter(pl.col("as_of") == AS_OFS[0]))
    assert (
        WorkspaceFeatures(workspace).historical(frame.select("account_id", "as_of")).height
        == frame.height
    )


def test_a_name_that_the_catalogue_lacks_is_refused(
    filled: tuple[Workspace, pl.DataFrame],
) -> None:
    workspace, frame = filled
    with pytest.raises(FeatureStoreError, match="no happiness"):
        WorkspaceFeatures(workspace).historical(frame.select("account_id", "as_of"), ["happiness"])


def test_a_notebook_reads_what_a_model_version_reads_by_its_name(filled):
    workspace, frame = filled
    features = WorkspaceFeatures(workspace)
    names = ["mrr", "health_score", features.catalogue.names[0]]
    features.add_service("keepwell-churn-v1", names, about="What it reads.", tags={"a": "b"})
    plain = FeatureStore(repo_path=str(workspace.feast_dir))
    service = plain.get_feature_service("keepwell-churn-v1")
    rows = frame.select("account_id", pl.col("as_of").alias("event_timestamp")).to_pandas()
    read = plain.get_historical_features(rows, features=service).to_df()
    assert set(read.columns) == {"account_id", "event_timestamp", *names}
    read = pl.from_pandas(read).sort("account_id", "event_timestamp")
    kept = frame.sort("account_id", "as_of")
    for name in names:
        assert read[name].to_list() == kept[name].to_list()
    again = WorkspaceFeatures(workspace).store  # opening the workspace again keeps it
    assert [one.name for one in again.list_feature_services()] == ["keepwell-churn-v1"]
    with pytest.raises(FeatureStoreError, match="no_such"):
        features.add_service("keepwell-churn-v2", ["no_such"], about="", tags={})
