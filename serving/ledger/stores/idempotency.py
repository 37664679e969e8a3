"""Idempotency keys: a write is done once, however often its request is sent.

The same key and request get the same answer; another request under the key is refused, and so is
one that is still being worked on. A key is stored for at least 24 hours, for each caller by itself. A
request that was refused without any effect leaves its key free.

A key is taken, with a lease, before the request is worked on. A process may be killed at any moment,
so each change that the request makes is noted in the key's row by the same commit, with the answer
where the change remembers one, and fails where another process took the key over. Whoever sends the
request again after the lease, which ends with its process where that was one of this machine, is told
the truth: without an effect it is worked on; with a stored answer that is the answer; else it is
worked on where it may run again (what it wrote is found under the key); else its answer is lost, the
caller is told so, and nothing is done twice.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from serving.ledger.database.change import (
    ANSWER,
    IS_HELD,
    METADATA,
    NEW_ROW,
    REQUESTS,
    THE_ROW,
    OpenRequest,
    StoredAnswer,
    TakenKey,
    WaitBudget,
    answer_columns,
    held_by,
)
from serving.ledger.database.database import LedgerDatabase
from serving.ledger.database.prepared import Prepared
from serving.ledger.errors import (
    AnswerLostError,
    InFlightError,
    KeyReusedError,
)
from serving.ledger.stores.holders import has_ended, new_holder

KEPT = timedelta(hours=24)
LEASE = timedelta(seconds=30)
LONGEST_LEASE = timedelta(hours=1)
"""One that ends later was taken by a wrong clock, which was put back since, and holds nothing."""

RETRY_SECONDS = 1

SETTLE = Prepared(sa.update(REQUESTS).where(IS_HELD).values(ANSWER))
LEASE_UNTIL = Prepared(
    sa.update(REQUESTS).where(IS_HELD).values(lease_until=sa.bindparam("lease_until"))
)
FREE = Prepared(sa.delete(REQUESTS).where(IS_HELD, REQUESTS.c.effects == 0))
TAKE_OVER = Prepared(
    sa.update(REQUESTS)
    .where(IS_HELD)
    .values(holder=sa.bindparam("new_holder"), lease_until=sa.bindparam("lease_until"))
)

Ending = Literal["done", "refused", "failed"]
"""How a request ended; where it failed, nobody knows what it did."""


@dataclass
class _KeysState:
    """What all views of the keys have in common."""

    is_ready: bool = False
    forgotten_at: datetime | None = None


class RequestKeys:
    """The keys of requests, in the database of the ledger, where their effects are."""

    def __init__(self, database: LedgerDatabase, lease: timedelta = LEASE) -> None:
        self._database = database
        self._lease = lease
        self._waits: WaitBudget | None = None
        self._state = _KeysState()

    def waiting(self, waits: WaitBudget | None) -> RequestKeys:
        """The same keys to one request, whose writes wait for others no longer than this."""
        if waits is None:
            return self
        view = copy(self)
        view._database, view._waits = self._database.waiting(waits), waits
        return view

    def open_request(
        self, taken: TakenKey, *, is_sure: bool = True, looks_first: bool = False
    ) -> OpenRequest:
        """The request that is worked on under a key, to be handed to the ledger's changes.

        ``is_sure`` is whether the key was taken. Where the ledger could not be reached just then,
        nobody knows, and what cannot be noted is not written. With ``looks_first`` nobody has looked
        for the key yet.
        """
        return OpenRequest(
            taken,
            is_sure=is_sure,
            can_be_noted=self._state.is_ready,
            waits=self._waits,
            looks_first=looks_first,
        )

    def begin(
        self,
        caller: str,
        key: str,
        fingerprint: str,
        *,
        may_repeat: bool,
        now: datetime,
        holder: str | None = None,
        with_change: bool = False,
    ) -> TakenKey | StoredAnswer:
        """Take a key to work on its request, or find what it was answered.

        ``with_change`` is for a request whose whole effect is one change: nothing is written before
        that, and the key is taken by the same commit. Of two at once only the first commits.

        Raises:
            KeyReusedError: the key came before with another request.
            InFlightError: the request is being worked on.
            AnswerLostError: it was done, and the process ended before it answered.
            LedgerUnreachableError: the database cannot be reached.
        """
        taken = self.new_key(caller, key, fingerprint, holder or new_holder(), now)
        if with_change and self.is_looked_after(now):
            with self._database.reading() as connection:
                row = _row(connection, taken)
            if row is None:
                return taken
            answer = _answer_in(row, fingerprint, now, may_repeat=may_repeat)
            if answer is not None:
                return answer
        with self._writing() as connection:
            self._forget_old(connection, now)
            row = _row(connection, taken)
            if row is None:
                if not with_change:
                    assert taken.unwritten is not None
                    NEW_ROW.insert(connection, [taken.unwritten])
                    return replace(taken, unwritten=None)
                return taken
            answer = _answer_in(row, fingerprint, now, may_repeat=may_repeat)
            if answer is not None:
                return answer
            TAKE_OVER.change(
                connection,
                {
                    **held_by(replace(taken, holder=row.holder)),
                    "new_holder": taken.holder,
                    "lease_until": _text(now + self._lease),
                },
            )
            return replace(taken, unwritten=None)

    def new_key(
        self, caller: str, key: str, fingerprint: str, holder: str, now: datetime
    ) -> TakenKey:
        """A key that nobody has written down yet."""
        row = {
            "caller": caller,
            "key": key,
            "fingerprint": fingerprint,
            "holder": holder,
            "lease_until": _text(now + self._lease),
            "effects": 0,
            "began_at": _text(now),
        }
        return TakenKey(caller=caller, key=key, holder=holder, unwritten=row)

    def settle(
        self, taken: TakenKey, answer: StoredAnswer, *, ending: Ending, now: datetime
    ) -> StoredAnswer:
        """Store what a request is answered, before the answer is sent, and say what that is.

        A refusal that had no effect is not stored, and its key is free. What failed is not stored
        either, and its lease ends. Where the key was not written down before, and another request
        under it was first, its answer is the one.
        """
        with self._writing() as connection:
            if ending != "done" and _freed(connection, taken):
                return answer
            if taken.unwritten is not None:
                row = _row(connection, taken)
                if row is None and ending == "done":
                    NEW_ROW.insert(connection, [{**taken.unwritten, **answer_columns(answer)}])
                if row is not None and row.holder != taken.holder:
                    first = _answer_in(row, taken.unwritten["fingerprint"], now, may_repeat=True)
                    return first or answer
            if ending == "failed":
                _end_lease(connection, taken, now)
            else:
                SETTLE.change(connection, {**held_by(taken), **answer_columns(answer)})
        return answer

    def renew(self, taken: TakenKey, now: datetime) -> None:
        """Go on working."""
        with self._writing() as connection:
            _end_lease(connection, taken, now + self._lease)

    def let_go(self, taken: TakenKey, now: datetime) -> None:
        """Give a key back whose request came to nothing; a noted effect stays noted."""
        with self._writing() as connection:
            if not _freed(connection, taken):
                _end_lease(connection, taken, now)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[Connection]:
        """A transaction that does not wait for the disk: the effect in between does, and the disk
        then holds what was written before it. Without the answer, the caller is told it is lost."""
        with self._database.transaction(is_durable=False) as change:
            if not self._state.is_ready:
                METADATA.create_all(change.connection)
            yield change.connection
        self._state.is_ready = True

    def is_looked_after(self, now: datetime) -> bool:
        """Whether the table is there, and no old keys have to be forgotten."""
        return self._state.is_ready and not self._has_old(now)

    def _has_old(self, now: datetime) -> bool:
        return self._state.forgotten_at is None or now - self._state.forgotten_at >= KEPT / 24

    def _forget_old(self, connection: Connection, now: datetime) -> None:
        if self._has_old(now):
            connection.execute(
                sa.delete(REQUESTS).where(
                    REQUESTS.c.began_at < _text(now - KEPT), REQUESTS.c.lease_until < _text(now)
                )
            )
            self._state.forgotten_at = now


def _row(connection: Connection, taken: TakenKey) -> Any:
    """The row of a key; None where there is none."""
    found = THE_ROW.rows(connection, held_by(taken))
    return found[0] if found else None


def _answer_in(
    row: Any, fingerprint: object, now: datetime, *, may_repeat: bool
) -> StoredAnswer | None:
    """The answer that is stored under a key; None where its request has to be worked on again.

    Raises:
        KeyReusedError: the key came before with another request.
        InFlightError: the request is being worked on.
        AnswerLostError: it was done, and the process ended before it answered.
    """
    if row.fingerprint != fingerprint:
        raise KeyReusedError(
            "This Idempotency-Key came before with another request. Nothing was done."
        )
    if row.status is not None:
        return StoredAnswer(
            status=row.status, media_type=row.media_type, body=zlib.decompress(row.body)
        )
    is_leased = _text(now) < row.lease_until <= _text(now + LONGEST_LEASE)
    if is_leased and not has_ended(row.holder):
        raise InFlightError("The same request is being worked on.", retry_after=RETRY_SECONDS)
    if row.effects and not may_repeat:
        raise AnswerLostError(
            "The request was carried out once, and the process that did "
            "so ended before it could answer. Nothing was done again."
        )
    return None


def _freed(connection: Connection, taken: TakenKey) -> bool:
    """Forget a key whose request had no effect; whether there was none."""
    return FREE.change(connection, held_by(taken)) > 0


def _end_lease(connection: Connection, taken: TakenKey, at: datetime) -> None:
    LEASE_UNTIL.change(connection, {**held_by(taken), "lease_until": _text(at)})


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
