"""Subjects in the databases of the service: ledger, outbox, API keys, model store, waiting accounts."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from features.events.subject import Subject
from features.workspace_files import rewrite_database
from serving.data_protection.erasure.protocol import SubjectRequest
from serving.ledger.ledger import Ledger
from serving.ledger.stores.subjects import (
    Erasing,
    LedgerSubjects,
    erase_key_owner,
    erase_messages,
    held_keys,
    held_messages,
)

BUSY_SECONDS = 30.0
"""So long others who write to a database, or read an older state of it, are waited for."""


class LedgerEraser:
    """Erases decisions and everything about them."""

    name = "ledger"
    paths = ("ledger.db",)

    def find(self, at: SubjectRequest) -> int:
        """How many records and answers."""
        if not _is_there(at.database):
            return 0
        with closing(Ledger(at.database)) as ledger:
            return LedgerSubjects(ledger.database).count(at.subject)

    def held(self, at: SubjectRequest) -> Iterator[Mapping[str, object]]:
        """Every record and answer."""
        if not _is_there(at.database):
            return
        with closing(Ledger(at.database)) as ledger:
            for one in LedgerSubjects(ledger.database).held(at.subject):
                yield {"table": one.table, **one.values}

    def erase(self, at: SubjectRequest) -> int:
        """Erase them, with a redaction in the chain."""
        if not _is_there(at.database):
            return 0
        with closing(Ledger(at.database)) as ledger:
            erasing = Erasing(by=at.by, at=at.at, reason=at.reason)
            return LedgerSubjects(ledger.database).erase(at.subject, erasing)


def events_written_by(at: SubjectRequest) -> tuple[str, ...]:
    """The ids of the events whose texts the subject wrote, as the ledger knows them."""
    if not _is_there(at.database):
        return ()
    with closing(Ledger(at.database)) as ledger:
        return LedgerSubjects(ledger.database).written_by(at.subject)


class OutboxEraser:
    """Erases messages to webhooks."""

    name = "outbox"
    paths = ("webhooks.db",)

    def find(self, at: SubjectRequest) -> int:
        """How many messages."""
        return erase_messages(at.outbox, at.subject, only_count=True) if _is_there(at.outbox) else 0

    def held(self, at: SubjectRequest) -> Iterator[Mapping[str, object]]:
        """Every message."""
        for one in held_messages(at.outbox, at.subject) if _is_there(at.outbox) else ():
            yield one.values

    def erase(self, at: SubjectRequest) -> int:
        """Erase them, sent or not."""
        return erase_messages(at.outbox, at.subject) if _is_there(at.outbox) else 0


class ApiKeyEraser:
    """Erases names, owners and territories of API keys."""

    name = "API keys"
    paths = ("keys.db",)

    def find(self, at: SubjectRequest) -> int:
        """How many keys."""
        file = at.workspace.root / "keys.db"
        if not file.exists():
            return 0
        return erase_key_owner(file, at.subject, at=at.at, only_count=True)

    def held(self, at: SubjectRequest) -> Iterator[Mapping[str, object]]:
        """Every key, without its secret."""
        file = at.workspace.root / "keys.db"
        for one in held_keys(file, at.subject) if file.exists() else ():
            yield one.values

    def erase(self, at: SubjectRequest) -> int:
        """End the keys of the person, and take the name out of them."""
        file = at.workspace.root / "keys.db"
        return erase_key_owner(file, at.subject, at=at.at) if file.exists() else 0


class ModelStoreEraser:
    """Erases who trained and promoted which model, in the database of MLflow."""

    name = "model store"
    paths = ("mlflow.db",)

    def _file(self, at: SubjectRequest) -> Path | None:
        address = at.workspace.tracking_uri
        file = Path(address.removeprefix("sqlite:///"))
        return file if address.startswith("sqlite:///") and file.exists() else None

    def find(self, at: SubjectRequest) -> int:
        """How many values; 0 where a server keeps them, which is not reached."""
        file = self._file(at)
        return 0 if file is None else len(list(_values_naming(file, at.subject)))

    def held(self, at: SubjectRequest) -> Iterator[Mapping[str, object]]:
        """Every value."""
        file = self._file(at)
        for table, column, value in _values_naming(file, at.subject) if file else ():
            yield {"table": table, "column": column, "value": value}

    def erase(self, at: SubjectRequest) -> int:
        """Put the pseudonym into every value."""
        file = self._file(at)
        return 0 if file is None else _scrub_database(file, at.subject)


class TouchedAccountEraser:
    """Erases an account from those that wait to be computed, or were published."""

    name = "accounts that wait"
    paths = ("touched.db",)

    def find(self, at: SubjectRequest) -> int:
        """How many entries."""
        return len(list(self.held(at)))

    def held(self, at: SubjectRequest) -> Iterator[Mapping[str, object]]:
        """Every entry."""
        file = at.workspace.root / "touched.db"
        if at.subject.kind != "account" or not file.exists():
            return
        with closing(sqlite3.connect(file, timeout=BUSY_SECONDS)) as connection:
            for table in _tables_with(connection, "account_id"):
                for (name,) in connection.execute(
                    f"SELECT account_id FROM {table} WHERE account_id = ?", [at.subject.id]
                ):
                    yield {"table": table, "account_id": name}

    def erase(self, at: SubjectRequest) -> int:
        """Remove them."""
        file = at.workspace.root / "touched.db"
        if at.subject.kind != "account" or not file.exists():
            return 0
        with closing(sqlite3.connect(file, timeout=BUSY_SECONDS, isolation_level=None)) as one:
            gone = sum(
                one.execute(f"DELETE FROM {table} WHERE account_id = ?", [at.subject.id]).rowcount
                for table in _tables_with(one, "account_id")
            )
            rewrite_database(one, wait_seconds=BUSY_SECONDS, name=file.name)
        return gone


def _is_there(where: Path | str) -> bool:
    return not isinstance(where, Path) or where.exists()


def _tables_with(connection: sqlite3.Connection, column: str) -> list[str]:
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    return [
        name
        for (name,) in tables
        if column in {row[1] for row in connection.execute(f'PRAGMA table_info("{name}")')}
    ]


def _text_columns(connection: sqlite3.Connection) -> Iterator[tuple[str, str]]:
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    for (table,) in tables:
        for row in connection.execute(f'PRAGMA table_info("{table}")').fetchall():
            if "CHAR" in row[2].upper() or "TEXT" in row[2].upper():
                yield table, row[1]


def _values_naming(file: Path, subject: Subject) -> Iterator[tuple[str, str, str]]:
    """Table, column and text of every value of a database that names a subject."""
    with closing(sqlite3.connect(file, timeout=BUSY_SECONDS)) as connection:
        for table, column in list(_text_columns(connection)):
            looked_for = " OR ".join(f'instr("{column}", ?)' for _ in subject.needles)
            for (text,) in connection.execute(
                f'SELECT "{column}" FROM "{table}" WHERE {looked_for}', subject.needles
            ):
                if _names(subject, text):
                    yield table, column, text


def _names(subject: Subject, text: object) -> bool:
    """Whether a value names a subject; a number alone is not taken for an id here."""
    return isinstance(text, str) and subject.scrub(text) != text


def replace_in_database(file: Path, old: str, new: str) -> None:
    """Replace a text that is long enough to be itself alone, such as a fingerprint, everywhere."""
    _change_texts(file, (old,), lambda text: text.replace(old, new))


def _scrub_database(file: Path, subject: Subject) -> int:
    """Put the pseudonym into every text of a database; how many values were changed."""
    return _change_texts(file, subject.needles, subject.scrub)


def _change_texts(file: Path, needles: Sequence[str], change: Callable[[str], str]) -> int:
    """Change every text that holds one of some others; how many values were changed."""
    found = 0
    with closing(sqlite3.connect(file, timeout=BUSY_SECONDS, isolation_level=None)) as connection:
        connection.create_function(
            "changed", 1, lambda text: change(text) if isinstance(text, str) else text
        )
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("BEGIN IMMEDIATE")
        for table, column in list(_text_columns(connection)):
            looked_for = " OR ".join(f'instr("{column}", ?)' for _ in needles)
            found += connection.execute(
                f'UPDATE "{table}" SET "{column}" = changed("{column}") '
                f'WHERE ({looked_for}) AND changed("{column}") <> "{column}"',
                needles,
            ).rowcount
        connection.execute("COMMIT")
        rewrite_database(connection, wait_seconds=BUSY_SECONDS, name=file.name)
    return found
