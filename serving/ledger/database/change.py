"""One transaction that changes the ledger, and the request that it belongs to.

Both are objects that are passed to the code that takes part. The request is under an Idempotency-Key
(``serving.ledger.stores.idempotency``); each of its changes is noted in the key's row by the same commit.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from serving.ledger.database.prepared import Prepared
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
    """A key that is being worked on, and by whom.

    ``unwritten`` is the row of a key that is not in the database yet: it is written with the one
    change of its request, by the same commit.
    """

    caller: str
    key: str
    holder: str
    unwritten: Mapping[str, object] | None = None


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
        looks_first: nobody has looked for the key yet: the first reading of the request does, and
            ends the request where the key is there.
    """

    def __init__(
        self,
        taken: TakenKey,
        *,
        is_sure: bool,
        can_be_noted: bool,
        waits: WaitBudget | None = None,
        looks_first: bool = False,
    ) -> None:
        self.taken = taken
        self.is_unseen = not looks_first  # nobody used the key before, as far as was looked
        self._has_to_look = looks_first
        self.waits = waits
        self.is_noted = False
        self.was_late = False  # another request under the same key was first
        self.answer: StoredAnswer | None = None  # that a change remembered
        self._is_sure = is_sure
        self._can_be_noted = can_be_noted

    def look_for_key(self, connection: Connection) -> None:
        """Look for the key in a reading of the request, unless somebody did before.

        Raises:
            InFlightError: the key is there; whoever opened the request finds out with what answer.
        """
        if not self._has_to_look:
            return
        self._has_to_look = False
        if THE_ROW.rows(connection, held_by(self.taken)):
            raise InFlightError("This key came before.", retry_after=RETRY_SECONDS)
        self.is_unseen = True

    def note(self, change: Change) -> None:
        """Note a change, and the answer it remembers, in the row of the key, before it commits.

        Raises:
            InFlightError: another process took the request over, or was first.
            LedgerUnreachableError: the key was not taken in time.
        """
        if self._can_be_noted and (self._writes_key(change) or self._is_held(change)):
            self.is_noted, self.answer = True, change.answer
            return
        self.was_late = self._can_be_noted and self.taken.unwritten is not None
        if not (self._is_sure or self.was_late):
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
        held = held_by(self.taken)
        if change.answer is None:
            return NOTE.change(change.connection, held) == 1
        stored = answer_columns(change.answer)
        return NOTE_ANSWERED.change(change.connection, {**held, **stored}) == 1

    def _writes_key(self, change: Change) -> bool:
        """Write the row of a key that is not there yet, with this change as its first effect."""
        row = self.taken.unwritten
        if row is None or THE_ROW.rows(change.connection, held_by(self.taken)):
            return False  # it is noted by now, or somebody else was first
        stored = {} if change.answer is None else answer_columns(change.answer)
        NEW_ROW.insert(change.connection, [{**row, **stored, "effects": 1}])
        return True


def answer_columns(answer: StoredAnswer) -> dict[str, object]:
    """An answer as the columns of its key's row."""
    return {
        "status": answer.status,
        "media_type": answer.media_type,
        "body": zlib.compress(answer.body, level=1),
    }


def held_by(taken: TakenKey) -> dict[str, object]:
    """What names the row of a key, and whoever works on it."""
    return {"of_caller": taken.caller, "of_key": taken.key, "of_holder": taken.holder}


IS_KEY = sa.and_(
    REQUESTS.c.caller == sa.bindparam("of_caller"), REQUESTS.c.key == sa.bindparam("of_key")
)
"""The condition for the row of a key, named by ``held_by``."""

IS_HELD = sa.and_(IS_KEY, REQUESTS.c.holder == sa.bindparam("of_holder"))
"""The condition for the row of a key that is still held by the same."""

THE_ROW = Prepared(sa.select(REQUESTS).where(IS_KEY))
NEW_ROW = Prepared(sa.insert(REQUESTS))
_NOTING = (
    sa.update(REQUESTS)
    .where(IS_HELD, REQUESTS.c.status.is_(None))
    .values(effects=REQUESTS.c.effects + 1)
)
NOTE = Prepared(_NOTING)
ANSWER: Mapping[str, Any] = {name: sa.bindparam(name) for name in ("status", "media_type", "body")}
NOTE_ANSWERED = Prepared(_NOTING.values(ANSWER))
