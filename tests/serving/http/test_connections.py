"""What comes over a real socket and is no request: one shape of refusal, and nobody is held up."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing

import httpx
import pytest
from fastapi import FastAPI, Request
from raw_http import answers, assert_refusal, exchange, read_all
from real_server import running
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.http.problem_details import AnswerProblem, install_problems
from serving.http.server.limits import ConnectionLimits

LIMITS = ConnectionLimits(
    connections=64,
    head_bytes=8_192,
    address_bytes=2_048,
    head_seconds=1.0,
    body_seconds=1.0,
    answer_seconds=2.0,
)


def small_app() -> ASGIApp:
    app = FastAPI(openapi_url=None)

    @app.get("/quick")
    def quick() -> str:
        return "quick"

    @app.get("/slow")
    def slow() -> str:
        time.sleep(0.6)
        return "slow"

    @app.get("/broken")
    def broken() -> str:
        raise KeyError

    @app.get("/large")
    def large() -> str:
        return "x" * 30_000_000

    @app.get("/half-large")
    async def half_large() -> str:
        return "x" * 300_000

    @app.post("/headers")
    async def headers(request: Request) -> list[str]:
        await request.body()
        return sorted(name.decode() for name, _ in request.headers.raw)

    @app.post("/body")
    async def body(request: Request) -> int:
        return len(await request.body())

    install_problems(app, AnswerProblem())

    async def with_a_fault(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/unanswered":
            raise KeyError
        await app(scope, receive, send)

    return with_a_fault


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    with running(small_app(), LIMITS) as url:
        yield "127.0.0.1", int(url.rpartition(":")[2])


GET = b"GET /quick HTTP/1.1\r\nHost: a\r\n"

REFUSED = {
    "words": (b"hello there\r\n\r\n", 400, "not-http"),
    "TLS": (bytes.fromhex("16030100c8010000c40303") + b"\x00" * 40, 400, "not-http"),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "not-http"),
    "a null byte in a header": (GET + b"X: a\x00b\r\n\r\n", 400, "not-http"),
    "a space before the colon": (GET + b"X : a\r\n\r\n", 400, "not-http"),
    "an address outside ASCII": (b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", 400, "not-http"),
    "a tunnel": (b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "not-http"),
    "two lengths": (
        b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
        "not-http",
    ),
    "a length below zero": (
        b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        400,
        "not-http",
    ),
    "a coding that is not read here": (
        b"POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
        400,
        "not-http",
    ),
    "a chunk without a size": (
        b"POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n",
        400,
        "not-http",
    ),
    "a long header": (GET + b"X: " + b"y" * 9_000 + b"\r\n\r\n", 431, "head-too-large"),
    "a header without an end": (GET + b"X: " + b"y" * 600_000, 431, "head-too-large"),
    "many headers": (GET + b"X: y\r\n" * 2_000 + b"\r\n", 431, "head-too-large"),
    "a long address": (
        b"GET /" + b"a" * 3_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        414,
        "address-too-long",
    ),
    "half a head": (b"GET /quick HTTP/1.1\r\nHos", 408, "too-slow"),
    "half a body": (
        b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc",
        408,
        "too-slow",
    ),
    "half of the chunks": (
        b"POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        408,
        "too-slow",
    ),
}


POST = b"POST /body HTTP/1.1\r\nHost: a\r\n"
BEHIND = b"GET /quick HTTP/1.1\r\nHost: a\r\n\r\n"

SMUGGLED = {
    "chunks, and a length": POST
    + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two other lengths": POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
    "two equal lengths": POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nabcde",
    "a list of lengths": POST + b"Content-Length: 5, 5\r\n\r\nabcde",
    "a signed length": POST + b"Content-Length: +5\r\n\r\nabcde",
    "a length in hexadecimal": POST + b"Content-Length: 0x5\r\n\r\nabcde",
    "an unknown coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked, but not last": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "a vertical tab": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "a space behind the name": POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "a size that is too large": POST
    + b"Transfer-Encoding: chunked\r\n\r\n"
    + b"f" * 18
    + b"\r\nxx\r\n",
    "a line that ends in LF": POST + b"Transfer-Encoding: chunked\r\n\r\n2;a\nxx\r\n0\r\n\r\n",
    "a chunk without an end": POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\nxxyy0\r\n\r\n",
    "heads that end in LF": BEHIND.replace(b"\r\n", b"\n"),
    "a CR within a header": GET + b"X: a\rContent-Length: 40\r\n\r\n",
    "a header on two lines": GET + b"X: a\r\n b\r\n\r\n",
    "a method in small letters": BEHIND.replace(b"GET", b"get"),
}


@pytest.mark.parametrize("what", SMUGGLED)
def test_what_a_proxy_could_read_otherwise_ends_the_connection(address, what):
    *before, answer = answers(exchange(address, SMUGGLED[what] + BEHIND))
    assert_refusal(answer, 400, "not-http")
    assert before == []


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_request_is_refused_in_the_shape_of_every_refusal(address, what):
    sent, status, slug = REFUSED[what]
    [answer] = answers(exchange(address, sent))
    assert_refusal(answer, status, slug)


@pytest.mark.parametrize("path", [b"/broken", b"/unanswered"])
def test_a_fault_of_the_application_has_that_shape_too(address, path):
    received = exchange(
        address, b"GET " + path + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    )
    [answer] = answers(received)
    assert_refusal(answer, 500, "internal")


def test_a_refusal_stands_behind_the_answers_to_what_came_before(address):
    slow = b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n"
    first, second, refusal = answers(exchange(address, slow + GET + b"\r\n" + b"nonsense\r\n\r\n"))
    assert (first[0], first[2]) == (200, b'"slow"')
    assert (second[0], second[2]) == (200, b'"quick"')
    assert_refusal(refusal, 400, "not-http")


def test_a_body_that_is_broken_off_behind_other_requests_is_refused_alone(address):
    post = b"POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    first, refusal = answers(exchange(address, GET + b"\r\n" + post + b"zz\r\n"))
    assert first[0] == 200
    assert_refusal(refusal, 400, "not-http")


def test_an_upgrade_is_not_taken_and_the_request_answered(address):
    asks = GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n"
    [(status, headers, body)] = answers(exchange(address, asks, b"\x81\x05hello"))
    assert (status, body, headers["connection"]) == (200, b'"quick"', "close")


def test_chunks_and_slow_pieces_within_the_time_are_read(address):
    head = b"POST /body HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
    chunks = (b"Transfer-Encoding: chunked\r\n\r\n", b"3\r\nab", b"c\r\n2\r\n", b"de\r\n0\r\n\r\n")
    [(status, _, body)] = answers(exchange(address, head, *chunks, pause=0.05))
    assert (status, body) == (200, b"5")
    one_by_one = (bytes([byte]) for byte in b"Content-Length: 4\r\n\r\nabcd")
    [(status, _, body)] = answers(exchange(address, head, *one_by_one, pause=0.002))
    assert (status, body) == (200, b"4")


def test_what_comes_behind_the_chunks_is_no_header(address):
    asks = (
        b"POST /headers HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        b"2\r\nab\r\n0\r\nHost: b\r\nX-Forwarded-For: 203.0.113.7\r\nX-API-Key: k\r\n\r\n"
    )
    [(status, _, body)] = answers(exchange(address, asks))
    assert (status, json.loads(body)) == (200, ["connection", "host", "transfer-encoding"])


def test_slow_senders_do_not_hold_up_others(address):
    """Forty half-sent requests, as many as the service has threads, and others are answered."""
    half = b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc"
    for _ in range(5):  # on a machine that is busy, one answer may take as long as they may
        held = [socket.create_connection(address, timeout=60) for _ in range(40)]
        try:
            for connection in held:
                connection.sendall(half)
            began = time.monotonic()
            assert answers(exchange(address, GET + b"Connection: close\r\n\r\n"))[0][0] == 200
            took = time.monotonic() - began
            for connection in held:
                assert_refusal(answers(read_all(connection))[0], 408, "too-slow")
        finally:
            for connection in held:
                connection.close()
        if took < LIMITS.body_seconds:
            return
    pytest.fail(f"others waited {took:.1f} s, each time")


def test_one_connection_too_many_is_refused_in_words(address):
    held = [socket.create_connection(address, timeout=60) for _ in range(LIMITS.connections)]
    try:
        time.sleep(0.2)
        [answer] = answers(exchange(address))
        assert_refusal(answer, 503, "too-many-connections")
        assert answer[1]["retry-after"] == "5"
    finally:
        for connection in held:
            connection.close()
    until = time.monotonic() + 60
    while answers(exchange(address, GET + b"Connection: close\r\n\r\n"))[0][0] != 200:
        assert time.monotonic() < until, "the places of connections that ended are not free"


def test_a_connection_that_sends_nothing_is_closed(address):
    with closing(socket.create_connection(address, timeout=60)) as connection:
        assert read_all(connection) == b""


def test_an_answer_that_nobody_reads_is_given_up(address):
    with closing(socket.create_connection(address, timeout=60)) as connection:
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(5.0)
        assert len(read_all(connection)) < 30_000_000
    host, port = address
    assert httpx.get(f"http://{host}:{port}/quick", timeout=60).json() == "quick"


def test_a_connection_that_is_dropped_before_its_answers_is_no_fault_of_ours(address, caplog):
    asks = b"GET /half-large HTTP/1.1\r\nHost: a\r\n\r\n" * 500
    callers = [socket.create_connection(address, timeout=60) for _ in range(10)]
    for one in callers:
        one.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            one.send(asks)
    time.sleep(0.5)
    for one in callers:
        one.close()  # with what is unread: the other side is told that it was reset
    time.sleep(0.5)
    assert [one.getMessage() for one in caplog.records if one.levelname == "ERROR"] == []
    assert answers(exchange(address, GET + b"Connection: close\r\n\r\n"))[0][0] == 200
