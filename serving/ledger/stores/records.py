"""Read the records of the ledger in the order of its chain, after a place."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from serving.ledger.database.database import LedgerDatabase
from serving.ledger.database.tables import CHAIN, CHAINED, DECISIONS


@dataclass(frozen=True, kw_only=True)
class Record:
    """One record: its table and columns, its place, and the account it is about, if any."""

    place: int
    table: str
    values: Mapping[str, object]
    account_id: str | None


def newest_place(database: LedgerDatabase) -> int:
    """The place of the newest record; 0 where there is none."""
    with database.reading() as connection:
        return connection.scalar(sa.select(sa.func.max(CHAIN.c.place))) or 0


def records_after(
    database: LedgerDatabase,
    tables: Collection[str],
    *,
    after: int,
    up_to: int | None = None,
    most: int = 500,
) -> tuple[tuple[Record, ...], int]:
    """Records of these tables after a place, and the last place that was looked at.

    Looks at no more than ``most`` records, and at none beyond ``up_to``; the last place is
    ``after`` where there is none.
    """
    with database.reading() as connection:
        wanted = sa.select(CHAIN.c.place, CHAIN.c.table, CHAIN.c.record_id).where(
            CHAIN.c.place > after
        )
        if up_to is not None:
            wanted = wanted.where(CHAIN.c.place <= up_to)
        links = connection.execute(wanted.order_by(CHAIN.c.place).limit(most)).all()
        rows = {
            name: _rows(connection, name, [link.record_id for link in links if link.table == name])
            for name in {link.table for link in links} & set(tables)
        }
        accounts = _accounts(connection, rows)
    found = [
        Record(
            place=link.place,
            table=link.table,
            values=dict(row),
            account_id=(
                str(row["account_id"])
                if "account_id" in row
                else accounts.get(str(row.get("decision_id")))
            ),
        )
        for link in links
        if (row := rows.get(link.table, {}).get(link.record_id)) is not None
    ]
    return tuple(found), links[-1].place if links else after


def _rows(connection: Connection, name: str, ids: Sequence[str]) -> dict[str, RowMapping]:
    table = CHAINED[name]
    (key,) = table.primary_key.columns
    rows = connection.execute(sa.select(table).where(key.in_(ids))).mappings().all()
    return {row[key.name]: row for row in rows}


def _accounts(
    connection: Connection, rows: Mapping[str, Mapping[str, RowMapping]]
) -> dict[str, str]:
    """The accounts of the decisions that these records are about."""
    wanted = {
        str(row["decision_id"])
        for of_table in rows.values()
        for row in of_table.values()
        if "decision_id" in row and "account_id" not in row
    }
    return {
        row.decision_id: row.account_id
        for row in connection.execute(
            sa.select(DECISIONS.c.decision_id, DECISIONS.c.account_id).where(
                DECISIONS.c.decision_id.in_(wanted)
            )
        )
    }
