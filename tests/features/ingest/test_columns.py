"""A column is read value by value; what is wrong with one says nothing about the others."""

from __future__ import annotations

import unicodedata
from datetime import UTC, date, datetime

import polars as pl
import pytest

from features.ingest.columns import (
    read_counts,
    read_instants,
    read_numbers,
    read_words,
)
from features.ingest.mapped_tables import MappingError, PropertySource
from features.ingest.properties import PropertyError, flat_properties, read_properties

NINE = datetime(2026, 3, 1, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "zone", "expected"),
    [
        ("2026-03-01T09:00:00Z", None, NINE),
        ("2026-03-01T09:00:00.000000z", None, NINE),
        (" 2026-03-01 09:00Z ", None, NINE),
        ("2026-03-01T10:00:00+01:00", None, NINE),
        ("2026-03-01 10:00:00 +0100", None, NINE),
        ("2026-03-01T03:30-05:30", None, NINE),
        ("2026-03-01T11+02", None, "is no time"),
        ("2026-03-01T10:00:00", "Europe/Berlin", NINE),
        ("2026-03-01T09:00:00Z", "Europe/Berlin", NINE),
        ("2026-03-01", "UTC", datetime(2026, 3, 1, tzinfo=UTC)),
        ("2026-03-01", None, "has no time zone"),
        ("2026-03-01T09:00:00", None, "has no time zone"),
        ("2026-02-30", "UTC", "is no time"),
        ("01.03.2026", "UTC", "is no time"),
        ("yesterday", "UTC", "is no time"),
        ("", "UTC", "is missing"),
        (None, "UTC", "is missing"),
        ("0001-01-01", "UTC", "is an impossible time"),
        ("2999-01-01", "UTC", "is an impossible time"),
        ("2026-03-29T02:30:00", "Europe/Berlin", "does not exist in the zone Europe/Berlin"),
        ("2026-10-25T02:30:00", "Europe/Berlin", datetime(2026, 10, 25, 1, 30, tzinfo=UTC)),
    ],
)
def test_a_time_is_read_or_says_what_is_wrong(text, zone, expected):
    read = read_instants(pl.Series("t", [text], dtype=pl.String), "at", zone=zone)
    if isinstance(expected, str):
        assert (read.values[0], read.problem[0]) == (None, f"at {expected}")
    else:
        assert (read.values[0], read.problem[0]) == (expected, None)


@pytest.mark.parametrize(
    ("column", "options", "expected"),
    [
        (
            pl.Series([date(2026, 3, 1)]),
            {"zone": "Europe/Berlin"},
            datetime(2026, 2, 28, 23, tzinfo=UTC),
        ),
        (pl.Series([NINE]), {}, NINE),
        (pl.Series([NINE.replace(tzinfo=None)]), {"zone": "UTC"}, NINE),
        (pl.Series([1772355600]), {"epoch": "s"}, NINE),
        (pl.Series(["1772355600000"]), {"epoch": "ms"}, NINE),
        (pl.Series(["01.03.2026 09:00"]), {"zone": "UTC", "time_format": "%d.%m.%Y %H:%M"}, NINE),
        (pl.Series(["01.03.2026 10:00 +0100"]), {"time_format": "%d.%m.%Y %H:%M %z"}, NINE),
    ],
)
def test_a_time_of_any_type_is_read(column, options, expected):
    read = read_instants(column.alias("t"), "at", **options)
    assert (read.values[0], read.problem[0]) == (expected, None)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pl.Series("t", [5]), "holds numbers, not times. Say what they count with epoch"),
        (pl.Series("t", [datetime(2026, 3, 1)]), "times in column 't' have no time zone"),  # noqa: DTZ001
        (pl.Series("t", [date(2026, 3, 1)]), "days in column 't' have no time zone"),
    ],
)
def test_a_column_that_needs_more_said_is_refused_as_a_whole(column, message):
    with pytest.raises(MappingError, match=message):
        read_instants(column, "at")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("3", 3.0),
        (" 2.5 ", 2.5),
        ("", None),
        (None, None),
        ("-0", 0.0),
        ("1e3", 1000.0),
        ("many", "is no number"),
        ("NaN", "is not finite"),
        ("inf", "is not finite"),
        ("1e400", "is not finite"),
        ("1,5", "is no number"),
    ],
)
def test_a_number_is_read_or_says_what_is_wrong(value, expected):
    read = read_numbers(pl.Series([value], dtype=pl.String), "quantity")
    problem = f"quantity {expected}" if isinstance(expected, str) else None
    assert read.problem[0] == problem
    assert read.values[0] == (None if problem else expected)


