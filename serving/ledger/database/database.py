"""The database behind the ledger: its transactions, and what happens when it cannot be reached.

The same statements run on every kind of database; what a kind does in its own way is with
``dialects``. Writers take turns, so that the chain of links has one order and what a transaction
checks still holds when it commits. Every commit is on disk when it returns. A database that cannot
be reached is one error, whatever the driver calls it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DatabaseError, DataError, DBAPIError, InterfaceError, OperationalError

from serving.ledger.database.change import Change, OpenRequest
from serving.ledger.database.dialects.protocol import BUSY_SECONDS, DURABLE, WRITES, Dialect
from serving.ledger.database.dialects.supported import dialect_named
from serving.ledger.database.migrations import upgrade
from serving.ledger.database.url import ledger_url
from serving.ledger.errors import (
    LedgerUnreachableError,
    UnreadableDatabaseError,
    UnstorableTextError,
)

RETRY_SECONDS = 2
"""Seconds after which a caller is asked to try again."""

WRITERS_LOCK = 7_304_551_123
"""The number of the lock that the ledger's writers take in turn."""


@dataclass
class _Readiness:
    """Whether the tables are those of today; shared by all views of one database."""

    upgrading: threading.Lock = field(default_factory=threading.Lock)
    writers_turn: threading.Lock = field(default_factory=threading.Lock)
    is_ready: bool = False


class LedgerDatabase:
    """Transactions on the ledger; upgraded to the present tables when it is first reached."""

    def __init__(self, where: Path | str) -> None:
        self._engine = open_engine(where)
        self._dialect = dialect_named(self._engine.dialect.name)
        self._writers = {
            is_durable: self._engine.execution_options(**{WRITES: True, DURABLE: is_durable})
            for is_durable in (True, False)
        }
        self._state = _Readiness()
        self._request: OpenRequest | None = None

    @property
    def engine(self) -> Engine:
        """The engine, to listen to."""
        return self._engine

    def for_request(self, request: OpenRequest) -> LedgerDatabase:
        """The same database to one request: each of its changes is noted with the request."""
        view = copy(self)
        view._request = request
        return view

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def prepare(self) -> None:
        """Make the tables, or bring those of before up to date; once.

        Raises:
            LedgerUnreachableError: the database cannot be reached; the next call tries again.
        """
        with self._state.upgrading:
            if not self._state.is_ready:
                with self._begun(is_durable=True) as connection:
                    upgrade(connection)
                self._state.is_ready = True

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One view of the ledger that no writer changes meanwhile.

        Raises:
            LedgerUnreachableError: the database cannot be reached.
        """
        self.prepare()
        with _reached(self._dialect), self._engine.connect() as connection:
            yield self._dialect.reading(connection)

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
        with self._begun(is_durable=is_durable) as connection:
            change = Change(connection)
            yield change
            if self._request is not None:
                self._request.note(change)

    @contextmanager
    def _begun(self, *, is_durable: bool) -> Iterator[Connection]:
        engine = self._writers[is_durable]
        with self._turn(), _reached(self._dialect), engine.begin() as connection:
            self._dialect.take_turn(connection, WRITERS_LOCK)
            yield connection

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if self._dialect.queues_writers:
            yield
            return
        if not self._state.writers_turn.acquire(timeout=BUSY_SECONDS):
            raise _unreachable(TimeoutError("others of this process are writing"))
        try:
            yield
        finally:
            self._state.writers_turn.release()


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
def _reached(dialect: Dialect) -> Iterator[None]:
    """Translate what drivers raise when a database is away, busy for long or full."""
    try:
        yield
    except DataError as error:
        raise UnstorableTextError(
            "A text holds a character that the ledger cannot keep, such as a null byte."
        ) from error
    except (DBAPIError, sa.exc.TimeoutError) as error:
        if not _is_away(error, dialect):
            raise
        raise _unreachable(getattr(error, "orig", None) or error) from error
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
