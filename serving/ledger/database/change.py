"""One transaction that changes the ledger, as an object that is handed to whoever takes part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sqlalchemy.engine import Connection


@dataclass(frozen=True, kw_only=True)
class StoredAnswer:
    """What a request was answered, word for word; the ledger only hands it back."""

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


class NotedRequest(Protocol):
    """The request that a change belongs to."""

    def note(self, change: Change) -> None:
        """Note the change, and the answer it remembers, in the transaction that makes it.

        Raises:
            LedgerError: it must not be made: it is rolled back.
        """
        ...