def test_numbers_that_are_not_finite_are_refused_in_typed_columns_too():
    read = read_numbers(pl.Series([1.0, float("nan"), float("inf"), None]), "quantity")
    assert read.values.to_list() == [1.0, None, None, None]
    assert read.problem.to_list() == [
        None,
        "quantity is not finite",
        "quantity is not finite",
        None,
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("3", 3),
        ("3.0", 3),
        ("0", 0),
        ("", 1),
        (None, 1),
        ("-1", "is negative"),
        ("1.5", "is no whole number"),
        ("1e13", "is absurdly large"),
        ("x", "is no number"),
    ],
)
def test_a_count_is_whole_and_not_negative(value, expected):
    read = read_counts(pl.Series([value], dtype=pl.String), "event_count", 1)
    problem = f"event_count {expected}" if isinstance(expected, str) else None
    assert (read.values[0], read.problem[0]) == (None if problem else expected, problem)


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [
        (pl.Series([" a "]), "a", None),
        (pl.Series(["007"]), "007", None),
        (pl.Series([12.0]), "12", None),
        (pl.Series([12.5]), "12.5", None),
        (pl.Series(["  "]), None, "account_id is missing"),
        (pl.Series([None], dtype=pl.String), None, "account_id is missing"),
        (pl.Series(["x" * 201]), "x" * 201, "account_id is longer than 200 characters"),
        (pl.Series(["a\x00b"]), "a\x00b", "account_id holds control characters"),
    ],
)
def test_a_name_is_stripped_and_bearable(column, value, problem):
    read = read_words(column, "account_id", needed=True)
    assert (read.values[0], read.problem[0]) == (value, problem)


@pytest.mark.parametrize("first", [0, 0x20, 0x7F, 0xA0], ids=["C0", "letters", "C1", "others"])
def test_every_control_character_is_refused_and_no_other(first):
    codes = range(first, {0: 0x20, 0x20: 0x7F, 0x7F: 0xA0, 0xA0: 0x180}[first])
    for code in codes:
        [problem] = read_words(pl.Series([f"a{chr(code)}b"]), "user_id", needed=False).problem
        assert (problem is not None) == (unicodedata.category(chr(code)) == "Cc"), hex(code)


def test_properties_are_texts_numbers_and_bands():
    frame = pl.DataFrame(
        {"plan": ["pro", "", None], "size": ["72", "5.5", "x"], "trial": [True, False, None]}
    )
    read = read_properties(
        frame,
        {
            "plan": PropertySource(column="plan"),
            "size": PropertySource(column="size", type="number"),
            "trial": PropertySource(column="trial"),
            "band": PropertySource(column="size", bands=((0, "small"), (50, "large"))),
        },
        constants={"from": "shop"},
    )
    assert read.values.to_list() == [
        '{"band":"large","from":"shop","plan":"pro","size":72,"trial":"yes"}',
        '{"band":"small","from":"shop","size":5.5,"trial":"no"}',
        None,
    ]
    assert read.problem.to_list() == [None, None, "property size is no number"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"a": [1]}', "properties is not a flat map of texts and numbers"),
        ("[1]", "properties is not a flat map of texts and numbers"),
        ("{", "properties is no JSON"),
        ('{"a": NaN}', "properties holds a number that is not finite"),
        ('{"": 1}', "properties has an empty or overlong name"),
        ('{"a": "' + "x" * 5000 + '"}', "properties is longer than 4000 characters"),
    ],
)
def test_bad_properties_say_what_is_wrong(text, problem):
    read = read_properties(pl.DataFrame({"p": [text, '{"b": true}']}), {}, json_column="p")
    assert read.problem.to_list() == [problem, None]
    assert read.values[1] == '{"b":"yes"}'


@pytest.mark.parametrize(
    ("given", "message"),
    [({"a": {}}, "not a flat map"), ({"a": float("inf")}, "not finite"), ({"": 1}, "empty")],
)
def test_a_property_map_of_a_program_is_flat(given, message):
    with pytest.raises(PropertyError, match=message):
        flat_properties(given)


def test_a_band_or_number_that_is_not_finite_is_refused():
    read = read_properties(
        pl.DataFrame({"n": ["inf"]}), {"n": PropertySource(column="n", type="number")}
    )
    assert read.problem.to_list() == ["property n is not finite"]
