"""What a kind of database does in its own way, as a protocol. Everything else is plain SQL.

Writers take turns in every kind, so that the chain of links has one order and what a transaction
checks still holds when it commits.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

BUSY_SECONDS = 10.0
"""A writer waits this long for its turn."""

CONNECT_SECONDS = 5
MOST_CONNECTIONS = 40

WRITES: Final = "keepwell_writes"
"""The execution option of an engine whose transactions write."""

DURABLE: Final = "keepwell_durable"
"""The execution option that is False where a commit need not wait for the disk."""


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

    def take_turn(self, connection: Connection, lock: int) -> None:
        """Wait at the beginning of a transaction until no other writer of this lock is left."""
        ...

    def is_broken(self, error: BaseException | None) -> bool:
        """Whether an error of the driver says that tables are missing, so that waiting is vain."""
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
