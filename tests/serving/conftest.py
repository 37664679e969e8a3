"""The service around a small company, all parts real."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import Path

import pytest
from checked_client import CheckedClient
from fastapi import FastAPI
from fastapi.testclient import TestClient
from postgres_server import PostgresServer, postgres_server
from small_company import AS_OF, make_store, make_workspace

from features.workspace import Workspace
from registry.bundle.bundle import ModelBundle
from registry.store.store import MemoryModelStore
from serving.api.app import create_app
from serving.settings import ServiceSettings


@pytest.fixture(scope="session")
def as_of() -> datetime:
    return AS_OF


@pytest.fixture(scope="session")
def untouched_workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """To be copied, and opened by nobody."""
    return make_workspace(tmp_path_factory.mktemp("company") / "untouched")


@pytest.fixture(scope="session")
def shared_workspace(untouched_workspace: Workspace) -> Workspace:
    """Read only: tests that write make their own."""
    return _copied(untouched_workspace, untouched_workspace.root.with_name("shared"))


@pytest.fixture(scope="session")
def store(shared_workspace: Workspace) -> MemoryModelStore:
    """Read only: tests that promote make their own."""
    return make_store(shared_workspace)


@pytest.fixture(scope="session")
def churn_bundle(store: MemoryModelStore) -> ModelBundle:
    return store.champion("churn")


@pytest.fixture(scope="session")
def formula_bundle(store: MemoryModelStore) -> ModelBundle:
    return store.champion("churn-formula")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL of the tests' own; mark a test that asks for it with ``postgres``."""
    with postgres_server() as server:
        yield server


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def ledger_place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Where a new ledger may be: in a file, and on PostgreSQL."""
    if request.param == "sqlite":
        return tmp_path / "ledger.db"
    server = request.getfixturevalue("postgres")
    assert isinstance(server, PostgresServer)
    return server.database()


MakeClient = Callable[..., TestClient]


@contextmanager
def client_maker() -> Iterator[MakeClient]:
    """A maker of clients, each of an application of its own; they are closed at the end."""
    apps: list[FastAPI] = []

    def make(
        workspace: Workspace,
        models: MemoryModelStore,
        *,
        now: Callable[[], datetime] = lambda: AS_OF,
        wall_clock: Callable[[], datetime] | None = None,
        scores_first: bool = True,
        **settings: object,
    ) -> TestClient:
        app = create_app(
            workspace,
            store=models,
            now=now,
            wall_clock=wall_clock,
            scores_first=scores_first,
            settings=ServiceSettings(**settings),
        )  # type: ignore[arg-type]
        apps.append(app)
        return CheckedClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False)

    yield make
    for app in apps:
        app.state.service.close()


@pytest.fixture
def make_client() -> Iterator[MakeClient]:
    with client_maker() as make:
        yield make


@pytest.fixture(scope="session")
def new_clients() -> Callable[[], AbstractContextManager[MakeClient]]:
    """For properties, of which each example has a service of its own."""
    return client_maker


@pytest.fixture(scope="session")
def client(shared_workspace: Workspace, store: MemoryModelStore) -> Iterator[TestClient]:
    """The service of the shared workspace; only for tests that do not write."""
    with client_maker() as make:
        yield make(shared_workspace, store)


@pytest.fixture
def own_workspace(untouched_workspace: Workspace, tmp_path: Path) -> Workspace:
    """A workspace that a test may write to: a copy, which takes a hundredth of making one."""
    return _copied(untouched_workspace, tmp_path / "own")


def _copied(workspace: Workspace, root: Path) -> Workspace:
    shutil.copytree(workspace.root, root)
    return Workspace(root, environment={})


@pytest.fixture
def own_client(
    own_workspace: Workspace, store: MemoryModelStore, make_client: MakeClient
) -> TestClient:
    return make_client(own_workspace, store)
