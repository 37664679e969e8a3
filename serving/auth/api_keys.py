"""API keys: who holds one, what it permits, and until when.

A key is 256 random bits that are shown once. Stored is its HMAC-SHA256 under a pepper, in a small
SQLite file of the workspace; a reader of that file cannot make a key from it. A key has up to two
live secrets, so that its holder can change over; revoking ends all of them at the next request,
because the process looks whether the file changed before it trusts what it has in memory.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import cast

from serving.auth.roles import Caller, Permission, Role, caller_of
from serving.ledger.database.database import database_errors
from serving.ledger.errors import UnreadableDatabaseError
from serving.ledger.stores.api_keys import (
    NO_KEY,
    ApiKeyStore,
    KeyChange,
    Refusals,
    StoredKey,
    StoredSecret,
)
from serving.settings import SHORTEST_KEY

KEYS_FILE = "keys.db"
PEPPER_FILE = "keys.secret"
PREFIX = "kw_"
"""Keys begin with this, so that a scanner finds one that was published by mistake."""

SECRET_BYTES = 32
LONGEST_NAME = 100
MOST_LIVE_SECRETS = 2


class ApiKeyError(Exception):
    """The keys cannot be read, or not be changed in this way."""


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
    secrets: tuple[StoredSecret, ...]
    last_used_at: datetime | None = None
    is_use_noted: bool = False
    refused: Refusals | None = None

    @property
    def last_use(self) -> str:
        """When it was last used, in words; ``not known`` for a key older than this record."""
        if self.last_used_at is not None:
            return f"{self.last_used_at:%Y-%m-%d %H:%M}"
        return "never" if self.is_use_noted else "not known"

    def state(self, now: datetime) -> str:
        """Whether it is ``live``, ``expired`` or ``revoked`` at a moment."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "live"

    @property
    def caller(self) -> Caller:
        """The caller that this key identifies."""
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
        self._store = ApiKeyStore(folder / KEYS_FILE)
        self._pepper_path = folder / PEPPER_FILE
        self._stated = None if pepper is None else pepper.encode()
        self._pepper: bytes | None = None  # None until it was checked
        self._stored: Mapping[str, StoredKey] | None = None
        self._by_digest: Mapping[str, ApiKey] = {}
        self._lock = threading.Lock()
        self._used: dict[str, datetime] = {}
        self._refused: dict[str, Refusals] = {}

    def close(self) -> None:
        """Note the last uses, and let go of the file."""
        with suppress(ApiKeyError):
            self.save_uses()
        with self._lock:
            self._store.close()

    @property
    def are_used(self) -> bool:
        """Whether a key was ever made here, live or not: from then on, requests need one.

        Raises:
            ApiKeyError: the file cannot be read.
        """
        return bool(self._look_up())

    def caller(self, presented: str, now: datetime) -> Caller | None:
        """The caller with this secret at a moment; None if the secret is not valid.

        Raises:
            ApiKeyError: the file cannot be read.
        """
        known = self._look_up()
        if not known:
            return None
        digest = self._digest(presented)
        key = known.get(digest)
        if key is None or key.state(now) != "live":
            self._note_refusal(NO_KEY if key is None else key.key_id, now)
            return None
        [secret] = [one for one in key.secrets if one.digest == digest]
        if not secret.is_live(now):
            self._note_refusal(key.key_id, now)
            return None
        self._used[key.key_id] = now
        return key.caller

    def save_uses(self) -> None:
        """Note when keys were last used, to the minute, and refused; once a minute is often enough.

        What cannot be written now is tried again the next time.

        Raises:
            ApiKeyError: the file cannot be written.
        """
        used = {
            key_id: at.replace(second=0, microsecond=0) for key_id, at in self._used.copy().items()
        }
        newer = {
            key.key_id: used[key.key_id]
            for key in (self._look_up() if used else {}).values()
            if key.key_id in used
            and (key.last_used_at is None or key.last_used_at < used[key.key_id])
        }
        refused = self._refused.copy()
        if newer or refused:
            with self._changing() as change:
                change.note_uses(newer)
                change.note_refusals(refused)
            for key_id, noted in refused.items():
                left = self._refused[key_id].attempts - noted.attempts
                if left:
                    self._refused[key_id] = replace(self._refused[key_id], attempts=left)
                else:
                    del self._refused[key_id]

    @property
    def unknown_secrets(self) -> Refusals | None:
        """Attempts with a secret that is of no key; None where there was none.

        Raises:
            ApiKeyError: the file cannot be read.
        """
        with self._changing() as change:
            return change.refusals().get(NO_KEY)

    def _note_refusal(self, key_id: str, now: datetime) -> None:
        before = self._refused.get(key_id)
        attempts = 1 if before is None else before.attempts + 1
        self._refused[key_id] = Refusals(attempts=attempts, last_at=now)

    def all(self) -> tuple[ApiKey, ...]:
        """Every key that was ever made, oldest first.

        Raises:
            ApiKeyError: the file cannot be read.
        """
        return tuple(
            sorted(
                {key.key_id: key for key in self._look_up().values()}.values(),
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
            RoleError: the role cannot have this.
        """
        for what, text in (("name", name), ("owner", owner)):
            is_written_well = text.isprintable() and text == text.strip()
            if not 1 <= len(text) <= LONGEST_NAME or not is_written_well:
                raise ApiKeyError(
                    f"The {what} {text[:LONGEST_NAME]!r} has to be 1 to "
                    f"{LONGEST_NAME} characters that can be read, and begin and end with none "
                    f"that is blank."
                )
        if expires_at is not None and expires_at <= now:
            raise ApiKeyError(
                f"The key would have expired already, on {expires_at:%Y-%m-%d}. Name a later moment."
            )
        key_id = f"key-{secrets.token_hex(4)}"
        caller_of(key_id, role, owner=owner, territories=territories, permissions=permissions)
        with self._changing(makes=True) as change:
            change.add_key(
                StoredKey(
                    key_id=key_id,
                    name=name,
                    owner=owner,
                    role=role,
                    territories=territories,
                    permissions=permissions,
                    created_at=now,
                    expires_at=expires_at,
                    revoked_at=None,
                )
            )
            secret = self._add_secret(change, key_id, now)
            key = _key(change.keys()[key_id])
        return NewKey(key=key, secret=secret)

    def rotate(self, key_id: str, *, overlap: timedelta, now: datetime) -> NewKey:
        """Give a key a new secret; the one before stays live for the overlap.

        Raises:
            ApiKeyError: no such key, or one that is not live, or two secrets are live already.
        """
        with self._changing() as change:
            key = _live(change, key_id, now)
            live = [one for one in key.secrets if one.is_live(now)]
            if len(live) >= MOST_LIVE_SECRETS and overlap > timedelta(0):
                ends = min(one.ends_at for one in live if one.ends_at is not None)
                raise ApiKeyError(
                    f"Key {key_id} has two live secrets, the older until {ends:%Y-%m-%d %H:%M} "
                    f"UTC. Wait until then, or end both at once with no overlap."
                )
            for one in live:
                ends_at = min(one.ends_at or now + overlap, now + overlap)
                change.end_secret(one.digest, ends_at)
            secret = self._add_secret(change, key_id, now)
            key = _key(change.keys()[key_id])
        return NewKey(key=key, secret=secret)

    def revoke(self, key_id: str, *, now: datetime) -> ApiKey:
        """End a key and all its secrets now; a revoked key stays revoked.

        Raises:
            ApiKeyError: no such key.
        """
        with self._changing() as change:
            if _known(change, key_id).revoked_at is None:
                change.revoke(key_id, now)
            return _key(change.keys()[key_id])

    def _add_secret(self, change: KeyChange, key_id: str, now: datetime) -> str:
        secret = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
        change.add_secret(
            key_id, StoredSecret(digest=self._digest(secret), made_at=now, ends_at=None)
        )
        return secret

    def _digest(self, secret: str) -> str:
        assert self._pepper is not None
        return _hashed(self._pepper, secret)

    def _look_up(self) -> Mapping[str, ApiKey]:
        """Every key by the digests of its secrets, read again if the file changed."""
        with self._lock, _translated():
            if self._stored is None and not self._store.exists:
                if self._pepper_path.exists():
                    raise ApiKeyError(
                        f"{KEYS_FILE} is missing beside {PEPPER_FILE}, so keys were made here and "
                        f"none can be recognised. Put it back from a backup, or remove "
                        f"{PEPPER_FILE} to serve everybody on this machine without keys."
                    )
                return {}
            self._check_pepper()
            if self._store.was_replaced:
                raise ApiKeyError(
                    f"{KEYS_FILE} was removed or replaced while the service ran, so "
                    f"no key is taken. Put it back, and start the service again."
                )
            stored = self._store.keys()
            if stored is not self._stored:
                keys = [_key(one) for one in stored.values()]
                self._by_digest = {one.digest: key for key in keys for one in key.secrets}
                self._stored = stored
            return self._by_digest

    @contextmanager
    def _changing(self, *, makes: bool = False) -> Iterator[KeyChange]:
        with _translated():
            if not makes and not self._store.exists:
                raise ApiKeyError(
                    "No key was made in this workspace yet. Make one with: keepwell "
                    "keys create NAME --owner OWNER --role ROLE"
                )
            with self._lock:
                self._check_pepper()
            with self._store.changing() as change:
                yield change

    def _check_pepper(self) -> None:
        """See that the keys were made with the pepper of now; the first keys take it."""
        if self._pepper is not None:
            return
        with self._store.changing() as change:
            mark = change.mark()
            pepper = self._stated or self._read_or_make_pepper(may_make=mark is None)
            own = _hashed(pepper, "the pepper of this workspace")
            if mark is None:
                change.set_mark(own)
            elif not hmac.compare_digest(mark, own):
                raise ApiKeyError(
                    f"The keys in {KEYS_FILE} were made with another pepper, so none could be "
                    f"recognised. Set KEEPWELL_KEY_PEPPER to what it was, or unset it if the "
                    f"pepper was in {PEPPER_FILE}."
                )
        self._pepper = pepper

    def _read_or_make_pepper(self, *, may_make: bool) -> bytes:
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


def acting_as(
    keys: ApiKeys, presented: str, *, named: str | None, needs: Permission, now: datetime
) -> str:
    """The person on whose behalf a command acts: the owner of the presented key.

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


def _key(stored: StoredKey) -> ApiKey:
    return ApiKey(
        key_id=stored.key_id,
        name=stored.name,
        owner=stored.owner,
        role=cast(Role, stored.role),
        territories=stored.territories,
        permissions=(
            None
            if stored.permissions is None
            else frozenset(cast(Permission, one) for one in stored.permissions)
        ),
        created_at=stored.created_at,
        expires_at=stored.expires_at,
        revoked_at=stored.revoked_at,
        secrets=stored.secrets,
        last_used_at=stored.last_used_at,
        is_use_noted=stored.is_use_noted,
        refused=stored.refused,
    )


def _known(change: KeyChange, key_id: str) -> ApiKey:
    stored = change.keys().get(key_id)
    if stored is None:
        raise ApiKeyError(
            f"There is no key {key_id[:LONGEST_NAME]!r}. `keepwell keys list` shows the id of each."
        )
    return _key(stored)


def _live(change: KeyChange, key_id: str, now: datetime) -> ApiKey:
    key = _known(change, key_id)
    if key.state(now) != "live":
        raise ApiKeyError(
            f"Key {key_id} is {key.state(now)}, and stays so. Make a new one with: "
            f"keepwell keys create"
        )
    return key


def _hashed(pepper: bytes, secret: str) -> str:
    return hmac.new(pepper, secret.encode(), hashlib.sha256).hexdigest()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        with database_errors():
            yield
    except UnreadableDatabaseError as error:
        is_locked = "locked" in str(error)
        do = "Wait for the program that holds it" if is_locked else "Put it back from a backup"
        raise ApiKeyError(
            f"{KEYS_FILE} cannot be read: {error}. {do}; until then no key is taken."
        ) from error
