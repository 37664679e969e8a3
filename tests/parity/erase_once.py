"""Erase a subject in a process of its own, that can be killed.

Polars has threads, which a plain fork would not have; so each process comes from a server that has
imported everything and used nothing.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from datetime import UTC, datetime
from functools import cache
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from unittest.mock import patch

import features.lake.forget as forget
import serving.data_protection.erasure.erase as erasing
from features.events.subject import Subject
from features.workspace import Workspace
from serving.data_protection.erasure.protocol import SubjectRequest
from serving.ledger.stores.outbox_tables import FILE

NOW = datetime(2026, 3, 2, tzinfo=UTC)
LONGEST = 600.0

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["erase_once"])


def subject_request(root: Path, kind: str, name: str) -> SubjectRequest:
    """A subject in a workspace whose databases are its own."""
    workspace = Workspace(root, environment={})
    return SubjectRequest(
        workspace=workspace,
        subject=Subject(kind=kind, id=name),  # type: ignore[arg-type]
        by="dpo",
        at=NOW,
        reason="letter 17",
        database=workspace.ledger_db,
        outbox=root / FILE,
    )


def shorter_waits() -> None:
    """Do not wait for readers that are about to open old files: here is none."""
    forget.LakeSubjects.erase.__kwdefaults__ = {"grace_seconds": 0.0}
    erasing.SECONDS_BETWEEN_ROUNDS = 0.0


def erase(root: Path, kind: str, name: str, begins: Connection, from_journal: bool) -> None:
    """The whole erasure; says when it begins to count, or when its journal is written."""
    shorter_waits()
    at = subject_request(root, kind, name)
    if not from_journal:
        begins.send_bytes(b"now")
    journal = erasing.begin_erasure(at)
    if from_journal:
        begins.send_bytes(b"now")
    erasing.finish_erasure(at, journal, clock=lambda: NOW)


@cache
def start_server() -> None:
    """Start the server of processes where it finds what it is to import."""
    with patch.dict(os.environ, {"PYTHONPATH": os.pathsep.join(sys.path)}):
        forkserver.ensure_running()


def lived(
    root: Path, kind: str, name: str, *, kill_after: float, from_journal: bool = False
) -> tuple[bool, float]:
    """Whether an erasure ended before it was killed, and after how many seconds."""
    start_server()
    ours, theirs = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=erase, args=(root, kind, name, theirs, from_journal))
    process.start()
    theirs.close()
    assert ours.poll(LONGEST), "it does not begin"
    ours.recv_bytes()
    began = time.monotonic()
    process.join(timeout=kill_after)
    took = time.monotonic() - began
    if process.exitcode is None:
        process.kill()
        process.join()
    assert process.exitcode in (0, -9)
    return process.exitcode == 0, took
