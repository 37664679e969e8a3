"""This module is about what was recommended and what came of it, kept for good.

Decisions and outcomes are append-only rows in SQLite (write-ahead log, every commit synced) or
PostgreSQL: the database itself refuses to change or delete one. A write is acknowledged after its
commit, and a repeated write with the same Idempotency-Key finds the first answer. What still has to
reach the timeline is a question to the same tables, so a process that ends in between loses
nothing.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from serving.errors import (
    ContradictingOutcomeError,
    KeyReusedError,
    LedgerUnreachableError,
    UnknownDecisionError,
)
from serving.ledger_chain import Verified, extend_chain, verify_chain
from serving.ledger_database import LedgerDatabase
from serving.ledger_tables import (
    CHAIN,
    DECISIONS,
    DELIVERIES,
    KEYS,
    OUTCOMES,
)

OutcomeKind = Literal["executed", "declined", "outcome"]

OPPOSITES: Mapping[str, OutcomeKind] = {"executed": "declined", "declined": "executed"}
"""Kinds of outcome that can not both be true of one decision."""

PART = 1_000
"""Ids asked for at once: a database bounds the parameters of a statement."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What the policy proposed for one account, with all that it was decided on.

    ``eligible`` and ``withheld`` are the whole ranking and every refusal with its reason;
    ``input_digest`` is the hash of the state that the policy read.
    """

    decision_id: str
    account_id: str
    decided_at: datetime
    as_of: datetime
    action: str
    expected_value: float
    currency: str
    eligible: tuple[Mapping[str, object], ...]
    withheld: tuple[Mapping[str, object], ...]
    versions: Mapping[str, str]
    input_digest: str
    propensity: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a decision: it was executed, declined, or had a result."""

    outcome_id: str
    decision_id: str
    account_id: str
    action: str
    kind: OutcomeKind
    occurred_at: datetime
    received_at: datetime
    result: str | None = None
    reason: str | None = None
    by: str | None = None


@dataclass(frozen=True, kw_only=True)
class NewOutcome:
    """An outcome as it was reported, before it has an id."""

    kind: OutcomeKind
    occurred_at: datetime | None = None  # None: the moment it was received
    result: str | None = None
    reason: str | None = None
    by: str | None = None


class Ledger:
    """The decisions and outcomes of one workspace, in one database."""

    def __init__(self, where: Path | str) -> None:
        self._database = LedgerDatabase(where)
        try:
            self._database.prepare()
        except LedgerUnreachableError:
            pass  # it is tried again at each use
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()

    def append_decisions(self, decisions: Sequence[Decision]) -> None:
        """Store decisions, all or none; they are on disk when this returns.

        A decision whose id is there already is the same decision, and stays as it is.
        """
        if not decisions:
            return
        with self._database.writing() as connection:
            there = _present(connection, DECISIONS.c.decision_id,
                             [d.decision_id for d in decisions])
            new = {d.decision_id: _decision_row(d) for d in decisions
                   if d.decision_id not in there}
            if new:
                connection.execute(sa.insert(DECISIONS), list(new.values()))
                extend_chain(connection, DECISIONS, list(new.values()))

    def append_outcome(self, decision_id: str, new: NewOutcome, *, key: str,
                       received_at: datetime) -> tuple[Outcome, bool]:
        """Store an outcome once per key; answers the stored one and whether it is new.

        Raises:
            UnknownDecisionError: no such decision.
            KeyReusedError: the key came before with another outcome.
            ContradictingOutcomeError: it was carried out and is now declined, or the reverse.
        """
        digest = request_digest(decision_id, new)
        with self._database.writing() as connection:
            known = connection.execute(sa.select(KEYS).where(KEYS.c.key == key)).one_or_none()
            if known is not None:
                if known.request_digest != digest:
                    raise KeyReusedError("This Idempotency-Key came before with another outcome, "
                                         "or for another decision. Nothing was stored.")
                return self._outcome(connection, known.outcome_id), False
            decided = connection.execute(
                sa.select(DECISIONS.c.account_id, DECISIONS.c.action)
                .where(DECISIONS.c.decision_id == decision_id)).one_or_none()
            if decided is None:
                raise UnknownDecisionError("No decision with this id was stored.")
            opposite = OPPOSITES.get(new.kind)
            before = connection.execute(
                sa.select(OUTCOMES.c.received_at)
                .where(OUTCOMES.c.decision_id == decision_id, OUTCOMES.c.kind == opposite)
                .order_by(OUTCOMES.c.received_at)).first()
            if before is not None:
                raise ContradictingOutcomeError(
                    f"This decision was reported as {opposite} on {before.received_at[:10]}, so "
                    f"it can not be {new.kind} as well.")
            outcome_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"keepwell:{decision_id}:{key}"))
            reported = {
                "outcome_id": outcome_id, "decision_id": decision_id, "kind": new.kind,
                "occurred_at": _text(new.occurred_at or received_at),
                "received_at": _text(received_at), "result": new.result, "reason": new.reason,
                "by": new.by}
            heard = {"key": key, "request_digest": digest, "outcome_id": outcome_id}
            for table, row in ((OUTCOMES, reported), (KEYS, heard)):
                connection.execute(sa.insert(table).values(row))
                extend_chain(connection, table, [row])
            return self._outcome(connection, outcome_id), True

    def decision(self, decision_id: str) -> Decision:
        """A stored decision.

        Raises:
            UnknownDecisionError: no such decision.
        """
        with self._database.reading() as connection:
            row = connection.execute(
                sa.select(DECISIONS).where(DECISIONS.c.decision_id == decision_id)).one_or_none()
        if row is None:
            raise UnknownDecisionError("No decision with this id was stored.")
        return _decision(row)

    def decisions_of(self, account_id: str) -> tuple[Decision, ...]:
        """The decisions about an account, newest first."""
        with self._database.reading() as connection:
            rows = connection.execute(
                sa.select(DECISIONS).where(DECISIONS.c.account_id == account_id)
                .order_by(DECISIONS.c.decided_at.desc(), DECISIONS.c.decision_id)).all()
        return tuple(_decision(row) for row in rows)

    def outcomes_of(self, account_ids: Collection[str]) -> dict[str, tuple[Outcome, ...]]:
        """The outcomes of these accounts' decisions in the order they came, by account."""
        found: dict[str, list[Outcome]] = {}
        with self._database.reading() as connection:
            for part in batched(list(dict.fromkeys(account_ids)), PART):
                for row in connection.execute(
                        _outcomes().join(CHAIN, sa.and_(CHAIN.c.table == OUTCOMES.name,
                                                        CHAIN.c.record_id == OUTCOMES.c.outcome_id))
                        .where(DECISIONS.c.account_id.in_(part)).order_by(CHAIN.c.place)):
                    found.setdefault(row.account_id, []).append(_as_outcome(row))
        return {account_id: tuple(outcomes) for account_id, outcomes in found.items()}

    def undelivered(self) -> tuple[tuple[Decision, ...], tuple[Outcome, ...]]:
        """Decisions and outcomes that are not on the timeline yet, oldest first."""
        delivered = sa.select(DELIVERIES.c.record_id)
        with self._database.reading() as connection:
            decisions = connection.execute(
                sa.select(DECISIONS).where(DECISIONS.c.decision_id.not_in(delivered))
                .order_by(DECISIONS.c.decided_at)).all()
            outcomes = connection.execute(
                _outcomes().where(OUTCOMES.c.outcome_id.not_in(delivered))
                .order_by(OUTCOMES.c.received_at)).all()
        return tuple(map(_decision, decisions)), tuple(map(_as_outcome, outcomes))

    def mark_delivered(self, record_ids: Sequence[str], *, at: datetime) -> None:
        """Note that these decisions and outcomes are on the timeline."""
        if not record_ids:
            return
        noted_at = _text(at)
        with self._database.writing() as connection:
            there = _present(connection, DELIVERIES.c.record_id, record_ids)
            new = [i for i in dict.fromkeys(record_ids) if i not in there]
            if new:
                connection.execute(sa.insert(DELIVERIES), [
                    {"record_id": i, "delivered_at": noted_at} for i in new])

    def verify(self, *, head: str | None = None) -> Verified:
        """Look at every record and link; ``head`` is a link that was noted elsewhere before."""
        with self._database.reading() as connection:
            return verify_chain(connection, head=head)

    def counts(self) -> tuple[int, int]:
        """How many decisions and outcomes there are; fails when the database can not be read."""
        with self._database.reading() as connection:
            decisions, outcomes = (
                connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
                for table in (DECISIONS, OUTCOMES))
        return decisions, outcomes

    def _outcome(self, connection: Connection, outcome_id: str) -> Outcome:
        return _as_outcome(connection.execute(
            _outcomes().where(OUTCOMES.c.outcome_id == outcome_id)).one())


