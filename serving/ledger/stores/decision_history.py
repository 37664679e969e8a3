"""Read earlier decisions with their questions, outcomes and judgements.

For evaluating a policy on logged decisions, and judgements of people. Reads; writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from serving.ledger.database.database import LedgerDatabase
from serving.ledger.database.prepared import PART
from serving.ledger.database.tables import CHAIN, DECISIONS, FEEDBACK, INPUTS, OUTCOMES
from serving.ledger.database.timestamps import as_moment
from serving.ledger.feedback import Verdict
from serving.ledger.ledger import batched

QUESTIONS_AT_ONCE = 500


@dataclass(frozen=True, kw_only=True)
class LoggedDecision:
    """A decision with its ranking and its refusals as JSON, as they are stored."""

    decision_id: str
    account_id: str
    decided_at: datetime
    action: str
    propensity: float
    eligible: str
    withheld: str


def decisions_before(database: LedgerDatabase, moment: datetime) -> list[LoggedDecision]:
    """The decisions before a moment on the time of the data, oldest first.

    Raises:
        LedgerUnreachableError: the ledger cannot be reached.
    """
    columns = [
        DECISIONS.c[name]
        for name in (
            "decision_id",
            "account_id",
            "decided_at",
            "action",
            "propensity",
            "eligible",
            "withheld",
        )
    ]
    with database.reading() as connection:
        rows = connection.execute(
            sa.select(*columns).order_by(DECISIONS.c.decided_at, DECISIONS.c.decision_id)
        ).all()
    found = (
        LoggedDecision(**{**row._mapping, "decided_at": as_moment(row.decided_at)}) for row in rows
    )
    return [one for one in found if one.decided_at < moment]


class QuestionReader:
    """Reads what decisions were made on, in one view of the ledger."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def questions(self, decision_ids: Sequence[str]) -> Iterator[tuple[str, str | None]]:
        """The id and the stored question of each decision; None where it was not stored yet."""
        for part in batched(decision_ids, QUESTIONS_AT_ONCE):
            rows = self._connection.execute(
                sa.select(DECISIONS.c.decision_id, DECISIONS.c.inputs).where(
                    DECISIONS.c.decision_id.in_(part)
                )
            )
            for row in rows:
                yield row.decision_id, row.inputs

    def shared(self, digest: str) -> str:
        """What many questions have in common, by its digest."""
        return str(
            self._connection.execute(
                sa.select(INPUTS.c.content).where(INPUTS.c.digest == digest)
            ).scalar_one()
        )


@dataclass(frozen=True, kw_only=True)
class JudgedAction:
    """The newest word on one action of a decision, with what the decision was made on.

    ``was_executed`` and ``results`` are what was reported of the decision.
    """

    decision_id: str
    account_id: str
    action: str
    verdict: Verdict
    recommended: str
    as_of: datetime
    inputs: str | None
    was_executed: bool
    results: frozenset[str]


def judged_actions(database: LedgerDatabase, *, as_of: datetime) -> tuple[JudgedAction, ...]:
    """The newest judgement of each action of each decision, in the order in which they were given.

    Args:
        database: the ledger's.
        as_of: a moment on the time of the data; what came after it is left out.

    Raises:
        LedgerUnreachableError: the ledger cannot be reached.
    """
    with database.reading() as connection:
        newest = _newest_feedback(connection, as_of)
        outcomes = _outcomes(connection, [row.decision_id for row in newest], as_of)
    return tuple(
        JudgedAction(
            decision_id=row.decision_id,
            account_id=row.account_id,
            action=row.action,
            verdict=row.verdict,
            recommended=row.recommended,
            as_of=as_moment(row.as_of),
            inputs=row.inputs,
            was_executed=any(kind == "executed" for kind, _ in outcomes.get(row.decision_id, ())),
            results=frozenset(
                result
                for kind, result in outcomes.get(row.decision_id, ())
                if kind == "outcome" and result is not None
            ),
        )
        for row in newest
    )


def _newest_feedback(
    connection: Connection, as_of: datetime
) -> Sequence[sa.Row[tuple[object, ...]]]:
    columns = [
        *(FEEDBACK.c[name] for name in ("decision_id", "account_id", "action", "verdict", "at")),
        DECISIONS.c.action.label("recommended"),
        DECISIONS.c.as_of,
        DECISIONS.c.inputs,
    ]
    rows = connection.execute(
        sa.select(*columns)
        .join(
            CHAIN,
            sa.and_(CHAIN.c.table == FEEDBACK.name, CHAIN.c.record_id == FEEDBACK.c.feedback_id),
        )
        .join(DECISIONS, DECISIONS.c.decision_id == FEEDBACK.c.decision_id)
        .order_by(CHAIN.c.place)
    ).all()
    return list(
        {(row.decision_id, row.action): row for row in rows if as_moment(row.at) <= as_of}.values()
    )


def _outcomes(
    connection: Connection, decision_ids: Sequence[str], as_of: datetime
) -> dict[str, list[tuple[str, str | None]]]:
    """Kind and result of what was reported of decisions up to a moment."""
    found: dict[str, list[tuple[str, str | None]]] = {}
    columns = [OUTCOMES.c[name] for name in ("decision_id", "kind", "result", "received_at")]
    for part in batched(list(dict.fromkeys(decision_ids)), PART):
        for row in connection.execute(sa.select(*columns).where(OUTCOMES.c.decision_id.in_(part))):
            if as_moment(row.received_at) <= as_of:
                found.setdefault(row.decision_id, []).append((row.kind, row.result))
    return found
