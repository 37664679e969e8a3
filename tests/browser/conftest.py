"""The service of a small company, for a real browser to look at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from small_company import AS_OF, family_events, make_store, make_workspace

from experiments import report as reports
from serving.api.app import create_app

REPORT_TEMPLATE = Path(reports.__path__[0]) / "templates" / "report.html"


@pytest.fixture(scope="module")
def served_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastAPI]:
    workspace = make_workspace(tmp_path_factory.mktemp("browser") / "company", more=family_events())
    style = REPORT_TEMPLATE.read_text(encoding="utf-8").partition("</style>")[0]
    css = REPORT_TEMPLATE.with_name("report.css").read_text(encoding="utf-8")
    style = style.replace('{% include "report.css" %}\n', css)
    workspace.reports_dir.mkdir()
    (workspace.reports_dir / "call.json").write_text("{}", encoding="utf-8")
    (workspace.reports_dir / "call.html").write_text(
        f"{style}</style></head><body><main><h1>No clear effect</h1></main></body></html>",
        encoding="utf-8",
    )
    app = create_app(workspace, store=make_store(workspace), now=lambda: AS_OF)
    yield app
    app.state.service.close()
