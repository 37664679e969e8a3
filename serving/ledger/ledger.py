"""The ledger: decisions and their outcomes, stored for good.

Both are append-only rows: the database itself refuses to change or delete one. A write is
acknowledged after its commit, and a repeated write with the same Idempotency-Key finds the first
answer. Which records still have to reach the timeline is a query of the same tables, so a process
that ends in between loses nothing.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from serving.ledger.autonomy import level_now
from serving.ledger.database.chain import ChainCheck, insert_linked, verify_chain
from serving.ledger.database.change import Change, OpenRequest, StoredAnswer, WaitBudget
from serving.ledger.database.database import LedgerDatabase
from serving.ledger.database.dialects.protocol import BUSY_SECONDS
from serving.ledger.database.prepared import PART, ById
from serving.ledger.database.redaction import erased_record
from serving.ledger.database.tables import (
    CHAIN,
    DECISIONS,
    DELIVERIES,
    FEEDBACK,
    INPUTS,
    KEYS,
    OUTCOMES,
)
from serving.ledger.database.timestamps import as_moment, as_text
from serving.ledger.errors import KeyReusedError, LedgerUnreachableError, UnknownDecisionError
from serving.ledger.feedback import Feedback, as_feedback
from serving.ledger.kill_switch import Control, Scope, add_control, read_controls
from serving.ledger.ranked_actions import row_of_action
from serving.ledger.reported_outcomes import (
    OPPOSITES,
    NewOutcome,
    Outcome,
    OutcomeKind,
    as_outcome,
    check_still_free,
    decision_row,
    outcomes_with_decisions,
    request_digest,
    store_outcome,
)

__all__ = ["Decision", "Ledger", "NewOutcome", "Outcome", "OutcomeKind"]

THESE_DECISIONS = ById(sa.select(DECISIONS), DECISIONS.c.decision_id)
THESE_INPUTS = ById(sa.select(INPUTS.c.digest), INPUTS.c.digest)
OUTCOMES_OF = ById(
    outcomes_with_decisions()
    .join(
        CHAIN, sa.and_(CHAIN.c.table == OUTCOMES.name, CHAIN.c.record_id == OUTCOMES.c.outcome_id)
    )
    .order_by(CHAIN.c.place),
    DECISIONS.c.account_id,
)
"""Made once: to make a statement anew for each decision takes longer than to run it."""

SORTED_JSON = json.JSONEncoder(sort_keys=True, allow_nan=False).encode

BRIEFLY: Sequence[sa.ColumnElement[Any]] = [
    *(
        DECISIONS.c[name]
        for name in ("decision_id", "account_id", "decided_at", "action", "propensity")
    ),
    sa.case((DECISIONS.c.propensity < 1, DECISIONS.c.inputs)).label("inputs"),
]
"""The columns of ``DecisionSummary``: the question of a decision is long and seldom needed."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The policy's proposal for one account, with all that it was decided on.

    ``eligible`` and ``withheld`` are the whole ranking and every refusal with its reason;
    ``input_digest`` is the hash of the state that the policy read, and ``inputs`` all of it, for
    ``serving.ledger.replay.replay``. ``autonomy`` is the level it was made at, of
    ``serving.ledger.autonomy``; as it is given, how far the action may go. ``decided_at`` and
    ``as_of`` are on the time of the data; ``asked_at`` (before the facts were read) and
    ``valid_until`` on the clock of the service. ``part_of`` is the decision from whose list a later
    action is; ``subjects`` are the actions that are done with this one, in the same conversation.
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
    valid_until: datetime | None = None  # None here and below: decided before it was stored
    segment: str | None = None
    csm: str | None = None
    autonomy: int | None = None
    proposed_by: str | None = None
    inputs: str | None = None
    asked_at: datetime | None = None
    part_of: str | None = None
    subjects: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DecisionSummary:
    """The part of a decision that goes onto the timeline; ``inputs`` only where chance had a say."""

    decision_id: str
    account_id: str
    decided_at: datetime
    action: str
    propensity: float
    inputs: str | None


