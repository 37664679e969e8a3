"""A service of a region takes no event of another one, and stores nothing of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
from canary_world import canary
from fastapi.testclient import TestClient

from features.workspace import Workspace
from registry.store.store import MemoryModelStore


def held(root: Path, number: int) -> bool:
    wanted = canary(number)
    for path in root.rglob("*"):
        if path.is_file() and wanted.encode() in path.read_bytes():
            return True
        if path.suffix == ".parquet" and wanted in repr(pl.read_parquet(path).rows()):
            return True
    return False


def test_the_service_refuses_events_of_another_region(
    own_workspace: Workspace, store: MemoryModelStore, make_client: Callable[..., TestClient]
) -> None:
    own_workspace.change_settings(region="eu")
    events = [
        {
            "event_id": f"e-{number}",
            "account_id": "acct-05",
            "kind": "feature.used",
            "occurred_at": "2026-02-01T00:00:00Z",
            "properties": {"name": canary(number), "data_region": region},
        }
        for number, region in enumerate(("eu", "us"))
    ]
    with make_client(own_workspace, store) as client:
        answer = client.post("/v1/events", json={"events": events})
    assert answer.status_code in (200, 202), answer.text
    assert "this workspace is of the region" in answer.text
    assert held(own_workspace.root, 0)
    assert not held(own_workspace.root, 1)
