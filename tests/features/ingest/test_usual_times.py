"""Times in the usual form are read as ``datetime`` reads them; any other form is not."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.ingest.columns import read_usual_times

moments = st.datetimes(timezones=st.just(UTC))


def plainly(text):
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


@settings(deadline=None)
@given(st.lists(st.tuples(moments, st.sampled_from(["seconds", "milliseconds", "microseconds"]))))
def test_every_moment_is_read_as_it_was_written(written):
    texts = [moment.isoformat(timespec=form).replace("+00:00", "Z") for moment, form in written]
    assert read_usual_times(pl.Series(texts, dtype=pl.String)).to_list() == [
        plainly(text) for text in texts
    ]


@pytest.mark.parametrize(
    "text",
    [
        "2024-02-29T00:00:00Z",
        "2023-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "2000-02-29T00:00:00Z",
        "2026-02-30T00:00:00Z",
        "2026-04-31T00:00:00Z",
        "2026-12-31T23:59:59.999999Z",
        "2026-13-01T00:00:00Z",
        "2026-00-01T00:00:00Z",
        "2026-01-00T00:00:00Z",
        "2026-01-32T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T23:60:00Z",
        "2026-01-01T23:59:60Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00Z",
        "1969-12-31T23:59:59Z",
    ],
)
def test_no_day_or_hour_is_read_that_there_is_not(text):
    assert read_usual_times(pl.Series([text])).to_list() == [plainly(text)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-01-01",
        "2026-01-01T00:00Z",
        "2026-01-01T00:00:00",
        "2026-01-01 00:00:00Z",
        "2026-01-01T00:00:00z",
        "2026-01-01T00:00:00+",
        "2026/01/01T00:00:00Z",
        " 2026-1-1T00:00:00Z",
        "2026-01-01T00:00:0ßZ",
        "2026-01-01T00:00:00,000Z",
        "+026-01-01T00:00:00Z",
    ],
)
def test_any_other_way_of_writing_is_left_to_others(text):
    assert read_usual_times(pl.Series([text, None])).to_list() == [None, None]


def test_a_part_of_a_column_is_read_as_that_part():
    column = pl.Series([f"2026-01-{day:02}T00:00:00Z" for day in range(1, 20)])
    assert read_usual_times(column[3:9]).to_list() == [plainly(text) for text in column[3:9]]
