"""See that the ledger is still the one that was written, before a write is acknowledged.

A file can be deleted, replaced or overwritten under a service that has it open, and the database
notices nothing: it goes on writing where nobody will ever look. So each transaction that writes asks,
under the writers' lock and again before and after its commit:

- whether the paths still lead to the files that were opened (the file, its log and the log's index);
- whether anybody but a Keepwell wrote the file: the log is brought into it by commits alone, and each
  notes what the file looked like afterwards. If so, every record is looked at once;
- whether the chain still holds the newest head that is known: this process's own, or the one that is
  noted beside the ledger, which other processes of the workspace write as well.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DatabaseError

from serving.ledger.database.chain import ChainCheck, newest_link
from serving.ledger.database.dialects.protocol import LedgerFiles
from serving.ledger.database.noted_head import HeadNoteError, HeadNotes, NotedHead
from serving.ledger.database.tables import CHAIN
from serving.ledger.errors import LedgerDamagedError

AT_PLACE = sa.select(CHAIN.c.link).where(CHAIN.c.place == sa.bindparam("at"))

UNREADABLE = "The ledger cannot be read: its database is damaged."

RETRY_SECONDS = 60
"""Seconds after which a caller may ask again whether somebody has mended the ledger."""

OTHERS_NOTE_SECONDS = 0.5
"""Another process that has just committed notes within this time what the file looks like."""

log = logging.getLogger("keepwell.ledger")


@dataclass(frozen=True, kw_only=True)
class Look:
    """What the file looked like after a commit."""

    size: int
    changed: int
    log_size: int

    def noted(self) -> str:
        """As it is noted for other processes; the log grows with every commit, so it is left out."""
        return f"{self.size}:{self.changed}"


class SameLedger:
    """Whether a ledger is still the one that was opened, for all transactions of one process.

    Args:
        ledger: the address without its password.
        files: where it lies, if it lies in files.
        notes: where its head is noted.
        verify: looks at every record, and for a head, over a connection of its own: one that is
            open has pages in memory, and shows what the file held before.
    """

    def __init__(
        self,
        *,
        ledger: str,
        files: LedgerFiles | None,
        notes: HeadNotes,
        verify: Callable[[str | None], ChainCheck],
    ) -> None:
        self.notes = notes
        self.problem: str | None = None  # what was found when it was looked at last
        self._ledger = ledger
        self._files = files
        self._verify = verify
        self._identity: tuple[tuple[int, int] | None, ...] = ()
        self._look: Look | None = None
        self._head: NotedHead | None = None
        self._unsound: tuple[Look, str] | None = None
        self._broken: str | None = None

    def check_before_opening(self) -> None:
        """See that a ledger whose head was noted is there, before an empty one is made in its place.

        Raises:
            LedgerDamagedError: it is not there, or the note cannot be read.
        """
        noted = self._noted(at_start=True)
        file = None if self._files is None else self._files.database
        is_there = file is None or (file.exists() and file.stat().st_size > 0)
        if noted is not None and not is_there:
            raise self._damaged(
                f"The file of the ledger is gone: its head was noted at place {noted.place:,}."
            )

    def check_opened(self, connection: Connection) -> None:
        """See that a ledger that was just opened holds every head that was noted of it.

        Raises:
            LedgerDamagedError: it does not.
        """
        self._noted(at_start=True)
        has_chain = sa.inspect(connection).has_table(CHAIN.name)
        for noted in self.notes.all():
            if noted.place == 0:
                continue  # an empty ledger, which every ledger continues
            if not has_chain or self._link_at(connection, noted.place) != noted.link:
                raise self._damaged(
                    self._not_held(noted, _newest(connection) if has_chain else None)
                )

    def keep(self, connection: Connection) -> None:
        """Take the ledger as it is now, at the end of the transaction that opened it."""
        self._head = _newest(connection)

    @contextmanager
    def opening(self) -> Iterator[None]:
        """Open the ledger in this block; at its end its files are taken as they are, and its head
        is noted."""
        self._broken = None  # it may have been put back since it was tried before
        try:
            yield
        except LedgerDamagedError as error:
            self.problem = error.detail
            raise
        if self._files is not None:
            self._identity = self._files.identity()
        self._look = self._look_now()
        self._note()
        self.problem = None

    def forget_files(self) -> None:
        """The files are closed; which they are is found out when they are opened again."""
        self._identity, self._look = (), None

    def check_begun(self, connection: Connection) -> None:
        """See, under the writers' lock, that a transaction begins on the ledger as it was left.

        Raises:
            LedgerDamagedError: it is another one, or somebody else has written its file.
        """
        if self._broken is not None:
            raise self._damaged(self._broken)
        self.check_files()
        self._check_file_is_as_it_was_left()
        known, newest = self._newest_known(), _newest(connection, reads=True)
        if known is not None and known.place > 0:
            if newest is None or newest.place < known.place:
                raise self._damaged(self._not_held(known, newest))
            is_newest = newest.place == known.place
            link = newest.link if is_newest else self._link_at(connection, known.place)
            if link != known.link:
                raise self._damaged(self._not_held(known, newest))
        self.problem = None

    def check_files(self) -> None:
        """See that the paths lead to the files that were opened.

        Raises:
            LedgerDamagedError: one of them was deleted or replaced.
        """
        if self._files is None or not self._identity:
            return
        now = self._files.identity()
        if now == self._identity:
            return
        paths = (self._files.database, self._files.log, self._files.index)
        names = ("The file of the ledger", "The log of the ledger's file", "The index of its log")
        for name, path, before, there in zip(names, paths, self._identity, now, strict=True):
            if before != there:
                what = "deleted" if there is None else "replaced by another file"
                raise self._damaged(
                    f"{name} was {what} while it was in use.", cause=f"{path} was {what}"
                )

    def newest(self, connection: Connection) -> NotedHead | None:
        """The head that a transaction will leave, before it commits; the files are checked too.

        Raises:
            LedgerDamagedError: they were deleted or replaced while it was written.
        """
        self.check_files()
        return _newest(connection)

    def committed(self, head: NotedHead | None) -> None:
        """Note the head of a commit, before it is acknowledged.

        Raises:
            LedgerDamagedError: its files were deleted or replaced meanwhile.
        """
        self.check_files()
        look = self._look_now()
        if head == self._head and (
            self._look is None or look is None or look.noted() == self._look.noted()
        ):
            self._look = look  # nothing that others would have to know
            return
        self._head, self._look = head, look
        self._note()

    def damaged(self, cause: str, words: str = UNREADABLE) -> LedgerDamagedError:
        """The error for a database that says of itself that it cannot be read, or of which ``words``
        say what was found.

        From then on nothing is written until the process starts again: what one statement cannot
        read, another may not notice, and would write beside it.
        """
        self._broken = words
        return self._damaged(self._broken, cause=cause)

    def _note(self) -> None:
        head = self._head
        if head is not None:
            file = "" if self._look is None else self._look.noted()
            self.notes.note(
                NotedHead(place=head.place, link=head.link, ledger=self._ledger, file=file)
            )

    def _noted(self, *, at_start: bool = False) -> NotedHead | None:
        """The head that is noted. While the service runs its own memory stands in for a bad note."""
        try:
            return self.notes.read()
        except HeadNoteError as error:
            if not at_start:
                return None
            raise self._damaged(
                "The noted head of the ledger cannot be read, so nobody knows whether the ledger "
                "is the newest one.",
                cause=str(error),
            ) from error

    def _newest_known(self) -> NotedHead | None:
        """The farthest head that is known, of this process or noted by another."""
        known = [head for head in (self._head, self._noted()) if head is not None]
        return max(known, key=lambda head: head.place, default=None)

    def _look_now(self) -> Look | None:
        if self._files is None:
            return None
        try:
            there, log_there = self._files.database.stat(), self._files.log.stat()
        except FileNotFoundError as error:
            raise self._damaged("A file of the ledger was deleted while it was in use.") from error
        return Look(size=there.st_size, changed=there.st_mtime_ns, log_size=log_there.st_size)

    def _check_file_is_as_it_was_left(self) -> None:
        """Look at every record where somebody else has written the file, or cut its log."""
        before, now = self._look, self._look_now()
        if before is None or now is None:
            return
        if now.noted() == before.noted() and now.log_size >= before.log_size:
            return
        if self._unsound is not None and self._unsound[0] == now:
            raise self._damaged(self._unsound[1])
        if now.log_size >= before.log_size and self._is_of_another_keepwell():
            self._look = self._look_now()
            return
        log.warning("%s was written by another program; every record is looked at", self._ledger)
        finding = self._finding() if now.size else "The file of the ledger was emptied."
        if finding is not None:
            self._unsound = now, finding
            raise self._damaged(finding)
        self._look = now

    def _is_of_another_keepwell(self) -> bool:
        """Whether another process noted the file as it is; it may just have committed."""
        until = time.monotonic() + OTHERS_NOTE_SECONDS
        while True:
            noted, now = self._noted(), self._look_now()
            if noted is not None and now is not None and noted.file == now.noted():
                return True
            if time.monotonic() >= until:
                return False
            time.sleep(0.01)

    def _finding(self) -> str | None:
        """What is wrong with the records, over a connection that has read nothing of them yet."""
        known = self._newest_known()
        try:
            finding = self._verify(None if known is None else known.link).finding
        except (DatabaseError, LedgerDamagedError) as error:
            log.error("the ledger cannot be read: %s", error)
            return "Another program has written the file of the ledger, which is damaged now."
        if finding is None:
            return None
        return f"Another program has written the file of the ledger. {finding.words}"

    def _link_at(self, connection: Connection, place: int) -> str | None:
        found: str | None = connection.scalar(AT_PLACE, {"at": place})
        return found

    def _not_held(self, known: NotedHead, newest: NotedHead | None) -> str:
        held = "nothing" if newest is None else f"{newest.place:,} records"
        return (
            f"The ledger holds {held}, and not the head that was noted of it at place "
            f"{known.place:,}: it is an older copy, was cut off, or is another ledger."
        )

    def _damaged(self, words: str, *, cause: str | None = None) -> LedgerDamagedError:
        self.problem = words
        return LedgerDamagedError(words, retry_after=RETRY_SECONDS, cause=cause or words)


def _newest(connection: Connection, *, reads: bool = False) -> NotedHead | None:
    place, link = newest_link(connection, reads=reads)
    return NotedHead(place=place, link=link) if place else None
