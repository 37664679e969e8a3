"""Serve one workspace with several processes: one socket, and a supervisor that replaces the dead.

::

    supervisor: binds the socket ─► worker 1 .. N: the same command, each with the whole service
        a worker ends      ─► another takes its place
        SIGTERM, SIGINT    ─► SIGTERM to all; after LAST_SECONDS those that are left are killed
        the second signal  ─► all are killed
        it is killed       ─► its workers notice the closed pipe and end

The first worker starts alone, so that what cannot start says so once and what is migrated is migrated
once. A worker is the command itself with ``WORKER_VARIABLE`` in its environment.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

from serving.http.server.running import BACKLOG, LAST_SECONDS

WORKER_VARIABLE = "KEEPWELL_WORKER_OF"
"""What the supervisor tells a worker. Nobody else sets it."""

LOOK_SECONDS = 0.1
QUICK_SECONDS = 10.0
"""A worker that ends sooner after its start is replaced later and later, up to so many seconds."""

ENDING = (signal.SIGTERM, signal.SIGINT)

ORPHAN_SECONDS = 3.0
"""So long a worker without its supervisor drains."""

log = logging.getLogger("keepwell.serving")


class ListenError(Exception):
    """The address cannot be listened on."""


@dataclass(frozen=True, kw_only=True)
class WorkerPlace:
    """What a worker is given: its number, the socket, a pipe to its supervisor, a shared folder."""

    number: int
    listens: int
    lives: int
    folder: str

    @property
    def ready_file(self) -> Path:
        """What a worker makes when it answers."""
        return Path(self.folder) / f"{self.number}.ready"

    def text(self) -> str:
        """For the environment of the worker."""
        return json.dumps(asdict(self))


def place_of_worker() -> WorkerPlace | None:
    """The place of this process if a supervisor started it as a worker, else None."""
    text = os.environ.pop(WORKER_VARIABLE, None)
    return None if text is None else WorkerPlace(**json.loads(text))


def socket_of(host: str, port: int) -> socket.socket:
    """A socket bound to an address; nobody is let in yet.

    Raises:
        ListenError: it cannot be bound.
    """
    bound = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        if bound is not None:
            bound.close()
        raise ListenError(
            f"{host}:{port} cannot be listened on: {error.strerror or error}. Choose another with "
            f"--host and --port, or end what listens there."
        ) from error
    return bound


def socket_of_worker(place: WorkerPlace) -> socket.socket:
    """The shared socket, in a worker; from now on the worker ends with its supervisor."""

    def end_with_supervisor() -> None:
        with contextlib.suppress(OSError):
            os.read(place.lives, 1)  # returns when the other end is closed
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(ORPHAN_SECONDS)
        os._exit(1)

    threading.Thread(target=end_with_supervisor, daemon=True).start()
    return socket.socket(fileno=place.listens)


class _Worker:
    """A running worker."""

    def __init__(self, place: WorkerPlace, command: Sequence[str]) -> None:
        self.place = place
        place.ready_file.unlink(missing_ok=True)
        self.started_at = time.monotonic()
        self.process = subprocess.Popen(
            command,
            env={**os.environ, WORKER_VARIABLE: place.text()},
            pass_fds=(place.listens, place.lives),
            start_new_session=True,  # a terminal tells the supervisor alone
        )

    @property
    def is_ready(self) -> bool:
        return self.place.ready_file.exists()


class Supervisor:
    """Keeps ``count`` workers running until a signal.

    Args:
        bound: the socket that they share.
        count: how many.
        command: what starts a worker.
    """

    def __init__(self, bound: socket.socket, count: int, command: Sequence[str]) -> None:
        self._bound = bound
        self._count = count
        self._command = tuple(command)
        self._workers: dict[int, _Worker] = {}
        self._waits: dict[int, float] = {}  # a place to when it is taken again
        self._pause: dict[int, float] = {}
        self._signals: list[int] = []

    def run(self) -> int:
        """Serve until a signal, which ends the process as it would have; else the exit code."""
        before = {one: signal.signal(one, self._note) for one in ENDING}
        ours, theirs = os.pipe()
        os.set_inheritable(ours, True)
        try:
            with tempfile.TemporaryDirectory(prefix="keepwell-") as folder:
                self._bound.listen(BACKLOG)
                code = self._supervise(folder, ours)
        finally:
            os.close(theirs)
            os.close(ours)
            self._bound.close()
            for one, handler in before.items():
                signal.signal(one, handler)
        for number in self._signals[:1]:
            signal.raise_signal(signal.Signals(number))
        return code

    def _note(self, number: int, _: FrameType | None) -> None:
        self._signals.append(number)

    def _supervise(self, folder: str, lives: int) -> int:
        def start(number: int) -> None:
            place = WorkerPlace(
                number=number, listens=self._bound.fileno(), lives=lives, folder=folder
            )
            self._workers[number] = _Worker(place, self._command)

        try:
            start(1)
            first = self._workers[1]
            while not self._signals and not first.is_ready:
                if (code := first.process.poll()) is not None:
                    return code or 1  # it has said why
                time.sleep(LOOK_SECONDS)
            for number in range(2, self._count + 1):
                start(number)
            while not self._signals:
                self._replace_dead(start)
                time.sleep(LOOK_SECONDS)
            return 0
        finally:
            self._end_all()

    def _replace_dead(self, start: Callable[[int], None]) -> None:
        now = time.monotonic()
        for number, worker in list(self._workers.items()):
            code = worker.process.poll()
            if code is None:
                continue
            if number not in self._waits:
                was_quick = now - worker.started_at < QUICK_SECONDS
                pause = min(QUICK_SECONDS, 2 * self._pause.get(number, 0.25)) if was_quick else 0.0
                self._pause[number], self._waits[number] = pause, now + pause
                log.warning(
                    "worker %d (process %d) ended with %d; another takes its place",
                    number,
                    worker.process.pid,
                    code,
                )
            if now >= self._waits[number]:
                del self._waits[number]
                start(number)

    def _end_all(self) -> None:
        until = time.monotonic() + LAST_SECONDS + 2
        processes = [worker.process for worker in self._workers.values()]
        for process in processes:
            process.terminate()
        while any(process.poll() is None for process in processes):
            if len(self._signals) > 1 or time.monotonic() > until:
                for process in processes:
                    process.kill()
            time.sleep(LOOK_SECONDS)


def command_of_worker() -> tuple[str, ...]:
    """This command as it is started again for a worker."""
    script = Path(__file__).parents[3] / "keepwell.py"
    return (sys.executable, str(script), *sys.argv[1:])
