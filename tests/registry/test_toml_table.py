"""A number that is no finite one is refused where it is read, for every file that is declared."""

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
