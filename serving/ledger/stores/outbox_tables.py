"""The tables of the outbox, the values that are read from them, and the format of its file."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from features.format_version import newer_sqlite
from features.workspace_files import UnusableStoreError

METADATA = sa.MetaData()
ENDPOINTS = sa.Table(
    "webhook_endpoints",
    METADATA,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("url", sa.String, nullable=False),
    sa.Column("secrets", sa.String, nullable=False),  # encrypted; newest first, split by spaces
    sa.Column("kinds", sa.String, nullable=False),  # separated by spaces; empty: all
    sa.Column("place", sa.Integer, nullable=False),  # of the ledger, read up to here
)
MESSAGES = sa.Table(
    "webhook_messages",
    METADATA,
    sa.Column("endpoint", sa.String, primary_key=True),
    sa.Column("place", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("message_id", sa.String, nullable=False),
    sa.Column("account_id", sa.String, nullable=False),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("due_at", sa.Float, nullable=False),
    sa.Column("changed_at", sa.Float, nullable=False),
    sa.Column("problem", sa.String),
    sa.Index("webhook_messages_first", "endpoint", "state", "account_id", "place"),
    sa.Index("webhook_messages_due", "endpoint", "state", "place"),
)
LEASES = sa.Table(
    "webhook_leases",
    METADATA,
    sa.Column("endpoint", sa.String, primary_key=True),
    sa.Column("holder", sa.String, nullable=False),
    sa.Column("until", sa.Float, nullable=False),
)

WAITING, SENT, DEAD = "waiting", "sent", "dead"
OUTBOX_LOCK = 7_304_551_124
"""The number of the lock that writers of an outbox take in turn."""

FILE, FORMAT = "webhooks.db", 1
"""The file, and the newest version of its form (``user_version``). In a server the outbox has the
version of the ledger beside it."""


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A webhook: its address and its kinds of messages.

    Everything of the ledger up to ``place`` is in the outbox or older than the webhook.
    """

    name: str
    url: str
    kinds: tuple[str, ...]
    place: int


@dataclass(frozen=True, kw_only=True)
class Message:
    """The message to one webhook about one record."""

    place: int
    message_id: str
    account_id: str
    kind: str
    body: str
    attempts: int = 0


@dataclass(frozen=True, kw_only=True)
class Counts:
    """The numbers of messages of a webhook by state."""

    waiting: int
    sent: int
    dead: int
    dead_places: tuple[int, int] | None  # first and last
    problem: str | None  # of the newest failure that is not over


def state_format(connection: Connection) -> None:
    """Refuse a file of a newer Keepwell, and let one that states no version state it."""
    stated = int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())
    newer = newer_sqlite(stated, newest=FORMAT, what=FILE)
    if newer is not None:
        raise UnusableStoreError(newer)
    if stated != FORMAT:
        connection.exec_driver_sql(f"PRAGMA user_version = {FORMAT}")
