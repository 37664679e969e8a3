"""``keepwell serve`` ends in time: with half-sent requests, with readers that do not read, twice told."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import closing

import httpx
import psutil
import pytest
from raw_http import answers, assert_refusal, read_all
from served_process import Served

from serving.http.server.running import DRAIN_SECONDS, LAST_SECONDS

HALF = b"POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\nabc"


@pytest.fixture
def served(own_workspace) -> Iterator[Served]:
    service = Served(own_workspace)
    yield service
    if service.program.poll() is None:
        os.kill(service.program.pid, signal.SIGKILL)
    service.program.communicate(timeout=120)


def processes_beside(served: Served) -> list[psutil.Process]:
    """The process that takes in large batches, which a large batch starts, and what it needs."""
    events = [
        {
            "event_id": f"n{number}",
            "account_id": "acct-01",
            "kind": "community.posted",
            "occurred_at": "2026-02-20T10:00:00Z",
        }
        for number in range(200)
    ]
    httpx.post(f"{served.url}/v1/events", json={"events": events}, timeout=60).raise_for_status()
    children: list[psutil.Process] = served.process.children(recursive=True)
    assert children
    return children


def test_a_half_sent_request_is_refused_and_the_service_ends(served):
    beside = processes_beside(served)
    with closing(served.connect()) as half, closing(served.connect()) as silent:
        half.sendall(HALF)
        time.sleep(1.0)
        served.tell()
        assert_refusal(answers(read_all(half))[0], 503, "stopping")
        assert read_all(silent) == b""
        assert served.ended(within=LAST_SECONDS + 30) in (0, -signal.SIGTERM)
    assert not psutil.wait_procs(beside, timeout=60)[1]


def test_the_second_signal_ends_it_at_once_whatever_it_waits_for(served):
    page = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with closing(served.connect()) as unread:
        unread.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        unread.sendall(page * 300)
        time.sleep(1.0)
        served.tell()
        time.sleep(1.0)
        assert served.program.poll() is None
        served.tell()
        assert served.ended(within=DRAIN_SECONDS / 2) in (143, -signal.SIGTERM)


def test_the_process_beside_it_ends_with_it_when_it_is_killed(served):
    beside = processes_beside(served)
    served.tell(signal.SIGKILL)
    assert not psutil.wait_procs(beside, timeout=60)[1]


@pytest.mark.slow
def test_answers_that_nobody_reads_hold_it_for_a_stated_time(served):
    with closing(served.connect()) as unread:
        unread.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        unread.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 300)
        time.sleep(1.0)
        began = served.tell()
        served.ended(within=LAST_SECONDS + 2)
        assert time.monotonic() - began < DRAIN_SECONDS + 5
