"""A moment is said as a day only where it is the start of one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from features._dates import format_moment

DAY = datetime(2024, 4, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("moment", "words"),
    [
        (DAY, "2024-04-01"),
        (DAY + timedelta(hours=13, minutes=30), "2024-04-01 13:30 UTC"),
        (DAY + timedelta(seconds=5), "2024-04-01 00:00:05 UTC"),
        (DAY - timedelta(microseconds=1), "2024-03-31 23:59:59.999999 UTC"),
        (datetime(2024, 4, 1, tzinfo=ZoneInfo("Europe/Berlin")), "2024-03-31 22:00 UTC"),
        (datetime(2024, 4, 1, 2, tzinfo=ZoneInfo("Europe/Berlin")), "2024-04-01"),
    ],
)
def test_a_moment_that_is_not_midnight_says_its_time_and_zone(moment, words):
    assert format_moment(moment) == words
