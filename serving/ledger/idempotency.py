"""Idempotency keys: a write is done once, however often its request is sent.

The same key and request get the same answer; another request under the key is refused, and so is
one that is still being worked on. A key is kept for at least 24 hours, for each caller by itself. A
request that was refused without any effect leaves its key free.

A key is taken, with a lease, before the request is worked on. A process may be killed at any moment,
so each change that the request makes is noted in the key's row by the same commit, with the answer
where the change remembers one, and fails where another process took the key over. Whoever sends the
request again after the lease is told the truth: without an effect it is worked on; with a stored
answer that is the answer; else it is worked on where it may run again (what it wrote is found under
the key); else its answer is lost, the caller is told so, and nothing is done twice.
"""

from __future__ import annotations

import contextlib
import secrets
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from serving.ledger.database.change import Change, StoredAnswer
from serving.ledger.database.database import LedgerDatabase
from serving.ledger.errors import (
    AnswerLostError,
    InFlightError,
    KeyReusedError,
    LedgerUnreachableError,
)

KEPT = timedelta(hours=24)
LEASE = timedelta(seconds=30)
RETRY_SECONDS = 1

Ending = Literal["done", "refused", "failed"]
"""How a request ended; where it failed, nobody knows what it did."""

METADATA = sa.MetaData()
REQUESTS = sa.Table(
    "idempotent_requests",
    METADATA,
    sa.Column("caller", sa.String, primary_key=True),
    sa.Column("key", sa.String, primary_key=True),
    sa.Column("fingerprint", sa.String, nullable=False),
    sa.Column("holder", sa.String, nullable=False),
    sa.Column("lease_until", sa.String, nullable=False),
    sa.Column("effects", sa.Integer, nullable=False),
    sa.Column("began_at", sa.String, nullable=False, index=True),
    sa.Column("status", sa.Integer),  # null while it is worked on
    sa.Column("media_type", sa.String),
    sa.Column("body", sa.LargeBinary),
)


@dataclass(frozen=True, kw_only=True)
class TakenKey:
    """A key that is being worked on, and by whom."""

    caller: str
    key: str
    holder: str


class OpenRequest:
    """A request that is being worked on under a key, which notes its changes.

    Args:
        keys: where the key is.
        taken: the key.
        is_sure: whether the key was taken. Where the ledger could not be reached just then, nobody
            knows, and what can not be noted is not written.
    """

    def __init__(self, keys: RequestKeys, taken: TakenKey, *, is_sure: bool = True) -> None:
        self._keys = keys
        self.taken = taken
        self.is_sure = is_sure
        self.is_noted = False
        self.answer: StoredAnswer | None = None  # that a change remembered

    def note(self, change: Change) -> None:
        """Note a change, and the answer it remembers, in the row of the key.

        Raises:
            InFlightError: another process took the request over.
            LedgerUnreachableError: the key was not taken in time.
        """
        if self._keys.note(change, self.taken):
            self.is_noted, self.answer = True, change.answer
            return
        if not self.is_sure:
            raise LedgerUnreachableError(
                "The key of this request could not be noted in time, so nothing was written.",
                retry_after=RETRY_SECONDS,
            )
        raise InFlightError(
            "Another process took the request over. Nothing was written by this one.",
            retry_after=RETRY_SECONDS,
        )


