"""The chain of hashes that shows whether the ledger was changed.

Every record has a link: its place, its table and id, the hash of its content, and a hash of all that
together with the link before it. Whoever changes, removes, adds or moves a record has to make every
link from there on anew, and a reader who noted the newest link (the *head*) before sees that. Links are
written in the transaction of their record, under the lock of all writers.

The hash of a record has a random key of its own (``salt``), so that it says nothing once the record
and the key are erased. ``redaction`` erases: a place that a redaction covers keeps its link, and the
redaction, itself a record with a link, says what the place holds since.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from json.encoder import encode_basestring
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from serving.ledger.database.prepared import Prepared
from serving.ledger.database.tables import (
    CHAIN,
    CHAINED,
    DECISIONS,
    KEYS,
    OUTCOMES,
    REDACTED,
    REDACTIONS,
)

FIRST = "0" * 64
"""The link before the first."""

LINKED_ORDER = {DECISIONS.name: DECISIONS.c.decided_at, OUTCOMES.name: OUTCOMES.c.received_at}

NEWEST = Prepared(sa.select(CHAIN.c.place, CHAIN.c.link).order_by(CHAIN.c.place.desc()).limit(1))
HEAD = "keepwell_head"
"""Where a connection has the newest link of its transaction."""

INSERTS = {table.name: Prepared(sa.insert(table)) for table in (CHAIN, *CHAINED.values())}

Change = Literal["altered", "missing", "no link", "out of line", "added", "not the head"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The first place at which the ledger is not what was written."""

    place: int
    change: Change
    table: str
    record_id: str

    @property
    def words(self) -> str:
        """The finding as a sentence."""
        what = f"record {self.record_id!r} of {self.table}"
        return {
            "altered": f"Place {self.place}: {what} is not what was written.",
            "missing": f"Place {self.place}: {what} is missing.",
            "no link": f"Place {self.place}: the link is missing, and with it what it stood for.",
            "out of line": f"Place {self.place}: the link of {what} does not follow the one before "
            f"it; it was moved or altered.",
            "added": f"After place {self.place}: {what} was added outside the chain.",
            "not the head": f"The chain does not hold the head {self.record_id}: records after it "
            f"was noted were removed, or the chain was made anew.",
        }[self.change]


@dataclass(frozen=True, kw_only=True)
class Redaction:
    """Who had which records erased, when and why: ``gone`` hold nothing now, ``changed`` lack names."""

    about: str
    by: str
    at: str
    reason: str
    gone: int
    changed: int


@dataclass(frozen=True, kw_only=True)
class ChainCheck:
    """The result of a check: the number of records, the newest link, and the first finding, if any.

    ``redactions`` are those that were met, in the order of the chain.
    """

    records: int
    head: str
    finding: Finding | None
    redactions: tuple[Redaction, ...] = ()


def content_hash(
    table: sa.Table, row: Mapping[str, Any] | RowMapping, salt: str | None = None
) -> str:
    """Hash of all that a record holds, under its key; records of older ledgers have none."""
    held = held_text(table, row)
    if salt is None:
        return hashlib.sha256(held.encode()).hexdigest()
    return hmac.digest(bytes.fromhex(salt), held.encode(), "sha256").hex()


def held_text(table: sa.Table, row: Mapping[str, Any] | RowMapping) -> str:
    """All that a record holds, as JSON: its columns with their values, in the order of the table.

    Written piece by piece, since nearly all of it is text: the whole list takes twice as long.
    """
    pieces = []
    for name, begin, is_later, is_fraction in _COLUMNS[table.name]:
        value = row.get(name) if is_later else row[name]
        if is_later and value is None:
            continue
        if is_fraction and value is not None:
            value = float(value)  # a database may give 1 back where the column holds fractions
        written = encode_basestring(value) if type(value) is str else _ENCODE(value)
        pieces.append(f"{begin}{written}]")
    return f"[{', '.join(pieces)}]"


_ENCODE = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode

_COLUMNS = {
    name: tuple(
        (
            column.name,
            f"[{encode_basestring(column.name)}, ",
            bool(column.info.get("later")),
            isinstance(column.type, sa.Float),
        )
        for column in table.columns
    )
    for name, table in CHAINED.items()
}


def new_salt() -> str:
    """A key for the hash of one record."""
    return secrets.token_hex(16)


def covered_hash(places: Iterable[tuple[int, str, str]]) -> str:
    """Hash of what a redaction covers: place, link and new content of each."""
    return hashlib.sha256(json.dumps(sorted(places)).encode()).hexdigest()


def next_link(before: str, place: int, table: str, record_id: str, content: str) -> str:
    """The link of a record after the link before it."""
    written = json.dumps([before, place, table, record_id, content], ensure_ascii=False)
    return hashlib.sha256(written.encode()).hexdigest()


def extend_chain(
    connection: Connection,
    table: sa.Table,
    rows: Sequence[Mapping[str, Any]] | Sequence[RowMapping],
    *,
    has_keys: bool = True,
) -> None:
    """Link these new records after the newest; the connection holds the writers' lock."""
    place, link = newest_link(connection)
    linked = []
    for row in rows:
        place += 1
        salt = new_salt() if has_keys else None
        record_id, content = row[key_of(table).name], content_hash(table, row, salt)
        link = next_link(link, place, table.name, record_id, content)
        linked.append(
            {
                "place": place,
                "table": table.name,
                "record_id": record_id,
                "content": content,
                "link": link,
                "salt": salt,
            }
        )
    INSERTS[CHAIN.name].insert(connection, linked)
    connection.info[HEAD] = place, link


