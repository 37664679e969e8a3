"""Sign what is saved, so that nobody without the key can put a file in its place.

An HMAC-SHA256 of a manifest, which itself holds the hash of every file. The key comes from the
environment, is read where the command starts, and shows in no representation and no error.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field

KEY_VARIABLE = "KEEPWELL_BUNDLE_KEY"
SHORTEST_KEY = 16


class SigningKeyError(ValueError):
    """The signing key cannot be used as it is."""


@dataclass(frozen=True, kw_only=True)
class SigningKey:
    """The secret that signs."""

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) < SHORTEST_KEY:
            raise SigningKeyError(
                f"{KEY_VARIABLE} has fewer than {SHORTEST_KEY} bytes and could be guessed. Make "
                f'one with: python -c "import secrets; print(secrets.token_urlsafe(32))"'
            )

    def signature(self, content: bytes) -> str:
        """The content's signature, as hexadecimal text."""
        return hmac.new(self.secret, content, hashlib.sha256).hexdigest()

    def has_signed(self, content: bytes, signature: str) -> bool:
        """Whether the signature is that of this key; takes equally long wherever they differ."""
        return hmac.compare_digest(self.signature(content).encode(), signature.strip().encode())


def signing_key(environment: Mapping[str, str]) -> SigningKey | None:
    """The key that an environment states, or None where it states none.

    >>> signing_key({}) is None
    True
    >>> signing_key({"KEEPWELL_BUNDLE_KEY": "a key that nobody guesses"})
    SigningKey()

    Raises:
        SigningKeyError: the key is too short to be safe.
    """
    stated = environment.get(KEY_VARIABLE)
    return SigningKey(secret=stated.encode()) if stated else None
