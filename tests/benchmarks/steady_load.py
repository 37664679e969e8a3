"""Ask a service over real sockets, each connection again as soon as it was answered, and say what
the process of the service used for it."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import psutil

HEAD_END = b"\r\n\r\n"
MOST_HEAD = 1 << 24


@dataclass(kw_only=True)
class Load:
    """What was answered, and the cpu seconds and memory of the service."""

    statuses: Counter[int] = field(default_factory=Counter)
    cpu: float = 0.0
    megabytes: list[float] = field(default_factory=list)  # at even distances, first and last too

    @property
    def requests(self) -> int:
        return sum(self.statuses.values())

    @property
    def cpu_ms(self) -> float:
        """Milliseconds of the service's cpu a request."""
        return self.cpu / self.requests * 1e3


def request(method: str, address: str, body: object = None, **headers: str) -> bytes:
    """A request as it goes on the wire."""
    content = b"" if body is None else json.dumps(body).encode()
    given = {"Host": "127.0.0.1", **{name.replace("_", "-"): v for name, v in headers.items()}}
    if body is not None:
        given |= {"Content-Type": "application/json", "Content-Length": str(len(content))}
    head = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    return f"{method} {address} HTTP/1.1\r\n{head}\r\n".encode() + content


def ask(
    port: int,
    process: psutil.Process,
    requests: Sequence[Callable[[int], bytes]],
    *,
    times: int,
    connections: int = 4,
    looks: int = 12,
    rate: float | None = None,
) -> Load:
    """Send so many requests of these kinds in turn: as fast as the service answers, or at most so many
    a second."""
    return asyncio.run(_ask(port, process, requests, times, connections, looks, rate))


async def _ask(
    port: int,
    process: psutil.Process,
    requests: Sequence[Callable[[int], bytes]],
    times: int,
    connections: int,
    looks: int,
    rate: float | None,
) -> Load:
    load, numbers = Load(), itertools.count()
    every = max(1, times // looks)
    began = time.monotonic()

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=MOST_HEAD)
        while (number := next(numbers)) < times:
            if rate is not None:
                await asyncio.sleep(began + number / rate - time.monotonic())
            if number % every == 0:
                load.megabytes.append(process.memory_info().rss / 1e6)
            writer.write(requests[number % len(requests)](number // len(requests)))
            head = await reader.readuntil(HEAD_END)
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length or 0))
            load.statuses[int(head[9:12])] += 1
        writer.close()

    before = _cpu(process)
    await asyncio.gather(*(one() for _ in range(connections)))
    load.cpu = _cpu(process) - before
    load.megabytes.append(process.memory_info().rss / 1e6)
    return load


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system
