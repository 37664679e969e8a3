"""A ledger that was deleted, replaced, overwritten or cut off acknowledges nothing any more.

What was acknowledged is in the file that was opened; what came afterwards is refused. A ledger that
is written by Keepwell alone, by several processes, is never taken for another one.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from ledger_decision import NOW, decision
from postgres_server import PostgresServer

from serving.ledger.database.database import open_engine
from serving.ledger.database.noted_head import NotedHead, read_note
from serving.ledger.database.same_ledger import OTHERS_NOTE_SECONDS
from serving.ledger.errors import LedgerDamagedError
from serving.ledger.kill_switch import Controls, Scope
from serving.ledger.ledger import Ledger

PAGES_OF_THE_LOG = 1_000
"""SQLite brings its log into the file when it has grown by so many pages."""


def write(ledger: Ledger, first: int, number: int = 1) -> None:
    for one in range(first, first + number):
        ledger.append_decisions([decision(f"d-{one}", inputs="x" * 20_000)])


def bring_in_the_log(place: Path) -> None:
    """As the last connection does at its end, unless another that is garbage is still open."""
    with closing(sqlite3.connect(place)) as connection:
        assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    assert not beside(place, "-wal").exists()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def older(place: Path, tmp_path: Path) -> Path:
    """A copy of the ledger after 20 decisions; the ledger has 60, ten of them only in its log."""
    with closing(Ledger(place)) as ledger:
        write(ledger, 0, 20)
    bring_in_the_log(place)
    copied = Path(shutil.copy(place, tmp_path / "monday.db"))
    with closing(Ledger(place)) as ledger:
        write(ledger, 20, 30)
    bring_in_the_log(place)
    return copied


@pytest.fixture
def ledger(place: Path, older: Path) -> Iterator[Ledger]:
    with closing(Ledger(place)) as opened:
        write(opened, 50, 10)
        yield opened


def beside(place: Path, end: str) -> Path:
    return place.with_name(place.name + end)


def delete(place: Path, older: Path) -> None:
    place.unlink()


def delete_with_its_log(place: Path, older: Path) -> None:
    for end in ("", "-wal", "-shm"):
        beside(place, end).unlink()


def delete_its_log(place: Path, older: Path) -> None:
    beside(place, "-wal").unlink()


def delete_the_index(place: Path, older: Path) -> None:
    beside(place, "-shm").unlink()


def replace(place: Path, older: Path) -> None:
    older.replace(place)


def replace_by_itself(place: Path, older: Path) -> None:
    copied = shutil.copy(place, older.with_name("copied.db"))
    Path(copied).replace(place)


def put_back_in_place(place: Path, older: Path) -> None:
    place.write_bytes(older.read_bytes())


def truncate(place: Path, older: Path) -> None:
    os.truncate(place, place.stat().st_size // 2)


def empty(place: Path, older: Path) -> None:
    os.truncate(place, 0)


def overwrite(place: Path, older: Path) -> None:
    place.write_bytes(bytes(range(256)) * 500)


def flip(place: Path, older: Path) -> None:
    content = bytearray(place.read_bytes())
    for at in range(len(content) // 20, len(content), len(content) // 20):
        content[at] ^= 0x11
    with place.open("r+b") as file:
        file.write(content)


def truncate_its_log(place: Path, older: Path) -> None:
    os.truncate(beside(place, "-wal"), 100)


def make_unreadable(place: Path, older: Path) -> None:
    place.unlink()
    place.mkdir()


DAMAGES: tuple[Callable[[Path, Path], None], ...] = (
    delete,
    delete_with_its_log,
    delete_its_log,
    delete_the_index,
    replace,
    replace_by_itself,
    put_back_in_place,
    truncate,
    empty,
    overwrite,
    flip,
    truncate_its_log,
    make_unreadable,
)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda one: one.__name__)
def test_a_ledger_that_is_damaged_while_it_is_in_use_acknowledges_nothing_more(
    ledger: Ledger, place: Path, older: Path, damage: Callable[[Path, Path], None]
) -> None:
    damage(place, older)
    for number in (100, 101):
        with pytest.raises(LedgerDamagedError) as caught:
            write(ledger, number)
        assert caught.value.retry_after == 60
        assert str(place) not in caught.value.detail
        assert ledger.database.problem == caught.value.detail
    with pytest.raises(LedgerDamagedError):
        ledger.database.look()
    noted = read_note(place.with_suffix(".head"))
    assert noted is not None
    assert noted.place == 60


def test_a_file_that_is_gone_while_it_is_written_is_noticed_before_the_commit(
    ledger: Ledger, place: Path
) -> None:
    aside = place.with_name("aside")

    def write_while_it_goes() -> None:
        with ledger.database.writing() as connection:
            connection.execute(sa.text("CREATE TABLE written (a)"))
            place.rename(aside)

    with pytest.raises(LedgerDamagedError, match="was deleted while it was in use"):
        write_while_it_goes()
    aside.rename(place)  # the very same file is back, and nothing was written meanwhile
    with ledger.database.writing() as connection:
        assert not sa.inspect(connection).has_table("written")
    write(ledger, 60)
    assert ledger.database.problem is None
    assert ledger.verify().records == 61


def test_a_file_that_is_gone_right_after_the_commit_is_not_acknowledged(
    ledger: Ledger, place: Path
) -> None:
    engine = ledger.database.engine

    @sa.event.listens_for(engine, "commit")
    def gone(_: sa.Connection) -> None:
        with contextlib.suppress(FileNotFoundError):
            place.unlink()

    with pytest.raises(LedgerDamagedError, match="was deleted while it was in use"):
        write(ledger, 60)


def test_what_is_open_is_still_read_after_the_file_is_gone(ledger: Ledger, place: Path) -> None:
    place.unlink()
    assert ledger.counts() == (60, 0)
    assert not place.exists()  # no other connection makes an empty one in its place


def test_another_program_that_writes_properly_is_looked_at_once_and_accepted(
    ledger: Ledger, place: Path
) -> None:
    with closing(sqlite3.connect(place)) as other:
        other.execute("CREATE TABLE theirs (a)")
        other.commit()
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    write(ledger, 60, 2)
    assert ledger.verify().records == 62


def test_records_that_another_program_removed_are_missed(ledger: Ledger, place: Path) -> None:
    with closing(sqlite3.connect(place)) as other:
        other.execute("DROP TRIGGER chain_no_delete")
        other.execute("DELETE FROM chain WHERE place > 55")
        other.commit()
    with pytest.raises(LedgerDamagedError, match="The ledger holds 55 records, and not the head"):
        write(ledger, 60)


def test_several_processes_that_write_are_one_ledger(place: Path) -> None:
    """With enough pages that the log is brought into the file many times, by either process."""
    with closing(Ledger(place)) as ledger:
        write(ledger, 0)
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                with closing(Ledger(place)) as theirs:
                    write(theirs, 10_000, 200)
                os._exit(0)
            os._exit(1)
        started = time.monotonic()
        write(ledger, 1, 200)
        assert os.waitpid(child, 0)[1] == 0
        assert time.monotonic() - started < 200 * OTHERS_NOTE_SECONDS
        assert place.stat().st_size > 1.5 * PAGES_OF_THE_LOG * 4_096
        checked = ledger.verify()
        assert (checked.records, checked.finding) == (401, None)
        noted = read_note(place.with_suffix(".head"))
        assert noted is not None
        assert (noted.place, noted.link) == (401, checked.head)


def test_a_process_that_is_killed_before_it_notes_leaves_the_ledger_the_one_it_was(
    place: Path,
) -> None:
    with closing(Ledger(place)) as ledger:
        write(ledger, 0)
        child = os.fork()
        if child == 0:
            theirs = Ledger(place)
            theirs.database.notes.places = ()  # commits and checkpoints, and notes nothing
            write(theirs, 1, 150)
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(child, 0)
        assert place.stat().st_size > 100_000
        write(ledger, 1_000)
        assert ledger.verify().records == 152


def at_start(place: Path) -> str | None:
    """Why a ledger that is opened now stores nothing; None where it does."""
    with closing(Ledger(place)) as ledger:
        try:
            write(ledger, 500)
        except LedgerDamagedError:
            with pytest.raises(LedgerDamagedError):
                ledger.counts()
        return ledger.database.problem


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (delete, "The file of the ledger is gone: its head was noted at place 60."),
        (empty, "The file of the ledger is gone: its head was noted at place 60."),
        (replace, "The ledger holds 20 records, and not the head that was noted"),
        (put_back_in_place, "The ledger holds 20 records, and not the head that was noted"),
        (truncate, "its database is damaged"),
        (overwrite, "its database is damaged"),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_a_ledger_that_was_damaged_before_the_start_stores_nothing(
    place: Path, older: Path, damage: Callable[[Path, Path], None], match: str
) -> None:
    with closing(Ledger(place)) as ledger:
        write(ledger, 50, 10)
    bring_in_the_log(place)
    before = place.read_bytes()
    damage(place, older)
    there = place.read_bytes() if place.exists() else None
    found = at_start(place)
    assert found is not None
    assert match in found
    if damage is not truncate:
        assert (place.read_bytes() if place.exists() else None) == there
    place.write_bytes(before)
    assert at_start(place) is None


def test_an_empty_ledger_and_another_one_are_not_the_one_that_was_noted(
    place: Path, older: Path, tmp_path: Path
) -> None:
    Ledger(tmp_path / "empty.db").close()
    with closing(Ledger(tmp_path / "other.db")) as other:
        write(other, 1_000, 100)
    for name in ("empty.db", "other.db"):
        bring_in_the_log(tmp_path / name)
    for name in ("empty.db", "other.db"):
        shutil.copy(tmp_path / name, place)
        found = at_start(place)
        assert found is not None
        assert "not the head that was noted of it at place 50" in found


def test_a_ledger_of_before_heads_were_noted_gets_one(place: Path, older: Path) -> None:
    head = place.with_suffix(".head")
    head.unlink()
    with closing(Ledger(place)) as ledger:
        noted = read_note(head)
        assert noted is not None
        assert (noted.place, noted.link) == (50, ledger.verify().head)


def test_a_damaged_note_is_no_proof_and_the_second_place_says_what_was(
    place: Path, older: Path, tmp_path: Path
) -> None:
    heads = (place.with_suffix(".head"), tmp_path / "elsewhere" / "ledger.head")
    heads[1].parent.mkdir()
    with closing(Ledger(place, heads=heads)) as ledger:
        write(ledger, 50)
    heads[0].write_bytes(b"scratched")
    with closing(Ledger(place, heads=heads)) as ledger:
        with pytest.raises(LedgerDamagedError, match="The noted head of the ledger cannot be read"):
            write(ledger, 51)
        heads[0].unlink()
        shutil.copy(older, place)
        with pytest.raises(LedgerDamagedError, match="at place 51"):
            write(ledger, 51)


def test_a_note_that_is_damaged_while_the_ledger_is_in_use_is_written_again(
    ledger: Ledger, place: Path
) -> None:
    head = place.with_suffix(".head")
    for damage in (lambda: head.write_bytes(b"scratched"), head.unlink):
        damage()
        before = ledger.verify().records
        write(ledger, before)
        noted = read_note(head)
        assert noted is not None
        assert noted.place == before + 1


def test_a_head_that_was_replaced_on_purpose_is_the_one_that_counts(
    place: Path, older: Path
) -> None:
    shutil.copy(older, place)
    with closing(Ledger(place, heads=())) as ledger:
        checked = ledger.verify()
    with closing(Ledger(place)) as ledger:
        head = NotedHead(place=checked.records, link=checked.head)
        ledger.database.notes.replace(head, by="ann", reason="Tuesday is gone", at=NOW)
    assert at_start(place) is None


@pytest.mark.postgres
def test_a_server_that_was_put_back_to_an_older_state_stores_nothing(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    where, heads = postgres.database(), (tmp_path / "ledger.head",)
    with closing(Ledger(where, heads=heads)) as ledger:
        Controls(ledger.database).record("stop", Scope(), by="ann", reason="x", at=NOW)
        write(ledger, 0, 5)
        engine = open_engine(where)
        with engine.begin() as connection:
            for table in ("chain", "decisions"):
                connection.execute(sa.text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
            connection.execute(sa.text("DELETE FROM chain WHERE place > 4"))
            connection.execute(sa.text("DELETE FROM decisions WHERE decision_id IN ('d-3', 'd-4')"))
        engine.dispose()
        with pytest.raises(LedgerDamagedError, match="holds 4 records"):
            write(ledger, 9)
    with (
        closing(Ledger(where, heads=heads)) as ledger,
        pytest.raises(LedgerDamagedError, match="holds 4 records"),
    ):
        write(ledger, 9)
    with closing(Ledger(where, heads=(tmp_path / "another.head",))) as ledger:
        write(ledger, 9)
        assert ledger.verify().finding is None
