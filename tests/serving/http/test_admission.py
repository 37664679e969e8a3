"""So many at once of each class: the rest is refused at once, and no class starves another."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import httpx
import pytest
from fastapi import FastAPI, Request
from raw_http import answers, exchange
from real_server import running
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.api.app import ROUTES
from serving.auth.gate import patterns_of
from serving.auth.roles import Need
from serving.http.admission import CLASSES, STATUS, Admission, Places, RouteClass

SLOW = RouteClass(name="slow", what="slow ones", at_once=2, queue=1, retry_seconds=7)
QUICK = RouteClass(name="quick", what="quick ones", at_once=1, queue=4)


class Small:
    """An application of two classes, whose slow requests end when they are let go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.places = {SLOW: Places(SLOW), QUICK: Places(QUICK)}
        self.refused: list[str] = []
        app = FastAPI(openapi_url=None)

        @app.get("/slow")
        def slow() -> str:
            self.let_go.wait(20)
            return "slow"

        @app.get("/slow/broken")
        def broken() -> str:
            raise KeyError

        @app.post("/quick")
        async def quick(request: Request) -> int:
            return len(await request.body())

        @app.get("/quick/large")
        async def large() -> str:
            return await run_in_threadpool(lambda: "x" * 20_000_000)

        admission = Admission(app, self.places, self.refused.append)

        async def classified(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                is_slow = scope["path"].startswith("/slow")
                scope["state"]["route_class"] = SLOW if is_slow else QUICK
            await admission(scope, receive, send)

        self.app: ASGIApp = classified


@pytest.fixture
def small() -> Small:
    return Small()


@pytest.fixture
def url(small) -> Iterator[str]:
    with running(small.app) as address:
        yield address
        small.let_go.set()


def until(is_so) -> None:
    end = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_what_has_no_place_is_refused_at_once_and_other_classes_go_on(small, url):
    with ThreadPoolExecutor(3) as callers:
        held = [callers.submit(httpx.get, f"{url}/slow", timeout=30) for _ in range(3)]
        until(lambda: small.places[SLOW].is_full)
        with httpx.Client() as client:
            client.post(f"{url}/quick")
            times = []
            for _ in range(5):
                began = time.perf_counter()
                refused = client.get(f"{url}/slow")
                times.append(time.perf_counter() - began)
            assert sorted(times)[2] < 0.05
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "7")
            assert refused.json()["type"] == "/problems#too-many-at-once"
            assert "2 slow ones are worked on and 1 may wait" in refused.json()["detail"]
            assert client.post(f"{url}/quick", content=b"abc").text == "3"
        small.let_go.set()
        assert [one.result().status_code for one in held] == [200, 200, 200]
    assert small.places[SLOW].busy == 0
    assert small.refused == ["slow"] * 5


def test_a_failure_gives_its_place_back(small, url):
    for _ in range(5):
        assert httpx.get(f"{url}/slow/broken").status_code == 500
    until(lambda: small.places[SLOW].busy == 0)


def test_senders_and_readers_that_are_slow_hold_no_place(small, url):
    address = ("127.0.0.1", int(url.rpartition(":")[2]))
    senders = [socket.create_connection(address, timeout=10) for _ in range(8)]
    for sender in senders:
        sender.sendall(b"POST /quick HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
    readers = [socket.create_connection(address, timeout=10) for _ in range(4)]
    for reader in readers:
        reader.sendall(b"GET /quick/large HTTP/1.1\r\nHost: a\r\n\r\n")
    time.sleep(0.3)
    until(lambda: small.places[QUICK].busy == 0)
    assert httpx.post(f"{url}/quick", content=b"ab").text == "2"
    assert small.refused == []
    for one in senders + readers:
        one.close()


def test_one_who_goes_away_while_waiting_leaves_the_places_right(small, url):
    address = ("127.0.0.1", int(url.rpartition(":")[2]))
    asks = b"GET /slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    held = [socket.create_connection(address, timeout=20) for _ in range(3)]
    for one in held:
        one.sendall(asks)
    until(lambda: small.places[SLOW].is_full)
    held[2].close()
    small.let_go.set()
    until(lambda: small.places[SLOW].busy == 0)
    with closing(held[0]), closing(held[1]):
        assert answers(exchange(address, asks))[0][0] == 200


def test_every_route_has_a_class_and_all_places_fit_the_threads():
    assert sum(one.at_once or 0 for one in CLASSES) <= 30  # 40 threads, some for the service itself
    probes = Need(permission=None, of="product")
    by_path = {f"{min(p.methods)} {p.path}": p for p in patterns_of(ROUTES.routes)}
    for pattern in by_path.values():
        assert hasattr(pattern.route_class, "at_once")
        if pattern.need == probes:
            assert pattern.route_class is STATUS
    named = {
        route: by_path[route].route_class.name
        for route in ("GET /", "POST /v1/plans", "POST /v1/events", "GET /v1/accounts/{account_id}")
    }
    assert list(named.values()) == ["pages", "batches", "events", "reads"]
    assert by_path["POST /v1/next-actions"].route_class.name == "decisions"
    assert by_path["POST /v1/controls/stop"].route_class.name == "controls"
