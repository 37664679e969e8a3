from __future__ import annotations

import pytest

from serving.settings import VARIABLES, ServiceSettingError, ServiceSettings, service_settings

KEY = "a-key-of-enough-characters"


def test_the_environment_is_read_once_into_values():
    settings = service_settings(
        {
            "KEEPWELL_API_KEY": KEY,
            "KEEPWELL_ALLOWED_HOSTS": "keepwell.example, Other.example",
            "KEEPWELL_MAX_BODY_BYTES": "2048",
        }
    )
    assert settings.api_key == KEY
    assert settings.allowed_hosts[-2:] == ("keepwell.example", "other.example")
    assert settings.max_body_bytes == 2048


def test_an_empty_environment_has_no_key_and_answers_local_hosts_only():
    settings = service_settings({"KEEPWELL_API_KEY": ""})
    assert settings.api_key is None
    assert settings.allowed_hosts == ("127.0.0.1", "localhost", "[::1]")


def test_a_short_pepper_is_refused_and_never_shown():
    with pytest.raises(ServiceSettingError, match="KEEPWELL_KEY_PEPPER has fewer than 16"):
        service_settings({"KEEPWELL_KEY_PEPPER": "short"})
    assert KEY not in repr(service_settings({"KEEPWELL_KEY_PEPPER": KEY}))


def test_a_short_key_of_webhooks_is_refused_and_never_shown():
    with pytest.raises(ServiceSettingError, match="KEEPWELL_WEBHOOK_KEY has fewer than 16"):
        service_settings({"KEEPWELL_WEBHOOK_KEY": "short"})
    assert KEY not in repr(service_settings({"KEEPWELL_WEBHOOK_KEY": KEY}))
    assert service_settings({"KEEPWELL_WEBHOOK_KEY": KEY}).webhook_key == KEY


def test_the_key_never_shows_in_a_representation():
    assert KEY not in repr(ServiceSettings(api_key=KEY))


def test_a_short_key_is_refused():
    with pytest.raises(ServiceSettingError, match="fewer than 16 characters"):
        service_settings({"KEEPWELL_API_KEY": "short"})


@pytest.mark.parametrize("size", ["many", "-1", "1.5", ""])
def test_a_body_size_that_is_no_number_is_refused(size):
    with pytest.raises(ServiceSettingError, match="whole number of bytes"):
        service_settings({"KEEPWELL_MAX_BODY_BYTES": size})


def test_a_body_size_of_nothing_is_refused():
    with pytest.raises(ServiceSettingError, match="must be at least 1"):
        service_settings({"KEEPWELL_MAX_BODY_BYTES": "0"})


def test_the_ledger_is_where_the_environment_says_and_its_password_never_shows():
    settings = service_settings({"KEEPWELL_LEDGER_URL": "postgresql://u:secret@db/keepwell"})
    assert settings.ledger_url == "postgresql://u:secret@db/keepwell"
    assert "secret" not in repr(settings)
    assert service_settings({"KEEPWELL_LEDGER_URL": ""}).ledger_url is None


def test_a_ledger_at_no_address_is_refused_without_repeating_it():
    with pytest.raises(ServiceSettingError, match="KEEPWELL_LEDGER_URL: The address") as caught:
        service_settings({"KEEPWELL_LEDGER_URL": "mysql://u:secret@db/keepwell"})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("variable", VARIABLES, ids=lambda v: v.name)
def test_every_variable_is_explained_in_the_reference(variable, pytestconfig):
    page = (pytestconfig.rootpath / "docs" / "reference" / "settings.md").read_text(
        encoding="utf-8"
    )
    assert variable.name in page
