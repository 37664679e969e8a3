"""A table is read strictly: numbers are finite and in bounds, and every key is known."""

from __future__ import annotations

import tomllib

import pytest

from registry.toml_table import Table, TableError


@pytest.mark.parametrize("written", ["inf", "-inf", "nan", "1e400", "1" + 400 * "0"])
@pytest.mark.parametrize("read", [Table.number, Table.optional_number])
def test_a_number_is_finite(written, read):
    table = Table(tomllib.loads(f"hours = {written}"), "team.toml")
    with pytest.raises(
        TableError,
        match=r"team\.toml: `hours` is .*, which is no finite number\. "
        r"Write one; .* such as 1e12\.",
    ):
        read(table, "hours", least=0)


def test_the_largest_number_that_is_advised_can_be_read():
    assert Table({"hours": 1e12}, "team.toml").number("hours", least=0) == 1e12


def test_a_misspelt_key_is_refused_with_the_one_that_was_meant():
    table = Table({"huors": 3, "id": "ann"}, "team.toml")
    assert table.text("id") == "ann"
    assert table.number("hours", 30) == 30
    with pytest.raises(
        TableError,
        match=r"team\.toml has unknown key\(s\) huors\. Did you mean hours\? .*known are hours, id",
    ):
        table.end()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1.5, r"`days` is 1\.5; give a whole number"),
        (True, "`days` has to be a number"),
        (-1, "`days` is -1; it has to be at least 0 and at most 7"),
        (8, "`days` is 8; it has to be at least 0 and at most 7"),
    ],
)
def test_a_whole_number_is_whole_and_within_its_bounds(value, message):
    assert Table({"days": 7}, "team.toml").whole("days", least=0, most=7) == 7
    with pytest.raises(TableError, match=message):
        Table({"days": value}, "team.toml").whole("days", least=0, most=7)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([9], "`hours` has to be a list of 2 whole numbers"),
        (9, "`hours` has to be a list of 2 whole numbers"),
        ([9, "x"], "`hours`: `number 2` has to be a number"),
        ([9, 17.5], r"`hours`: `number 2` is 17\.5; give a whole number"),
    ],
)
def test_a_list_of_whole_numbers_has_its_length(value, message):
    assert Table({"hours": [9, 17]}, "team.toml").whole_numbers("hours", count=2) == (9, 17)
    with pytest.raises(TableError, match=message):
        Table({"hours": value}, "team.toml").whole_numbers("hours", count=2)
