"""Ingest large batches of events in a process beside the one that serves.

::

    request ── rows ─► intake process: judge, deduplicate, land ── what became of each ─► answer

One Python interpreter does one thing at a time, so a service that takes in 2,000 events a second
by itself has a third less of it for everything else. The process starts at the first large batch
and ends with whoever started it, however that ends. It takes one batch at a time; other large ones
wait for their turn. The lake is the same to all processes, so where there is no such process yet,
or none any more, the rows are taken in where they are.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import signal
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from features.ingest.run import ingest_rows
from features.lake.lake import Lake
from features.lake.summary import IngestSummary
from features.workspace_files import WorkspaceBusyError

LARGE = 100
"""A batch of so many rows is worth sending to another process."""

MOST_SECONDS = 60.0
"""A process that answers no sooner than this, beyond what it may wait for others, is ended."""

REST_SECONDS = 60.0
"""After a process died or could not be started, none is started for so long."""

LAST_SECONDS = 5.0
"""A process gets so long to end by itself."""

Rows = Sequence[Mapping[str, object]]

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class _Worker:
    """The process, and the connection that it is asked by."""

    process: BaseProcess
    connection: Connection
    is_ready: bool = False

    def end(self) -> int | None:
        """Have it end, if it has not; with which code."""
        self.connection.close()
        self.process.join(LAST_SECONDS)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        return self.process.exitcode


class IngestWorker:
    """Takes in what programs send: small batches here, large ones in a process of its own.

    Args:
        lake: where the events go.
        large: a batch of so many rows goes to the process.
        most_seconds: a process that takes longer for a batch is ended.
        rest_seconds: how long none is started after one died.
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
        """Of the process that takes in large batches; None while none is ready."""
        worker = self._worker
        return worker.process.pid if worker is not None and worker.is_ready else None

    def take(self, rows: Rows, *, now: datetime, source: str, wait_seconds: float) -> IngestSummary:
        """What ``ingest_rows`` does, wherever it is done; what it lands is on disk then.

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
                answer = self._asked(rows, now, source, until)
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
        )

    def close(self) -> None:
        """End the process, if there is one; what it was asked to do is done first."""
        with self._turn:
            if self._worker is not None:
                self._worker.end()
            self._worker = None

    def _asked(self, rows: Rows, now: datetime, source: str, until: float) -> IngestSummary | None:
        """What the process answers; None where there is none, or it died.

        It may have landed the rows before it died: taken in again, they are duplicates.
        """
        worker = self._there()
        if worker is None:
            return None
        waits = max(0.0, until - time.monotonic())
        try:
            worker.connection.send((rows, now, source, waits))
            if not worker.connection.poll(waits + self._most_seconds):
                worker.process.kill()
            answer = worker.connection.recv()
        except (EOFError, OSError):
            self._died(worker)
            return None
        if isinstance(answer, IngestSummary):
            return answer
        raise answer

    def _there(self) -> _Worker | None:
        """The process, if it can be asked; one is started where there is none."""
        if self._worker is None and time.monotonic() >= self._rests_until:
            self._worker = self._started()
        worker = self._worker
        if worker is None:
            return None
        if not worker.is_ready:
            try:
                worker.is_ready = worker.connection.poll() and worker.connection.recv() == "ready"
            except (EOFError, OSError):
                self._died(worker)
                return None
        return worker if worker.is_ready else None

    def _started(self) -> _Worker | None:
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        process = context.Process(
            target=_work, args=(there, self._lake), name="keepwell-intake", daemon=True
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

    def _died(self, worker: _Worker) -> None:
        self._worker = None
        self._rests_until = time.monotonic() + self._rest_seconds
        log.warning(
            "the process that takes in events ended (exit code %s); they are taken in "
            "here for %g seconds",
            worker.end(),
            self._rest_seconds,
        )


def _work(connection: Connection, lake: Lake) -> None:
    """Answer one batch after another until the other end is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started this decides when it ends
    with contextlib.suppress(EOFError, OSError):
        connection.send("ready")
        while True:
            rows, now, source, wait_seconds = connection.recv()
            answer: IngestSummary | Exception
            try:
                answer = ingest_rows(lake, rows, now=now, source=source, wait_seconds=wait_seconds)
            except Exception as error:  # noqa: BLE001 - whoever asked raises it
                error.add_note(traceback.format_exc())  # the only part of it that is sent along
                answer = error
            connection.send(answer)
