"""One transaction that changes the ledger, and the request that it belongs to.

Both are objects that are passed to the code that takes part. The request is under an Idempotency-Key
(``serving.ledger.stores.idempotency``); each of its changes is noted in the key's row by the same commit.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from serving.ledger.errors import InFlightError, LedgerUnreachableError

RETRY_SECONDS = 1

LEAST_WAIT = 0.25
"""Seconds that a transaction waits for others, also of a request that has waited enough."""

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
class StoredAnswer:
    """The answer to a request, word for word; the ledger only hands it back."""

    status: int
    media_type: str | None
    body: bytes


class Change:
    """A transaction that writes. It is committed where its ``with`` block ends without an error.

    What it remembers is stored by the same commit: an answer is there if and only if its effect is.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.answer: StoredAnswer | None = None

    def remember(self, answer: StoredAnswer) -> None:
        """Store the answer of the request that this change belongs to, with the change.

        A change of no request, or of one without an Idempotency-Key, has nothing to remember it for.
        """
        self.answer = answer


@dataclass(frozen=True, kw_only=True)
class TakenKey:
    """A key that is being worked on, and by whom."""

    caller: str
    key: str
    holder: str


class WaitBudget:
    """How long a request may still wait for other writers, in all of its transactions together.

    Only waiting counts, so a request that takes long to work out its answer loses nothing. One that
    has waited enough still waits for a moment, or the first writer beside it would refuse it.
    """

    def __init__(self, seconds: float) -> None:
        self._left = seconds
        self._since = time.monotonic()

    def charge_since_arrival(self) -> None:
        """Count what went by since the request arrived: it waited for a place among the others."""
        self._left -= time.monotonic() - self._since

    @property
    def left(self) -> float:
        """Seconds that the next transaction may wait."""
        return max(self._left, LEAST_WAIT)

    @contextmanager
    def charged(self) -> Iterator[None]:
        """Count the time that this block takes."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._left -= time.monotonic() - began


class OpenRequest:
    """A request that is being worked on under a key, which notes its changes.

    Args:
        taken: the key.
        is_sure: whether the key was taken, as far as is known.
        can_be_noted: whether the table of keys is there.
        waits: how long its writes wait for others; None where each waits as long as the database
            has them.
    """

    def __init__(
        self,
        taken: TakenKey,
        *,
        is_sure: bool,
        can_be_noted: bool,
        waits: WaitBudget | None = None,
    ) -> None:
        self.taken = taken
        self.waits = waits
        self.is_noted = False
        self.answer: StoredAnswer | None = None  # that a change remembered
        self._is_sure = is_sure
        self._can_be_noted = can_be_noted

    def note(self, change: Change) -> None:
        """Note a change, and the answer it remembers, in the row of the key, before it commits.

        Raises:
            InFlightError: another process took the request over.
            LedgerUnreachableError: the key was not taken in time.
        """
        if self._can_be_noted and self._is_held(change):
            self.is_noted, self.answer = True, change.answer
            return
        if not self._is_sure:
            raise LedgerUnreachableError(
                "The key of this request could not be noted in time, so nothing was written.",
                retry_after=RETRY_SECONDS,
            )
        raise InFlightError(
            "Another process took the request over. Nothing was written by this one.",
            retry_after=RETRY_SECONDS,
        )

    def _is_held(self, change: Change) -> bool:
        """Note the change in the row of the key; False where the key is not held any more."""
        stored = {} if change.answer is None else answer_columns(change.answer)
        noted = change.connection.execute(
            sa.update(REQUESTS)
            .where(is_held(self.taken), REQUESTS.c.status.is_(None))
            .values(effects=REQUESTS.c.effects + 1, **stored)
        )
        return noted.rowcount == 1


def answer_columns(answer: StoredAnswer) -> dict[str, object]:
    """An answer as the columns of its key's row."""
    return {
        "status": answer.status,
        "media_type": answer.media_type,
        "body": zlib.compress(answer.body, level=1),
    }


def is_key(taken: TakenKey) -> sa.ColumnElement[bool]:
    """The condition for the row of a key."""
    return sa.and_(REQUESTS.c.caller == taken.caller, REQUESTS.c.key == taken.key)


def is_held(taken: TakenKey) -> sa.ColumnElement[bool]:
    """The condition for the row of a key that is still held by the same."""
    return sa.and_(is_key(taken), REQUESTS.c.holder == taken.holder)