def newest_link(connection: Connection, *, reads: bool = False) -> tuple[int, str]:
    """Place and link of the newest record, 0 and the first link where there is none.

    Args:
        connection: of a transaction that holds the writers' lock.
        reads: ask the database, also where this transaction has read or made it already.
    """
    found: tuple[int, str] | None = None if reads else connection.info.get(HEAD)
    if found is None:
        newest = NEWEST.rows(connection, {})
        found = (newest[0].place, newest[0].link) if newest else (0, FIRST)
        connection.info[HEAD] = found
    return found


def forget_newest_link(connection: Connection) -> None:
    """Let the next transaction of this connection ask the database for the newest link."""
    connection.info.pop(HEAD, None)


def link_all(connection: Connection) -> None:
    """Link the records of a ledger that has no chain yet, in the order in which they came."""
    for table in (DECISIONS, OUTCOMES, KEYS):  # there were no others
        order = [LINKED_ORDER[table.name]] if table.name in LINKED_ORDER else []
        then = [column for column in table.columns if not column.info.get("later")]
        rows = connection.execute(sa.select(*then).order_by(*order, key_of(table))).mappings().all()
        if rows:
            extend_chain(connection, table, rows, has_keys=False)


def verify_chain(connection: Connection, *, head: str | None = None) -> ChainCheck:
    """Look at every link and record in order, and tell the first that is not as it was written.

    Args:
        connection: to the ledger; what is written meanwhile is not looked at.
        head: a link that has to be in the chain.
    """
    link, place, seen = FIRST, 0, head is None or head == FIRST
    finding: Finding | None = None
    redacted = _Redacted(connection)
    for row, record in _linked(connection):
        place += 1
        expected, change = redacted.change(row, record, link, place)
        if change is not None:
            finding = Finding(
                place=place, change=change, table=row["table"], record_id=row["record_id"]
            )
            break
        link = expected
        seen = seen or link == head
    else:
        finding = _added(connection, place)
        if finding is None and not seen:
            finding = Finding(
                place=place, change="not the head", table=CHAIN.name, record_id=head or ""
            )
    return ChainCheck(
        records=place, head=link, finding=finding, redactions=tuple(redacted.met.values())
    )


class _Redacted:
    """The places that redactions cover, each by the newest of them."""

    def __init__(self, connection: Connection) -> None:
        self.met: dict[str, Redaction] = {}
        self._covers: dict[str, list[tuple[int, str, str]]] = {}
        self._newest: dict[int, tuple[str, str]] = {}
        rows = connection.execute(
            sa.select(REDACTED)
            .join(
                CHAIN,
                sa.and_(
                    CHAIN.c.table == REDACTIONS.name, CHAIN.c.record_id == REDACTED.c.redaction_id
                ),
            )
            .order_by(CHAIN.c.place)
        )
        for row in rows:
            covered = (row.place, row.link, row.content)
            self._covers.setdefault(row.redaction_id, []).append(covered)
            self._newest[row.place] = row.link, row.content

    def change(
        self, row: RowMapping, record: RowMapping | None, before: str, place: int
    ) -> tuple[str, Change | None]:
        """The link that a place must have, and what was changed there, if anything."""
        link, content = self._newest.get(place, (None, row["content"]))
        if link is None:
            link = next_link(before, place, row["table"], row["record_id"], content)
        if row["place"] != place:
            return link, "no link"
        if row["link"] != link:
            return link, "out of line"
        if content == "":
            return link, None if record is None else "altered"
        if record is None:
            return link, "missing"
        if (
            not content_hash(CHAINED[row["table"]], record, row["salt"])
            == content
            == row["content"]
        ):
            return link, "altered"
        if row["table"] == REDACTIONS.name and not self._meet(record):
            return link, "altered"
        return link, None

    def _meet(self, record: RowMapping) -> bool:
        """Note a redaction, and whether it covers what it says."""
        self.met[record["redaction_id"]] = Redaction(
            **{name: record[name] for name in Redaction.__dataclass_fields__}
        )
        covers = self._covers.get(record["redaction_id"], [])
        return covered_hash(covers) == str(record["covers"])


def _linked(connection: Connection) -> Iterator[tuple[RowMapping, RowMapping | None]]:
    """Every link with its record, in order; None where the record is gone."""
    after = 0
    while True:
        links = (
            connection.execute(
                sa.select(CHAIN).where(CHAIN.c.place > after).order_by(CHAIN.c.place).limit(PART)
            )
            .mappings()
            .all()
        )
        if not links:
            return
        records: dict[tuple[str, str], RowMapping] = {}
        for name, table in CHAINED.items():
            ids = [row["record_id"] for row in links if row["table"] == name]
            found = connection.execute(sa.select(table).where(key_of(table).in_(ids))).mappings()
            records.update({(name, row[key_of(table).name]): row for row in found})
        for row in links:
            yield row, records.get((row["table"], row["record_id"]))
        after = links[-1]["place"]


PART = 500
"""Links looked at at once."""


def _added(connection: Connection, place: int) -> Finding | None:
    """A record without a link."""
    for name, table in CHAINED.items():
        linked = sa.select(CHAIN.c.record_id).where(CHAIN.c.table == name)
        stray = connection.scalars(
            sa.select(key_of(table))
            .where(key_of(table).not_in(linked))
            .order_by(key_of(table))
            .limit(1)
        ).first()
        if stray is not None:
            return Finding(place=place, change="added", table=name, record_id=stray)
    return None


def insert_linked(connection: Connection, table: sa.Table, *rows: Mapping[str, Any]) -> None:
    """Write new records, each with its link; the connection holds the writers' lock."""
    INSERTS[table.name].insert(connection, rows)
    extend_chain(connection, table, rows)


def key_of(table: sa.Table) -> sa.Column[Any]:
    """The column by which the chain names records of a table."""
    (column,) = table.primary_key.columns
    return column
