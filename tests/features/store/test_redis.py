"""The online features in Redis: a real server, a real socket, the same answers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from redis_server import SECRET, redis_server

from features.catalogue.catalogue import load_catalogue
from features.compute.snapshot_store import SnapshotStore
from features.compute.snapshots import build_snapshots
from features.events.schema import Event, events_frame, properties_text
from features.store.feast import WorkspaceFeatures
from features.workspace import Workspace

pytestmark = pytest.mark.redis

FIRST = datetime(2024, 1, 1, tzinfo=UTC)
AS_OFS = (datetime(2024, 2, 1, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Port of a Redis that keeps nothing and ends with the tests."""
    with redis_server(tmp_path_factory.mktemp("redis")) as port:
        yield port


@pytest.fixture
def workspace(
    server: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Workspace:
    monkeypatch.setenv("KEEPWELL_REDIS_PASSWORD", SECRET)
    number = list(request.session.items).index(request.node) % 16  # a database a test
    workspace = Workspace(tmp_path, environment={})
    workspace.change_settings(
        redis=f"127.0.0.1:{server},db={number},password=${{KEEPWELL_REDIS_PASSWORD}}"
    )
    return workspace


def snapshots(workspace: Workspace, mrr: float = 100.0) -> pl.DataFrame:
    terms = properties_text({"seats": 5, "price_plan": "Größe", "renewal_on": "2024-12-31"})
    events = [
        Event(
            account_id=name,
            kind="contract.started",
            quantity=mrr,
            event_id=name,
            occurred_at=FIRST,
            recorded_at=FIRST,
            properties=terms,
        )
        for name in ("acme", "zeta")
    ]
    frame = build_snapshots(
        events_frame(events), AS_OFS, load_catalogue(), first_recorded={"contract.started": FIRST}
    )
    SnapshotStore(workspace.snapshots_dir).write(frame)
    return frame


def test_redis_gives_the_newest_snapshot(workspace: Workspace) -> None:
    frame = snapshots(workspace)
    features = WorkspaceFeatures(workspace)
    assert features.online(["acme"]).is_empty()
    assert features.publish(frame) == 2
    answer = features.online(["zeta", "nobody", "acme"])
    newest = frame.filter(pl.col("as_of") == AS_OFS[1]).sort("account_id", descending=True)
    assert_frame_equal(answer, newest.select(answer.columns), check_exact=True)
    assert not workspace.online_db.exists()


def test_redis_and_the_packed_store_answer_the_same(workspace: Workspace, tmp_path: Path) -> None:
    frame = snapshots(workspace)
    packed = Workspace(tmp_path / "packed", environment={})
    answers = []
    for place in (workspace, packed):
        features = WorkspaceFeatures(place)
        features.publish(frame)
        answers.append(features.online(["zeta", "nobody", "acme", "acme"]))
    assert_frame_equal(*answers, check_exact=True)


def test_an_older_snapshot_is_left_out_and_one_made_again_arrives(workspace: Workspace) -> None:
    frame = snapshots(workspace)
    features = WorkspaceFeatures(workspace)
    features.publish(frame)
    features.publish(frame.filter(pl.col("as_of") == AS_OFS[0]))
    assert features.online(["acme"])["as_of"].to_list() == [AS_OFS[1]]
    features.publish(snapshots(workspace, mrr=90.0))
    assert features.online(["acme"])["mrr"].to_list() == [90.0]


def test_feast_itself_fills_redis_and_empties_it(workspace: Workspace) -> None:
    frame = snapshots(workspace)
    features = WorkspaceFeatures(workspace)
    features.store.materialize(
        AS_OFS[0] - timedelta(days=1), AS_OFS[1] + timedelta(days=1), disable_event_timestamp=False
    )
    answer = features.online(["acme"])
    newest = frame.filter(account_id="acme", as_of=AS_OFS[1])
    assert_frame_equal(answer, newest.select(answer.columns), check_exact=True)
    features.store.teardown()
    assert WorkspaceFeatures(workspace).online(["acme"]).is_empty()
