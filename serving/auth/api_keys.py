"""This module is about API keys: who holds one, what it permits, and until when.

A key is 256 random bits that are shown once. Kept is its HMAC-SHA256 under a pepper, in a small
SQLite file of the workspace; whoever reads that file can not make a key of it. A key has up to two
live secrets, so that its holder can change over; revoking ends all of them at the next request,
for the process looks whether the file changed before it trusts what it has in memory.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DatabaseError

from serving.auth.roles import Caller, Permission, Role, caller_of
from serving.ledger.database.dialects.sqlite import sqlite_engine
from serving.settings import SHORTEST_KEY

KEYS_FILE = "keys.db"
PEPPER_FILE = "keys.secret"
PREFIX = "kw_"
"""Keys begin with this, so that a scanner finds one that was published by mistake."""

SECRET_BYTES = 32
LONGEST_NAME = 100
MOST_LIVE_SECRETS = 2

METADATA = sa.MetaData()
KEYS = sa.Table(
    "api_keys",
    METADATA,
    sa.Column("key_id", sa.String, primary_key=True),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("owner", sa.String, nullable=False),
    sa.Column("role", sa.String, nullable=False),
    sa.Column("territories", sa.String, nullable=False),
    sa.Column("permissions", sa.String),  # null: all of the role
    sa.Column("created_at", sa.String, nullable=False),
    sa.Column("expires_at", sa.String),
    sa.Column("revoked_at", sa.String),
)
SECRETS = sa.Table(
    "api_key_secrets",
    METADATA,
    sa.Column("digest", sa.String, primary_key=True),
    sa.Column("key_id", sa.String, sa.ForeignKey("api_keys.key_id"), nullable=False),
    sa.Column("made_at", sa.String, nullable=False),
    sa.Column("ends_at", sa.String),
)
PEPPERS = sa.Table(
    "pepper",
    METADATA,
    sa.Column("mark", sa.String, primary_key=True),  # by which a changed pepper is noticed
)


class ApiKeyError(Exception):
    """The keys can not be read, or not be changed in this way."""


@dataclass(frozen=True, kw_only=True)
class Secret:
    """One secret of a key, by its keyed hash, and when it ends, if that is known."""

    digest: str = field(repr=False)
    made_at: datetime
    ends_at: datetime | None

    def is_live(self, now: datetime) -> bool:
        """Whether it opens anything at a moment."""
        return self.ends_at is None or now < self.ends_at


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """A key: whose it is, what it permits, and when it ends. Without what opens anything."""

    key_id: str
    name: str
    owner: str
    role: Role
    territories: tuple[str, ...]
    permissions: frozenset[Permission] | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    secrets: tuple[Secret, ...]

    def state(self, now: datetime) -> str:
        """Whether it is ``live``, ``expired`` or ``revoked`` at a moment."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "live"

    @property
    def caller(self) -> Caller:
        """Who comes with it."""
        return caller_of(
            self.key_id,
            self.role,
            owner=self.owner,
            territories=self.territories,
            permissions=self.permissions,
        )


@dataclass(frozen=True, kw_only=True)
class NewKey:
    """A key just made, with the secret that is shown this once."""

    key: ApiKey
    secret: str = field(repr=False)


