"""The newest head of the ledger's chain, noted beside the ledger after each commit.

A ledger that was deleted, or put back from an older copy, is a valid ledger: nothing in it says what
it lost. The head that was noted elsewhere does, since a link stands for every record before it: a
ledger that holds the noted link at its place has lost nothing of what was noted.

The note is one block at the beginning of its file, written in place while the file is locked, so no
reader and no kill sees half of it, and no commit waits for a second sync. It is written after the
commit: a machine that loses its power may keep a note that lags behind, and never one that is ahead.
Below it is a line for each time that somebody replaced the note on purpose.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from serving.ledger.database.timestamps import as_text

BLOCK = 1_024
"""Bytes of the note itself; what somebody replaced on purpose is listed below it."""

LONGEST_NAME = 400
LONGEST_WAIT = 1.0
FORMAT = 1


class HeadNoteError(Exception):
    """A note is there and cannot be read."""


@dataclass(frozen=True, kw_only=True)
class NotedHead:
    """The newest link of the chain, as it was noted.

    ``ledger`` is the address of the ledger without its password, for a person; ``file`` is what the
    file of the ledger looked like after the commit, "" where it is no file.
    """

    place: int
    link: str
    ledger: str = ""
    file: str = ""


@dataclass(frozen=True, kw_only=True)
class AcceptedHead:
    """One time that somebody replaced the note on purpose: by which head, who, when and why."""

    place: int
    link: str
    before: str  # the note of before, in words
    by: str
    at: str
    reason: str


class HeadNotes:
    """The places where the head of one ledger is noted; none for a ledger that nobody watches."""

    def __init__(self, *places: Path) -> None:
        self.places = places
        self.problem: str | None = None  # why the newest head could not be noted
        self._read: dict[Path, tuple[bytes, NotedHead]] = {}  # the blocks that were read last

    def read(self) -> NotedHead | None:
        """The note that is the farthest; None where there is none.

        Raises:
            HeadNoteError: a note cannot be read.
        """
        return max(self.all(), key=lambda head: head.place, default=None)

    def all(self) -> tuple[NotedHead, ...]:
        """The notes of all places that have one.

        Raises:
            HeadNoteError: one of them cannot be read.
        """
        found = []
        for place in self.places:
            block, known = _block(place), self._read.get(place)
            if known is not None and known[0] == block:
                found.append(known[1])
            elif block:
                head = _note_in(block) or read_note(place)  # as it is once nobody writes it
                if head is not None:
                    self._read[place] = block, head
                    found.append(head)
        return tuple(found)

    def note(self, head: NotedHead) -> None:
        """Note the head of a commit; one that is farther stays, as other processes note theirs.

        What was committed is committed: where it cannot be noted, ``problem`` says why.
        """
        self.problem = None
        for place in self.places:
            try:
                with _locked(place) as file:
                    block, known = os.pread(file, BLOCK, 0), self._read.get(place)
                    is_known = known is not None and known[0] == block
                    there = known[1] if known and is_known else _note_in(block)
                    if there is None or there.place <= head.place:
                        self._read[place] = _write_note(file, head), head
            except OSError as error:
                self.problem = f"The head of the ledger cannot be noted in {place}: {error}."

    def replace(self, head: NotedHead, *, by: str, reason: str, at: datetime) -> None:
        """Note this head on purpose, whatever was noted before, and write down who said so and why.

        For a ledger that was restored, or that begins anew because the one before is gone.

        Raises:
            OSError: a place cannot be written.
        """
        for place in self.places:
            with _locked(place) as file:
                there = _note_in(os.pread(file, BLOCK, 0))
                accepted = AcceptedHead(
                    place=head.place,
                    link=head.link,
                    before="none that could be read"
                    if there is None
                    else f"place {there.place}, {there.link}",
                    by=by,
                    at=as_text(at),
                    reason=reason,
                )
                line = b"\n" + json.dumps(asdict(accepted)).encode() + b"\n"
                os.pwrite(file, line, max(BLOCK, os.fstat(file).st_size))
                _write_note(file, head)
                os.fsync(file)


def read_note(place: Path) -> NotedHead | None:
    """The note in a file; None where there is no such file, or nothing in it yet.

    Raises:
        HeadNoteError: it cannot be read.
    """
    block = _block(place, waits=True)
    if not block:
        return None
    noted = _note_in(block)
    if noted is None:
        raise HeadNoteError(
            f"{place} does not hold the head of a ledger: it is damaged, or of a newer Keepwell."
        )
    return noted


def accepted_heads(place: Path) -> tuple[AcceptedHead, ...]:
    """Each time that somebody replaced the note in a file on purpose, oldest first.

    What was there of a damaged file before it was replaced is left out.
    """
    found = []
    for line in place.read_bytes()[BLOCK:].splitlines() if place.exists() else ():
        with contextlib.suppress(ValueError, TypeError):
            found.append(AcceptedHead(**json.loads(line)))
    return tuple(found)


def _block(place: Path, *, waits: bool = False) -> bytes:
    """The block of a file, empty where there is none; ``waits`` until nobody writes it."""
    try:
        if waits:
            with _locked(place, creates=False) as file:
                return os.pread(file, BLOCK, 0)
        file = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.pread(file, BLOCK, 0)
        finally:
            os.close(file)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise HeadNoteError(f"{place} cannot be read: {error}.") from error


@contextmanager
def _locked(place: Path, *, creates: bool = True) -> Iterator[int]:
    """The open file, locked against other writers, or against writers where it is only read."""
    how = os.O_RDWR | os.O_CREAT if creates else os.O_RDONLY
    file = os.open(place, how | os.O_CLOEXEC, 0o600)
    kind = fcntl.LOCK_EX if creates else fcntl.LOCK_SH
    until = time.monotonic() + LONGEST_WAIT
    try:
        while True:
            try:
                fcntl.flock(file, kind | fcntl.LOCK_NB)
                break
            except BlockingIOError:  # a block is written in microseconds
                if time.monotonic() >= until:
                    raise
                time.sleep(0.001)
        yield file
    finally:
        os.close(file)


def _write_note(file: int, head: NotedHead) -> bytes:
    content = json.dumps(
        [FORMAT, head.place, head.link, head.file, head.ledger[:LONGEST_NAME]], ensure_ascii=False
    ).encode()
    if len(content) > BLOCK - 100:  # a name of long letters
        content = json.dumps([FORMAT, head.place, head.link, head.file, ""]).encode()
    block = (_sum(content) + b" " + content).ljust(BLOCK - 1) + b"\n"
    os.pwrite(file, block, 0)
    return block


def _note_in(block: bytes) -> NotedHead | None:
    """The note that a block holds; None where it is none, or not as this version wrote it."""
    written, _, content = block.strip().partition(b" ")
    if written != _sum(content):
        return None
    number, *values = json.loads(content)
    if number != FORMAT:
        return None  # of a newer Keepwell, which may note more
    place, link, file, ledger = values
    return NotedHead(place=place, link=link, file=file, ledger=ledger)


def _sum(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest()[:16].encode()
