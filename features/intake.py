"""This module is about an intake: large batches of events, taken in beside the process that serves.

::

    request ── rows ─► intake process: judge, deduplicate, land ── what became of each ─► answer

One Python interpreter does one thing at a time, so a service that takes in 2,000 events a second
by itself has a third less of it for everything else. The process starts at the first large batch
and ends with whoever started it, however that ends. The lake is the same to all processes, so
where there is no such process yet, or none any more, the rows are taken in where they are.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from features.ingest import ingest_rows
from features.ingest_summary import IngestSummary
from features.lake import Lake
from features.workspace import WorkspaceBusyError

LARGE = 100
"""A batch of so many rows is worth sending to another process."""

Rows = Sequence[Mapping[str, object]]


class Intake:
    """Takes in what programs send: small batches here, large ones in a process of its own.

    Args:
        lake: where the events go.
        large: a batch of so many rows goes to the process.
    """

    def __init__(self, lake: Lake, *, large: int = LARGE) -> None:
        self._lake = lake
        self._large = large
        self._turn = threading.Lock()
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None
        self._is_ready = False

    @property
    def process_id(self) -> int | None:
        """Of the process that takes in large batches; None while there is none."""
        return None if self._process is None else self._process.pid

    def take(self, rows: Rows, *, now: datetime, source: str, wait_seconds: float) -> IngestSummary:
        """What ``ingest_rows`` does, wherever it is done; what it lands is on disk then.

        Raises:
            WorkspaceBusyError: others are writing, longer than ``wait_seconds``.
        """
        if len(rows) >= self._large:
            if not self._turn.acquire(timeout=wait_seconds):
                raise WorkspaceBusyError(
                    f"Other batches of events are being taken in, for {wait_seconds:g} seconds "
                    f"now. Send this one again.")
            try:
                if self._is_there():
                    answer = self._asked(rows, now, source, wait_seconds)
                    if answer is not None:
                        return answer
            finally:
                self._turn.release()
        return ingest_rows(self._lake, rows, now=now, source=source, wait_seconds=wait_seconds)

    def close(self) -> None:
        """End the process, if there is one; what it was asked to do is done first."""
        with self._turn:
            self._let_go()

    def _asked(self, rows: Rows, now: datetime, source: str, wait_seconds: float,
               ) -> IngestSummary | None:
        """What the process answers; None where it died, and sending the rows again is safe."""
        assert self._connection is not None
        try:
            self._connection.send((rows, now, source, wait_seconds))
            answer = self._connection.recv()
        except (EOFError, OSError):
            self._let_go()
            return None
        if isinstance(answer, IngestSummary):
            return answer
        raise answer

    def _is_there(self) -> bool:
        """Whether the process can be asked; starts it where there is none."""
        if self._connection is None:
            context = multiprocessing.get_context("spawn")
            self._connection, others = context.Pipe()
            self._process = context.Process(
                target=_work, args=(others, self._lake.folder, self._lake.quarantine_folder),
                name="keepwell-intake", daemon=True)
            self._process.start()
            others.close()
        if not self._is_ready:
            try:
                self._is_ready = self._connection.poll() and self._connection.recv() == "ready"
            except (EOFError, OSError):
                self._let_go()
        return self._is_ready

    def _let_go(self) -> None:
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            self._process.join()
        self._connection, self._process, self._is_ready = None, None, False


def _work(connection: Connection, folder: Path, quarantine: Path) -> None:
    """Answer one batch after another until the other end is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started this decides when it ends
    lake = Lake(folder, quarantine)
    with contextlib.suppress(EOFError, OSError):
        connection.send("ready")
        while True:
            rows, now, source, wait_seconds = connection.recv()
            answer: IngestSummary | Exception
            try:
                answer = ingest_rows(lake, rows, now=now, source=source, wait_seconds=wait_seconds)
            except Exception as error:  # noqa: BLE001 - whoever asked raises it
                answer = error
            connection.send(answer)
