"""Ingest large batches of events in a process beside the one that serves.

::

    request ── rows ─► worker process: validate, deduplicate, store ── summary ─► answer

One Python interpreter does one thing at a time: a service that ingests 2,000 events a second itself
has a third less time for everything else. The worker process starts at the first large batch and ends
with the process that started it. It ingests one batch at a time; other large batches wait. All
processes share the lake, so where there is no worker, the service ingests the rows itself.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from features.events.bounds import Bounds
from features.ingest.run import ingest_rows
from features.lake.lake import Lake
from features.lake.summary import IngestSummary
from features.workspace_files import WorkspaceBusyError

LARGE = 100
"""A batch of at least so many rows is sent to the worker process."""

MOST_SECONDS = 60.0
"""A worker that takes longer to answer, without its wait for other writers, is killed."""

REST_SECONDS = 60.0
"""After a worker died or could not be started, no other is started for so long."""

LAST_SECONDS = 5.0
"""How long a worker may take to end by itself."""

Rows = Sequence[Mapping[str, object]]

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class _Worker:
    """The worker process and the connection to it."""

    process: BaseProcess
    connection: Connection
    is_ready: bool = False

    def end(self) -> int | None:
        """End the process if it still runs; return its exit code."""
        self.connection.close()
        if not self.is_ready:  # it has no batch yet, and may be importing for seconds
            self.process.kill()
        self.process.join(LAST_SECONDS)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        return self.process.exitcode


class IngestWorker:
    """Ingests events that programs send: small batches in this process, large ones in a worker.

    Args:
        lake: where the events are stored.
        large: a batch of at least so many rows goes to the worker.
        most_seconds: a worker that takes longer for a batch is killed.
        rest_seconds: how long no worker is started after one died.
    """

    def __init__(
        self,
        lake: Lake,
        *,
        large: int = LARGE,
        most_seconds: float = MOST_SECONDS,
        rest_seconds: float = REST_SECONDS,
    ) -> None:
        self._lake = lake
        self._large = large
        self._most_seconds = most_seconds
        self._rest_seconds = rest_seconds
        self._turn = threading.Lock()
        self._worker: _Worker | None = None
        self._rests_until = 0.0

    @property
    def process_id(self) -> int | None:
        """The id of the worker process; None while none is ready."""
        worker = self._worker
        return worker.process.pid if worker is not None and worker.is_ready else None

    def ingest(
        self,
        rows: Rows,
        *,
        now: datetime,
        source: str,
        wait_seconds: float,
        bounds: Bounds | None = None,
    ) -> IngestSummary:
        """Call ``ingest_rows`` here or in the worker; the stored events are on disk afterwards.

        Raises:
            WorkspaceBusyError: other large batches or other writers take longer than
                ``wait_seconds``.
        """
        until = time.monotonic() + wait_seconds
        if len(rows) >= self._large:
            if not self._turn.acquire(timeout=wait_seconds):
                raise WorkspaceBusyError(
                    f"Other batches of events are being taken in, for {wait_seconds:g} seconds "
                    f"now. Send this one again."
                )
            try:
                answer = self._ask_worker(rows, now, source, until, bounds)
            finally:
                self._turn.release()
            if answer is not None:
                return answer
        return ingest_rows(
            self._lake,
            rows,
            now=now,
            source=source,
            wait_seconds=max(0.0, until - time.monotonic()),
            bounds=bounds,
        )

    def close(self) -> None:
        """End the worker, if there is one, after its current batch."""
        with self._turn:
            if self._worker is not None:
                self._worker.end()
            self._worker = None

    def _ask_worker(
        self, rows: Rows, now: datetime, source: str, until: float, bounds: Bounds | None
    ) -> IngestSummary | None:
        """The answer of the worker; None where there is none, or it died.

        It may have stored the rows before it died: ingested again, they are duplicates.
        """
        worker = self._ready_worker()
        if worker is None:
            return None
        waits = max(0.0, until - time.monotonic())
        try:
            worker.connection.send((rows, now, source, waits, bounds))
            if not worker.connection.poll(waits + self._most_seconds):
                worker.process.kill()
            answer = worker.connection.recv()
        except (EOFError, OSError):
            self._drop_worker(worker)
            return None
        if isinstance(answer, IngestSummary):
            return answer
        raise answer

    def _ready_worker(self) -> _Worker | None:
        """The worker, if it is ready; one is started where there is none."""
        if self._worker is None and time.monotonic() >= self._rests_until:
            self._worker = self._start_worker()
        worker = self._worker
        if worker is None:
            return None
        if not worker.is_ready:
            try:
                worker.is_ready = worker.connection.poll() and worker.connection.recv() == "ready"
            except (EOFError, OSError):
                self._drop_worker(worker)
                return None
        return worker if worker.is_ready else None

    def _start_worker(self) -> _Worker | None:
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        process = context.Process(
            target=_answer_batches, args=(there, self._lake), name="keepwell-intake", daemon=True
        )
        try:
            process.start()
        except OSError as error:
            here.close()
            self._rests_until = time.monotonic() + self._rest_seconds
            log.warning(
                "the process that takes in events cannot be started (%s); they are taken in here",
                error,
            )
            return None
        finally:
            there.close()
        return _Worker(process=process, connection=here)

    def _drop_worker(self, worker: _Worker) -> None:
        self._worker = None
        self._rests_until = time.monotonic() + self._rest_seconds
        log.warning(
            "the process that takes in events ended (exit code %s); they are taken in "
            "here for %g seconds",
            worker.end(),
            self._rest_seconds,
        )


def _answer_batches(connection: Connection, lake: Lake) -> None:
    """Ingest one batch after another, until the other end of the connection is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one ends it
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, OSError):
        connection.send("ready")
        while True:
            rows, now, source, wait_seconds, bounds = connection.recv()
            answer: IngestSummary | Exception
            try:
                answer = ingest_rows(
                    lake, rows, now=now, source=source, wait_seconds=wait_seconds, bounds=bounds
                )
            except Exception as error:  # noqa: BLE001 - the caller raises it
                error.add_note(traceback.format_exc())  # a traceback itself is not sent
                answer = error
            connection.send(answer)


def _end_with_parent() -> None:
    """End this process as soon as the one that started it has ended, also within a batch.

    The lake takes a batch as a whole or not at all.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