def _present(connection: Connection, column: sa.Column[Any], ids: Sequence[str]) -> set[str]:
    """Which of these ids a table holds already."""
    return {known for part in batched(ids, PART)
            for known in connection.scalars(sa.select(column).where(column.in_(part)))}


def batched(values: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """The values in parts of at most this size."""
    for start in range(0, len(values), size):
        yield values[start:start + size]


def request_digest(decision_id: str, new: NewOutcome) -> str:
    """The hash by which a repeated request is known."""
    content = json.dumps([decision_id, asdict(new)], sort_keys=True, default=_text)
    return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()


def _outcomes() -> sa.Select[Any]:
    return sa.select(OUTCOMES, DECISIONS.c.account_id, DECISIONS.c.action).join(
        DECISIONS, DECISIONS.c.decision_id == OUTCOMES.c.decision_id)


def _text(moment: object) -> str:
    if not isinstance(moment, datetime):
        raise TypeError(f"{moment!r} is not a moment; the ledger stores moments in UTC.")
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def _decision_row(decision: Decision) -> dict[str, object]:
    row: dict[str, object] = asdict(decision)
    for name in ("decided_at", "as_of"):
        row[name] = _text(row[name])
    for name in ("eligible", "withheld", "versions"):
        row[name] = json.dumps(row[name], sort_keys=True, allow_nan=False)
    return row


def _decision(row: sa.Row[Any]) -> Decision:
    return Decision(
        decision_id=row.decision_id, account_id=row.account_id,
        decided_at=datetime.fromisoformat(row.decided_at),
        as_of=datetime.fromisoformat(row.as_of), action=row.action, propensity=row.propensity,
        expected_value=row.expected_value, currency=row.currency,
        eligible=tuple(json.loads(row.eligible)), withheld=tuple(json.loads(row.withheld)),
        versions=json.loads(row.versions), input_digest=row.input_digest)


def _as_outcome(row: sa.Row[Any]) -> Outcome:
    return Outcome(
        outcome_id=row.outcome_id, decision_id=row.decision_id, account_id=row.account_id,
        action=row.action, kind=row.kind, occurred_at=datetime.fromisoformat(row.occurred_at),
        received_at=datetime.fromisoformat(row.received_at), result=row.result, reason=row.reason,
        by=row.by)
