"""Online features in a real Redis: nothing of an erased subject is left in any of its keys."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from redis import Redis
from redis_server import SECRET, redis_server
from small_company import AS_OF

from features.compute.snapshot_store import SnapshotStore
from features.events.subject import Subject
from features.store.feast import WorkspaceFeatures
from features.workspace import Workspace
from serving.data_protection.erasure.erase import begin_erasure, finish_erasure
from serving.data_protection.erasure.protocol import SubjectRequest
from serving.ledger.stores.outbox_tables import FILE

pytestmark = pytest.mark.redis

NOW = datetime(2026, 3, 2, tzinfo=UTC)


@pytest.fixture
def place(
    untouched_workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Workspace, Redis]]:
    monkeypatch.setenv("KEEPWELL_REDIS_PASSWORD", SECRET)
    (tmp_path / "redis").mkdir()
    with redis_server(tmp_path / "redis") as port:
        shutil.copytree(untouched_workspace.root, tmp_path / "own")
        workspace = Workspace(tmp_path / "own", environment={})
        workspace.change_settings(
            redis=f"127.0.0.1:{port},db=0,password=${{KEEPWELL_REDIS_PASSWORD}}"
        )
        snapshot = SnapshotStore(workspace.snapshots_dir).read(AS_OF)
        WorkspaceFeatures(workspace).publish(snapshot)
        with Redis(port=port, password=SECRET) as client:
            yield workspace, client


def everything_in(client: Redis) -> bytes:
    """Every key with all its fields."""
    found = []
    for key in client.scan_iter():
        found += [key, *(part for pair in client.hgetall(key).items() for part in pair)]
    return b"\n".join(found)


def erase(workspace: Workspace, subject: Subject) -> None:
    at = SubjectRequest(
        workspace=workspace,
        subject=subject,
        by="dpo",
        at=NOW,
        reason="letter 17",
        database=workspace.ledger_db,
        outbox=workspace.root / FILE,
    )
    journal = begin_erasure(at)
    assert journal.found["online features"] > 0
    assert finish_erasure(at, journal, clock=lambda: NOW).left == {}


def test_redis_forgets_an_account_and_a_person(place: tuple[Workspace, Redis]) -> None:
    workspace, client = place
    before = everything_in(client)
    assert b"acct-07" in before
    assert b"csm-1" in before
    assert b"Company 07" in before
    others = WorkspaceFeatures(workspace).online(["acct-08"])
    erase(workspace, Subject(kind="account", id="acct-07"))
    erase(workspace, Subject(kind="person", id="csm-1"))
    after = everything_in(client)
    for text in (b"acct-07", b"Company 07", b"csm-1"):
        assert text not in after
    assert WorkspaceFeatures(workspace).online(["acct-07"]).is_empty()
    left = WorkspaceFeatures(workspace).online(["acct-08"])
    assert left.equals(others, null_equal=True)
    online = WorkspaceFeatures(workspace).online(["acct-04"])
    assert online["csm"][0].startswith("erased-")
    assert online.select(pl.col(pl.Float64)).null_count().sum_horizontal()[0] < online.width
