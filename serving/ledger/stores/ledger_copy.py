"""Copy a ledger between databases, whole or up to a place, with all that hangs on its records.

The chain is closed under prefixes: the records up to a place are a valid ledger whose head is the link
of that place. An erasure of later that touched them is said again behind it, since what it took is gone.
What is no record follows: what was put on the timeline of records that are left out is
forgotten, messages of webhooks beyond the place too, and so are stored answers of requests that may
have written them, since a request that is sent again has to be carried out again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from serving.ledger.database import change
from serving.ledger.database.chain import covered_hash, insert_linked, key_of, verify_chain
from serving.ledger.database.database import LedgerDatabase, database_errors, open_engine
from serving.ledger.database.migrations import lock_rows, version_of
from serving.ledger.database.tables import (
    BY_THE_CLOCK,
    CHAIN,
    CHAINED,
    DELIVERIES,
    METADATA,
    REDACTED,
    REDACTIONS,
)
from serving.ledger.database.timestamps import as_moment, as_text
from serving.ledger.stores import outbox_tables as outbox

AT_ONCE = 500
LONGEST_REQUEST = timedelta(hours=1)
"""A request that began this long before the first record that is left out may have written it."""


class LedgerCopyError(Exception):
    """A ledger cannot be copied as it was asked."""


@dataclass(frozen=True, kw_only=True)
class LedgerFacts:
    """What a ledger comes to: its version, its records by table, its head, and what is wrong with it."""

    version: int
    records: int
    head: str
    counts: Mapping[str, int]
    finding: str | None


@dataclass(frozen=True, kw_only=True)
class LedgerCut:
    """Where a ledger was cut: the last place that it holds, and the moment of the first record after."""

    place: int
    next_at: datetime | None


def ledger_facts(where: Path | str) -> LedgerFacts:
    """Look at a whole ledger; an older one is upgraded first.

    Raises:
        UnreadableDatabaseError: the database is damaged.
        LedgerVersionError: a newer Keepwell wrote it, or tables that it had are gone.
    """
    with (
        database_errors(),
        closing(LedgerDatabase(where, heads=())) as database,
        database.reading() as connection,
    ):
        checked = verify_chain(connection)
        return LedgerFacts(
            version=version_of(connection),
            records=checked.records,
            head=checked.head,
            counts={name: _count(connection, table) for name, table in CHAINED.items()},
            finding=None if checked.finding is None else checked.finding.words,
        )


@contextmanager
def pinned_ledger(address: str) -> Iterator[PinnedLedger]:
    """One state of a ledger on a server, which no writer changes while it is held.

    Raises:
        LedgerUnreachableError: the database cannot be reached.
    """
    with closing(LedgerDatabase(address, heads=())) as database, database.reading() as connection:
        connection.scalar(sa.select(sa.func.count()).select_from(CHAIN))  # the state is of now
        yield PinnedLedger(connection)


class PinnedLedger:
    """One state of a ledger on a server, to be written to files."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def write(self, ledger: Path, messages: Path) -> None:
        """Write the ledger, and the outbox if there is one, as they would be beside a service."""
        with _new_ledger(ledger) as into:
            _copy_tables(self._connection, into, METADATA, change.METADATA)
            lock_rows(into)
        if sa.inspect(self._connection).has_table(outbox.ENDPOINTS.name):
            with _new_database(messages, outbox.METADATA) as into:
                _copy_tables(self._connection, into, outbox.METADATA)


def load_ledger(address: str, ledger: Path, messages: Path | None) -> None:
    """Write a ledger of files to a database on a server that holds none, in one transaction.

    Raises:
        LedgerCopyError: the database holds records.
        LedgerUnreachableError: the database cannot be reached.
    """
    with (
        closing(LedgerDatabase(address, heads=())) as database,
        closing(LedgerDatabase(ledger, heads=())) as source,
        source.reading() as rows,
        database.writing() as into,
    ):
        if _count(into, CHAIN):
            raise LedgerCopyError(
                "The database of the ledger holds records already. Name an empty one in "
                "KEEPWELL_LEDGER_URL; nothing was changed."
            )
        change.METADATA.create_all(into)
        _copy_tables(rows, into, METADATA, change.METADATA, but=("ledger_versions",))
        if messages is not None:
            outbox.METADATA.create_all(into)
            with _engine_of(messages) as engine, engine.connect() as held:
                _copy_tables(held, into, outbox.METADATA)


def cut_ledger(ledger: Path, cut: Path, *, until: datetime | int) -> LedgerCut:
    """Write the records of a ledger up to a place, or to a moment, to a new file.

    A moment is on the clock of the service; the records up to the last one before the first that is
    later are taken.

    Raises:
        LedgerCopyError: there is no such place.
    """
    with closing(LedgerDatabase(ledger, heads=())) as database, database.reading() as rows:
        newest = rows.scalar(sa.select(sa.func.max(CHAIN.c.place))) or 0
        place = _place_at(rows, until, newest) if isinstance(until, datetime) else until
        if not 0 <= place <= newest:
            raise LedgerCopyError(
                f"The ledger of this backup has {newest:,} places, and {place:,} is none of them. "
                f"Name one from 0 to {newest}, or a moment."
            )
        next_at = _first_after(rows, place)
        with _new_ledger(cut) as into:
            _copy_tables(rows, into, METADATA, change.METADATA, up_to=place, next_at=next_at)
            _say_erasures_again(rows, into, place)
            lock_rows(into)
    return LedgerCut(place=place, next_at=next_at)