class ApiKeys:
    """The keys of one workspace. Opening it makes no file; the first key does.

    Args:
        folder: of the workspace.
        pepper: from the environment; without it one is made and kept in the folder.
    """

    def __init__(self, folder: Path, *, pepper: str | None = None) -> None:
        self._path = folder / KEYS_FILE
        self._pepper_path = folder / PEPPER_FILE
        self._stated = None if pepper is None else pepper.encode()
        self._engine: Engine | None = None
        self._pepper = b""
        self._watching: Connection | None = None
        self._inode = 0
        self._version: int | None = None
        self._by_digest: Mapping[str, ApiKey] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            if self._watching is not None:
                self._watching.close()
                self._watching = None
            if self._engine is not None:
                self._engine.dispose()
                self._engine = None

    @property
    def are_used(self) -> bool:
        """Whether a key was ever made here, live or not: from then on one is needed.

        Raises:
            ApiKeyError: the file can not be read.
        """
        return bool(self._looked_up())

    def caller(self, presented: str, now: datetime) -> Caller | None:
        """Who comes with this secret at a moment; None where it opens nothing.

        Raises:
            ApiKeyError: the file can not be read.
        """
        known = self._looked_up()
        if not known:
            return None
        digest = self._digest(presented)
        key = known.get(digest)
        if key is None or key.state(now) != "live":
            return None
        [secret] = [one for one in key.secrets if one.digest == digest]
        return key.caller if secret.is_live(now) else None

    def all(self) -> tuple[ApiKey, ...]:
        """Every key that was ever made, oldest first.

        Raises:
            ApiKeyError: the file can not be read.
        """
        return tuple(
            sorted(
                {key.key_id: key for key in self._looked_up().values()}.values(),
                key=lambda key: (key.created_at, key.key_id),
            )
        )

    def create(
        self,
        *,
        name: str,
        owner: str,
        role: Role,
        territories: tuple[str, ...] = (),
        permissions: frozenset[Permission] | None = None,
        expires_at: datetime | None = None,
        now: datetime,
    ) -> NewKey:
        """Make a key; its secret is in the answer and nowhere else.

        Raises:
            ApiKeyError: a name that says nothing, or an end that has passed.
            RoleError: the role can not have this.
        """
        for what, text in (("name", name), ("owner", owner)):
            if not 1 <= len(text.strip()) <= LONGEST_NAME or not text.isprintable():
                raise ApiKeyError(
                    f"The {what} {text[:LONGEST_NAME]!r} has to be 1 to "
                    f"{LONGEST_NAME} characters that can be read."
                )
        if expires_at is not None and expires_at <= now:
            raise ApiKeyError(
                f"The key would have expired already, on {expires_at:%Y-%m-%d}. Name "
                f"a later moment."
            )
        key_id = f"key-{secrets.token_hex(4)}"
        caller_of(key_id, role, owner=owner, territories=territories, permissions=permissions)
        with self._writing(makes=True) as connection:
            connection.execute(
                sa.insert(KEYS).values(
                    key_id=key_id,
                    name=name,
                    owner=owner,
                    role=role,
                    territories=json.dumps(territories),
                    permissions=None if permissions is None else json.dumps(sorted(permissions)),
                    created_at=_text(now),
                    expires_at=_text(expires_at),
                    revoked_at=None,
                )
            )
            secret = self._add_secret(connection, key_id, now)
            key = _read(connection)[key_id]
        return NewKey(key=key, secret=secret)

    def rotate(self, key_id: str, *, overlap: timedelta, now: datetime) -> NewKey:
        """Give a key a new secret; the one before stays live for the overlap.

        Raises:
            ApiKeyError: no such key, or one that is not live, or two secrets are live already.
        """
        with self._writing() as connection:
            key = _live(connection, key_id, now)
            live = [one for one in key.secrets if one.is_live(now)]
            if len(live) >= MOST_LIVE_SECRETS and overlap > timedelta(0):
                ends = min(one.ends_at for one in live if one.ends_at is not None)
                raise ApiKeyError(
                    f"Key {key_id} has two live secrets, the older until {ends:%Y-%m-%d %H:%M} "
                    f"UTC. Wait until then, or end both at once with no overlap."
                )
            for one in live:
                ends_at = min(one.ends_at or now + overlap, now + overlap)
                connection.execute(
                    sa.update(SECRETS)
                    .where(SECRETS.c.digest == one.digest)
                    .values(ends_at=_text(ends_at))
                )
            secret = self._add_secret(connection, key_id, now)
            key = _read(connection)[key_id]
        return NewKey(key=key, secret=secret)

    def revoke(self, key_id: str, *, now: datetime) -> ApiKey:
        """End a key and all its secrets now; a revoked key stays revoked.

        Raises:
            ApiKeyError: no such key.
        """
        with self._writing() as connection:
            key = _known(connection, key_id)
            if key.revoked_at is None:
                connection.execute(
                    sa.update(KEYS).where(KEYS.c.key_id == key_id).values(revoked_at=_text(now))
                )
            return _read(connection)[key_id]

    def _add_secret(self, connection: Connection, key_id: str, now: datetime) -> str:
        secret = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
        connection.execute(
            sa.insert(SECRETS).values(
                digest=self._digest(secret), key_id=key_id, made_at=_text(now), ends_at=None
            )
        )
        return secret

    def _digest(self, secret: str) -> str:
        return hmac.new(self._pepper, secret.encode(), hashlib.sha256).hexdigest()

    def _looked_up(self) -> Mapping[str, ApiKey]:
        """Every key by the digests of its secrets, read again if the file changed."""
        with self._lock, self._translated():
            if self._watching is None:
                if not self._path.exists():
                    return {}
                self._watching = (
                    self._open().connect().execution_options(isolation_level="AUTOCOMMIT")
                )
                self._inode = self._path.stat().st_ino
            if not self._path.exists() or self._path.stat().st_ino != self._inode:
                raise ApiKeyError(
                    f"{KEYS_FILE} was removed or replaced while the service ran, so "
                    f"no key is taken. Put it back, and start the service again."
                )
            version = self._watching.exec_driver_sql("PRAGMA data_version").scalar_one()
            if version != self._version:
                keys = _read(self._watching).values()
                self._by_digest = {one.digest: key for key in keys for one in key.secrets}
                self._version = version
            return self._by_digest

    @contextmanager
    def _writing(self, *, makes: bool = False) -> Iterator[Connection]:
        with self._translated():
            if not makes and not self._path.exists():
                raise ApiKeyError(
                    "No key was made in this workspace yet. Make one with: keepwell "
                    "keys create NAME --owner OWNER --role ROLE"
                )
            with self._lock:
                engine = self._open()
            with engine.execution_options(keepwell_writes=True).begin() as connection:
                yield connection

    def _open(self) -> Engine:
        """The database, its tables made, under the pepper that its keys were made with."""
        if self._engine is not None:
            return self._engine
        is_new = not self._path.exists()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if is_new:
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
        engine = sqlite_engine(self._path, reads_are_snapshots=False)
        try:
            with engine.execution_options(keepwell_writes=True).begin() as connection:
                METADATA.create_all(connection)
                mark = connection.scalars(sa.select(PEPPERS.c.mark)).one_or_none()
                self._pepper = self._stated or self._kept_pepper(may_make=mark is None)
                own = self._digest("the pepper of this workspace")
                if mark is None:
                    connection.execute(sa.insert(PEPPERS).values(mark=own))
                elif not hmac.compare_digest(mark, own):
                    raise ApiKeyError(
                        f"The keys in {KEYS_FILE} were made with another pepper, so none could be "
                        f"recognised. Set KEEPWELL_KEY_PEPPER to what it was, or unset it if the "
                        f"pepper was in {PEPPER_FILE}."
                    )
        except BaseException:
            engine.dispose()
            raise
        self._engine = engine
        return engine

    def _kept_pepper(self, *, may_make: bool) -> bytes:
        if not self._pepper_path.exists():
            if not may_make:
                raise ApiKeyError(
                    f"{PEPPER_FILE} is missing, so no key can be recognised. Put it "
                    f"back from a backup, or set KEEPWELL_KEY_PEPPER if the pepper "
                    f"was there."
                )
            handle = os.open(self._pepper_path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(secrets.token_hex(SECRET_BYTES))
                file.flush()
                os.fsync(file.fileno())
        pepper = self._pepper_path.read_bytes().strip()
        if len(pepper) < SHORTEST_KEY:
            raise ApiKeyError(
                f"{PEPPER_FILE} holds fewer than {SHORTEST_KEY} bytes: it was cut "
                f"off. Put it back from a backup."
            )
        return pepper

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except DatabaseError as error:
            raise ApiKeyError(
                f"{KEYS_FILE} can not be read: {error.orig}. Put it back from a "
                f"backup; until then no key is taken."
            ) from error


def acting_as(
    keys: ApiKeys, presented: str, *, named: str | None, needs: Permission, now: datetime
) -> str:
    """Who does what a command does: the owner of the key that was presented.

    Raises:
        ApiKeyError: the key opens nothing, may not do this, or is not that of who is named.
    """
    caller = keys.caller(presented, now)
    if caller is None or caller.owner is None:
        raise ApiKeyError(
            "The key in KEEPWELL_KEY is none of this workspace, or has ended. Unset "
            "it and say who decides with --by, or make one: keepwell keys create"
        )
    if needs not in caller.permissions:
        raise ApiKeyError(
            f"The key in KEEPWELL_KEY is of role {caller.role} and may not "
            f"{needs}. Use a key of another role."
        )
    if named is not None and named != caller.owner:
        raise ApiKeyError(
            f"--by names {named!r}, and the key in KEEPWELL_KEY is of "
            f"{caller.owner!r}. Leave --by out, or unset the key."
        )
    return caller.owner


def _read(connection: Connection) -> dict[str, ApiKey]:
    held: dict[str, list[Secret]] = {}
    for row in connection.execute(sa.select(SECRETS).order_by(SECRETS.c.made_at)):
        held.setdefault(row.key_id, []).append(
            Secret(
                digest=row.digest,
                made_at=datetime.fromisoformat(row.made_at),
                ends_at=_moment(row.ends_at),
            )
        )
    return {
        row.key_id: ApiKey(
            key_id=row.key_id,
            name=row.name,
            owner=row.owner,
            role=row.role,
            territories=tuple(json.loads(row.territories)),
            permissions=None if row.permissions is None else frozenset(json.loads(row.permissions)),
            created_at=datetime.fromisoformat(row.created_at),
            expires_at=_moment(row.expires_at),
            revoked_at=_moment(row.revoked_at),
            secrets=tuple(held.get(row.key_id, ())),
        )
        for row in connection.execute(sa.select(KEYS))
    }


def _known(connection: Connection, key_id: str) -> ApiKey:
    key = _read(connection).get(key_id)
    if key is None:
        raise ApiKeyError(
            f"There is no key {key_id[:LONGEST_NAME]!r}. `keepwell keys list` shows the id of each."
        )
    return key


def _live(connection: Connection, key_id: str, now: datetime) -> ApiKey:
    key = _known(connection, key_id)
    if key.state(now) != "live":
        raise ApiKeyError(
            f"Key {key_id} is {key.state(now)}, and stays so. Make a new one with: "
            f"keepwell keys create"
        )
    return key


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="microseconds")
