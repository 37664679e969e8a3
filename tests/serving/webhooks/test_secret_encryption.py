"""Who gets hold of the database of webhooks can sign nothing with it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from serving.webhooks.secret_encryption import (
    KEY_FILE,
    MARK,
    SecretEncryption,
    WebhookEncryptionError,
)
from serving.webhooks.signature import secret_text

SECRET = secret_text(b"s" * 32)
STATED = "a key that is long enough"


@pytest.mark.parametrize("stated", [None, STATED], ids=["of the workspace", "of the environment"])
def test_what_was_sealed_is_opened_as_it_was(tmp_path: Path, stated: str | None) -> None:
    encrypted = SecretEncryption(tmp_path, stated).encrypt(SECRET, "crm", may_make=True)
    assert encrypted.startswith(MARK)
    assert " " not in encrypted
    assert SECRET not in encrypted
    assert SecretEncryption(tmp_path, stated).decrypt(encrypted, "crm") == SECRET
    assert (tmp_path / KEY_FILE).exists() == (stated is None)


def test_the_same_secret_is_never_sealed_alike(tmp_path: Path) -> None:
    encryption = SecretEncryption(tmp_path, STATED)
    assert len({encryption.encrypt(SECRET, "crm", may_make=True) for _ in range(9)}) == 9


def test_the_key_is_its_owners_and_nothing_else_stays(tmp_path: Path) -> None:
    SecretEncryption(tmp_path, None).encrypt(SECRET, "crm", may_make=True)
    assert [path.name for path in tmp_path.iterdir()] == [KEY_FILE]
    assert (tmp_path / KEY_FILE).stat().st_mode & 0o777 == 0o600


def test_of_keys_that_are_made_at_once_one_counts(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as processes:
        encrypted = list(
            processes.map(
                lambda _: SecretEncryption(tmp_path, None).encrypt(SECRET, "crm", may_make=True),
                range(8),
            )
        )
    assert {SecretEncryption(tmp_path, None).decrypt(one, "crm") for one in encrypted} == {SECRET}
    assert [path.name for path in tmp_path.iterdir()] == [KEY_FILE]


def test_what_another_key_or_webhook_sealed_or_somebody_changed_is_not_opened(
    tmp_path: Path,
) -> None:
    encrypted = SecretEncryption(tmp_path, STATED).encrypt(SECRET, "crm", may_make=True)
    flipped = encrypted[:-5] + ("A" if encrypted[-5] != "A" else "B") + encrypted[-4:]
    for encryption, text, name in (
        (SecretEncryption(tmp_path, STATED + "r"), encrypted, "crm"),
        (SecretEncryption(tmp_path, STATED), encrypted, "erp"),
        (SecretEncryption(tmp_path, STATED), flipped, "crm"),
        (SecretEncryption(tmp_path, STATED), SECRET, "crm"),
        (SecretEncryption(tmp_path, STATED), MARK, "crm"),
        (SecretEncryption(tmp_path, STATED), MARK + "é", "crm"),
    ):
        with pytest.raises(WebhookEncryptionError, match="was encrypted under another key") as told:
            encryption.decrypt(text, name)
        assert SECRET not in str(told.value)


def test_a_key_that_is_gone_or_cut_off_is_not_made_anew(tmp_path: Path) -> None:
    with pytest.raises(WebhookEncryptionError, match="is missing, so no webhook"):
        SecretEncryption(tmp_path, None).encrypt(SECRET, "crm", may_make=False)
    (tmp_path / KEY_FILE).write_text("short")
    with pytest.raises(WebhookEncryptionError, match="fewer than 16 bytes: it was cut off"):
        SecretEncryption(tmp_path, None).encrypt(SECRET, "crm", may_make=True)
