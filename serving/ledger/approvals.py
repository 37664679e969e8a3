"""Approvals: a second person approves or rejects a decision before it is carried out.

Whoever asked for a decision cannot approve it. A rejection or a veto is final: a new decision can
be approved instead. Each is one record, added once per Idempotency-Key, at a moment by the clock of
the service.
"""

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

from registry.store.approval import person
from serving.ledger.autonomy import LEVELS, VETO_WINDOW, level_now, why_level
from serving.ledger.database.chain import insert_linked
from serving.ledger.database.database import LedgerDatabase
from serving.ledger.database.tables import APPROVALS, CLAIM_RECORDS
from serving.ledger.database.timestamps import as_moment, as_text, service_time
from serving.ledger.errors import (
    ContradictingOutcomeError,
    DecisionExpiredError,
    KeyReusedError,
    NotClaimableError,
    SelfApprovalError,
)
from serving.ledger.kill_switch import Control, Scope, check_not_stopped, read_controls
from serving.ledger.ranked_actions import bound_of, row_of_action
from serving.ledger.reported_outcomes import asked_at, decision_row

Verdict = Literal["approved", "rejected"]


@dataclass(frozen=True, kw_only=True)
class Approval:
    """A person's verdict on a decision. A rejection within the veto window is the veto."""

    approval_id: str
    decision_id: str
    verdict: Verdict
    by: str
    at: datetime
    reason: str | None


class Approvals:
    """The approvals of one workspace."""

    def __init__(self, database: LedgerDatabase) -> None:
        self._database = database

    def record(
        self,
        decision_id: str,
        verdict: Verdict,
        *,
        by: str,
        reason: str | None,
        key: str,
        now: datetime,
        action: str | None = None,
    ) -> tuple[Approval, bool]:
        """Approve or reject a decision; answers what was stored, and whether it is new.

        It is about the decision's own action, or about another ``action`` of its list.

        Raises:
            UnknownDecisionError: no such decision.
            SelfApprovalError: the same one asked for it.
            KeyReusedError: the key came before with another verdict.
            ContradictingOutcomeError: it was judged otherwise, or is claimed already.
            DecisionExpiredError, StoppedError: there is nothing left to approve.
            NotClaimableError: the decision does not list the action.
        """
        digest = hashlib.blake2b(
            json.dumps(
                [decision_id, verdict, by, reason, *([] if action is None else [action])]
            ).encode(),
            digest_size=16,
        ).hexdigest()
        with self._database.writing() as connection:
            known = connection.execute(
                sa.select(APPROVALS).where(APPROVALS.c.key == key)
            ).one_or_none()
            if known is not None:
                if known.request_digest != digest:
                    raise KeyReusedError(
                        "This Idempotency-Key came before with another verdict. Nothing was stored."
                    )
                return _approval(known), False
            decided = row_of_action(connection, decision_row(connection, decision_id), action)
            at = service_time(connection, now)
            self._check(connection, decided, verdict, by, at)
            row = {
                "approval_id": str(
                    uuid.uuid5(uuid.NAMESPACE_URL, f"keepwell:{decided.decision_id}:approval:{key}")
                ),
                "decision_id": decided.decision_id,
                "verdict": verdict,
                "by": by,
                "at": as_text(at),
                "reason": reason,
                "key": key,
                "request_digest": digest,
            }
            insert_linked(connection, APPROVALS, row)
            return Approval(
                approval_id=str(row["approval_id"]),
                decision_id=decided.decision_id,
                verdict=verdict,
                by=by,
                at=at,
                reason=reason,
            ), True

    def of_decision(self, decision_id: str) -> tuple[Approval, ...]:
        """The verdicts on a decision."""
        with self._database.reading() as connection:
            rows = connection.execute(
                sa.select(APPROVALS)
                .where(APPROVALS.c.decision_id == decision_id)
                .order_by(APPROVALS.c.at)
            )
            return tuple(map(_approval, rows))

    def _check(
        self, connection: Connection, decided: sa.Row[Any], verdict: Verdict, by: str, at: datetime
    ) -> None:
        before = verdict_on(connection, decided.decision_id)
        if before is not None:
            raise ContradictingOutcomeError(
                f"This decision was {before.verdict} by {before.by} on {before.at:%Y-%m-%d}."
            )
        if verdict == "rejected":
            claimed = connection.scalar(
                sa.select(CLAIM_RECORDS.c.record_id)
                .where(
                    CLAIM_RECORDS.c.decision_id == decided.decision_id,
                    CLAIM_RECORDS.c.kind == "completed",
                )
                .limit(1)
            )
            if claimed is not None:
                raise ContradictingOutcomeError(
                    "This decision was carried out before it was rejected."
                )
            return
        if decided.proposed_by is not None and person(by) == person(decided.proposed_by):
            raise SelfApprovalError(f"{by} asked for this decision, and so cannot approve it.")
        if decided.valid_until is None or as_moment(decided.valid_until) <= at:
            raise DecisionExpiredError("This decision is no longer valid.")
        check_not_stopped(
            read_controls(connection),
            Scope(action=decided.action, segment=decided.segment, csm=decided.csm),
        )


def verdict_on(connection: Connection, decision_id: str) -> Approval | None:
    """The verdict on a decision, if there is one."""
    row = connection.execute(
        sa.select(APPROVALS).where(APPROVALS.c.decision_id == decision_id)
    ).first()
    return None if row is None else _approval(row)


def check_level_of(
    connection: Connection, controls: Sequence[Control], decided: sa.Row[Any], at: datetime
) -> None:
    """See that a decision may be carried out at its level.

    Raises:
        NotClaimableError: it is for people only, waits for one, or one said no.
    """
    scope = Scope(action=decided.action, segment=decided.segment, csm=decided.csm)
    level = min(bound_of(decided), level_now(controls, scope))
    why = why_level(level, controls, scope)
    verdict = verdict_on(connection, decided.decision_id)
    if verdict is not None and verdict.verdict == "rejected":
        raise NotClaimableError(f"{verdict.by} rejected this decision on {verdict.at:%Y-%m-%d}.")
    if level < 2:
        raise NotClaimableError(
            f"{decided.action} {LEVELS[level]} here ({why}); no program may claim it."
        )
    if verdict is None and level == 2:
        raise NotClaimableError(
            f"{decided.action} {LEVELS[level]} here ({why}), and nobody has yet."
        )
    open_until = asked_at(decided) + VETO_WINDOW
    if verdict is None and level == 3 and at < open_until:
        raise NotClaimableError(
            f"{decided.action} {LEVELS[level]} here ({why}): until "
            f"{open_until:%Y-%m-%d %H:%M} UTC.",
            retry_after=max(1, round((open_until - at).total_seconds())),
        )


def _approval(row: sa.Row[Any]) -> Approval:
    return Approval(
        approval_id=row.approval_id,
        decision_id=row.decision_id,
        verdict=row.verdict,
        by=row.by,
        at=as_moment(row.at),
        reason=row.reason,
    )
