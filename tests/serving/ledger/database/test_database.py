"""A ledger that cannot be reached is one named error; what was acknowledged is kept."""

from __future__ import annotations

import sqlite3
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from ledger_decision import decision
from postgres_server import PostgresServer, postgres_server

from serving.ledger.database import database as ledger_database
from serving.ledger.database.database import open_engine
from serving.ledger.database.dialects.sqlite import sqlite_engine
from serving.ledger.database.url import LedgerUrlError, address_without_password, ledger_url
from serving.ledger.errors import LedgerUnreachableError
from serving.ledger.ledger import Ledger


@pytest.mark.parametrize(
    "address",
    [
        "mysql://u:secret@h/d",
        "postgresql://u:secret@h",
        "not an address, secret",
        "sqlite://",
        "postgresql+asyncpg://u:secret@h/d",
    ],
)
def test_an_address_of_something_else_is_refused_without_repeating_it(address: str) -> None:
    with pytest.raises(LedgerUrlError, match="postgresql://USER:PASSWORD") as caught:
        ledger_url(address)
    assert "secret" not in str(caught.value)


def test_an_error_of_the_database_names_no_value_of_the_statement(tmp_path: Path) -> None:
    engine = sqlite_engine(tmp_path / "ledger.db")
    with engine.connect() as connection, pytest.raises(sa.exc.OperationalError) as raised:
        connection.execute(sa.text("SELECT :name FROM nowhere"), {"name": "Acme Ltd"})
    engine.dispose()
    assert "nowhere" in str(raised.value)
    assert "Acme" not in str(raised.value)


def test_a_place_is_said_without_its_password(tmp_path: Path) -> None:
    assert "secret" not in address_without_password("postgres://u:secret@db.example:5433/keepwell")
    assert address_without_password(tmp_path) == str(tmp_path)


def test_a_file_can_be_named_by_its_address_too(tmp_path: Path) -> None:
    with closing(Ledger(f"sqlite:///{tmp_path / 'l.db'}")) as ledger:
        ledger.append_decisions([decision("d-1")])
    with closing(Ledger(tmp_path / "l.db")) as ledger:
        assert ledger.counts() == (1, 0)


def test_postgresql_without_its_driver_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install -e '.\[postgres\]'"):
        open_engine("postgresql://keepwell@127.0.0.1/keepwell")


def test_a_file_that_can_not_be_opened_is_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.mkdir()
    with closing(Ledger(path)) as ledger:
        with pytest.raises(LedgerUnreachableError, match="cannot be reached") as caught:
            ledger.append_decisions([decision("d-1")])
        assert caught.value.retry_after == 2
        assert "unable to open" in caught.value.cause
        assert "unable to open" not in caught.value.detail
        path.rmdir()
        ledger.append_decisions([decision("d-1")])
        assert ledger.counts() == (1, 0)


def test_a_file_that_another_program_holds_for_long_is_busy(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ledger_database, "BUSY_SECONDS", 0.05)
    path = tmp_path / "ledger.db"
    with closing(Ledger(path)) as ledger:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(LedgerUnreachableError, match="busy for long"):
                ledger.append_decisions([decision("d-1")])
        ledger.append_decisions([decision("d-1")])
        assert ledger.counts() == (1, 0)


def test_writers_of_one_process_take_turns_and_do_not_wait_for_ever(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with closing(Ledger(tmp_path / "ledger.db")) as ledger:
        with (
            ThreadPoolExecutor(1) as thread,
            ledger.database.writing(),
            monkeypatch.context() as patched,
        ):
            patched.setattr(ledger_database, "BUSY_SECONDS", 0.05)
            waiting = thread.submit(ledger.append_decisions, [decision("d-1")])
            with pytest.raises(LedgerUnreachableError, match="busy for long") as caught:
                waiting.result()
            assert caught.value.cause == "others of this process are writing"
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda n: ledger.append_decisions([decision(f"d-{n}")]), range(40)))
        assert ledger.counts() == (40, 0)
        assert ledger.verify().finding is None


@pytest.mark.postgres
def test_a_server_that_stops_under_load_loses_nothing_that_was_acknowledged() -> None:
    with postgres_server() as server, closing(Ledger(server.database())) as ledger:
        acknowledged, refused = _write_while(server, ledger)
        verified = ledger.verify()
        assert verified.finding is None
        assert refused > 0
        assert len(acknowledged) > 60
        stored = {d.decision_id for d in ledger.decisions_of("acme")}
        assert acknowledged <= stored
        assert len(stored) == verified.records


def _write_while(server: PostgresServer, ledger: Ledger) -> tuple[set[str], int]:
    """Writers go on, each repeating what was refused, while the server stops and starts twice."""
    acknowledged: set[str] = set()
    refusals: list[LedgerUnreachableError] = []
    done = threading.Event()
    noted = threading.Lock()

    def write(writer: int) -> None:
        number = 0
        while not (done.is_set() and number >= 20):
            name = f"d-{writer}-{number}"
            try:
                ledger.append_decisions([decision(name)])
            except LedgerUnreachableError as error:
                refusals.append(error)
                done.wait(0.02)
            else:
                with noted:
                    acknowledged.add(name)
                number += 1

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(3)]
    for thread in threads:
        thread.start()
    try:
        for mode in ("immediate", "fast"):
            before = len(acknowledged)
            while len(acknowledged) < before + 30:
                done.wait(0.01)
            server.stop(mode)
            before_refusals = len(refusals)
            while len(refusals) < before_refusals + 3:
                done.wait(0.01)
            server.start()
    finally:
        done.set()
        for thread in threads:
            thread.join(timeout=60)
    return acknowledged, len(refusals)


@pytest.mark.postgres
def test_a_ledger_whose_server_is_away_at_the_start_is_ready_when_it_is_there() -> None:
    with postgres_server() as server:
        place = server.database()
        server.stop()
        with closing(Ledger(place)) as ledger:
            with pytest.raises(LedgerUnreachableError, match="cannot be reached"):
                ledger.counts()
            server.start()
            assert ledger.counts() == (0, 0)