class NewDecisions:
    """Decisions with the rows to write for them, made before others have to wait for the lock."""

    def __init__(self, decisions: Iterable[Decision]) -> None:
        self.decisions = tuple(decisions)
        self._rows = {one.decision_id: _decision_row(one) for one in self.decisions}

    def row(self, decision: Decision) -> dict[str, object]:
        """The row of one of them, at the level that it has now."""
        return {**self._rows[decision.decision_id], "autonomy": decision.autonomy}


class LedgerChange:
    """A transaction on the ledger that takes decisions and controls, and remembers an answer."""

    def __init__(self, change: Change, known_inputs: Set[str]) -> None:
        self._change = change
        self._known_inputs = known_inputs
        self.looked_up: set[str] = set()  # digests of shared inputs that are there after the commit

    def remember(self, answer: StoredAnswer) -> None:
        """Store the answer of the request that makes this change, by the same commit."""
        self._change.remember(answer)

    def record_control(self, control: Control) -> Control:
        """Write a control down; it holds for every transaction that begins afterwards."""
        return add_control(self._change.connection, control)

    def append_decisions(
        self, new: NewDecisions, *, shared: Mapping[str, str] = MappingProxyType({})
    ) -> tuple[Decision, ...]:
        """Store decisions, and return them as they are stored.

        A decision whose id is there already is the same decision and stays as it is. A new one gets
        the level that is set now, 0 where the kill switch holds. ``shared`` are inputs that many
        decisions read, by their digest.
        """
        connection, decisions = self._change.connection, new.decisions
        ids = [decision.decision_id for decision in decisions]
        there = {row.decision_id: _decision(row) for row in THESE_DECISIONS.rows(connection, ids)}
        controls = read_controls(connection)
        added = {
            d.decision_id: _levelled(d, controls) for d in decisions if d.decision_id not in there
        }
        self._add_inputs(shared)
        if added:
            insert_linked(connection, DECISIONS, *map(new.row, added.values()))
        stored = {**there, **added}
        return tuple(stored[d.decision_id] for d in decisions)

    def _add_inputs(self, shared: Mapping[str, str]) -> None:
        unsure = [digest for digest in shared if digest not in self._known_inputs]
        if not unsure:
            return
        connection = self._change.connection
        known = {row.digest for row in THESE_INPUTS.rows(connection, unsure)}
        inputs = [
            {"digest": digest, "content": shared[digest]}
            for digest in unsure
            if digest not in known
        ]
        if inputs:
            insert_linked(connection, INPUTS, *inputs)
        self.looked_up.update(unsure)


class _Delivery:
    """How far the records of the ledger are on the timeline, as far as this process knows.

    Places are given in order, so none comes in before one that is there; what is delivered is never
    looked at again, also where something new comes in all the time.
    """

    def __init__(self) -> None:
        self.delivered = 0  # every record up to this place is on the timeline
        self._under_way: tuple[int, Set[str]] = 0, set()  # once these are, up to that place
        self._lock = threading.Lock()

    def begin(self, place: int, records: Set[str]) -> None:
        """These are all records up to a place that are not on the timeline yet."""
        with self._lock:
            self._note(place, records)

    def finish(self, records: Collection[str]) -> None:
        """These are on the timeline now."""
        with self._lock:
            place, waiting = self._under_way
            self._note(place, waiting - set(records))

    def _note(self, place: int, waiting: Set[str]) -> None:
        self._under_way = place, waiting
        if not waiting:
            self.delivered = max(self.delivered, place)


