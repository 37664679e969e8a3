"""Encrypt the secrets of webhooks under a key that is stored elsewhere.

The outbox holds a secret encrypted (AES-256-GCM, bound to its webhook's name). The key is that of
the environment, or a file of the workspace that only its owner reads: a copy of the database, or a
backup, is not enough to sign anything.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from serving.webhooks.url import WEBHOOK_KEY_VARIABLE

KEY_FILE = "webhooks.secret"
SHORTEST_KEY = 16
MARK = "sealed-1."  # stored before every secret
NONCE_BYTES, KEY_BYTES = 12, 32


class WebhookEncryptionError(Exception):
    """The secrets of webhooks cannot be encrypted or decrypted."""


class SecretEncryption:
    """Seals secrets and opens them, under the key of the environment or of a workspace.

    The key is looked at when it is first needed: what needs no secret works without it.
    """

    def __init__(self, root: Path, stated: str | None) -> None:
        self._path = root / KEY_FILE
        self._stated = stated
        self._cipher: AESGCM | None = None

    def encrypt(self, secret: str, name: str, *, may_make: bool) -> str:
        """A secret of a webhook as it is stored; ``may_make`` a key where there is none yet.

        Raises:
            WebhookEncryptionError: the key is not there, or was cut off.
        """
        nonce = secrets.token_bytes(NONCE_BYTES)
        held = self._ready(may_make).encrypt(nonce, secret.encode(), name.encode())
        return MARK + base64.urlsafe_b64encode(nonce + held).decode()

    def is_encrypted(self, text: str) -> bool:
        """Whether a stored text is encrypted; an older Keepwell stored secrets as they are."""
        return text.startswith(MARK)

    def decrypt(self, text: str, name: str) -> str:
        """The secret in a encrypted text of a webhook.

        Raises:
            WebhookEncryptionError: the key is not there, or is not the one that it was encrypted under.
        """
        cipher = self._ready(may_make=False)
        try:
            held = base64.b64decode(text.removeprefix(MARK), altchars=b"-_", validate=True)
            return cipher.decrypt(held[:NONCE_BYTES], held[NONCE_BYTES:], name.encode()).decode()
        except (binascii.Error, ValueError, InvalidTag) as error:
            raise WebhookEncryptionError(
                f"The secret of webhook {name} was encrypted under another key. Set {WEBHOOK_KEY_VARIABLE} "
                f"to what it was, or unset it if the key was in {KEY_FILE}; or remove the webhook "
                f"and add it again."
            ) from error

    def _ready(self, may_make: bool) -> AESGCM:
        if self._cipher is None:
            held = self._stated.encode() if self._stated is not None else self._read_key(may_make)
            self._cipher = AESGCM(
                HKDF(
                    algorithm=SHA256(),
                    length=KEY_BYTES,
                    salt=None,
                    info=b"keepwell webhook secrets",
                ).derive(held)
            )
        return self._cipher

    def _read_key(self, may_make: bool) -> bytes:
        if not self._path.exists():
            if not may_make:
                raise WebhookEncryptionError(
                    f"{KEY_FILE} is missing, so no webhook can be signed. Put it back from a "
                    f"backup, or set {WEBHOOK_KEY_VARIABLE} to the key of the process that added the "
                    f"webhooks."
                )
            self._make()
        held = self._path.read_bytes().strip()
        if len(held) < SHORTEST_KEY:
            raise WebhookEncryptionError(
                f"{KEY_FILE} holds fewer than {SHORTEST_KEY} bytes: it was cut "
                f"off. Put it back from a backup."
            )
        return held

    def _make(self) -> None:
        """Write a key down; where another process does so at the same time, one of them counts."""
        own = self._path.with_name(f"{KEY_FILE}.{secrets.token_hex(4)}")
        handle = os.open(own, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(secrets.token_hex(KEY_BYTES))
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(own, self._path)
            except FileExistsError:
                return
        finally:
            own.unlink()
