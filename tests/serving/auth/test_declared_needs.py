"""Each route declares who may use it, and a page that the navigation leads to it."""

from __future__ import annotations

import pytest
from fastapi import APIRouter, FastAPI
from small_company import AS_OF

from serving.api.app import create_app
from serving.auth.gate import RouteError, declared_needs, matching, patterns_of
from serving.auth.roles import PRODUCT, READ, needs
from serving.pages.frame import in_navigation, sections_of


@pytest.fixture
def app() -> FastAPI:
    router = APIRouter(prefix="/v1")

    @router.get("/accounts/{name}")
    @needs(READ)
    def read(name: str) -> str:
        return name

    @router.get("/last")
    @needs(PRODUCT)
    @in_navigation("last", "Last", place=2)
    def last() -> str:
        return "last"

    @router.get("/first")
    @needs(PRODUCT)
    @in_navigation("first", "First", place=1)
    def first() -> str:
        return "first"

    app = FastAPI(openapi_url=None)
    app.include_router(router)
    return app


def test_what_a_route_needs_is_declared_at_its_function(app):
    assert declared_needs(app.routes) == {
        "GET /v1/accounts/{name}": READ,
        "GET /v1/last": PRODUCT,
        "GET /v1/first": PRODUCT,
    }
    found = matching(patterns_of(app.routes), "GET", "/v1/accounts/acme")
    assert found is not None
    assert found.need == READ
    assert matching(patterns_of(app.routes), "POST", "/v1/accounts/acme") is None


def test_a_route_that_declares_nothing_is_refused(app):
    @app.get("/open")
    def forgotten() -> str:
        return "to everybody"

    with pytest.raises(RouteError, match=r"GET /open does not declare .* @needs"):
        declared_needs(app.routes)


def test_a_service_with_such_a_route_does_not_start(own_workspace, store, monkeypatch):
    router = APIRouter()
    router.add_api_route("/open", lambda: "to everybody")
    monkeypatch.setattr("serving.api.app.ROUTES", router)
    with pytest.raises(RouteError, match="GET /open"):
        create_app(own_workspace, store=store, now=lambda: AS_OF)


def test_the_navigation_is_what_the_pages_declare_in_rising_order(app):
    assert [(s.name, s.label, s.path) for s in sections_of(app.routes)] == [
        ("first", "First", "/v1/first"),
        ("last", "Last", "/v1/last"),
    ]
