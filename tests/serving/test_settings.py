from __future__ import annotations

import pytest

from serving.settings import VARIABLES, ServiceSettingError, ServiceSettings, service_settings

KEY = "a-key-of-enough-characters"


def test_the_environment_is_read_once_into_values():
    settings = service_settings({
        "KEEPWELL_API_KEY": KEY, "KEEPWELL_ALLOWED_HOSTS": "keepwell.example, Other.example",
        "KEEPWELL_MAX_BODY_BYTES": "2048"})
    assert settings.api_key == KEY
    assert settings.allowed_hosts[-2:] == ("keepwell.example", "other.example")
    assert settings.max_body_bytes == 2048


def test_an_empty_environment_has_no_key_and_answers_local_hosts_only():
    settings = service_settings({"KEEPWELL_API_KEY": ""})
    assert settings.api_key is None
    assert settings.allowed_hosts == ("127.0.0.1", "localhost", "[::1]")


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


@pytest.mark.parametrize("variable", VARIABLES, ids=lambda v: v.name)
def test_every_variable_is_explained_in_the_readme(variable, pytestconfig):
    readme = (pytestconfig.rootpath / "serving" / "README.md").read_text(encoding="utf-8")
    assert variable.name in readme
