"""Store webhooks and the messages that wait to be sent to them.

A message is a record of the ledger for one webhook, under the record's place in the ledger's chain.
Places have no gaps and only grow, so *read up to this place* is all there is to remember, and it
is written in one transaction with the messages: a process that ends at any moment loses none and
makes none twice. Sending may happen twice (the message keeps its id, by which receivers notice);
what an account's messages are in order of stays in order, for only its first one is ever due.
The secrets that messages are signed with are stored encrypted; plain ones of an older outbox are
encrypted when it is opened.

    ledger ─► fill ─► waiting ─► sent
                         │  ▲
              later, with jitter ─► dead ─► replay ─► waiting
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from serving.ledger.database.database import open_engine
from serving.ledger.database.dialects.protocol import BUSY_SECONDS, WRITES
from serving.ledger.database.dialects.supported import dialect_named
from serving.ledger.errors import LedgerUnreachableError
from serving.ledger.stores.outbox_tables import (
    DEAD,
    ENDPOINTS,
    LEASES,
    MESSAGES,
    METADATA,
    OUTBOX_LOCK,
    SENT,
    WAITING,
    Counts,
    Endpoint,
    Message,
    state_format,
)

MOST_AHEAD = 2 * 86_400.0
"""No message is put off for so long; one that seems to be was put off by a wrong clock, and is due."""


class SecretCipher(Protocol):
    """Seals the secrets of webhooks and opens them."""

    def encrypt(self, secret: str, name: str, *, may_make: bool) -> str:
        """A secret as it is stored; ``may_make`` a key where there is none yet."""
        ...

    def decrypt(self, text: str, name: str) -> str:
        """The secret in a encrypted text."""
        ...

    def is_encrypted(self, text: str) -> bool:
        """Whether a stored text is encrypted."""
        ...


class OutboxError(Exception):
    """A webhook cannot be changed as it was asked."""


def database_is_away(error: Exception) -> str | None:
    """Why the database of the outbox or of the ledger does not answer; None: the error is another one."""
    if isinstance(error, LedgerUnreachableError):
        return error.detail
    if isinstance(error, sa.exc.DBAPIError):
        return str(error.orig).strip().partition("\n")[0]
    return None


class Outbox:
    """Webhooks and their messages in one database."""

    def __init__(self, where: Path | str, encryption: SecretCipher) -> None:
        if isinstance(where, Path) and not where.exists():
            where.parent.mkdir(parents=True, exist_ok=True)
            where.touch(mode=0o600)
        self._engine = open_engine(where)
        self._dialect = dialect_named(self._engine.dialect.name)
        self._encryption = encryption
        self._is_ready = False

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def endpoints(self) -> tuple[Endpoint, ...]:
        """Every webhook, by name."""
        with self._reading() as connection:
            rows = connection.execute(sa.select(ENDPOINTS).order_by(ENDPOINTS.c.name)).all()
        return tuple(_endpoint(row) for row in rows)

    def endpoint(self, name: str) -> Endpoint:
        """One webhook.

        Raises:
            OutboxError: there is none of this name.
        """
        with self._reading() as connection:
            return _found(connection, name)

    def secrets(self, name: str) -> tuple[str, ...]:
        """The secrets that sign the messages of a webhook, newest first.

        Raises:
            OutboxError: there is none of this name.
            WebhookEncryptionError: they cannot be opened.
        """
        with self._reading() as connection:
            _found(connection, name)
            held = (
                connection.scalar(sa.select(ENDPOINTS.c.secrets).where(ENDPOINTS.c.name == name))
                or ""
            )
        return tuple(self._encryption.decrypt(one, name) for one in held.split())

    def add(self, endpoint: Endpoint, secret: str) -> None:
        """Add a webhook, whose messages are signed with a secret.

        Raises:
            OutboxError: its name is taken.
            WebhookEncryptionError: the secret cannot be encrypted.
        """
        with self._writing() as connection:
            taken = connection.execute(
                sa.select(ENDPOINTS.c.name).where(ENDPOINTS.c.name == endpoint.name)
            ).first()
            if taken:
                raise OutboxError(
                    f"There is a webhook {endpoint.name!r} already. Choose another "
                    f"name, or remove it first."
                )
            connection.execute(
                sa.insert(ENDPOINTS).values(
                    name=endpoint.name,
                    url=endpoint.url,
                    secrets=self._encrypted(connection, endpoint.name, (secret,)),
                    kinds=" ".join(endpoint.kinds),
                    place=endpoint.place,
                )
            )

    def change_secrets(self, name: str, secrets: Sequence[str]) -> None:
        """Sign with these from the next attempt on, newest first.

        Raises:
            OutboxError: there is no such webhook.
            WebhookEncryptionError: they cannot be encrypted.
        """
        with self._writing() as connection:
            _found(connection, name)
            connection.execute(
                sa.update(ENDPOINTS)
                .where(ENDPOINTS.c.name == name)
                .values(secrets=self._encrypted(connection, name, secrets))
            )

    def remove(self, name: str) -> int:
        """Forget a webhook and its messages; how many of them were not sent yet.

        Raises:
            OutboxError: there is no such webhook.
        """
        with self._writing() as connection:
            _found(connection, name)
            waiting = (
                connection.scalar(
                    sa.select(sa.func.count()).where(
                        MESSAGES.c.endpoint == name, MESSAGES.c.state != SENT
                    )
                )
                or 0
            )
            for table in (MESSAGES, LEASES):
                connection.execute(sa.delete(table).where(table.c.endpoint == name))
            connection.execute(sa.delete(ENDPOINTS).where(ENDPOINTS.c.name == name))
        return waiting

    def put(
        self, name: str, messages: Sequence[Message], *, after: int, up_to: int, now: float
    ) -> bool:
        """Let these messages wait, and remember that the ledger was read up to a place.

        False where another process has read on meanwhile: nothing was put then.
        """
        with self._writing() as connection:
            moved = connection.execute(
                sa.update(ENDPOINTS)
                .where(ENDPOINTS.c.name == name, ENDPOINTS.c.place == after)
                .values(place=up_to)
            )
            if moved.rowcount == 0:
                return False
            if messages:
                connection.execute(
                    sa.insert(MESSAGES), [_row(name, message, now=now) for message in messages]
                )
        return True

    def replay(self, name: str, messages: Sequence[Message], *, now: float) -> None:
        """Let these messages wait again, also where they were sent or failed; ids stay the same."""
        with self._writing() as connection:
            _found(connection, name)
            for message in messages:
                connection.execute(
                    sa.delete(MESSAGES).where(
                        MESSAGES.c.endpoint == name, MESSAGES.c.place == message.place
                    )
                )
            if messages:
                connection.execute(
                    sa.insert(MESSAGES), [_row(name, message, now=now) for message in messages]
                )

    def due(self, name: str, *, now: float, most: int) -> tuple[Message, ...]:
        """Messages to be sent now, oldest first: of every account the first that waits, if it is
        due."""
        earlier = MESSAGES.alias()
        is_first = ~sa.exists().where(
            earlier.c.endpoint == name,
            earlier.c.state == WAITING,
            earlier.c.account_id == MESSAGES.c.account_id,
            earlier.c.place < MESSAGES.c.place,
        )
        with self._reading() as connection:
            rows = connection.execute(
                sa.select(MESSAGES)
                .where(
                    MESSAGES.c.endpoint == name,
                    MESSAGES.c.state == WAITING,
                    sa.or_(MESSAGES.c.due_at <= now, MESSAGES.c.due_at > now + MOST_AHEAD),
                    is_first,
                )
                .order_by(MESSAGES.c.place)
                .limit(most)
            ).all()
        return tuple(
            Message(
                place=row.place,
                message_id=row.message_id,
                kind=row.kind,
                account_id=row.account_id,
                body=row.body,
                attempts=row.attempts,
            )
            for row in rows
        )

    def waiting(self, name: str) -> int:
        """The number of messages that wait."""
        with self._reading() as connection:
            return (
                connection.scalar(
                    sa.select(sa.func.count()).where(
                        MESSAGES.c.endpoint == name, MESSAGES.c.state == WAITING
                    )
                )
                or 0
            )

    def mark_sent(self, name: str, message: Message, *, now: float) -> None:
        """The receiver has taken it."""
        self._mark(name, message, state=SENT, due_at=now, problem=None, now=now)

    def mark_failed(
        self, name: str, message: Message, *, problem: str, due_at: float | None, now: float
    ) -> None:
        """An attempt failed: it is tried again at ``due_at``, or given up where that is None."""
        self._mark(
            name,
            message,
            state=WAITING if due_at is not None else DEAD,
            due_at=now if due_at is None else due_at,
            problem=problem,
            now=now,
        )

    def take_lease(self, name: str, holder: str, *, now: float, seconds: float) -> bool:
        """Whether this holder is the one that sends to the webhook, for the next seconds."""
        with self._reading() as connection:
            held = connection.execute(
                sa.select(LEASES).where(LEASES.c.endpoint == name)
            ).one_or_none()
        if held is not None and held.holder == holder and seconds / 2 < held.until - now <= seconds:
            return True
        with self._writing() as connection:
            row = connection.execute(
                sa.select(LEASES).where(LEASES.c.endpoint == name)
            ).one_or_none()
            if row is not None and row.holder != holder and now < row.until <= now + 10 * seconds:
                return False
            connection.execute(sa.delete(LEASES).where(LEASES.c.endpoint == name))
            connection.execute(
                sa.insert(LEASES).values(endpoint=name, holder=holder, until=now + seconds)
            )
        return True

    def forget_sent(self, *, before: float) -> int:
        """Forget messages that were sent before a moment; the ledger has their content."""
        with self._writing() as connection:
            return connection.execute(
                sa.delete(MESSAGES).where(MESSAGES.c.state == SENT, MESSAGES.c.changed_at < before)
            ).rowcount

    def counts(self, name: str) -> Counts:
        """The numbers of messages of a webhook by state."""
        mine = MESSAGES.c.endpoint == name
        with self._reading() as connection:
            by_state: dict[str, int] = {
                row.state: row.n
                for row in connection.execute(
                    sa.select(MESSAGES.c.state, sa.func.count().label("n"))
                    .where(mine)
                    .group_by(MESSAGES.c.state)
                )
            }
            first, last = connection.execute(
                sa.select(sa.func.min(MESSAGES.c.place), sa.func.max(MESSAGES.c.place)).where(
                    mine, MESSAGES.c.state == DEAD
                )
            ).one()
            problem = connection.scalar(
                sa.select(MESSAGES.c.problem)
                .where(mine, MESSAGES.c.problem.is_not(None), MESSAGES.c.state != SENT)
                .order_by(MESSAGES.c.changed_at.desc())
                .limit(1)
            )
        return Counts(
            waiting=by_state.get(WAITING, 0),
            sent=by_state.get(SENT, 0),
            dead=by_state.get(DEAD, 0),
            problem=problem,
            dead_places=None if first is None else (first, last),
        )

    def dead(self, name: str) -> frozenset[int]:
        """The places of messages that were given up."""
        with self._reading() as connection:
            return frozenset(
                connection.scalars(
                    sa.select(MESSAGES.c.place).where(
                        MESSAGES.c.endpoint == name, MESSAGES.c.state == DEAD
                    )
                )
            )

    def _mark(
        self,
        name: str,
        message: Message,
        *,
        state: str,
        due_at: float,
        problem: str | None,
        now: float,
    ) -> None:
        with self._writing() as connection:
            connection.execute(
                sa.update(MESSAGES)
                .where(MESSAGES.c.endpoint == name, MESSAGES.c.place == message.place)
                .values(
                    state=state,
                    attempts=message.attempts + 1,
                    due_at=due_at,
                    problem=problem,
                    changed_at=now,
                )
            )

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        engine = self._engine.execution_options(**{WRITES: True})
        with engine.begin() as connection:
            self._dialect.take_turn(connection, OUTBOX_LOCK, BUSY_SECONDS)
            was_plain = False
            if not self._is_ready:
                if self._dialect.name == "sqlite":
                    state_format(connection)
                METADATA.create_all(connection)
                was_plain = self._encrypt_plain_secrets(connection)
            yield connection
        self._is_ready = True
        if was_plain:
            self._dialect.erase_deleted(self._engine, ENDPOINTS.name)

    def _encrypted(self, connection: Connection, name: str, secrets: Sequence[str]) -> str:
        """Secrets as they are stored; a key is only made where nothing was encrypted under one."""
        held = connection.scalars(sa.select(ENDPOINTS.c.secrets)).all()
        is_first = not any(
            self._encryption.is_encrypted(one) for text in held for one in text.split()
        )
        return " ".join(
            self._encryption.encrypt(secret, name, may_make=is_first) for secret in secrets
        )

    def _encrypt_plain_secrets(self, connection: Connection) -> bool:
        """Encrypt the secrets of an outbox of before; whether there were any."""
        plain = [
            row
            for row in connection.execute(sa.select(ENDPOINTS.c.name, ENDPOINTS.c.secrets))
            if row.secrets and not self._encryption.is_encrypted(row.secrets)
        ]
        for row in plain:
            connection.execute(
                sa.update(ENDPOINTS)
                .where(ENDPOINTS.c.name == row.name)
                .values(secrets=self._encrypted(connection, row.name, row.secrets.split()))
            )
        return bool(plain)

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        if not self._is_ready:
            with self._writing():
                pass  # makes the tables where there are none
        with self._engine.connect() as connection:
            yield connection


def _found(connection: Connection, name: str) -> Endpoint:
    row = connection.execute(sa.select(ENDPOINTS).where(ENDPOINTS.c.name == name)).one_or_none()
    if row is None:
        names = connection.scalars(sa.select(ENDPOINTS.c.name).order_by(ENDPOINTS.c.name)).all()
        raise OutboxError(f"There is no webhook {name!r}; there are: {', '.join(names) or 'none'}.")
    return _endpoint(row)


def _endpoint(row: sa.Row[tuple[object, ...]]) -> Endpoint:
    return Endpoint(name=row.name, url=row.url, kinds=tuple(row.kinds.split()), place=row.place)


def _row(name: str, message: Message, *, now: float) -> dict[str, object]:
    return {
        "endpoint": name,
        "place": message.place,
        "message_id": message.message_id,
        "account_id": message.account_id,
        "kind": message.kind,
        "body": message.body,
        "state": WAITING,
        "attempts": 0,
        "due_at": now,
        "changed_at": now,
        "problem": None,
    }
