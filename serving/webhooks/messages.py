"""This module is about what a webhook says: a record of the ledger as a message.

``{"type": "decision.made", "timestamp": …, "data": {…}}`` as Standard Webhooks has it, with the
place in the ledger's chain in ``data``, by which a receiver notices a gap. What only Keepwell needs
(rankings, inputs, keys, digests) stays out. Reads the ledger; writes nothing.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from serving.ledger.database.database import LedgerDatabase
from serving.ledger.database.tables import CHAIN, CHAINED, DECISIONS
from serving.webhooks.outbox import Message

KINDS: Mapping[str, str] = {
    "decisions": "decision.made",
    "outcomes": "outcome.reported",
    "claim_records": "claim",
    "approvals": "decision",
    "controls": "control",
    "feedback": "feedback",
}
"""Table to kind; where a record says more (a claim's step, a verdict), that follows a dot."""

SAYS_MORE: Mapping[str, str] = {
    "claim_records": "kind",
    "approvals": "verdict",
    "controls": "kind",
    "feedback": "verdict",
}
NOT_TOLD = frozenset({"idempotency_keys", "policy_inputs", "plan_draws"})
"""Tables of the ledger whose records say nothing to others."""

MOMENTS = ("asked_at", "heard_at", "at", "decided_at", "received_at")
"""The moment of a message: by the clock of the service where that was kept."""
KEPT_BACK = frozenset(
    {"eligible", "withheld", "inputs", "input_digest", "request_digest", "key", "versions"}
)
NO_ACCOUNT = ""
ALL_KINDS = ("decision", "outcome", "claim", "control", "feedback")
"""What a webhook may be told about: kinds up to their first dot."""


def newest_place(ledger: LedgerDatabase) -> int:
    """The place of the newest record; 0 where there is none."""
    with ledger.reading() as connection:
        return connection.scalar(sa.select(sa.func.max(CHAIN.c.place))) or 0


def messages_after(
    ledger: LedgerDatabase,
    endpoint: str,
    kinds: Sequence[str],
    *,
    after: int,
    up_to: int | None = None,
    most: int = 500,
) -> tuple[tuple[Message, ...], int]:
    """What a webhook is told about records after a place, and the last place that was read.

    Reads at most ``most`` records, and none beyond ``up_to``; the last place is ``after`` where
    there is none.
    """
    with ledger.reading() as connection:
        asked = sa.select(CHAIN.c.place, CHAIN.c.table, CHAIN.c.record_id).where(
            CHAIN.c.place > after
        )
        if up_to is not None:
            asked = asked.where(CHAIN.c.place <= up_to)
        links = connection.execute(asked.order_by(CHAIN.c.place).limit(most)).all()
        records = {
            name: _records(
                connection, name, [link.record_id for link in links if link.table == name]
            )
            for name in {link.table for link in links} & set(KINDS)
        }
        accounts = _accounts(connection, records)
    messages = []
    for link in links:
        record = records.get(link.table, {}).get(link.record_id)
        if record is None:
            continue
        message = message_of(
            endpoint, link.table, record, place=link.place, account_id=_account(record, accounts)
        )
        if not kinds or message.kind.partition(".")[0] in kinds:
            messages.append(message)
    return tuple(messages), links[-1].place if links else after


def message_of(
    endpoint: str,
    table: str,
    record: Mapping[str, object] | RowMapping,
    *,
    place: int,
    account_id: str,
) -> Message:
    """One record as a message; its id is the same whenever it is made."""
    kind = KINDS[table]
    if table in SAYS_MORE:
        kind = f"{kind}.{record[SAYS_MORE[table]]}"
    data = {
        name: value for name, value in record.items() if name not in KEPT_BACK and value is not None
    }
    if account_id != NO_ACCOUNT:
        data["account_id"] = account_id
    moment = next(str(record[name]) for name in MOMENTS if record.get(name))
    body = {"type": kind, "timestamp": moment, "data": {"place": place, **data}}
    identity = f"keepwell:webhook:{endpoint}:{table}:{place}"
    return Message(
        place=place,
        message_id=f"msg_{uuid.uuid5(uuid.NAMESPACE_URL, identity).hex}",
        account_id=account_id,
        kind=kind,
        body=json.dumps(body, allow_nan=False),
    )


def _records(connection: Connection, name: str, ids: Sequence[str]) -> dict[str, RowMapping]:
    table = CHAINED[name]
    (key,) = table.primary_key.columns
    rows = connection.execute(sa.select(table).where(key.in_(ids))).mappings().all()
    return {row[key.name]: row for row in rows}


def _accounts(
    connection: Connection, records: Mapping[str, Mapping[str, RowMapping]]
) -> dict[str, str]:
    """The accounts of the decisions that these records are about."""
    asked = {
        str(row["decision_id"])
        for rows in records.values()
        for row in rows.values()
        if "decision_id" in row and "account_id" not in row
    }
    return {
        row.decision_id: row.account_id
        for row in connection.execute(
            sa.select(DECISIONS.c.decision_id, DECISIONS.c.account_id).where(
                DECISIONS.c.decision_id.in_(asked)
            )
        )
    }


def _account(record: RowMapping, accounts: Mapping[str, str]) -> str:
    if "account_id" in record:
        return str(record["account_id"])
    return accounts.get(str(record.get("decision_id")), NO_ACCOUNT)
