"""What a kind of database does in its own way, as a protocol. Everything else is plain SQL.

Writers take turns in every kind, so that the chain of links has one order and what a transaction
checks still holds when it commits.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

BUSY_SECONDS = 5.0
"""A writer waits this long for its turn, where nobody says otherwise."""

CONNECT_SECONDS = 5
MOST_CONNECTIONS = 40

WRITES: Final = "keepwell_writes"
"""The execution option of an engine whose transactions write."""

DURABLE: Final = "keepwell_durable"
"""The execution option that is False where a commit need not wait for the disk."""


@dataclass(frozen=True, kw_only=True)
class LedgerFiles:
    """The files of a ledger that lies in files: the database, its log, and the index of the log."""

    database: Path
    log: Path
    index: Path

    def identity(self) -> tuple[tuple[int, int] | None, ...]:
        """Which files the paths lead to now: device and inode, None where there is none."""
        return tuple(map(_identity, (self.database, self.log, self.index)))


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        there = path.stat()
    except OSError:
        return None
    return there.st_dev, there.st_ino


class Dialect(Protocol):
    """One kind of database.

    Attributes:
        name: what SQLAlchemy calls it.
        address: how a person writes where a database of this kind is.
        queues_writers: whether the database has writers wait in order; where not, the writers of
            one process wait for each other before they ask for the lock.
        connect_errors: what the driver raises, beside what SQLAlchemy translates, while a
            connection is prepared.
    """

    name: str
    address: str
    queues_writers: bool
    connect_errors: tuple[type[Exception], ...]

    def url(self, address: sa.URL) -> sa.URL | None:
        """An address with its driver; None where it is not one of this kind."""
        ...

    def engine(self, url: sa.URL) -> Engine:
        """An engine on a database; ``WRITES`` and ``DURABLE`` are options of its transactions."""
        ...

    def reading(self, connection: Connection) -> Connection:
        """The connection, so that its next transaction sees one state and writes nothing."""
        ...

    def files(self, url: sa.URL) -> LedgerFiles | None:
        """The files that a database at this address lies in; None where others look after them."""
        ...

    def limit_wait(self, connection: Connection, seconds: float) -> None:
        """Let the next transaction wait no longer than this for other writers."""
        ...

    def take_turn(self, connection: Connection, lock: int, seconds: float) -> None:
        """Wait at the beginning of a transaction until no other writer of this lock is left."""
        ...

    def is_damaged(self, error: BaseException | None) -> bool:
        """Whether an error of the driver says that the database is damaged, or lacks tables."""
        ...

    def structure_problem(self, connection: Connection) -> str | None:
        """What is wrong with the structure of the whole database, in the words of the database."""
        ...

    def is_broken(self, error: BaseException | None) -> bool:
        """Whether an error of the driver says that a statement is wrong, so that waiting is vain."""
        ...

    def refuse_changes(self, tables: Iterable[str]) -> Iterable[str]:
        """Statements by which the database refuses to change or delete a row of these tables."""
        ...

    def permit_changes(self, tables: Iterable[str]) -> Iterable[str]:
        """Statements that lift ``refuse_changes`` for these tables, until it is said again."""
        ...

    def erase_deleted(self, engine: Engine, *tables: str) -> bool:
        """Write the files of tables anew, without what was deleted or changed.

        False where others read an older state for so long that it is still in a file.
        """
        ...
