"""What a service does whose ledger was damaged, while it serves and at its start.

Each line is one cell: how the file was damaged, when, and what is answered. Reads of scores go on in
every cell, health is well, no answer is a 500, and what was acknowledged before the damage was made
is in the file that was there.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import httpx
import pytest
from real_server import running
from small_company import AS_OF

from features.workspace import Workspace
from registry.store.store import MemoryModelStore
from serving.api.app import create_app
from serving.ledger.kill_switch import Controls, Scope
from serving.ledger.ledger import Ledger
from serving.settings import ServiceSettings

ACCOUNT = "acct-01"
WAIT = 2.0
SECONDS_TO_NOTICE = 120.0
OLD = datetime.now(UTC) - AS_OF
OLDER = datetime(2026, 1, 1, tzinfo=UTC)
numbers = count()


def bring_in_the_log(place: Path) -> None:
    with closing(sqlite3.connect(place)) as connection:
        assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0


def delete(place: Path, other: Path) -> None:
    for end in ("", "-wal", "-shm"):
        place.with_name(place.name + end).unlink(missing_ok=True)


def truncate(place: Path, other: Path) -> None:
    os.truncate(place, place.stat().st_size // 2)


def flip(place: Path, other: Path) -> None:
    content = bytearray(place.read_bytes())
    for at in range(4_096, len(content), 3 * 4_096):  # what kind of page it is, of every third
        content[at] ^= 0x11
    with place.open("r+b") as file:
        file.write(content)


def replace(place: Path, other: Path) -> None:
    shutil.copy(other, place.with_name("copied"))
    place.with_name("copied").replace(place)


def put_back(place: Path, other: Path) -> None:
    place.write_bytes(other.read_bytes())


def make_unreadable(place: Path, other: Path) -> None:
    """Whoever is root reads any file, and nobody reads a folder."""
    place.unlink()
    place.mkdir()


def scratch_the_note(place: Path, other: Path) -> None:
    place.with_suffix(".head").write_bytes(b"scratched")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What is answered: the problem of a write (None: it is stored), and of /readyz."""

    damage: Callable[[Path, Path], None]
    serving: str | None
    at_start: str | None
    ready_at_start: int = 503


CELLS = (
    Cell(damage=delete, serving="ledger-damaged", at_start="ledger-damaged"),
    Cell(damage=truncate, serving="ledger-damaged", at_start="ledger-damaged"),
    Cell(damage=flip, serving="ledger-damaged", at_start="ledger-damaged"),
    Cell(damage=replace, serving="ledger-damaged", at_start="ledger-damaged"),
    Cell(damage=put_back, serving="ledger-damaged", at_start="ledger-damaged"),
    Cell(damage=make_unreadable, serving="ledger-damaged", at_start="ledger-unreachable"),
    # its own memory of the head stands in for a note while it serves
    Cell(damage=scratch_the_note, serving=None, at_start="ledger-damaged"),
)
every_cell = pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.damage.__name__)


@contextmanager
def served(workspace: Workspace, store: MemoryModelStore) -> Iterator[httpx.Client]:
    app = create_app(
        workspace,
        store=store,
        now=lambda: datetime.now(UTC) - OLD,
        refresh_seconds=0.1,
        settings=ServiceSettings(ledger_wait_seconds=WAIT),
    )
    with running(app) as address, httpx.Client(base_url=address, timeout=60) as client:
        yield client


def write(client: httpx.Client) -> httpx.Response:
    return client.post(
        "/v1/controls/stop",
        json={"reason": f"reason {next(numbers)}", "action": "success_call"},
        headers={"Idempotency-Key": f"k-{next(numbers)}"},
    )


def decide(client: httpx.Client) -> httpx.Response:
    return client.post(
        "/v1/next-actions",
        json={"account_ids": [ACCOUNT]},
        headers={"Idempotency-Key": f"k-{next(numbers)}"},
    )