class Ledger:
    """The decisions and outcomes of one workspace, in one database.

    Args:
        where: the file, or the address of a database.
        heads: the files in which its head is noted, as ``LedgerDatabase`` says.
        wait_seconds: how long a writer waits for its turn.
    """

    def __init__(
        self,
        where: Path | str,
        *,
        heads: Sequence[Path] | None = None,
        wait_seconds: float = BUSY_SECONDS,
    ) -> None:
        self._database = LedgerDatabase(where, heads=heads, wait_seconds=wait_seconds)
        self._delivery = _Delivery()
        self._inputs: set[str] = set()  # digests of shared inputs that are there for sure
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

    @property
    def database(self) -> LedgerDatabase:
        """The database that holds claims, approvals and controls, beside the decisions."""
        return self._database

    def for_request(self, request: OpenRequest) -> Ledger:
        """The same ledger to one request: each of its changes is noted with the request."""
        view = copy(self)
        view._database = self._database.for_request(request)
        return view

    def waiting(self, waits: WaitBudget) -> Ledger:
        """The same ledger, whose writes wait for others no longer than this, all together."""
        view = copy(self)
        view._database = self._database.waiting(waits)
        return view

    @contextmanager
    def transaction(self) -> Iterator[LedgerChange]:
        """One change of the ledger, all or nothing; it is on disk when the block has ended.

        Raises:
            LedgerUnreachableError: the database cannot be reached.
        """
        with self._database.transaction() as change:
            ours = LedgerChange(change, self._inputs)
            yield ours
        self._inputs.update(ours.looked_up)  # committed, and nothing is ever taken out

    def append_decisions(
        self,
        decisions: Sequence[Decision],
        *,
        shared: Mapping[str, str] = MappingProxyType({}),
    ) -> tuple[Decision, ...]:
        """Store decisions in a transaction of their own; see ``LedgerChange.append_decisions``."""
        if not decisions:
            return ()
        new = NewDecisions(decisions)
        with self.transaction() as change:
            return change.append_decisions(new, shared=shared)

    def append_outcome(
        self,
        decision_id: str,
        new: NewOutcome,
        *,
        key: str,
        received_at: datetime,
        heard_at: datetime | None = None,
        reporter: str | None = None,
        action: str | None = None,
    ) -> tuple[Outcome, bool]:
        """Store an outcome once per key; answers the stored one and whether it is new.

        It is received on the time of the data, and heard on the clock of the service. It is of the
        decision's own action, or of another ``action`` of its list.

        Raises:
            UnknownDecisionError: no such decision.
            KeyReusedError: the key came before with another outcome.
            ContradictingOutcomeError: it was carried out and is now declined, or the reverse.
            OutcomeBeforeDecisionError: it is said to have happened before it was decided.
            DecisionExpiredError: it was carried out when the decision was no longer valid.
            NotYoursError: it was claimed by another than the ``reporter``.
            NotClaimableError: the decision does not list the action.
        """
        digest = request_digest(decision_id, new, action)
        with self._database.writing() as connection:
            known = connection.execute(sa.select(KEYS).where(KEYS.c.key == key)).one_or_none()
            if known is not None:
                if known.request_digest != digest:
                    raise KeyReusedError(
                        "This Idempotency-Key came before with another outcome, "
                        "or for another decision. Nothing was stored."
                    )
                return self._outcome(connection, known.outcome_id), False
            decided = row_of_action(connection, decision_row(connection, decision_id), action)
            if new.kind in OPPOSITES:
                check_still_free(connection, decided, new, heard_at or received_at, reporter)
            outcome_id = str(
                uuid.uuid5(uuid.NAMESPACE_URL, f"keepwell:{decided.decision_id}:{key}")
            )
            store_outcome(
                connection,
                decided,
                new,
                outcome_id=outcome_id,
                received_at=received_at,
                heard_at=heard_at,
            )
            insert_linked(
                connection, KEYS, {"key": key, "request_digest": digest, "outcome_id": outcome_id}
            )
            return self._outcome(connection, outcome_id), True

    def decision(self, decision_id: str) -> Decision:
        """A stored decision.

        Raises:
            UnknownDecisionError: no such decision, or it was erased.
        """
        with self._database.reading() as connection:
            return _decision(decision_row(connection, decision_id))

    def account_of(self, decision_id: str) -> str | None:
        """The account of a stored decision, without reading all that was decided; None without."""
        with self._database.reading() as connection:
            found: str | None = connection.scalar(
                sa.select(DECISIONS.c.account_id).where(DECISIONS.c.decision_id == decision_id)
            )
        return found

    def erased_on(self, decision_id: str) -> date | None:
        """The day on which a decision was erased with all it was made on; None where it was not."""
        with self._database.reading() as connection:
            redaction = erased_record(connection, DECISIONS.name, decision_id)
        return None if redaction is None else as_moment(redaction["at"]).date()

    def shared_input(self, digest: str) -> str:
        """Inputs that many decisions read, by their digest.

        Raises:
            UnknownDecisionError: no decision was stored with it.
        """
        with self._database.reading() as connection:
            content = connection.scalar(
                sa.select(INPUTS.c.content).where(INPUTS.c.digest == digest)
            )
        if content is None:
            raise UnknownDecisionError("What this decision was made on is not in the ledger.")
        return str(content)

    def decisions_of(self, account_id: str) -> tuple[Decision, ...]:
        """The decisions about an account, newest first."""
        with self._database.reading() as connection:
            rows = connection.execute(
                sa.select(DECISIONS)
                .where(DECISIONS.c.account_id == account_id)
                .order_by(DECISIONS.c.decided_at.desc(), DECISIONS.c.decision_id)
            ).all()
        return tuple(_decision(row) for row in rows)

    def outcomes_of(self, account_ids: Collection[str]) -> dict[str, tuple[Outcome, ...]]:
        """The outcomes of these accounts' decisions in the order they came, by account."""
        with self._database.reading() as connection:
            return outcomes_in(connection, account_ids)

    def undelivered(
        self,
    ) -> tuple[tuple[DecisionSummary, ...], tuple[Outcome, ...], tuple[Feedback, ...]]:
        """Decisions, outcomes and feedback that are not on the timeline yet, oldest first."""
        since = self._delivery.delivered
        with self._database.reading() as connection:
            newest: int = connection.scalar(sa.select(sa.func.max(CHAIN.c.place))) or 0
            decisions = connection.execute(
                _untold(sa.select(*BRIEFLY), DECISIONS.c.decision_id, since)
            ).all()
            outcomes = connection.execute(
                _untold(outcomes_with_decisions(), OUTCOMES.c.outcome_id, since)
            ).all()
            feedback = connection.execute(
                _untold(sa.select(FEEDBACK), FEEDBACK.c.feedback_id, since)
            ).all()
        self._delivery.begin(
            newest,
            {
                *(row.decision_id for row in decisions),
                *(row.outcome_id for row in outcomes),
                *(row.feedback_id for row in feedback),
            },
        )
        return (
            tuple(map(_briefly, decisions)),
            tuple(map(as_outcome, outcomes)),
            tuple(map(as_feedback, feedback)),
        )

    def mark_delivered(self, record_ids: Sequence[str], *, at: datetime) -> None:
        """Note that these records are on the timeline."""
        if not record_ids:
            return
        noted_at = as_text(at)
        with self._database.writing() as connection:
            there = _present(connection, DELIVERIES.c.record_id, record_ids)
            new = [i for i in dict.fromkeys(record_ids) if i not in there]
            if new:
                connection.execute(
                    sa.insert(DELIVERIES), [{"record_id": i, "delivered_at": noted_at} for i in new]
                )
        self._delivery.finish(record_ids)

    def verify(self, *, head: str | None = None) -> ChainCheck:
        """Look at every record and link; ``head`` is a link that was noted elsewhere before."""
        with self._database.reading() as connection:
            return verify_chain(connection, head=head)

    def counts(self) -> tuple[int, int]:
        """The numbers of decisions and outcomes; fails when the database cannot be read."""
        with self._database.reading() as connection:
            decisions, outcomes = (
                connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
                for table in (DECISIONS, OUTCOMES)
            )
        return decisions, outcomes

    def _outcome(self, connection: Connection, outcome_id: str) -> Outcome:
        return as_outcome(
            connection.execute(
                outcomes_with_decisions().where(OUTCOMES.c.outcome_id == outcome_id)
            ).one()
        )