class RequestKeys:
    """The keys of requests, in the database of the ledger, where their effects are."""

    def __init__(self, database: LedgerDatabase, lease: timedelta = LEASE) -> None:
        self._database = database
        self._lease = lease
        self._is_ready = False
        self._forgotten_at: datetime | None = None

    def begin(
        self,
        caller: str,
        key: str,
        fingerprint: str,
        *,
        may_repeat: bool,
        now: datetime,
        holder: str | None = None,
    ) -> TakenKey | StoredAnswer:
        """Take a key to work on its request, or find what it was answered.

        Raises:
            KeyReusedError: the key came before with another request.
            InFlightError: the request is being worked on.
            AnswerLostError: it was done, and the process ended before it answered.
            LedgerUnreachableError: the database can not be reached.
        """
        taken = TakenKey(caller=caller, key=key, holder=holder or new_holder())
        with self._writing() as connection:
            self._forget_old(connection, now)
            row = connection.execute(sa.select(REQUESTS).where(_is(taken))).one_or_none()
            if row is None:
                connection.execute(
                    sa.insert(REQUESTS).values(
                        caller=caller,
                        key=key,
                        fingerprint=fingerprint,
                        holder=taken.holder,
                        lease_until=_text(now + self._lease),
                        effects=0,
                        began_at=_text(now),
                    )
                )
                return taken
            if row.fingerprint != fingerprint:
                raise KeyReusedError(
                    "This Idempotency-Key came before with another request. Nothing was done."
                )
            if row.status is not None:
                return StoredAnswer(
                    status=row.status, media_type=row.media_type, body=zlib.decompress(row.body)
                )
            if row.lease_until > _text(now):
                raise InFlightError(
                    "The same request is being worked on.",
                    retry_after=RETRY_SECONDS,
                )
            if row.effects and not may_repeat:
                raise AnswerLostError(
                    "The request was carried out once, and the process that did "
                    "so ended before it could answer. Nothing was done again."
                )
            connection.execute(
                sa.update(REQUESTS)
                .where(_is(taken))
                .values(holder=taken.holder, lease_until=_text(now + self._lease))
            )
            return taken

    def settle(
        self, taken: TakenKey, answer: StoredAnswer, *, ending: Ending, now: datetime
    ) -> None:
        """Store what a request is answered, before the answer is sent.

        A refusal that had no effect is not stored, and its key is free. What failed is not stored
        either, and its lease ends.
        """
        with self._writing() as connection:
            if ending != "done" and _freed(connection, taken):
                return
            connection.execute(
                sa.update(REQUESTS)
                .where(_holds(taken))
                .values({"lease_until": _text(now)} if ending == "failed" else _columns(answer))
            )

    def renew(self, taken: TakenKey, now: datetime) -> None:
        """Go on working."""
        with self._writing() as connection:
            connection.execute(
                sa.update(REQUESTS)
                .where(_holds(taken))
                .values(lease_until=_text(now + self._lease))
            )

    def let_go(self, taken: TakenKey, now: datetime) -> None:
        """Give a key back whose request came to nothing; a noted effect stays noted."""
        with self._writing() as connection:
            if not _freed(connection, taken):
                connection.execute(
                    sa.update(REQUESTS).where(_holds(taken)).values(lease_until=_text(now))
                )

    def note(self, change: Change, taken: TakenKey) -> bool:
        """Note a change in the row of a key that is held; False where it is not held any more."""
        if not self._is_ready:
            return False
        stored = {} if change.answer is None else _columns(change.answer)
        noted = change.connection.execute(
            sa.update(REQUESTS)
            .where(_holds(taken), REQUESTS.c.status.is_(None))
            .values(effects=REQUESTS.c.effects + 1, **stored)
        )
        return noted.rowcount == 1

    @contextlib.contextmanager
    def _writing(self) -> Iterator[Connection]:
        """A transaction that does not wait for the disk: the effect in between does, and the disk
        then holds what was written before it. Without the answer, the caller is told it is lost."""
        with self._database.transaction(is_durable=False) as change:
            if not self._is_ready:
                METADATA.create_all(change.connection)
            yield change.connection
        self._is_ready = True

    def _forget_old(self, connection: Connection, now: datetime) -> None:
        if self._forgotten_at is None or now - self._forgotten_at >= KEPT / 24:
            connection.execute(
                sa.delete(REQUESTS).where(
                    REQUESTS.c.began_at < _text(now - KEPT), REQUESTS.c.lease_until < _text(now)
                )
            )
            self._forgotten_at = now


def new_holder() -> str:
    """A name for who works on a request now."""
    return secrets.token_hex(8)


def _columns(answer: StoredAnswer) -> dict[str, object]:
    return {
        "status": answer.status,
        "media_type": answer.media_type,
        "body": zlib.compress(answer.body, level=1),
    }


def _is(taken: TakenKey) -> sa.ColumnElement[bool]:
    return sa.and_(REQUESTS.c.caller == taken.caller, REQUESTS.c.key == taken.key)


def _freed(connection: Connection, taken: TakenKey) -> bool:
    """Forget a key whose request had no effect; whether there was none."""
    return (
        connection.execute(
            sa.delete(REQUESTS).where(_holds(taken), REQUESTS.c.effects == 0)
        ).rowcount
        > 0
    )


def _holds(taken: TakenKey) -> sa.ColumnElement[bool]:
    return sa.and_(_is(taken), REQUESTS.c.holder == taken.holder)


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
