"""The service of a small company, for a real browser to look at."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from small_company import AS_OF, family_events, make_store, make_workspace

from serving.api.app import create_app


@pytest.fixture(scope="module")
def served_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastAPI]:
    workspace = make_workspace(tmp_path_factory.mktemp("browser") / "company", more=family_events())
    app = create_app(workspace, store=make_store(workspace), now=lambda: AS_OF)
    yield app
    app.state.service.close()
