"""A clock that is set back brings nothing back that was over; one put right is believed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from serving.ledger.database.database import LedgerDatabase
from serving.ledger.database.timestamps import (
    MOST_SET_BACK,
    MonotonicClock,
    as_moment,
    as_text,
    service_time,
)
from serving.ledger.kill_switch import Controls, Scope

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
INSTANT = timedelta(microseconds=1)


@pytest.mark.parametrize("said", [NOW.replace(tzinfo=None), "2026-03-01", None])
def test_what_is_no_moment_is_not_written(said: object) -> None:
    with pytest.raises(TypeError, match="is not a moment; the ledger stores moments in UTC"):
        as_text(said)


def test_a_moment_is_written_in_utc_and_read_as_it_was() -> None:
    there = NOW.astimezone(timezone(timedelta(hours=-5)))
    assert as_moment(as_text(there)) == there
    assert as_text(there) == as_text(NOW) < as_text(NOW + INSTANT)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ([NOW, NOW + HOUR], NOW + HOUR),
        ([NOW, NOW - HOUR], NOW),
        ([NOW, NOW - HOUR, NOW + HOUR, NOW], NOW + HOUR),
        ([NOW, NOW - MOST_SET_BACK], NOW),
        ([NOW, NOW - MOST_SET_BACK - INSTANT], NOW - MOST_SET_BACK - INSTANT),
    ],
    ids=["runs", "set back", "set back and forth", "a day", "put right"],
)
def test_a_clock_is_never_earlier_than_it_said_but_where_it_is_put_right(
    told: list[datetime], said: datetime
) -> None:
    moments = iter(told)
    clock = MonotonicClock(lambda: next(moments))
    assert [clock() for _ in told][-1] == said


def test_the_newest_moment_of_the_ledger_is_a_floor(ledger_place: Path | str) -> None:
    database = LedgerDatabase(ledger_place)
    with database.reading() as connection:
        assert service_time(connection, NOW) == NOW
    Controls(database).record("stop", Scope(), by="ann", reason="x", at=NOW)
    with database.reading() as connection:
        for clock, moment in (
            (NOW - HOUR, NOW),
            (NOW + HOUR, NOW + HOUR),
            (NOW - MOST_SET_BACK, NOW),
            (NOW - MOST_SET_BACK - INSTANT, NOW - MOST_SET_BACK - INSTANT),
        ):
            assert service_time(connection, clock) == moment
    database.close()
