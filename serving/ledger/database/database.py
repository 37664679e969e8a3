"""The database behind the ledger: its transactions, and what happens when it cannot be reached.

The same statements run on every kind of database; what a kind does in its own way is with
``dialects``. Writers take turns, so that the chain of links has one order and what a transaction
checks still holds when it commits. Every commit is on disk when it returns. A database that cannot
be reached is one error, whatever the driver calls it.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DatabaseError, DataError, DBAPIError, InterfaceError, OperationalError

from serving.ledger.database.chain import ChainCheck, forget_newest_link, newest_link, verify_chain
from serving.ledger.database.change import Change, OpenRequest, WaitBudget
from serving.ledger.database.dialects.protocol import BUSY_SECONDS, DURABLE, WRITES, Dialect
from serving.ledger.database.dialects.supported import dialect_named
from serving.ledger.database.migrations import upgrade
from serving.ledger.database.noted_head import HeadNotes
from serving.ledger.database.same_ledger import SameLedger
from serving.ledger.database.url import address_without_password, ledger_url
from serving.ledger.errors import (
    LedgerDamagedError,
    LedgerUnreachableError,
    UnreadableDatabaseError,
    UnstorableTextError,
)

WAITED_FOR_SECONDS = 1.0
"""So long after one request waited in vain for a ledger to be opened, others do not wait again."""

NOT_UNDERSTOOD = frozenset(
    {
        AttributeError,
        IndexError,
        KeyError,
        OverflowError,
        TypeError,
        UnicodeDecodeError,
        ValueError,
        json.JSONDecodeError,
    }
)
"""What fails where a record is not what was written, or where Keepwell has a fault."""

VERIFIED_SECONDS = 60.0
"""So long what was found holds when every record was looked at."""

RETRY_SECONDS = 2
"""Seconds after which a caller is asked to try again."""

log = logging.getLogger("keepwell.ledger")

WRITERS_LOCK = 7_304_551_123
"""The number of the lock that the ledger's writers take in turn."""


@dataclass
class _Readiness:
    """Whether the tables are those of today; shared by all views of one database."""

    upgrading: threading.Lock = field(default_factory=threading.Lock)
    writers_turn: threading.Lock = field(default_factory=threading.Lock)
    is_ready: bool = False
    held_open: Connection | None = None
    waited_in_vain_at: float = float("-inf")  # when it was last waited for
    verifying: threading.Lock = field(default_factory=threading.Lock)
    verified_at: float = float("-inf")  # when every record was last looked at
    finding: str | None = None  # and what was found

    def finding_of(self, verify: Callable[[str | None], ChainCheck]) -> str | None:
        """What is wrong with the records; they are looked at once a minute at most."""
        with self.verifying:
            if time.monotonic() > self.verified_at + VERIFIED_SECONDS:
                finding = verify(None).finding
                self.finding = None if finding is None else finding.words
                self.verified_at = time.monotonic()
            return self.finding

    def refuse_at_once(self) -> None:
        """Refuse without waiting what comes right after somebody waited in vain.

        Raises:
            LedgerUnreachableError: somebody did, less than a second ago.
        """
        if time.monotonic() < self.waited_in_vain_at + WAITED_FOR_SECONDS:
            raise _unreachable(TimeoutError("it was waited for just now"))

    @contextmanager
    def opening(self) -> Iterator[None]:
        """Remember of this block, which opens the ledger, that it waited in vain."""
        self.refuse_at_once()
        began = time.monotonic()
        try:
            yield
        except LedgerDamagedError:
            raise
        except LedgerUnreachableError:
            if time.monotonic() > began + WAITED_FOR_SECONDS:
                self.waited_in_vain_at = time.monotonic()
            raise


