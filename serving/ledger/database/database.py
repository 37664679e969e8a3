"""This module is about the database behind the ledger: SQLite beside the service, or PostgreSQL.

The same statements run on both. Writers take turns: on SQLite by the lock of the file, on
PostgreSQL by an advisory lock of the database, so that the chain of links has one order and what
a transaction checks still holds when it commits. Who finds a file locked sleeps, for up to a tenth
of a second, and asks again; so the writers of one process wait for each other before they ask.
Every commit is on disk when it returns. A database that can not be reached is one error, whatever
the driver calls it.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DataError, DBAPIError, InterfaceError, OperationalError

from serving.ledger.database.migrations import upgrade
from serving.ledger.database.sqlite import BUSY_SECONDS, sqlite_engine
from serving.ledger.database.url import ledger_url
from serving.ledger.errors import LedgerUnreachableError, UnstorableTextError

CONNECT_SECONDS = 5
RETRY_SECONDS = 2
"""What a caller is told to wait before trying again."""

WRITERS_LOCK = 7_304_551_123
"""The number of the advisory lock that writers of one PostgreSQL database take in turn."""

MOST_CONNECTIONS = 40


class LedgerDatabase:
    """Transactions on the ledger; upgraded to the present tables when it is first reached."""

    def __init__(self, where: Path | str) -> None:
        self._engine = open_engine(where)
        self._writing_engine = self._engine.execution_options(keepwell_writes=True)
        self._upgrading = threading.Lock()
        self._writers_turn = threading.Lock()
        self._is_ready = False

    @property
    def engine(self) -> Engine:
        """The engine, to listen to."""
        return self._engine

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def prepare(self) -> None:
        """Make the tables, or bring those of before up to date; once.

        Raises:
            LedgerUnreachableError: the database can not be reached; the next call tries again.
        """
        with self._upgrading:
            if not self._is_ready:
                with self._transaction() as connection:
                    upgrade(connection)
                self._is_ready = True

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One view of the ledger that no writer changes meanwhile.

        Raises:
            LedgerUnreachableError: the database can not be reached.
        """
        self.prepare()
        with _reached(), self._engine.connect() as connection:
            if connection.dialect.name == "postgresql":
                connection = connection.execution_options(
                    isolation_level="REPEATABLE READ", postgresql_readonly=True
                )
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction that holds the writers' lock from its first statement.

        Raises:
            LedgerUnreachableError: the database can not be reached. Where that is noticed while
                it commits, nobody knows whether it did: the same write sent again finds out.
        """
        self.prepare()
        with self._transaction() as connection:
            yield connection

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with self._turn(), _reached(), self._writing_engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(WRITERS_LOCK)))
            yield connection

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if self._engine.dialect.name != "sqlite":
            yield  # the server has them wait, in order
            return
        if not self._writers_turn.acquire(timeout=BUSY_SECONDS):
            raise _unreachable(TimeoutError("others of this process are writing"))
        try:
            yield
        finally:
            self._writers_turn.release()


def open_engine(where: Path | str) -> Engine:
    """The engine of a file, or of an address such as ``postgresql://ledger@db.example/keepwell``.

    Raises:
        LedgerUrlError: the address names no database that a ledger can be in.
    """
    if isinstance(where, Path):
        where.parent.mkdir(parents=True, exist_ok=True)
        return sqlite_engine(where, most_more=MOST_CONNECTIONS)
    url = ledger_url(where)
    if url.get_backend_name() == "sqlite":
        return sqlite_engine(url, most_more=MOST_CONNECTIONS)
    return _postgres(url)


def _postgres(url: sa.URL) -> Engine:
    try:
        import psycopg  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "A ledger on PostgreSQL needs psycopg, which is optional: pip install -e "
            "'.[postgres]'. Without KEEPWELL_LEDGER_URL the ledger is a file of the workspace."
        ) from error
    wait = int(BUSY_SECONDS * 1000)
    return sa.create_engine(
        url,
        pool_pre_ping=True,
        max_overflow=MOST_CONNECTIONS,
        pool_timeout=BUSY_SECONDS,
        connect_args={
            "connect_timeout": CONNECT_SECONDS,
            "application_name": "keepwell",
            "options": f"-c synchronous_commit=on -c lock_timeout={wait} -c timezone=UTC",
        },
    )


@contextmanager
def _reached() -> Iterator[None]:
    """Translate what drivers raise when a database is away, busy for long or full."""
    try:
        yield
    except DataError as error:
        raise UnstorableTextError(
            "A text holds a character that the ledger can not keep, such as a null byte."
        ) from error
    except (DBAPIError, sa.exc.TimeoutError) as error:
        if not _is_away(error):
            raise
        raise _unreachable(getattr(error, "orig", None) or error) from error
    except sqlite3.OperationalError as error:  # raised while a connection is being prepared
        raise _unreachable(error) from error


def _is_away(error: Exception) -> bool:
    """Whether an error says that the database is away, busy or full, and not that it is broken."""
    if isinstance(error, DBAPIError):
        if getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR:
            return False  # a table or column that is not there: nothing to wait for
        return isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated
    return True


def _unreachable(cause: BaseException) -> LedgerUnreachableError:
    return LedgerUnreachableError(
        "The ledger of decisions can not be reached, or is busy for long.",
        retry_after=RETRY_SECONDS,
        cause=str(cause).strip(),
    )
