"""Quiet hours on the account's own clock, over midnight, midday and the change of clocks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.policy.account_state import zone_named
from experiments.policy.contact.quiet_hours import quiet_until

BERLIN = ZoneInfo("Europe/Berlin")


def at(hour, minute=0, *, day=3):
    return datetime(2026, 3, day, hour, minute, tzinfo=BERLIN)


@pytest.mark.parametrize(
    ("moment", "until"),
    [
        (at(19, 59), None),
        (at(20), at(8, day=4)),
        (at(23, 59), at(8, day=4)),
        (at(0), at(8)),
        (at(7, 59), at(8)),
        (at(8), None),
    ],
)
def test_a_night_goes_over_midnight(moment, until):
    assert quiet_until(moment, BERLIN, (20, 8)) == until


@pytest.mark.parametrize(
    ("moment", "until"),
    [(at(11, 59), None), (at(12), at(14)), (at(13, 59), at(14)), (at(14), None)],
)
def test_a_midday_rest_does_not(moment, until):
    assert quiet_until(moment, BERLIN, (12, 14)) == until


def test_two_equal_hours_are_no_quiet_hours():
    assert quiet_until(at(12), BERLIN, (12, 12)) is None


def test_the_night_in_which_clocks_go_forward_is_an_hour_shorter():
    evening = datetime(2026, 3, 28, 20, tzinfo=BERLIN)
    until = quiet_until(evening, BERLIN, (20, 8))
    assert until - evening.astimezone(UTC) == timedelta(hours=11)


@pytest.mark.parametrize("name", ["", "Mars/Olympus", "../../etc/passwd", "Europe"])
def test_what_is_no_zone_is_none(name):
    assert zone_named(name) is None


@given(
    moment=st.datetimes(datetime(2024, 1, 1), datetime(2028, 1, 1)),  # noqa: DTZ001 - made UTC
    zone=st.sampled_from(["America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "UTC"]),
    begins=st.integers(0, 23),
    ends=st.integers(0, 23),
)
def test_when_quiet_hours_are_over_it_is_no_longer_quiet(moment, zone, begins, ends):
    moment, place = moment.replace(tzinfo=UTC), ZoneInfo(zone)
    until = quiet_until(moment, place, (begins, ends))
    if until is not None:
        assert moment < until <= moment + timedelta(hours=25)
        assert quiet_until(until, place, (begins, ends)) is None