def outcomes_in(
    connection: Connection, account_ids: Collection[str]
) -> dict[str, tuple[Outcome, ...]]:
    """The outcomes of these accounts' decisions in the order they came, by account."""
    found: dict[str, list[Outcome]] = {}
    for row in OUTCOMES_OF.rows(connection, list(dict.fromkeys(account_ids))):
        found.setdefault(row.account_id, []).append(as_outcome(row))
    return {account_id: tuple(outcomes) for account_id, outcomes in found.items()}


def _untold(what: sa.Select[Any], record_id: sa.Column[Any], since: int) -> sa.Select[Any]:
    """Of these, those after a place of the chain that are not on the timeline, in order."""
    delivered = (
        sa.select(DELIVERIES.c.record_id).where(DELIVERIES.c.record_id == record_id).exists()
    )
    return (
        what.join(
            CHAIN, sa.and_(CHAIN.c.table == record_id.table.name, CHAIN.c.record_id == record_id)
        )
        .where(CHAIN.c.place > since, ~delivered)
        .order_by(CHAIN.c.place)
    )


def _levelled(decision: Decision, controls: Sequence[Control]) -> Decision:
    """The decision at the level that is set for it now."""
    if decision.autonomy is None:
        return decision
    level = level_now(
        controls, Scope(action=decision.action, segment=decision.segment, csm=decision.csm)
    )
    return replace(decision, autonomy=min(decision.autonomy, level))


