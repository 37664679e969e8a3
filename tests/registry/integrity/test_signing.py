from __future__ import annotations

import hashlib
import hmac

import pytest

from registry.integrity.signing import KEY_VARIABLE, SigningKey, SigningKeyError, signing_key

KEY = SigningKey(secret=b"sixteen bytes 16")


def test_a_signature_is_the_hmac_that_others_compute():
    assert KEY.signature(b"text") == hmac.digest(KEY.secret, b"text", hashlib.sha256).hex()


def test_only_the_same_key_and_content_fit():
    signature = KEY.signature(b"text")
    assert KEY.has_signed(b"text", signature + "\n")
    assert not KEY.has_signed(b"texts", signature)
    assert not SigningKey(secret=b"another 16 bytes").has_signed(b"text", signature)


@pytest.mark.parametrize("signature", ["", "é", "0" * 64], ids=["empty", "no ASCII", "zeros"])
def test_what_is_no_signature_does_not_fit(signature):
    assert not KEY.has_signed(b"text", signature)


def test_the_key_never_shows():
    assert "sixteen" not in f"{KEY} {KEY!r}"


@pytest.mark.parametrize("environment", [{}, {KEY_VARIABLE: ""}], ids=["unset", "empty"])
def test_without_a_key_nothing_is_signed(environment):
    assert signing_key(environment) is None


def test_a_key_that_could_be_guessed_is_refused_without_showing_it():
    with pytest.raises(SigningKeyError, match=r"fewer than 16 bytes .* Make one with") as refused:
        signing_key({KEY_VARIABLE: "fifteen bytes 5"})
    assert "fifteen" not in str(refused.value)
