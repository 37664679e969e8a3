"""Sign webhooks by the Standard Webhooks specification, so that a receiver knows the sender.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md: the
HMAC-SHA256 of ``id.timestamp.body`` under a secret that both sides have. While a secret is changed,
a message carries a signature by each. Pure.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence

PREFIX = "whsec_"
LEAST_BYTES, MOST_BYTES = 24, 64
SECRET_BYTES = 32


class WebhookSecretError(ValueError):
    """A secret that nothing can be signed with."""


def secret_text(random: bytes) -> str:
    """A secret as it is shown and stored.

    >>> secret_text(bytes(24))
    'whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'
    """
    return PREFIX + base64.b64encode(random).decode()


def secret_bytes(secret: str) -> bytes:
    """The bytes of a secret.

    Raises:
        WebhookSecretError: it is none; the message does not repeat it.
    """
    try:
        found = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        found = b""
    if not secret.startswith(PREFIX) or not LEAST_BYTES <= len(found) <= MOST_BYTES:
        raise WebhookSecretError(
            f"A webhook's secret is {PREFIX} followed by {LEAST_BYTES} to {MOST_BYTES} bytes in "
            f"base64. Leave it out, and one is made."
        )
    return found


def signed_headers(
    body: bytes, *, message_id: str, timestamp: int, secrets: Sequence[str]
) -> Mapping[str, str]:
    """The headers of one attempt to deliver a body, with a signature by every secret."""
    content = f"{message_id}.{timestamp}.".encode() + body
    signatures = [
        "v1,"
        + base64.b64encode(
            hmac.new(secret_bytes(secret), content, hashlib.sha256).digest()
        ).decode()
        for secret in secrets
    ]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signatures),
    }