def problem_of(answer: httpx.Response) -> str | None:
    if answer.status_code in (200, 201):
        return None
    assert answer.status_code == 503, answer.text
    assert "retry-after" in answer.headers
    return str(answer.json()["type"]).removeprefix("/problems#")


def check_cell(client: httpx.Client, problem: str | None) -> None:
    """Ask everything twice: what is found at first must not be forgotten, or become a 500."""
    for _ in range(2):
        assert problem_of(write(client)) == problem
        decided = decide(client)
        assert decided.status_code == 200, decided.text
        [item] = decided.json()["items"]
        assert (item["decision_id"] is None) == (problem is not None)
        assert client.get("/healthz").status_code == 200
        for path in (f"/v1/accounts/{ACCOUNT}", "/v1/accounts", "/", f"/accounts/{ACCOUNT}"):
            assert client.get(path).status_code == 200, path
        for path in ("/v1/controls", "/approvals", f"/v1/accounts/{ACCOUNT}/timeline"):
            assert client.get(path).status_code in (200, 503), path
        check_shown(client, is_damaged=problem is not None)


def check_shown(client: httpx.Client, *, is_damaged: bool) -> None:
    """See that /readyz, every page and the gauge say within some looks what is wrong."""
    until = time.monotonic() + SECONDS_TO_NOTICE
    while True:
        ready, page = client.get("/readyz"), client.get("/", headers={"accept": "text/html"})
        gauge = f'keepwell_store_degraded{{store="ledger"}} {float(is_damaged)}'
        found = (
            ready.json()["status"],
            ready.status_code,
            [one["store"] for one in ready.json()["stores"]],
            "Something is wrong with the ledger of this workspace" in page.text,
            gauge in client.get("/metrics").text,
        )
        expected = ("failing", 503, ["ledger"], True, True) if is_damaged else (
            "ok", 200, [], False, True)  # fmt: skip
        if found == expected:
            return
        assert time.monotonic() < until, (found, ready.text)
        time.sleep(0.05)


@pytest.fixture
def older(own_workspace: Workspace, store: MemoryModelStore) -> Path:
    """A copy of the ledger of before the newest records."""
    with served(own_workspace, store) as client:
        assert problem_of(write(client)) is None
        assert decide(client).json()["items"][0]["decision_id"] is not None
    bring_in_the_log(own_workspace.ledger_db)
    copied = own_workspace.root.with_name("older.db")
    shutil.copy(own_workspace.ledger_db, copied)
    with closing(Ledger(own_workspace.ledger_db)) as ledger:
        for _ in range(60):  # more than the log of the service will hold the pages of
            Controls(ledger.database).record("stop", Scope(), by="ann", reason="x" * 500, at=OLDER)
    bring_in_the_log(own_workspace.ledger_db)
    return copied


@every_cell
def test_damage_while_it_serves(
    cell: Cell, own_workspace: Workspace, store: MemoryModelStore, older: Path
) -> None:
    place = own_workspace.ledger_db
    with served(own_workspace, store) as client:
        assert problem_of(write(client)) is None
        cell.damage(place, older)
        check_cell(client, cell.serving)


@every_cell
def test_damage_before_the_start(
    cell: Cell, own_workspace: Workspace, store: MemoryModelStore, older: Path
) -> None:
    place = own_workspace.ledger_db
    with closing(Ledger(place)) as ledger:
        before = ledger.verify()
    bring_in_the_log(place)
    whole, note = place.read_bytes(), place.with_suffix(".head").read_bytes()
    cell.damage(place, older)
    with served(own_workspace, store) as client:
        check_cell(client, cell.at_start)
    # put right, it is the ledger it was, with all that was acknowledged
    if place.is_dir():
        place.rmdir()
    for end in ("", "-wal", "-shm"):
        place.with_name(place.name + end).unlink(missing_ok=True)
    place.write_bytes(whole)
    place.with_suffix(".head").write_bytes(note)
    with served(own_workspace, store) as client:
        check_cell(client, None)
    with closing(Ledger(place)) as ledger:
        assert ledger.verify(head=before.head).finding is None
