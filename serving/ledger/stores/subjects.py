"""Find and erase what the databases of the service hold about an account or a person.

Of an account every record goes. Of a person the record stays, for it is about an account: the name is
replaced by the pseudonym, and what the person wrote is taken out. Answers to requests go with an
account, keys and all; those that name a person become an answer that says so, so that a request that
is sent again is not carried out again.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from features.events.provenance import OwnRecord, own_event_id
from features.events.subject import REMOVED, Subject
from features.workspace_files import WorkspaceBusyError
from serving.ledger.database.chain import key_of
from serving.ledger.database.change import REQUESTS
from serving.ledger.database.database import LedgerDatabase, open_engine
from serving.ledger.database.dialects.protocol import BUSY_SECONDS, WRITES
from serving.ledger.database.dialects.supported import dialect_named
from serving.ledger.database.redaction import NAMED_BY_CALLERS, RecordEdit, redact
from serving.ledger.database.tables import (
    CHAINED,
    CONTROLS,
    DECISIONS,
    FEEDBACK,
    KEYS,
    METADATA,
    OUTCOMES,
    REDACTIONS,
)
from serving.ledger.stores.api_keys import KEYS as API_KEYS
from serving.ledger.stores.outbox_tables import MESSAGES

TEXT_OF_THE_WRITER = ("reason",)
"""Columns that hold what the person in the column ``by`` wrote."""

AUTHORED: Mapping[OwnRecord, sa.Table] = {"outcome": OUTCOMES, "feedback": FEEDBACK}
"""Records with an author that become events of the timeline."""

ERASED_STATUS = 410
ERASED_BODY = json.dumps(
    {
        "type": "about:blank",
        "title": "Erased",
        "status": ERASED_STATUS,
        "detail": "The request was carried out; what it was answered was erased since.",
    }
).encode()


@dataclass(frozen=True, kw_only=True)
class HeldRecord:
    """One row that names a subject, as it is stored."""

    table: str
    values: Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class Erasing:
    """Who erases, when and why, as the redaction in the ledger says it."""

    by: str
    at: datetime
    reason: str


class LedgerSubjects:
    """What a ledger holds about subjects: its chained records and the answers to requests."""

    def __init__(self, database: LedgerDatabase) -> None:
        self._database = database

    def held(self, subject: Subject) -> Iterator[HeldRecord]:
        """Every row that is about the subject or names it."""
        with self._database.reading() as connection:
            for edit in _edits(connection, subject):
                table = CHAINED[edit.table]
                row = connection.execute(
                    sa.select(table).where(key_of(table) == edit.record_id)
                ).mappings()
                yield HeldRecord(table=edit.table, values=dict(row.one()))
            for answer in _answers(connection, subject):
                body = zlib.decompress(answer["body"]) if answer["body"] else b""
                values = {**answer, "body": body.decode(errors="replace")}
                yield HeldRecord(table=REQUESTS.name, values=values)

    def count(self, subject: Subject) -> int:
        """The number of rows that are about the subject or name it."""
        with self._database.reading() as connection:
            return len(_edits(connection, subject)) + len(_answers(connection, subject))

    def written_by(self, subject: Subject) -> tuple[str, ...]:
        """The ids of the events of records that a person wrote: the timeline names no author."""
        if subject.kind != "person":
            return ()
        with self._database.reading() as connection:
            return tuple(
                own_event_id(record, str(one))
                for record, table in AUTHORED.items()
                for one in connection.scalars(
                    sa.select(key_of(table)).where(table.c.by.in_(subject.all_names))
                )
            )

    def erase(self, subject: Subject, erasing: Erasing) -> int:
        """Erase it in one transaction with its redaction, and rewrite the files; how many rows.

        Raises:
            LedgerUnreachableError: the ledger cannot be reached.
            TimeoutError: it is erased, and readers still hold an older state of the file.
        """
        with self._database.writing() as connection:
            edits = _edits(connection, subject)
            answers = _answers(connection, subject)
            redact(
                connection,
                edits,
                about=subject.kind,
                by=erasing.by,
                at=erasing.at,
                reason=erasing.reason,
            )
            for answer in answers:
                _erase_answer(connection, answer, subject)
        self.clean()
        return len(edits) + len(answers)

    def clean(self) -> None:
        """Write the files of the database anew, without what was erased.

        Raises:
            TimeoutError: readers hold an older state of the file for long.
        """
        tables = [*METADATA.tables, REQUESTS.name]
        engine = self._database.engine
        there = [name for name in tables if sa.inspect(engine).has_table(name)]
        if not dialect_named(engine.dialect.name).erase_deleted(engine, *there):
            raise TimeoutError(
                "The ledger is erased, but a process that reads it for long keeps an older state in "
                "its log. Run the same erasure again when that process has ended."
            )


def erase_messages(where: Path | str, subject: Subject, *, only_count: bool = False) -> int:
    """Erase the messages about a subject from the outbox, sent or not; how many."""
    with closing_engine(where) as engine:
        if not sa.inspect(engine).has_table(MESSAGES.name):
            return 0
        with engine.execution_options(**{WRITES: not only_count}).begin() as connection:
            rows = connection.execute(sa.select(MESSAGES)).mappings()
            found = [
                row
                for row in rows
                if subject.is_value(row["account_id"])
                or subject.is_in(row["body"])
                or subject.is_in(row["problem"] or "")
            ]
            for row in () if only_count else found:
                this = sa.and_(
                    MESSAGES.c.endpoint == row["endpoint"], MESSAGES.c.place == row["place"]
                )
                if subject.kind == "account" and subject.is_value(row["account_id"]):
                    connection.execute(sa.delete(MESSAGES).where(this))
                else:
                    connection.execute(
                        sa.update(MESSAGES)
                        .where(this)
                        .values(
                            body=_without_words(row["body"], subject),
                            problem=subject.scrub(row["problem"] or "") or None,
                        )
                    )
        if not only_count:
            rewrite_tables(engine, "the outbox", MESSAGES.name)
    return len(found)


def held_messages(where: Path | str, subject: Subject) -> list[HeldRecord]:
    """The messages that are about a subject or name it."""
    with closing_engine(where) as engine:
        if not sa.inspect(engine).has_table(MESSAGES.name):
            return []
        with engine.connect() as connection:
            return [
                HeldRecord(table=MESSAGES.name, values=dict(row))
                for row in connection.execute(sa.select(MESSAGES)).mappings()
                if subject.is_value(row["account_id"]) or subject.is_in(row["body"])
            ]


def erase_key_owner(file: Path, subject: Subject, *, at: datetime, only_count: bool = False) -> int:
    """End the keys of a person and take the name out of them, and out of territories; how many."""
    with closing_engine(file) as engine:
        if not sa.inspect(engine).has_table(API_KEYS.name):
            return 0
        with engine.execution_options(**{WRITES: not only_count}).begin() as connection:
            found = 0
            for row in connection.execute(sa.select(API_KEYS)).mappings().all():
                values = _scrubbed(row, subject, ("name", "owner", "territories", "role"))
                if not values:
                    continue
                found += 1
                if "owner" in values:
                    values["name"] = REMOVED
                if "owner" in values and row["revoked_at"] is None:
                    values["revoked_at"] = at.astimezone(UTC).isoformat(timespec="microseconds")
                if not only_count:
                    connection.execute(
                        sa.update(API_KEYS).where(API_KEYS.c.key_id == row["key_id"]).values(values)
                    )
        if not only_count:
            rewrite_tables(engine, "the keys", API_KEYS.name)
    return found


def held_keys(file: Path, subject: Subject) -> list[HeldRecord]:
    """The API keys that name a person, without their secrets."""
    with closing_engine(file) as engine:
        if not sa.inspect(engine).has_table(API_KEYS.name):
            return []
        with engine.connect() as connection:
            return [
                HeldRecord(table=API_KEYS.name, values=dict(row))
                for row in connection.execute(sa.select(API_KEYS)).mappings()
                if _scrubbed(row, subject, ("name", "owner", "territories", "role"))
            ]


@contextmanager
def closing_engine(where: Path | str) -> Iterator[sa.Engine]:
    """An engine for the length of a block; that others lock a file is told as SQLite says it."""
    engine = open_engine(where)
    try:
        yield engine
    except sa.exc.OperationalError as error:
        if isinstance(error.orig, sqlite3.OperationalError):
            raise error.orig from error
        raise
    finally:
        engine.dispose()


def rewrite_tables(engine: sa.Engine, name: str, *tables: str) -> None:
    """Write the files of tables anew, without what was deleted.

    Raises:
        WorkspaceBusyError: somebody reads an older state of them for long.
    """
    if not dialect_named(engine.dialect.name).erase_deleted(engine, *tables):
        raise WorkspaceBusyError(
            f"What was to go is deleted from {name}, but a process that reads it for longer than "
            f"{BUSY_SECONDS:g} s keeps an older state in its log. Run this again when that process has "
            f"ended."
        )


def _edits(connection: Connection, subject: Subject) -> list[RecordEdit]:
    edits: dict[tuple[str, str], RecordEdit] = {}
    if subject.kind == "account":
        for name, ids in _of_account(connection, subject).items():
            edits.update({(name, i): RecordEdit(table=name, record_id=i) for i in ids})
    for name, table in CHAINED.items():
        if name == REDACTIONS.name:
            continue
        key = key_of(table).name
        for row in _rows_naming(connection, table, subject):
            one = (name, row[key])
            if one in edits:
                continue
            values = _changed(table, row, subject)
            if name in NAMED_BY_CALLERS and key in values:
                edits[one] = RecordEdit(table=name, record_id=row[key])
            elif values:
                edits[one] = RecordEdit(table=name, record_id=row[key], values=values)
    return list(edits.values())


def _of_account(connection: Connection, subject: Subject) -> dict[str, list[str]]:
    """The ids of all records of an account, by table."""
    found: dict[str, list[str]] = {}
    decisions = sa.select(DECISIONS.c.decision_id).where(DECISIONS.c.account_id == subject.id)
    outcomes = sa.select(OUTCOMES.c.outcome_id).where(OUTCOMES.c.decision_id.in_(decisions))
    for name, table in CHAINED.items():
        conditions = []
        if "account_id" in table.c:
            conditions.append(table.c.account_id == subject.id)
        if "decision_id" in table.c:
            conditions.append(table.c.decision_id.in_(decisions))
        if table is KEYS:
            conditions.append(KEYS.c.outcome_id.in_(outcomes))
        if conditions:
            ids = connection.scalars(sa.select(key_of(table)).where(sa.or_(*conditions)))
            found[name] = [str(one) for one in ids]
    return found


def _rows_naming(connection: Connection, table: sa.Table, subject: Subject) -> Iterator[RowMapping]:
    """The rows of a table that may name a subject in any text."""
    texts = [column for column in table.columns if isinstance(column.type, sa.String)]
    names = sa.or_(
        *(
            column.contains(needle, autoescape=True)
            for column in texts
            for needle in subject.needles
        )
    )
    yield from connection.execute(sa.select(table).where(names)).mappings()


def _changed(table: sa.Table, row: RowMapping, subject: Subject) -> dict[str, str | None]:
    """The columns of a record that change where a subject is taken out of it."""
    fixed = {column.name for column in table.columns if column.foreign_keys}
    names = [
        column.name
        for column in table.columns
        if isinstance(column.type, sa.String) and column.name not in fixed
    ]
    values = _scrubbed(row, subject, names)
    if "by" in values:
        for name in TEXT_OF_THE_WRITER:
            if row.get(name):
                values[name] = REMOVED if table is CONTROLS else None
    return values


def _scrubbed(
    row: RowMapping, subject: Subject, names: tuple[str, ...] | list[str]
) -> dict[str, str | None]:
    values: dict[str, str | None] = {}
    for name in names:
        text = row[name]
        if isinstance(text, str) and (new := subject.scrub_value(text)) != text:
            values[name] = new
    return values


def _answers(connection: Connection, subject: Subject) -> list[RowMapping]:
    """The keys of requests whose answer, or whose own text, names a subject."""
    if not sa.inspect(connection).has_table(REQUESTS.name):
        return []
    found = []
    for row in connection.execute(sa.select(REQUESTS)).mappings():
        body = zlib.decompress(row["body"]).decode(errors="replace") if row["body"] else ""
        texts = (row["key"], row["caller"], body)
        if any(subject.is_in(text) or subject.is_value(text) for text in texts):
            found.append(row)
    return found


def _erase_answer(connection: Connection, row: RowMapping, subject: Subject) -> None:
    this = sa.and_(REQUESTS.c.caller == row["caller"], REQUESTS.c.key == row["key"])
    texts = (row["key"], row["caller"])
    if subject.kind == "account" or any(
        subject.is_in(text) or subject.is_value(text) for text in texts
    ):
        connection.execute(sa.delete(REQUESTS).where(this))
        return
    values: dict[str, Any] = {
        "status": ERASED_STATUS,
        "media_type": "application/problem+json",
        "body": zlib.compress(ERASED_BODY),
    }
    connection.execute(sa.update(REQUESTS).where(this).values(values))


def _without_words(body: str, subject: Subject) -> str:
    """A message without the subject, and without what a person wrote in it."""
    scrubbed = subject.scrub(body)
    try:
        message = json.loads(scrubbed)
    except ValueError:
        return scrubbed
    if not isinstance(message, dict):
        return scrubbed
    for part in (message, message.get("data")):
        if isinstance(part, dict) and part.get("by") == subject.pseudonym:
            part.update({name: None for name in TEXT_OF_THE_WRITER if part.get(name)})
    return json.dumps(message, ensure_ascii=False, separators=(",", ":"))
