"""A client that loads a service over raw sockets, in a process of its own.

``python load_client.py < plan.json`` prints the results as JSON. A plan::

    {"port": 8000, "seconds": 10, "kinds": {"score": [weight, [request, ...]], ...},
     "rate": 500}            an open loop: requests arrive whatever came of those before
     "callers": 16}          a closed loop: each caller sends the next when it has its answer

``{n}`` in a request is replaced by a number that no other request has. The time of an answer runs
from when its request was due, so that a queue in this client counts too.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

MOST_CONNECTIONS = 2_000
LAST_SECONDS = 30.0
"""Answers are waited for so long after the last request."""


@dataclass
class Seen:
    """What came back: of each kind and status the times in seconds, and what was missing."""

    times: dict[tuple[str, int], list[float]] = field(default_factory=lambda: defaultdict(list))
    without_retry_after: int = 0
    lost: int = 0
    unsent: int = 0


class Caller(asyncio.Protocol):
    """One connection: one request at a time."""

    def __init__(self, on_answer: Callable[[Caller, int, bytes], None], seen: Seen) -> None:
        self.on_answer = on_answer
        self.seen = seen
        self.buffer = b""
        self.is_waiting = False
        self.kind = ""
        self.due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def send(self, kind: str, request: bytes, due: float) -> None:
        self.kind, self.due, self.is_waiting, self.buffer = kind, due, True, b""
        self.transport.write(request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, body = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        place = head.lower().find(b"content-length: ")
        if place >= 0:
            length = int(head[place + 16 :].split(b"\r\n", 1)[0])
            is_whole = len(body) >= length
        else:
            is_whole = body.endswith(b"0\r\n\r\n")
        if is_whole:
            self.is_waiting = False
            status = int(head[9:12])
            self.seen.times[self.kind, status].append(time.perf_counter() - self.due)
            if status in (429, 503) and b"\r\nretry-after: " not in head.lower():
                self.seen.without_retry_after += 1
            self.on_answer(self, status, head)

    def connection_lost(self, _: Exception | None) -> None:
        if self.is_waiting:
            self.seen.lost += 1
            self.is_waiting = False


class Requests:
    """Draws requests of a mix."""

    def __init__(self, kinds: Mapping[str, Sequence[Any]], seed: int) -> None:
        self.names = list(kinds)
        self.weights = [kinds[name][0] for name in self.names]
        self.texts = {name: [text.encode() for text in kinds[name][1]] for name in self.names}
        self.rng = random.Random(seed)
        self.number = time.time_ns()

    def draw(self) -> tuple[str, bytes]:
        [name] = self.rng.choices(self.names, self.weights)
        text = self.rng.choice(self.texts[name])
        self.number += 1
        head, _, body = text.replace(b"{n}", str(self.number).encode()).partition(b"\r\n\r\n")
        if body:
            head += b"\r\nContent-Length: %d" % len(body)
        return name, head + b"\r\n\r\n" + body


async def closed_loop(plan: Mapping[str, Any], requests: Requests, seen: Seen) -> None:
    """Each caller sends the next request when it has the answer to the one before."""
    until = time.perf_counter() + plan["seconds"]
    loop = asyncio.get_running_loop()

    async def call() -> None:
        while time.perf_counter() < until:
            answered: asyncio.Future[None] = loop.create_future()

            def on_answer(
                caller: Caller,
                status: int,
                head: bytes,
                answered: asyncio.Future[None] = answered,
            ) -> None:
                if time.perf_counter() < until and b"connection: close" not in head.lower():
                    caller.send(*requests.draw(), time.perf_counter())
                elif not answered.done():
                    answered.set_result(None)

            transport, caller = await loop.create_connection(
                lambda: Caller(on_answer, seen), "127.0.0.1", plan["port"]
            )
            caller.send(*requests.draw(), time.perf_counter())
            await asyncio.wait([answered], timeout=plan["seconds"] + LAST_SECONDS)
            transport.close()

    await asyncio.gather(*(call() for _ in range(plan["callers"])))


async def open_loop(plan: Mapping[str, Any], requests: Requests, seen: Seen) -> None:
    """Requests arrive at a rate whatever came of those before."""
    loop = asyncio.get_running_loop()
    free: list[Caller] = []
    number = 0
    opening: set[asyncio.Task[None]] = set()

    def on_answer(caller: Caller, status: int, head: bytes) -> None:
        if b"connection: close" in head.lower():
            caller.transport.close()
        else:
            free.append(caller)

    async def send_on_new(due: float) -> None:
        nonlocal number
        try:
            _, caller = await loop.create_connection(
                lambda: Caller(on_answer, seen), "127.0.0.1", plan["port"]
            )
        except OSError:
            seen.lost += 1
        else:
            callers.append(caller)
            caller.send(*requests.draw(), due)

    callers: list[Caller] = []
    began = time.perf_counter()
    due = began
    rng = random.Random(plan.get("seed", 0) + 1)
    while due < began + plan["seconds"]:
        ahead = due - time.perf_counter()
        if ahead > 0:
            await asyncio.sleep(ahead)
        elif number % 50 == 0:
            await asyncio.sleep(0)
        caller = None
        while free and caller is None:
            caller = free.pop()
            if caller.transport.is_closing():
                caller = None
        if caller is not None:
            caller.send(*requests.draw(), due)
        elif number < MOST_CONNECTIONS:
            number += 1
            task = loop.create_task(send_on_new(due))
            opening.add(task)
            task.add_done_callback(opening.discard)
        else:
            seen.unsent += 1
        due += rng.expovariate(plan["rate"])
    last = time.perf_counter() + LAST_SECONDS
    while any(one.is_waiting for one in callers) and time.perf_counter() < last:
        await asyncio.sleep(0.05)
    seen.lost += sum(one.is_waiting for one in callers)
    for one in callers:
        one.is_waiting = False
        one.transport.close()


def result_of(plan: Mapping[str, Any], seen: Seen) -> dict[str, Any]:
    """Counts and times in milliseconds: of each kind, and of what was served and refused."""

    def figures(times: Sequence[float]) -> dict[str, float]:
        p50, p99 = np.percentile(times, [50, 99]) * 1000 if len(times) else (0.0, 0.0)
        return {"count": len(times), "p50": round(float(p50), 2), "p99": round(float(p99), 2)}

    served = [t for (_, status), ts in seen.times.items() if status < 400 for t in ts]
    refused = [t for (_, status), ts in seen.times.items() if status in (429, 503) for t in ts]
    return {
        "goodput": round(len(served) / plan["seconds"], 1),
        "served": figures(served),
        "refused": figures(refused),
        "kinds": {
            f"{kind} {status}": figures(times)
            for (kind, status), times in sorted(seen.times.items())
        },
        "without_retry_after": seen.without_retry_after,
        "lost": seen.lost,
        "unsent": seen.unsent,
    }


def main() -> None:
    """Carry out the plan that is on standard input."""
    import uvloop

    plan = json.load(sys.stdin)
    seen = Seen()
    requests = Requests(plan["kinds"], plan.get("seed", 0))
    loop = closed_loop if "callers" in plan else open_loop
    uvloop.run(loop(plan, requests, seen))
    json.dump(result_of(plan, seen), sys.stdout)


if __name__ == "__main__":
    main()
