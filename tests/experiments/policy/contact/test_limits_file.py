"""A workspace sets its own limits; what is wrong in its file is named, with what to do next."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path

import pytest

from experiments.policy.account_state import CHANNEL_CAPS, Limits
from experiments.policy.contact.limits_file import (
    LIMITS_FILE,
    LimitsError,
    at_any_hour,
    parse_limits,
    read_limits,
    with_changes,
)

PAGE = Path(__file__).parents[4] / "docs" / "how-to" / "set-limits.md"


def said(folder: Path, text: str) -> Limits:
    (folder / LIMITS_FILE).write_text(text, encoding="utf-8")
    return read_limits(folder)


def test_without_a_file_or_with_an_empty_one_all_is_as_usual(tmp_path):
    assert read_limits(tmp_path) == said(tmp_path, "") == Limits()


def test_what_the_file_names_is_set_and_the_rest_is_as_usual(tmp_path):
    found = said(
        tmp_path,
        """
        contacts_per_week = 2
        contacts_per_person = 0
        fatigue = 0.1
        hourly_cost = 90
        quiet_hours = [19, 9]
        time_zone = "Europe/Zurich"
        [channel_caps]
        phone = 1
        email = 0
    """,
    )
    assert found == replace(
        Limits(),
        contacts_per_week=2,
        contacts_per_person=0,
        fatigue=0.1,
        hourly_cost=90.0,
        quiet_hours=(19, 9),
        time_zone="Europe/Zurich",
        channel_caps={**CHANNEL_CAPS, "phone": 1, "email": 0},
    )
    assert type(found.hourly_cost) is float
    assert CHANNEL_CAPS["phone"] == 2  # nobody else's


def test_a_channel_that_is_not_named_keeps_the_cap_that_it_had():
    then = Limits(channel_caps={"phone": 5, "email": 7}, caution=1.0)
    assert with_changes(then, parse_limits("[channel_caps]\nphone = 1")) == replace(
        then, channel_caps={"phone": 1, "email": 7}
    )


def test_the_file_of_the_page_sets_every_limit_to_its_usual_value():
    blocks = re.findall(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    [block] = [block for block in blocks if "contacts_per_week" in block]
    changes = parse_limits(block)
    assert set(changes) == {field.name for field in fields(Limits)}
    usual = {name: value for name, value in changes.items() if name != "time_zone"}
    assert with_changes(Limits(), usual) == Limits()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("contacts_per_week = ", r"limits\.toml is not valid TOML .*Mend it, or take the line out"),
        (
            "contact_per_week = 1",
            r"limits\.toml has unknown key\(s\) contact_per_week\. Did you mean "
            r"contacts_per_week\? .*known are actions_per_week, ",
        ),
        ("luck = 1", r"unknown key\(s\) luck\. Remove .*; known are actions_per_week, "),
        (
            "contacts_per_week = -1",
            r"limits\.toml: The limit contacts_per_week is -1; it has to be a "
            r"number of at least 0\. Mend it",
        ),
        (
            "contacts_per_week = 2.5",
            r"limits\.toml: `contacts_per_week` is 2\.5; give a whole number\. Usual is 3\. Mend",
        ),
        ("contacts_per_week = true", "`contacts_per_week` has to be a number, not True"),
        (f"contacts_per_week = {10**13}", "it has to be at most 1e.12"),
        (f"hourly_cost = {10**400}", "is no finite number.* Usual is 60.0"),
        ("hourly_cost = nan", "`hourly_cost` is nan, which is no finite number"),
        ("hourly_cost = -inf", "`hourly_cost` is -inf, which is no finite number"),
        ("margin = 80", r"`margin` is 80; it has to be at most 1\. Usual is 0\.8\."),
        ("fatigue = 1.5", "`fatigue` is 1.5; it has to be at most 1"),
        (
            "quiet_hours = [20, 25]",
            r"quiet_hours is \(20, 25\); it has to be two hours of the day from "
            r"0 to 23",
        ),
        (
            "quiet_hours = [20]",
            r"`quiet_hours` has to be a list of 2 whole numbers, not \[20\]\. Usual is \(20, 8\)",
        ),
        ("quiet_hours = [20.5, 8]", "`quiet_hours`: `number 1` is 20.5; give a whole number"),
        ("quiet_hours = false", "has to be a list of 2 whole numbers, not False"),
        ("workday = [17, 9]", r"workday is \(17, 9\); .*the earlier first"),
        ('time_zone = "Mars/Olympus"', "time_zone is 'Mars/Olympus', which is no IANA name"),
        ("time_zone = 1", "`time_zone` has to be text, not 1"),
        (
            "[channel_caps]\npigeon = 1",
            "channel_caps names the channel 'pigeon'; known are email, ",
        ),
        ("[channel_caps]\nemail = -1", "channel_caps of 'email' is -1"),
        ("[channel_caps]\nemail = 1.5", "`channel_caps`: `email` is 1.5; give a whole number"),
        ("channel_caps = 3", "`channel_caps` has to be a table"),
        (
            "[channel_caps]\ninternal = 1",
            "channel_caps names 'internal', through which an account is "
            "not contacted.* Contacts go by contract, demo, email",
        ),
    ],
)
def test_what_can_not_be_used_is_named(tmp_path, text, message):
    with pytest.raises(LimitsError, match=message):
        said(tmp_path, text)


def test_a_file_that_can_not_be_read_is_said(tmp_path):
    (tmp_path / LIMITS_FILE).write_bytes(b'time_zone = "Z\xfcrich"')
    with pytest.raises(LimitsError, match=r"limits\.toml cannot be read .*empty it to go by"):
        read_limits(tmp_path)
    (tmp_path / LIMITS_FILE).unlink()
    (tmp_path / LIMITS_FILE).mkdir()
    with pytest.raises(LimitsError, match="cannot be read"):
        read_limits(tmp_path)


def test_two_equal_hours_and_any_hour_are_no_quiet_hours(tmp_path):
    assert said(tmp_path, "quiet_hours = [0, 0]").quiet_hours == (0, 0)
    assert at_any_hour(Limits(fatigue=0.2)) == Limits(fatigue=0.2, quiet_hours=None)
