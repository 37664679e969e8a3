"""Store API keys in a small SQLite file of the workspace, and notice when the file changes.

A key is stored with the keyed hashes of its secrets; what it permits is not looked at here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.engine import Connection, Engine

from features.format_version import newer_sqlite
from features.workspace_files import UnusableStoreError
from serving.ledger.database.dialects.protocol import WRITES
from serving.ledger.database.dialects.sqlite import sqlite_engine
from serving.ledger.errors import UnreadableDatabaseError

FORMAT = 1
"""The newest version of the file's form, its ``user_version``; one that states none has version 1."""

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
USES = sa.Table(
    "api_key_uses",
    METADATA,
    sa.Column("key_id", sa.String, sa.ForeignKey("api_keys.key_id"), primary_key=True),
    sa.Column("last_used_at", sa.String),  # null: not since the key was made
)
REFUSALS = sa.Table(
    "api_key_refusals",
    METADATA,
    sa.Column("key_id", sa.String, primary_key=True),  # NO_KEY: a secret that nobody knows
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("last_at", sa.String, nullable=False),
)
PEPPERS = sa.Table(
    "pepper",
    METADATA,
    sa.Column("mark", sa.String, primary_key=True),  # by which a changed pepper is noticed
)

NO_KEY = ""
"""Stands for the key of attempts with a secret that is of none."""


@dataclass(frozen=True, kw_only=True)
class Refusals:
    """How often a key was refused, as it had ended or its secret had, and when last."""

    attempts: int
    last_at: datetime


@dataclass(frozen=True, kw_only=True)
class StoredSecret:
    """One secret of a key, by its keyed hash, and when it ends, if that is known."""

    digest: str = field(repr=False)
    made_at: datetime
    ends_at: datetime | None

    def is_live(self, now: datetime) -> bool:
        """Whether it opens anything at a moment."""
        return self.ends_at is None or now < self.ends_at


@dataclass(frozen=True, kw_only=True)
class StoredKey:
    """A key as it is stored, with the hashes of its secrets."""

    key_id: str
    name: str
    owner: str
    role: str
    territories: tuple[str, ...]
    permissions: frozenset[str] | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    secrets: tuple[StoredSecret, ...] = ()
    last_used_at: datetime | None = None
    is_use_noted: bool = False  # not for a key that was made before uses were noted
    refused: Refusals | None = None


