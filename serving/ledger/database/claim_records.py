"""The stored records of claims: a step of a claim is a record, and its state follows from them."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from serving.ledger.database.chain import insert_linked
from serving.ledger.database.tables import CHAIN, CLAIM_RECORDS
from serving.ledger.database.timestamps import as_moment, as_text, service_time
from serving.ledger.errors import KeyReusedError, UnknownClaimError

Step = Literal["claimed", "heartbeat", "completed", "failed"]
State = Literal["claimed", "completed", "failed", "lapsed"]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A claim as it stands at a moment."""

    claim_id: str
    decision_id: str
    account_id: str
    action: str
    by: str
    state: State
    claimed_at: datetime
    lease_until: datetime
    ended_at: datetime | None
    reason: str | None


def read_records(connection: Connection, *which: sa.ColumnElement[bool]) -> Sequence[sa.Row[Any]]:
    """Records of claims in the order in which they were written."""
    return connection.execute(
        sa.select(CLAIM_RECORDS)
        .join(
            CHAIN,
            sa.and_(
                CHAIN.c.table == CLAIM_RECORDS.name, CHAIN.c.record_id == CLAIM_RECORDS.c.record_id
            ),
        )
        .where(*which)
        .order_by(CHAIN.c.place)
    ).all()


def claims_at(records: Sequence[sa.Row[Any]], now: datetime) -> tuple[Claim, ...]:
    """The state of claims at a moment, from their records in order."""
    first: dict[str, sa.Row[Any]] = {}
    last: dict[str, sa.Row[Any]] = {}
    for record in records:
        first.setdefault(record.claim_id, record)
        last[record.claim_id] = record
    found = []
    for claim_id, newest in last.items():
        state: State = "claimed"
        ended: datetime | None = None
        if newest.kind in ("completed", "failed"):
            state, ended = newest.kind, as_moment(newest.at)
        elif as_moment(newest.lease_until) <= now:
            state, ended = "lapsed", as_moment(newest.lease_until)
        found.append(
            Claim(
                claim_id=claim_id,
                decision_id=newest.decision_id,
                account_id=newest.account_id,
                action=newest.action,
                by=newest.by,
                state=state,
                claimed_at=as_moment(first[claim_id].at),
                lease_until=as_moment(newest.lease_until),
                ended_at=ended,
                reason=newest.reason,
            )
        )
    return tuple(found)


def claim_at(connection: Connection, claim_id: str, now: datetime) -> Claim:
    """A claim as it stands by the clock of the service.

    Raises:
        UnknownClaimError: there is none of this id.
    """
    records = read_records(connection, CLAIM_RECORDS.c.claim_id == claim_id)
    if not records:
        raise UnknownClaimError("No claim with this id was stored.")
    [claim] = claims_at(records, moment_of_claims(connection, records[0].account_id, now))
    return claim


def moment_of_claims(connection: Connection, account_id: str, clock: datetime) -> datetime:
    """The moment at which claims of an account stand: that of the service, and never before what
    was recorded of the account, however wrong the clock was then."""
    now = service_time(connection, clock)
    newest = connection.scalar(
        sa.select(sa.func.max(CLAIM_RECORDS.c.at)).where(CLAIM_RECORDS.c.account_id == account_id)
    )
    return now if newest is None else max(now, as_moment(newest))


def known_record(connection: Connection, key: str | None, digest: str) -> sa.Row[Any, Any] | None:
    """The record that a key was stored with, if it came before."""
    if key is None:
        return None
    known = connection.execute(
        sa.select(CLAIM_RECORDS.c.claim_id, CLAIM_RECORDS.c.request_digest).where(
            CLAIM_RECORDS.c.key == key
        )
    ).one_or_none()
    if known is not None and known.request_digest != digest:
        raise KeyReusedError(
            "This Idempotency-Key came before with another request about a claim. "
            "Nothing was stored."
        )
    return known


def add_record(
    connection: Connection,
    decided: sa.Row[Any],
    kind: Step,
    *,
    claim_id: str,
    at: datetime,
    lease_until: datetime,
    by: str,
    key: str | None,
    digest: str,
    reason: str | None = None,
) -> str:
    """Write the next record of a claim; its id."""
    count = (
        connection.scalar(
            sa.select(sa.func.count())
            .select_from(CLAIM_RECORDS)
            .where(CLAIM_RECORDS.c.claim_id == claim_id)
        )
        or 0
    )
    record_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"keepwell:{claim_id}:{count}:{kind}"))
    insert_linked(
        connection,
        CLAIM_RECORDS,
        {
            "record_id": record_id,
            "claim_id": claim_id,
            "decision_id": decided.decision_id,
            "account_id": decided.account_id,
            "action": decided.action,
            "kind": kind,
            "at": as_text(at),
            "lease_until": as_text(lease_until),
            "by": by,
            "reason": reason,
            "key": key,
            "request_digest": digest,
        },
    )
    return record_id


def digest_of(*parts: object) -> str:
    """The hash by which a repeated request is known."""
    plain = [as_text(one) if isinstance(one, datetime) else one for one in parts]
    return hashlib.blake2b(json.dumps(plain).encode(), digest_size=16).hexdigest()
