"""The head that is noted beside the ledger: never backwards, never half, and replaced on purpose only."""

from __future__ import annotations

import os
import signal
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from serving.ledger.database.noted_head import (
    BLOCK,
    HeadNoteError,
    HeadNotes,
    NotedHead,
    accepted_heads,
    read_note,
)

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
PROCESSES = 3


def head(place: int) -> NotedHead:
    return NotedHead(place=place, link=f"{place:064x}", ledger="/w/ledger.db", file="1:2:3:4")


def test_what_was_noted_is_read_and_never_goes_back(tmp_path: Path) -> None:
    notes = HeadNotes(tmp_path / "ledger.head", tmp_path / "other.head")
    assert notes.read() is None
    (tmp_path / "ledger.head").touch(0o600)  # a process was killed before it wrote
    assert notes.read() is None
    notes.note(head(7))
    notes.note(head(6))  # another process was slower to note its commit
    assert (notes.read(), len(notes.all())) == (head(7), 2)
    assert (tmp_path / "ledger.head").stat().st_mode & 0o077 == 0
    (tmp_path / "other.head").unlink()
    assert notes.read() == head(7)


def test_a_name_of_any_length_fits(tmp_path: Path) -> None:
    notes = HeadNotes(tmp_path / "ledger.head")
    for name in ("/" + "x" * 5_000, "/" + "\N{GRINNING FACE}" * 400):
        notes.note(NotedHead(place=1, link="a" * 64, ledger=name))
        found = notes.read()
        assert found is not None
        assert name.startswith(found.ledger)
        assert (tmp_path / "ledger.head").stat().st_size == BLOCK


@pytest.mark.parametrize(
    "damage", [lambda block: b"\n", lambda block: block[:-30], lambda block: b"x" + block[1:]]
)
def test_a_damaged_note_is_said_and_noted_again(tmp_path: Path, damage: object) -> None:
    place = tmp_path / "ledger.head"
    notes = HeadNotes(place)
    notes.note(head(7))
    place.write_bytes(damage(place.read_bytes().rstrip()))  # type: ignore[operator]
    with pytest.raises(HeadNoteError, match="it is damaged, or of a newer Keepwell"):
        notes.read()
    notes.note(head(8))
    assert notes.read() == head(8)


def test_a_place_that_can_not_be_written_or_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    notes = HeadNotes(tmp_path / "folder", tmp_path / "ledger.head")
    notes.note(head(1))
    assert notes.problem is not None
    assert "cannot be noted in" in notes.problem
    assert read_note(tmp_path / "ledger.head") == head(1)
    with pytest.raises(HeadNoteError, match="folder cannot be read"):
        notes.read()


def test_a_head_is_replaced_on_purpose_and_it_is_written_down(tmp_path: Path) -> None:
    place = tmp_path / "ledger.head"
    notes = HeadNotes(place)
    assert accepted_heads(place) == ()
    notes.note(head(7))
    notes.replace(head(3), by="ann", reason="restored from Monday", at=AT)
    notes.note(head(4))
    notes.replace(head(1), by="bob", reason="and again", at=AT)
    assert notes.read() == head(1)
    first, second = accepted_heads(place)
    assert (first.by, first.reason, first.place) == ("ann", "restored from Monday", 3)
    assert first.before == f"place 7, {7:064x}"
    assert second.before.startswith("place 4")


def test_processes_that_note_at_once_leave_the_farthest_and_a_kill_leaves_a_whole_one(
    tmp_path: Path,
) -> None:
    place = tmp_path / "ledger.head"
    notes = HeadNotes(place)
    children = []
    for number in range(PROCESSES):
        child = os.fork()
        if child == 0:
            try:
                for n in range(1, 1_000_000):
                    notes.note(head(n * PROCESSES + number))
            finally:
                os._exit(1)
        children.append(child)
    seen = 0
    until = time.monotonic() + 0.5
    last = until + 60
    while time.monotonic() < until or (seen == 0 and time.monotonic() < last):
        found = notes.read()
        assert found is None or found.place >= seen
        seen = 0 if found is None else found.place
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    last = notes.read()
    assert last is not None
    assert last.place >= seen > 0
