"""A workspace with canaries in every place."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from canary_world import World, planted
from fastapi.testclient import TestClient

from features.workspace import Workspace
from registry.store.store import MemoryModelStore


@pytest.fixture
def world(
    own_workspace: Workspace, store: MemoryModelStore, make_client: Callable[..., TestClient]
) -> Iterator[World]:
    yield from planted(own_workspace, store, make_client)
