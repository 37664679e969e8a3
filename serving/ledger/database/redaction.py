"""Erase records of the ledger, or names in them, so that its chain still says what was written.

An erased record leaves its place and its link. Its row, the key of its hash, the hash and, where it
was a text of somebody else's, its id go. In the same transaction a redaction is written: who, when,
why, how many, and a hash over every place with its link and what it holds now. So nobody can erase
without a record, add a place to an erasure, or change what an erasure left.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from serving.ledger.database.chain import (
    content_hash,
    covered_hash,
    insert_linked,
    key_of,
    new_salt,
)
from serving.ledger.database.dialects.supported import dialect_named
from serving.ledger.database.tables import (
    CHAIN,
    CHAINED,
    DELIVERIES,
    KEYS,
    METADATA,
    REDACTED,
    REDACTIONS,
)
from serving.ledger.database.timestamps import as_text

NAMED_BY_CALLERS = (KEYS.name,)
"""Tables whose ids are texts of callers; a redaction takes them out of the chain as well."""

PART = 500


@dataclass(frozen=True, kw_only=True)
class RecordEdit:
    """A record that is erased (``values`` is None), or its columns that get other values."""

    table: str
    record_id: str
    values: Mapping[str, str | None] | None = None


def redact(
    connection: Connection,
    edits: Sequence[RecordEdit],
    *,
    about: str,
    by: str,
    at: datetime,
    reason: str,
) -> None:
    """Erase and change records, and write the redaction; the connection holds the writers' lock.

    ``erase_deleted`` of the dialect has to follow after the commit, or the files of the database
    still hold what was erased.
    """
    if not edits:
        return
    dialect = dialect_named(connection.dialect.name)
    tables = [table.name for table in METADATA.sorted_tables if table.name in CHAINED]
    touched = [name for name in tables if any(edit.table == name for edit in edits)]
    opened = [CHAIN.name, DELIVERIES.name, *touched]
    for statement in dialect.permit_changes(opened):
        connection.execute(sa.text(statement))
    covered: list[tuple[int, str, str]] = []
    for name in reversed(touched):  # what refers to others first
        covered += _change(connection, name, [edit for edit in edits if edit.table == name])
    for statement in dialect.refuse_changes(opened):
        connection.execute(sa.text(statement))
    redaction_id = str(uuid.uuid4())
    gone = sum(content == "" for _, _, content in covered)
    insert_linked(
        connection,
        REDACTIONS,
        {
            "redaction_id": redaction_id,
            "about": about,
            "by": by,
            "at": as_text(at),
            "reason": reason,
            "gone": gone,
            "changed": len(covered) - gone,
            "covers": covered_hash(covered),
        },
    )
    connection.execute(
        sa.insert(REDACTED),
        [
            {"redaction_id": redaction_id, "place": place, "link": link, "content": content}
            for place, link, content in covered
        ],
    )


def _change(
    connection: Connection, name: str, edits: Sequence[RecordEdit]
) -> list[tuple[int, str, str]]:
    """Erase and change records of one table; place, link and new content of each."""
    table, covered = CHAINED[name], []
    key = key_of(table)
    for start in range(0, len(edits), PART):
        part = edits[start : start + PART]
        ids = [edit.record_id for edit in part]
        links = {
            link["record_id"]: link
            for link in connection.execute(
                sa.select(CHAIN).where(CHAIN.c.table == name, CHAIN.c.record_id.in_(ids))
            ).mappings()
        }
        for edit in part:
            link = links[edit.record_id]
            if edit.values is None:
                covered.append((link["place"], link["link"], ""))
                _forget(connection, link)
            else:
                content = _rewrite(connection, table, key, link, edit.values)
                covered.append((link["place"], link["link"], content))
        erased = [edit.record_id for edit in part if edit.values is None]
        if erased:
            connection.execute(sa.delete(DELIVERIES).where(DELIVERIES.c.record_id.in_(erased)))
            connection.execute(sa.delete(table).where(key.in_(erased)))
    return covered


def _forget(connection: Connection, link: RowMapping) -> None:
    """Take the hash, its key and, where a caller chose it, the id out of a place."""
    place = link["place"]
    values: dict[str, str | None] = {"content": "", "salt": None}
    if link["table"] in NAMED_BY_CALLERS:
        values["record_id"] = f"erased-{place}"
    connection.execute(sa.update(CHAIN).where(CHAIN.c.place == place).values(values))


def _rewrite(
    connection: Connection,
    table: sa.Table,
    key: sa.Column[str],
    link: RowMapping,
    values: Mapping[str, str | None],
) -> str:
    """Change columns of a record and hash it under another key."""
    connection.execute(sa.update(table).where(key == link["record_id"]).values(dict(values)))
    row = connection.execute(sa.select(table).where(key == link["record_id"])).mappings().one()
    salt = new_salt()
    content = content_hash(table, row, salt)
    connection.execute(
        sa.update(CHAIN).where(CHAIN.c.place == link["place"]).values(content=content, salt=salt)
    )
    return content


def erased_record(connection: Connection, table: str, record_id: str) -> RowMapping | None:
    """The redaction that erased a record, by its id; None where none did."""
    return (
        connection.execute(
            sa.select(REDACTIONS)
            .join(REDACTED, REDACTED.c.redaction_id == REDACTIONS.c.redaction_id)
            .join(CHAIN, CHAIN.c.place == REDACTED.c.place)
            .where(
                CHAIN.c.table == table,
                CHAIN.c.record_id == record_id,
                REDACTED.c.content == "",
            )
        )
        .mappings()
        .first()
    )