def cut_messages(messages: Path, place: int) -> int:
    """Forget the messages about records beyond a place; how many. The file is changed as it is."""
    with _engine_of(messages) as engine, engine.begin() as connection:
        if not sa.inspect(connection).has_table(outbox.MESSAGES.name):
            return 0
        forgotten = connection.execute(
            sa.delete(outbox.MESSAGES).where(outbox.MESSAGES.c.place > place)
        ).rowcount
        connection.execute(
            sa.update(outbox.ENDPOINTS).where(outbox.ENDPOINTS.c.place > place).values(place=place)
        )
    return int(forgotten)


def _place_at(rows: Connection, moment: datetime, newest: int) -> int:
    """The last place before the first record that is later than a moment."""
    later = [
        place
        for column in BY_THE_CLOCK
        if (place := _first_place(rows, column, as_text(moment))) is not None
    ]
    return min(later, default=newest + 1) - 1


def _first_place(rows: Connection, column: sa.Column[str], after: str) -> int | None:
    """The first place of a record of this table with a later moment."""
    found: int | None = rows.scalar(
        sa.select(sa.func.min(CHAIN.c.place))
        .select_from(CHAIN.join(column.table, CHAIN.c.record_id == key_of(column.table)))
        .where(CHAIN.c.table == column.table.name, column > after)
    )
    return found


def _first_after(rows: Connection, place: int) -> datetime | None:
    """The earliest moment of the records beyond a place; None where there is none."""
    found = [
        rows.scalar(
            sa.select(sa.func.min(column))
            .select_from(CHAIN.join(column.table, CHAIN.c.record_id == key_of(column.table)))
            .where(CHAIN.c.table == column.table.name, CHAIN.c.place > place)
        )
        for column in BY_THE_CLOCK
    ]
    return min((as_moment(text) for text in found if text is not None), default=None)


def _copy_tables(
    source: Connection,
    into: Connection,
    *groups: sa.MetaData,
    but: tuple[str, ...] = (),
    up_to: int | None = None,
    next_at: datetime | None = None,
) -> None:
    there = set(sa.inspect(source).get_table_names())
    for group in groups:
        for table in group.sorted_tables:
            if table.name in but or table.name not in there:
                continue
            wanted = sa.select(table)
            if up_to is not None:
                wanted = wanted.where(*_conditions(table, up_to, next_at))
            found = source.execution_options(yield_per=AT_ONCE).execute(wanted).mappings()
            for rows in found.partitions(AT_ONCE):
                into.execute(sa.insert(table), [dict(row) for row in rows])


def _conditions(
    table: sa.Table, up_to: int, next_at: datetime | None
) -> Iterator[sa.ColumnElement[bool]]:
    """Which rows of a table belong to a ledger that ends at a place."""
    if table is CHAIN:
        yield CHAIN.c.place <= up_to
    elif table.name in CHAINED:
        yield key_of(table).in_(
            sa.select(CHAIN.c.record_id).where(CHAIN.c.table == table.name, CHAIN.c.place <= up_to)
        )
    elif table is DELIVERIES:
        yield DELIVERIES.c.record_id.in_(sa.select(CHAIN.c.record_id).where(CHAIN.c.place <= up_to))
    elif table is REDACTED:
        yield REDACTED.c.redaction_id.in_(
            sa.select(CHAIN.c.record_id).where(
                CHAIN.c.table == REDACTIONS.name, CHAIN.c.place <= up_to
            )
        )
    elif table is change.REQUESTS and next_at is not None:
        yield change.REQUESTS.c.began_at < as_text(next_at - LONGEST_REQUEST)


def _say_erasures_again(rows: Connection, into: Connection, place: int) -> None:
    """Put redactions from beyond a place behind it, for what they erased of the records before."""
    later = (
        rows.execute(
            sa.select(REDACTIONS)
            .select_from(CHAIN.join(REDACTIONS, CHAIN.c.record_id == REDACTIONS.c.redaction_id))
            .where(CHAIN.c.table == REDACTIONS.name, CHAIN.c.place > place)
            .order_by(CHAIN.c.place)
        )
        .mappings()
        .all()
    )
    for redaction in later:
        covered = (
            rows.execute(
                sa.select(REDACTED).where(
                    REDACTED.c.redaction_id == redaction["redaction_id"],
                    REDACTED.c.place <= place,
                )
            )
            .mappings()
            .all()
        )
        if not covered:
            continue
        gone = sum(one["content"] == "" for one in covered)
        again = {
            **redaction,
            "gone": gone,
            "changed": len(covered) - gone,
            "covers": covered_hash((one["place"], one["link"], one["content"]) for one in covered),
        }
        insert_linked(into, REDACTIONS, again)
        into.execute(sa.insert(REDACTED), [dict(one) for one in covered])


@contextmanager
def _new_ledger(file: Path) -> Iterator[Connection]:
    with _new_database(file, METADATA, change.METADATA) as connection:
        yield connection


@contextmanager
def _new_database(file: Path, *groups: sa.MetaData) -> Iterator[Connection]:
    """A transaction on a new file with these tables."""
    file.unlink(missing_ok=True)
    file.touch(mode=0o600)
    with _engine_of(file) as engine, engine.begin() as connection:
        for group in groups:
            group.create_all(connection)
        yield connection


@contextmanager
def _engine_of(file: Path) -> Iterator[Engine]:
    engine = open_engine(file)
    try:
        yield engine
    finally:
        engine.dispose()


def _count(connection: Connection, table: sa.Table) -> int:
    return connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0
