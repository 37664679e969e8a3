"""HTTP as bytes on a socket, for what no client would send."""

from __future__ import annotations

import json
import socket
import time
from contextlib import closing

from serving.http.headers import SECURITY_HEADERS

Answer = tuple[int, dict[str, str], bytes]
"""Status, headers and body."""


def exchange(address: tuple[str, int], *pieces: bytes, pause: float = 0.0) -> bytes:
    """All that comes back until the other side closes."""
    with closing(socket.create_connection(address, timeout=60)) as connection:
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(pause)
        return read_all(connection)


def read_all(connection: socket.socket) -> bytes:
    received = b""
    while True:
        try:
            piece = connection.recv(65_536)
        except ConnectionResetError:
            return received
        if not piece:
            return received
        received += piece


def answers(received: bytes) -> list[Answer]:
    """The answers that stand one after another in what came."""
    found = []
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = {n.lower(): v for n, _, v in (line.partition(": ") for line in lines)}
        length = int(headers["content-length"])
        found.append((int(status.split()[1]), headers, rest[:length]))
        received = rest[length:]
    return found


def assert_refusal(answer: Answer, status: int, slug: str) -> None:
    """See that an answer has the shape of every refusal, and ends the connection."""
    found, headers, body = answer
    assert found == status
    problem = json.loads(body)
    assert problem["type"] == f"/problems#{slug}"
    assert problem["status"] == status
    assert set(problem) == {"type", "title", "status", "detail", "instance", "next"}
    assert headers["content-type"] == "application/problem+json"
    assert headers["connection"] == "close"
    assert SECURITY_HEADERS.items() <= headers.items()
