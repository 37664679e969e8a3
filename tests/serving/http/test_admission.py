"""So many at once of each class: the rest is refused at once, and no class starves another."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

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
from serving.http import admission
from serving.http.admission import CLASSES, FOR_OTHERS, STATUS, Admission, Places, RouteClass
from serving.http.early_refusal import EarlyRefusal
from serving.http.headers import SECURITY_HEADERS
from serving.problems import TooManyAtOnceError

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

        @app.post("/slow")
        def slow_write() -> str:
            return "written"

        @app.post("/quick")
        async def quick(request: Request) -> int:
            return len(await request.body())

        @app.get("/quick/large")
        async def large() -> str:
            return await run_in_threadpool(lambda: "x" * 20_000_000)

        admitted = Admission(app, self.places, self.refused.append)

        async def classified(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                scope["state"]["route_class"] = class_by_address("", scope["path"])
            await admitted(scope, receive, send)

        self.app: ASGIApp = classified


def class_by_address(method: str, path: str) -> RouteClass:
    return SLOW if path.startswith("/slow") else QUICK


@pytest.fixture
def small() -> Small:
    return Small()


@pytest.fixture(params=["early", "behind the gate"])
def url(small, request) -> Iterator[str]:
    early = EarlyRefusal(small.places, class_by_address, small.refused.append)
    with running(small.app, early=early if request.param == "early" else None) as address:
        yield address
        small.let_go.set()


def until(is_so) -> None:
    end = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_what_has_no_place_is_refused_at_once_and_other_classes_go_on(small, url):
    with ThreadPoolExecutor(3) as callers:
        held = [callers.submit(httpx.get, f"{url}/slow", timeout=30) for _ in range(3)]
        until(lambda: small.places[SLOW].is_full())
        with httpx.Client(timeout=60) as client:
            client.post(f"{url}/quick")
            times = []
            for _ in range(5):
                began = time.perf_counter()
                refused = client.get(f"{url}/slow")
                times.append(time.perf_counter() - began)
            assert sorted(times)[2] < 0.05
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "7")
            assert refused.json()["type"] == "/problems#too-many-at-once"
            assert refused.json()["instance"] == "/slow"
            assert client.post(f"{url}/slow", content=b"a" * 100_000).status_code == 503
            assert "2 slow ones are worked on" in refused.json()["detail"]
            assert client.post(f"{url}/quick", content=b"abc").text == "3"
        small.let_go.set()
        assert [one.result().status_code for one in held] == [200, 200, 200]
    assert small.places[SLOW].busy == 0
    assert small.refused == ["slow"] * 6


def test_a_queue_is_as_long_as_its_requests_are_quick():
    places = Places(RouteClass(name="a", what="a", at_once=2, queue=64, most_wait=0.5))
    places.busy = 2
    assert not places.is_full()
    for _ in range(50):
        places.busy += 1
        places.give_back(0.01)
    assert not places.is_full()
    for _ in range(50):
        places.busy += 1
        places.give_back(60.0)  # as one that waits for a lock; it counts for two seconds
    assert places.held_seconds < 2.01
    assert places.is_full()  # the next would wait a second
    places.busy = 1
    assert not places.is_full()  # a free place is given whatever was before


def test_an_early_refusal_is_whole_and_the_connection_goes_on():
    small = Small()
    early = EarlyRefusal(small.places, class_by_address, small.refused.append)
    small.places[SLOW].busy, small.places[SLOW].of = 2, replace(SLOW, queue=0)
    with running(small.app, early=early) as url:
        address = ("127.0.0.1", int(url.rpartition(":")[2]))
        post = b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
        last = b"POST /quick HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1\r\n\r\na"
        refused, again, served = answers(exchange(address, post + post + last))
    assert (refused[0], again[0], served[0], served[2]) == (503, 503, 200, b"1")
    assert SECURITY_HEADERS.items() <= refused[1].items()
    assert refused[1]["content-type"] == "application/problem+json"
    assert json.loads(refused[2])["instance"] == "/slow"


def test_a_thousand_requests_behind_one_are_each_refused_early(small):
    early = EarlyRefusal(small.places, class_by_address, small.refused.append)
    small.places[SLOW].busy, small.places[SLOW].of = 2, replace(SLOW, queue=0)
    full = b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n"
    last = b"POST /quick HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1\r\n\r\na"
    with running(small.app, early=early) as url:
        address = ("127.0.0.1", int(url.rpartition(":")[2]))
        first = b"POST /quick HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n"
        found = answers(exchange(address, first, b"a" + 1_000 * full + last, pause=0.1))
    assert [one[0] for one in found] == [200, *[503] * 1_000, 200]


def test_a_failure_gives_its_place_back(small, url):
    for _ in range(5):
        assert httpx.get(f"{url}/slow/broken", timeout=60).status_code == 500
    until(lambda: small.places[SLOW].busy == 0)


def test_senders_and_readers_that_are_slow_hold_no_place(small, url):
    address = ("127.0.0.1", int(url.rpartition(":")[2]))
    senders = [socket.create_connection(address, timeout=60) for _ in range(8)]
    for sender in senders:
        sender.sendall(b"POST /quick HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
    readers = [socket.create_connection(address, timeout=60) for _ in range(4)]
    for reader in readers:
        reader.sendall(b"GET /quick/large HTTP/1.1\r\nHost: a\r\n\r\n")
    time.sleep(0.3)
    until(lambda: small.places[QUICK].busy == 0)
    assert httpx.post(f"{url}/quick", content=b"ab", timeout=60).text == "2"
    assert small.refused == []
    for one in senders + readers:
        one.close()


def test_one_who_goes_away_while_waiting_leaves_the_places_right(small, url):
    address = ("127.0.0.1", int(url.rpartition(":")[2]))
    asks = b"GET /slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    held = [socket.create_connection(address, timeout=60) for _ in range(3)]
    for one in held:
        one.sendall(asks)
    until(lambda: small.places[SLOW].is_full())
    held[2].close()
    small.let_go.set()
    until(lambda: small.places[SLOW].busy == 0)
    with closing(held[0]), closing(held[1]):
        assert answers(exchange(address, asks))[0][0] == 200


def test_one_key_that_floods_a_class_waits_for_itself_alone():
    async def flooded() -> list[str]:
        places, given = Places(replace(SLOW, queue=2)), []

        async def take(caller: str) -> None:
            await places.take(caller)
            given.append(caller)

        async def settle() -> None:
            for _ in range(5):
                await asyncio.sleep(0)

        for _ in range(2):
            await take("flood")
        waiting = [asyncio.create_task(take("flood")) for _ in range(2)]
        await settle()
        assert places.is_full("flood")
        assert not places.is_full("other")
        with pytest.raises(TooManyAtOnceError):
            await places.take("flood")
        await take("other")  # the place that one caller cannot take
        waiting.append(asyncio.create_task(take("third")))
        await settle()
        places.give_back(caller="flood")
        await settle()  # of those who wait, the one with the fewest places is next
        assert given == ["flood", "flood", "other", "third"]
        for caller in ("other", "third", "flood", "flood", "flood"):
            places.give_back(caller=caller)
            await settle()
        await asyncio.gather(*waiting)
        assert places.busy == 0
        return given

    assert asyncio.run(flooded())[4:] == ["flood", "flood"]


def test_a_key_is_refused_early_once_it_was_refused_and_others_are_not():
    places = {SLOW: Places(replace(SLOW, queue=0))}
    early = EarlyRefusal(places, class_by_address, lambda _: None)
    flood, other = [(b"x-api-key", b"one")], [(b"host", b"a"), (b"x-api-key", b"two")]
    asyncio.run(places[SLOW].take("flood"))
    asyncio.run(places[SLOW].take("flood"))
    assert early("GET", "/slow", flood) is None  # not known yet, so the gate has to say
    early.know(flood, "flood")
    assert early("GET", "/slow", flood) is not None
    assert early("GET", "/slow", other) is None
    asyncio.run(places[SLOW].take("other"))
    assert early("GET", "/slow", other) is not None


def test_bodies_that_are_still_coming_count_as_held(small, url, monkeypatch):
    monkeypatch.setattr(admission, "MOST_BODY_BYTES", 100_000)
    address = ("127.0.0.1", int(url.rpartition(":")[2]))
    half = b"POST /quick HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n" + b"a" * 40_000
    with closing(socket.create_connection(address, timeout=60)) as first:
        first.sendall(half)
        time.sleep(0.3)  # a body that came later would be refused instead
        with closing(socket.create_connection(address, timeout=60)) as second:
            second.sendall(half)
            assert second.recv(65_536).startswith(b"HTTP/1.1 503 ")
        first.sendall(b"a" * 20_000)
        assert first.recv(65_536).startswith(b"HTTP/1.1 503 ")  # more than one caller may have
    assert httpx.post(f"{url}/quick", content=b"a" * 40_000, timeout=60).text == "40000"
    assert small.places[QUICK].refused == 2


def test_every_route_has_a_class_and_all_places_fit_the_threads():
    assert sum((one.at_once or 0) + FOR_OTHERS for one in CLASSES) <= 30  # of 40 threads
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


def test_what_is_answered_from_the_cache_is_not_refused_early(own_client):
    early, places = own_client.app.state.early_refusal, own_client.app.state.places
    own_client.get("/v1/accounts/acct-00/score")
    for of in places:
        places[of].busy, places[of].of = 100, replace(of, queue=0)
    assert early("GET", "/v1/accounts/acct-00/score") is None
    assert early("GET", "/v1/accounts/acct-01/score") is not None  # nobody asked for it yet
    assert early("POST", "/v1/accounts/acct-00/score") is None  # there is no such route
    assert early("GET", "/healthz") is None
    assert early("GET", "/v1/nowhere") is None
    assert early("GET", "/v1/accounts/acct-00/timeline") is not None
    assert early("POST", "/v1/plans") is not None
