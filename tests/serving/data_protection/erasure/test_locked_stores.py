"""A store that others lock, or read for long, is waited for and named; the erasure is finished later."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from backup_worlds import KEY
from canary_world import ACCOUNT, NOW, OF_ACCOUNT, PERSON, World, canary

import serving.data_protection.backup.consistent_copy as frozen
from features.events.subject import Subject
from features.workspace_files import WorkspaceBusyError
from serving.data_protection.backup.errors import BackupError
from serving.data_protection.backup.make import make_backup
from serving.data_protection.backup.target import FolderTarget
from serving.data_protection.erasure.erase import (
    Journal,
    begin_erasure,
    count_places,
    finish_erasure,
    under_way,
)
from serving.ledger.errors import LedgerUnreachableError

STORES = ("ledger.db", "webhooks.db", "online.db", "touched.db", "keys.db", "mlflow.db")
"""In the order in which an erasure comes to them."""


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours take seconds."""
    for where in (
        "features.store._packed_file.BUSY_SECONDS",
        "serving.data_protection.erasure.database_erasers.BUSY_SECONDS",
        "serving.ledger.database.dialects.sqlite.BUSY_SECONDS",
    ):
        monkeypatch.setattr(where, 0.3)
    monkeypatch.setattr(frozen, "PATIENCE", 0.3)


@pytest.fixture
def stopped(world: World) -> World:
    """Nobody serves it, and it has a database of a model store."""
    world.client.app.state.service.close()  # type: ignore[attr-defined]
    with closing(sqlite3.connect(world.workspace.root / "mlflow.db")) as mlflow, mlflow:
        mlflow.execute("PRAGMA journal_mode = WAL")
        mlflow.execute("CREATE TABLE tags (value VARCHAR(8000))")
        mlflow.execute("INSERT INTO tags VALUES (?), (?)", [PERSON, ACCOUNT])
    return world


@contextmanager
def held_by_another(file: Path, how: str) -> Iterator[None]:
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute(how)
        other.execute("SELECT count(*) FROM sqlite_master").fetchone()
        yield
        other.execute("ROLLBACK")


def test_each_store_that_others_hold_is_named_and_the_erasure_is_finished_later(
    stopped: World,
) -> None:
    """By a writer, and by a reader in whose log what was deleted would still be."""
    at = stopped.at(Subject(kind="account", id=ACCOUNT))
    journal = begin_erasure(at)
    for name in STORES:
        file = stopped.workspace.root / name
        with (
            held_by_another(file, "BEGIN IMMEDIATE"),
            pytest.raises((WorkspaceBusyError, LedgerUnreachableError)) as refused,
        ):
            finish_erasure(at, journal, clock=lambda: NOW)
        if name != "ledger.db":
            assert "Another process has locked a database" in str(refused.value), name
            assert "keepwell erase resume" in str(refused.value)
        journal = left_to_do(stopped)
        with (
            held_by_another(file, "BEGIN"),
            pytest.raises((WorkspaceBusyError, TimeoutError), match="older state in its log"),
        ):
            finish_erasure(at, journal, clock=lambda: NOW)
        journal = left_to_do(stopped)
    assert finish_erasure(at, journal, clock=lambda: NOW).left == {}
    assert {canary(n) for n in OF_ACCOUNT} & stopped.canaries() == set()


def left_to_do(world: World) -> Journal:
    journal = under_way(world.workspace)
    assert journal is not None
    return journal


def test_counting_waits_and_says_so(stopped: World) -> None:
    at = stopped.at(Subject(kind="account", id=ACCOUNT))
    with closing(sqlite3.connect(stopped.workspace.root / "mlflow.db")) as file:
        file.execute("PRAGMA journal_mode = DELETE")
    with (
        held_by_another(stopped.workspace.root / "mlflow.db", "BEGIN EXCLUSIVE"),
        pytest.raises(WorkspaceBusyError, match=r"\(model store\).*Try again"),
    ):
        count_places(at)


def test_a_backup_waits_and_says_so(stopped: World, tmp_path: Path) -> None:
    with closing(sqlite3.connect(stopped.workspace.root / "mlflow.db")) as file:
        file.execute("PRAGMA journal_mode = DELETE")  # in which a writer keeps readers out
    target = FolderTarget(tmp_path / "target")
    with (
        held_by_another(stopped.workspace.root / "mlflow.db", "BEGIN EXCLUSIVE"),
        pytest.raises(
            BackupError, match=r"locked mlflow.db for longer than 0\.3 s.*nothing is damaged"
        ),
    ):
        make_backup(stopped.workspace, target, now=NOW, key=KEY)
    assert make_backup(stopped.workspace, target, now=NOW, key=KEY).backup.manifest.files
