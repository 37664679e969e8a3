"""A webhook is signed as Standard Webhooks says: by its example, and calculated a second time."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.webhooks.signature import (
    WebhookSecretError,
    secret_bytes,
    secret_text,
    signed_headers,
)


def test_the_example_of_the_specification() -> None:
    headers = signed_headers(
        b'{"test": 2432232314}',
        message_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp=1614265330,
        secrets=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@given(st.binary(max_size=200), st.binary(min_size=24, max_size=64), st.integers(0, 2**33))
def test_any_body_is_signed_by_every_secret(body: bytes, key: bytes, timestamp: int) -> None:
    other = bytes(reversed(key)) + b"x" if len(key) < 64 else key[1:]
    headers = signed_headers(
        body,
        message_id="msg_1",
        timestamp=timestamp,
        secrets=[secret_text(key), secret_text(other)],
    )
    expected = [
        base64.standard_b64encode(
            hmac.digest(each, b"msg_1." + str(timestamp).encode() + b"." + body, hashlib.sha256)
        ).decode()
        for each in (key, other)
    ]
    assert headers["webhook-signature"].split(" ") == [f"v1,{each}" for each in expected]
    assert secret_bytes(secret_text(key)) == key


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_not base64!",
        "whsec_AAAA",
        "whsec_" + "A" * 200,
    ],
)
def test_what_is_no_secret_is_refused_and_not_repeated(secret: str) -> None:
    with pytest.raises(WebhookSecretError, match="24 to 64 bytes in base64") as refused:
        secret_bytes(secret)
    assert len(secret) < 10 or secret not in str(refused.value)