def _present(connection: Connection, column: sa.Column[Any], ids: Sequence[str]) -> set[str]:
    """Which of these ids a table holds already."""
    return {
        known
        for part in batched(ids, PART)
        for known in connection.scalars(sa.select(column).where(column.in_(part)))
    }


def batched(values: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """The values in parts of at most this size."""
    for start in range(0, len(values), size):
        yield values[start : start + size]


def _decision_row(decision: Decision) -> dict[str, object]:
    row: dict[str, object] = dict(vars(decision))  # a copy of what is in it takes long
    for name in ("decided_at", "as_of", "valid_until", "asked_at"):
        row[name] = None if row[name] is None else as_text(row[name])
    for name in ("eligible", "withheld", "versions"):
        row[name] = SORTED_JSON(row[name])
    row["subjects"] = json.dumps(decision.subjects) if decision.subjects else None
    return row


def _briefly(row: sa.Row[Any]) -> DecisionSummary:
    return DecisionSummary(
        decision_id=row.decision_id,
        account_id=row.account_id,
        decided_at=as_moment(row.decided_at),
        action=row.action,
        propensity=row.propensity,
        inputs=row.inputs,
    )


def _decision(row: sa.Row[Any]) -> Decision:
    return Decision(
        decision_id=row.decision_id,
        account_id=row.account_id,
        decided_at=as_moment(row.decided_at),
        as_of=as_moment(row.as_of),
        action=row.action,
        propensity=row.propensity,
        expected_value=row.expected_value,
        currency=row.currency,
        eligible=tuple(json.loads(row.eligible)),
        withheld=tuple(json.loads(row.withheld)),
        versions=json.loads(row.versions),
        input_digest=row.input_digest,
        valid_until=None if row.valid_until is None else as_moment(row.valid_until),
        segment=row.segment,
        csm=row.csm,
        autonomy=row.autonomy,
        proposed_by=row.proposed_by,
        inputs=row.inputs,
        asked_at=None if row.asked_at is None else as_moment(row.asked_at),
        part_of=row.part_of,
        subjects=() if row.subjects is None else tuple(json.loads(row.subjects)),
    )