class ApiKeyStore:
    """The file of keys of one workspace. Opening it makes no file; the first change does."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._engine: Engine | None = None
        self._is_ready = False
        self._watching: Connection | None = None
        self._inode = 0
        self._version: int | None = None
        self._keys: Mapping[str, StoredKey] = {}

    @property
    def exists(self) -> bool:
        """Whether there is a file."""
        return self._path.exists()

    @property
    def was_replaced(self) -> bool:
        """Whether the file that was read is gone, or is another one now."""
        return self._watching is not None and (
            not self._path.exists() or self._path.stat().st_ino != self._inode
        )

    def close(self) -> None:
        """Let go of the file."""
        if self._watching is not None:
            self._watching.close()
            self._watching = None
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    def keys(self) -> Mapping[str, StoredKey]:
        """Every key by its id, read again only if the file changed; the same object otherwise."""
        if self._watching is None:
            self._watching = (
                self._opened().connect().execution_options(isolation_level="AUTOCOMMIT")
            )
            self._inode = self._path.stat().st_ino
        version = self._watching.exec_driver_sql("PRAGMA data_version").scalar_one()
        if version != self._version:
            self._keys = _read(self._watching)
            self._version = version
        return self._keys

    @contextmanager
    def changing(self) -> Iterator[KeyChange]:
        """One transaction; the file and its tables are made where there are none."""
        engine = self._opened().execution_options(**{WRITES: True})
        with engine.begin() as connection:
            if not self._is_ready:
                METADATA.create_all(connection)
                if _stated(connection) != FORMAT:
                    connection.exec_driver_sql(f"PRAGMA user_version = {FORMAT}")
            yield KeyChange(connection)
        self._is_ready = True

    def _opened(self) -> Engine:
        if self._engine is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if not self._path.exists():
                os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
            engine = sqlite_engine(self._path, reads_are_snapshots=False)
            try:
                with engine.connect() as connection:
                    stated = _stated(connection)
                    _check_structure(connection)
                newer = newer_sqlite(stated, newest=FORMAT, what=self._path.name)
                if newer is not None:
                    raise UnusableStoreError(newer)
            except BaseException:
                engine.dispose()
                raise
            self._engine = engine
        return self._engine


def _check_structure(connection: Connection) -> None:
    """See that no page of the file is broken; of a few dozen pages that takes no time.

    Raises:
        UnreadableDatabaseError: one is.
    """
    found = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar_one()
    if found != "ok":
        raise UnreadableDatabaseError(f"its structure is damaged ({' '.join(found.split())})")


def _stated(connection: Connection) -> int:
    return int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())


class KeyChange:
    """A transaction that reads and changes keys."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def mark(self) -> str | None:
        """What the pepper of these keys is known by; None where no key was made yet."""
        return self._connection.scalars(sa.select(PEPPERS.c.mark)).one_or_none()

    def set_mark(self, mark: str) -> None:
        """Store what the pepper is known by."""
        self._connection.execute(sa.insert(PEPPERS).values(mark=mark))

    def keys(self) -> Mapping[str, StoredKey]:
        """Every key by its id."""
        return _read(self._connection)

    def add_key(self, key: StoredKey) -> None:
        """Add a key, without its secrets."""
        self._connection.execute(
            sa.insert(KEYS).values(
                key_id=key.key_id,
                name=key.name,
                owner=key.owner,
                role=key.role,
                territories=json.dumps(key.territories),
                permissions=(
                    None if key.permissions is None else json.dumps(sorted(key.permissions))
                ),
                created_at=_text(key.created_at),
                expires_at=_text(key.expires_at),
                revoked_at=_text(key.revoked_at),
            )
        )
        self._connection.execute(sa.insert(USES).values(key_id=key.key_id))

    def add_secret(self, key_id: str, secret: StoredSecret) -> None:
        """Add a secret to a key."""
        self._connection.execute(
            sa.insert(SECRETS).values(
                digest=secret.digest,
                key_id=key_id,
                made_at=_text(secret.made_at),
                ends_at=_text(secret.ends_at),
            )
        )

    def note_uses(self, uses: Mapping[str, datetime]) -> None:
        """Note when keys were last used; a later moment that another process noted stays."""
        for key_id, at in uses.items():
            noted = sqlite_insert(USES).values(key_id=key_id, last_used_at=_text(at))
            newer = noted.excluded.last_used_at
            self._connection.execute(
                noted.on_conflict_do_update(
                    index_elements=[USES.c.key_id],
                    set_={"last_used_at": newer},
                    where=sa.or_(USES.c.last_used_at.is_(None), USES.c.last_used_at < newer),
                )
            )

    def note_refusals(self, refusals: Mapping[str, Refusals]) -> None:
        """Add attempts that were refused to those of before."""
        for key_id, new in refusals.items():
            noted = sqlite_insert(REFUSALS).values(
                key_id=key_id, attempts=new.attempts, last_at=_text(new.last_at)
            )
            added = noted.excluded
            self._connection.execute(
                noted.on_conflict_do_update(
                    index_elements=[REFUSALS.c.key_id],
                    set_={
                        "attempts": REFUSALS.c.attempts + added.attempts,
                        "last_at": sa.func.max(REFUSALS.c.last_at, added.last_at),
                    },
                )
            )

    def refusals(self) -> Mapping[str, Refusals]:
        """Attempts that were refused, by key; those with an unknown secret under ``NO_KEY``."""
        return _refusals(self._connection)

    def end_secret(self, digest: str, ends_at: datetime) -> None:
        """Let a secret end at a moment."""
        self._connection.execute(
            sa.update(SECRETS).where(SECRETS.c.digest == digest).values(ends_at=_text(ends_at))
        )

    def revoke(self, key_id: str, at: datetime) -> None:
        """Note that a key was revoked."""
        self._connection.execute(
            sa.update(KEYS).where(KEYS.c.key_id == key_id).values(revoked_at=_text(at))
        )


def _read(connection: Connection) -> dict[str, StoredKey]:
    secrets: dict[str, list[StoredSecret]] = {}
    for row in connection.execute(sa.select(SECRETS).order_by(SECRETS.c.made_at)):
        secrets.setdefault(row.key_id, []).append(
            StoredSecret(
                digest=row.digest,
                made_at=datetime.fromisoformat(row.made_at),
                ends_at=_moment(row.ends_at),
            )
        )
    refusals = _refusals(connection)
    uses = {row.key_id: row.last_used_at for row in connection.execute(sa.select(USES))}
    return {
        row.key_id: StoredKey(
            key_id=row.key_id,
            name=row.name,
            owner=row.owner,
            role=row.role,
            territories=tuple(json.loads(row.territories)),
            permissions=None if row.permissions is None else frozenset(json.loads(row.permissions)),
            created_at=datetime.fromisoformat(row.created_at),
            expires_at=_moment(row.expires_at),
            revoked_at=_moment(row.revoked_at),
            secrets=tuple(secrets.get(row.key_id, ())),
            last_used_at=_moment(uses.get(row.key_id)),
            is_use_noted=row.key_id in uses,
            refused=refusals.get(row.key_id),
        )
        for row in connection.execute(sa.select(KEYS))
    }


def _refusals(connection: Connection) -> dict[str, Refusals]:
    return {
        row.key_id: Refusals(attempts=row.attempts, last_at=datetime.fromisoformat(row.last_at))
        for row in connection.execute(sa.select(REFUSALS))
    }


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="microseconds")