class LedgerDatabase:
    """Transactions on the ledger; upgraded to the present tables when it is first reached.

    Args:
        where: the file, or the address of a database.
        heads: the files in which the head of the chain is noted; beside a file where it is left
            out, and nowhere for a server.
        wait_seconds: how long a writer waits for its turn.
    """

    def __init__(
        self,
        where: Path | str,
        *,
        heads: Sequence[Path] | None = None,
        wait_seconds: float = BUSY_SECONDS,
    ) -> None:
        self._engine = open_engine(where)
        self._dialect = dialect_named(self._engine.dialect.name)
        self._writers = {
            is_durable: self._engine.execution_options(**{WRITES: True, DURABLE: is_durable})
            for is_durable in (True, False)
        }
        self._state = _Readiness()
        self._request: OpenRequest | None = None
        self._waits: WaitBudget | None = None
        self._wait_seconds = wait_seconds
        files = self._dialect.files(self._engine.url)
        if heads is None:
            heads = () if files is None else (files.database.with_suffix(".head"),)
        self._same = SameLedger(
            ledger=address_without_password(where),
            files=files,
            notes=HeadNotes(*heads),
            verify=self._verify_afresh,
        )
        event.listen(self._engine, "do_connect", lambda *_: self._same.check_files())

    @property
    def engine(self) -> Engine:
        """The engine, to listen to."""
        return self._engine

    def for_request(self, request: OpenRequest) -> LedgerDatabase:
        """The same database to one request: each of its changes is noted with the request."""
        view = copy(self)
        view._request, view._waits = request, request.waits
        return view

    def waiting(self, waits: WaitBudget) -> LedgerDatabase:
        """The same database, whose writers wait for others no longer than this, all together."""
        view = copy(self)
        view._waits = waits
        return view

    @property
    def problem(self) -> str | None:
        """Why nothing is stored now: what was found when the ledger was looked at last."""
        return self._same.problem

    @property
    def notes(self) -> HeadNotes:
        """Where the head of the chain is noted."""
        return self._same.notes

    def check_readable(self) -> None:
        """See that the newest record can be read.

        Raises:
            LedgerUnreachableError: the database cannot be reached, or is damaged.
        """
        with self.reading() as connection:
            newest_link(connection, reads=True)

    def check_structure(self) -> None:
        """Read the structure of the whole database, where it lies in a file.

        Raises:
            LedgerUnreachableError: the database cannot be reached, or is damaged.
        """
        with self.reading() as connection:
            problem = self._dialect.structure_problem(connection)
        if problem is not None:
            raise self._same.damaged(problem)

    def check_records(self) -> None:
        """Look at every record, at most once a minute, whether it is what was written.

        Raises:
            LedgerUnreachableError: the database cannot be reached, or a record is another one.
        """
        self.prepare()
        with _reached(self._dialect, self._same):
            finding = self._state.finding_of(self._verify_afresh)
        if finding is not None:
            raise self._same.damaged(finding, words=finding)

    def look(self) -> None:
        """See that the ledger is the one it was, as every write does; writes nothing.

        Raises:
            LedgerUnreachableError: it cannot be reached, is damaged, or is another one.
        """
        with self.transaction(is_durable=False):
            pass

    def close(self) -> None:
        """Let go of the database; whoever uses it once more opens it again."""
        if self._state.held_open is not None:
            self._state.held_open.close()
        self._state.held_open, self._state.is_ready = None, False
        self._same.forget_files()
        self._engine.dispose()

    def prepare(self) -> None:
        """Make the tables, or bring those of before up to date; once.

        Raises:
            LedgerUnreachableError: the database cannot be reached; the next call tries again.
            LedgerDamagedError: it is damaged, or not the one whose head was noted.
        """
        if self._state.is_ready:
            return
        self._state.refuse_at_once()
        with self._held(self._state.upgrading), self._state.opening():
            if not self._state.is_ready:
                try:
                    with self._same.opening():
                        self._same.check_before_opening()
                        with self._begun(is_durable=True) as connection:
                            self._same.check_opened(connection)
                            upgrade(connection)
                            self._same.keep(connection)
                        self._hold_open()
                except LedgerDamagedError:
                    self._engine.dispose()  # the right file may be put in its place
                    raise
                self._state.is_ready = True

    def _hold_open(self) -> None:
        """Keep one connection until the end, so that no other program takes itself for the last
        one, brings the log into the file and deletes it."""
        if self._dialect.files(self._engine.url) is not None:
            with _reached(self._dialect, self._same):
                self._state.held_open = self._engine.connect()
                self._state.held_open.exec_driver_sql("SELECT count(*) FROM sqlite_schema").scalar()
                self._state.held_open.rollback()

    @contextmanager
    def _understood(self) -> Iterator[None]:
        """Where something fails that works with what was read, see whether that is what was written.

        Raises:
            LedgerDamagedError: it is not; from then on nothing is stored.
        """
        try:
            yield
        except Exception as error:
            if type(error) not in NOT_UNDERSTOOD:
                raise
            finding = self._state.finding_of(self._verify_afresh)
            if finding is None:
                raise
            log.error("a record of the ledger cannot be understood", exc_info=error)
            raise self._same.damaged(str(error), words=finding) from error

    def _verify_afresh(self, head: str | None) -> ChainCheck:
        """Look at every record, and for a head, over a connection that has read nothing yet."""
        engine = self._dialect.engine(self._engine.url)
        try:
            with engine.connect() as connection:
                held = self._dialect.reading(connection)
                problem = self._dialect.structure_problem(held)
                if problem is not None:
                    raise self._same.damaged(problem)
                return verify_chain(held, head=head)
        finally:
            engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One view of the ledger that no writer changes meanwhile.

        Raises:
            LedgerUnreachableError: the database cannot be reached.
        """
        self.prepare()
        with (
            _reached(self._dialect, self._same),
            self._understood(),
            self._engine.connect() as connection,
        ):
            held = self._dialect.reading(connection)
            if self._request is not None:
                self._request.look_for_key(held)
            yield held

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """The connection of a transaction that remembers no answer.

        Raises:
            LedgerUnreachableError: as ``transaction`` says.
        """
        with self.transaction() as change:
            yield change.connection

    @contextmanager
    def transaction(self, *, is_durable: bool = True) -> Iterator[Change]:
        """One transaction that holds the writers' lock from its first statement.

        Args:
            is_durable: the commit waits for the disk; False for what may be lost with the machine.

        Raises:
            LedgerUnreachableError: the database cannot be reached. Where that is noticed while
                it commits, nobody knows whether it did: the same write sent again finds out.
        """
        self.prepare()
        with self._turn():
            with (
                self._understood(),
                self._begun(is_durable=is_durable, has_turn=True) as connection,
            ):
                self._same.check_begun(connection)
                change = Change(connection)
                yield change
                if self._request is not None:
                    self._request.note(change)
                head = self._same.newest(connection)
            self._same.committed(head)

    @contextmanager
    def _begun(self, *, is_durable: bool, has_turn: bool = False) -> Iterator[Connection]:
        if not has_turn:
            with self._turn(), self._begun(is_durable=is_durable, has_turn=True) as connection:
                yield connection
            return
        seconds = self._seconds_left()
        with (
            _reached(self._dialect, self._same),
            self._writers[is_durable].connect() as connection,
        ):
            self._dialect.limit_wait(connection, seconds)
            forget_newest_link(connection)
            with self._charged():
                begun = connection.begin()
            with begun:
                with self._charged():
                    self._dialect.take_turn(connection, WRITERS_LOCK, seconds)
                yield connection

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if self._dialect.queues_writers:
            yield
            return
        with self._held(self._state.writers_turn):
            yield

    @contextmanager
    def _held(self, turn: threading.Lock) -> Iterator[None]:
        with self._charged():
            is_ours = turn.acquire(timeout=self._seconds_left())
        if not is_ours:
            raise _unreachable(TimeoutError("others of this process are writing"))
        try:
            yield
        finally:
            turn.release()

    def _seconds_left(self) -> float:
        """How long a writer may wait from now on."""
        return self._wait_seconds if self._waits is None else self._waits.left

    @contextmanager
    def _charged(self) -> Iterator[None]:
        with nullcontext() if self._waits is None else self._waits.charged():
            yield


def open_engine(where: Path | str) -> Engine:
    """The engine of a file, or of an address such as ``postgresql://ledger@db.example/keepwell``.

    Raises:
        LedgerUrlError: the address names no database that a ledger can be in.
    """
    if isinstance(where, Path):
        where.parent.mkdir(parents=True, exist_ok=True)
        url = sa.URL.create("sqlite", database=str(where))
    else:
        url = ledger_url(where)
    return dialect_named(url.get_backend_name()).engine(url)


@contextmanager
def database_errors() -> Iterator[None]:
    """Translate what a database says when it cannot be read, for commands that tell a person.

    Raises:
        UnreadableDatabaseError: its message is what the database said.
    """
    try:
        yield
    except DatabaseError as error:
        raise UnreadableDatabaseError(str(error.orig)) from error


@contextmanager
def _reached(dialect: Dialect, same: SameLedger) -> Iterator[None]:
    """Translate what drivers raise when a database is away, busy for long, full or damaged."""
    try:
        yield
    except DataError as error:
        raise UnstorableTextError(
            "A text holds a character that the ledger cannot keep, such as a null byte."
        ) from error
    except (DBAPIError, sa.exc.TimeoutError) as error:
        cause = getattr(error, "orig", None) or error
        if dialect.is_damaged(cause):
            raise same.damaged(str(cause).strip()) from error
        if not _is_away(error, dialect):
            raise
        raise _unreachable(cause) from error
    except dialect.connect_errors as error:
        raise _unreachable(error) from error


def _is_away(error: Exception, dialect: Dialect) -> bool:
    """Whether an error says that the database is away, busy or full, and not that it is broken."""
    if isinstance(error, DBAPIError):
        if dialect.is_broken(error.orig):
            return False
        return isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated
    return True


def _unreachable(cause: BaseException) -> LedgerUnreachableError:
    return LedgerUnreachableError(
        "The ledger of decisions cannot be reached, or is busy for long.",
        retry_after=RETRY_SECONDS,
        cause=str(cause).strip(),
    )
