"""Seal the objects of a target, under a key of the environment or as plain content.

With a key, everything but the moments of backups is encrypted (AES-256-GCM, bound to the object's
name), and chunks are named by a keyed hash, so that nobody can find out by guessing whether a target
holds a certain content. The keys of both are derived from the stated key and a salt of the target. A
target is encrypted from its first backup on, or never.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import zlib
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from serving.data_protection.backup.errors import (
    BackupError,
    DamagedBackupError,
    MissingObjectError,
)
from serving.data_protection.backup.target import Target
from serving.settings import BACKUP_KEY_VARIABLE

DESCRIPTION = "keepwell-backups.json"
FORMAT, VERSION = "keepwell backups", 1
SHORTEST_KEY = 16
NONCE_BYTES, KEY_BYTES, SALT_BYTES = 12, 32, 16
PACKED, AS_IT_IS = b"z", b"0"
WORTH_PACKING = 0.95
MOST_UNPACKED = 1 << 28
"""Bytes that an object may come out as; a forged one could name a thousand times its own."""

SCRYPT_COST = 2**15
"""About 0.1 s and 32 MB for each command that opens a target, and for each guess at its key."""


@dataclass(frozen=True, kw_only=True)
class Sealing:
    """How the objects of one target are named, sealed and opened."""

    cipher: AESGCM | None = None
    name_key: bytes | None = field(default=None, repr=False)

    @property
    def is_encrypted(self) -> bool:
        """Whether there is a key."""
        return self.cipher is not None

    def name_of(self, content: bytes) -> str:
        """The name of content: its SHA-256, or a keyed one."""
        if self.name_key is None:
            return hashlib.sha256(content).hexdigest()
        return hmac.new(self.name_key, content, hashlib.sha256).hexdigest()

    def seal(self, content: bytes, name: str) -> bytes:
        """Content as it is stored under a name: packed where that is worth it, then encrypted."""
        packed = zlib.compress(content, level=1)
        small = len(packed) < WORTH_PACKING * len(content) and len(content) <= MOST_UNPACKED
        stored = PACKED + packed if small else AS_IT_IS + content
        if self.cipher is None:
            return stored
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self.cipher.encrypt(nonce, stored, name.encode())

    def open(self, stored: bytes, name: str) -> bytes:
        """The content of an object.

        Raises:
            DamagedBackupError: it is not what was sealed under this name.
        """
        try:
            if self.cipher is not None:
                stored = self.cipher.decrypt(
                    stored[:NONCE_BYTES], stored[NONCE_BYTES:], name.encode()
                )
            kind, content = stored[:1], stored[1:]
            if kind == PACKED:
                opened = zlib.decompressobj()
                found = opened.decompress(content, MOST_UNPACKED)
                if opened.eof and not opened.unused_data:
                    return found
            elif kind == AS_IT_IS:
                return content
        except (InvalidTag, ValueError, zlib.error):
            pass
        raise DamagedBackupError(f"{name} is not what was written: truncated or altered.")


def open_sealing(target: Target, key: str | None, *, may_make: bool = False) -> Sealing:
    """How a target is sealed; ``may_make`` its description where it has none yet.

    Raises:
        BackupError: the key is missing, short or another one, there are no backups, or a newer
            Keepwell made them.
    """
    if key is not None and len(key) < SHORTEST_KEY:
        raise BackupError(
            f"{BACKUP_KEY_VARIABLE} has fewer than {SHORTEST_KEY} characters and could be guessed. "
            f'Make one with: python -c "import secrets; print(secrets.token_urlsafe(32))"'
        )
    try:
        described = _description(target)
    except MissingObjectError:
        if not may_make:
            raise BackupError(
                f"{target.address} holds no backups of Keepwell. Name the folder or address that "
                f"`keepwell backup` was given."
            ) from None
        _describe(target, key)
        described = _description(target)
    salt, check = described.get("salt"), described.get("check")
    if check is None:
        if key is None:
            return Sealing()
        raise BackupError(
            f"{target.address} holds backups without encryption, and {BACKUP_KEY_VARIABLE} is set. "
            f"Name another target for encrypted backups, or unset the variable for this one."
        )
    if key is None:
        raise BackupError(
            f"The backups in {target.address} are encrypted. Set {BACKUP_KEY_VARIABLE} to the key "
            f"that they were made with; without it nobody can read them."
        )
    cipher_key, name_key, expected = _derived(key, bytes.fromhex(str(salt)))
    if not hmac.compare_digest(expected, str(check)):
        raise BackupError(
            f"The key in {BACKUP_KEY_VARIABLE} is not the one that the backups in {target.address} "
            f"were made with. Set it to that one; nothing was read or changed."
        )
    return Sealing(cipher=AESGCM(cipher_key), name_key=name_key)


def _describe(target: Target, key: str | None) -> None:
    described: dict[str, object] = {"format": FORMAT, "version": VERSION}
    if key is not None:
        salt = secrets.token_bytes(SALT_BYTES)
        described |= {"salt": salt.hex(), "check": _derived(key, salt)[2]}
    target.write(DESCRIPTION, (json.dumps(described, indent=1) + "\n").encode())


def _description(target: Target) -> dict[str, object]:
    try:
        described = json.loads(target.read(DESCRIPTION))
        found, version = described["format"], int(described["version"])
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedBackupError(
            f"{DESCRIPTION} in {target.address} cannot be read. Put it back from a copy of the "
            f"target: it says under which salt the backups are encrypted."
        ) from error
    if found != FORMAT or version > VERSION:
        raise BackupError(
            f"{target.address} is of format {found!r} version {version}, of a newer Keepwell; this "
            f"one knows versions up to {VERSION}. Use the newer Keepwell; nothing was changed."
        )
    return dict(described)


def _derived(key: str, salt: bytes) -> tuple[bytes, bytes, str]:
    """The key of the content, the key of the names, and what the key is known by."""
    made = hashlib.scrypt(
        key.encode(),
        salt=salt,
        n=SCRYPT_COST,
        r=8,
        p=1,
        maxmem=2 * 128 * 8 * SCRYPT_COST,
        dklen=3 * KEY_BYTES,
    )
    parts = [made[start : start + KEY_BYTES] for start in range(0, len(made), KEY_BYTES)]
    return parts[0], parts[1], parts[2].hex()
