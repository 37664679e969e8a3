"""A table of a TOML file is read by name and type; everything else is an error with its place."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime

import pytest

from features.toml_table import Table, TableError

READ = "text = 'a'\nword = 'low'\nnumber = 3\nflag = true\ntexts = ['a', 'b']\none = 'a'\n"


class _OwnError(Exception):
    pass


class _OwnTable(Table):
    error = _OwnError


def table(text: str) -> Table:
    return Table(tomllib.loads(text), "team.toml")


def test_values_are_read_by_type():
    read = table(READ)
    assert (read.text("text"), read.word("word", ("low", "high"))) == ("a", "low")
    assert (read.number("number"), read.whole("number")) == (3.0, 3)
    assert (read.flag("flag"), read.texts("texts"), read.texts("one")) == (True, ("a", "b"), ("a",))


def test_a_key_that_is_left_out_has_its_default():
    read = table("")
    assert (read.text("x", "y"), read.word("x", ("a", "b"), "b")) == ("y", "b")
    assert (read.number("x", 2.5), read.whole("x", 2), read.flag("x", False)) == (
        2.5,
        2,
        False,
    )
    assert (read.texts("x", ()), read.table("x", {}), read.tables("x", ())) == ((), {}, ())
    assert (read.optional_text("x"), read.optional_word("x", ("a",)), read.instant("x")) == (
        None,
        None,
        None,
    )


@pytest.mark.parametrize(
    ("text", "read", "message"),
    [
        ("", Table.text, "team.toml lacks `key`. Add it."),
        ("key = ' '", Table.text, "`key` has to be text, not ' '"),
        ("key = 3", Table.optional_text, "`key` has to be text, not 3"),
        ("key = true", Table.number, "`key` has to be a number, not True"),
        ("key = inf", Table.number, "`key` has to be a finite number, not inf"),
        ("key = nan", Table.number, "`key` has to be a finite number, not nan"),
        (f"key = 1{400 * '0'}", Table.number, "`key` has to be a finite number, not 1000"),
        ("key = 2.5", Table.whole, "`key` has to be a whole number, not 2.5"),
        ("key = 1", Table.flag, "`key` has to be true or false, not 1"),
        ("key = ['']", Table.texts, "`key` has to be a list of texts"),
        ("key = 1", Table.table, "`key` has to be a table, not 1"),
        ("key = [1]", Table.tables, "`key` has to be a list of tables"),
        ("key = 2026", Table.instant, "`key` has to be a time such as 2023-04-01T00:00:00Z"),
        ("key = 2026-01-01", Table.instant, "`key` is 2026-01-01 .*, which has no time zone"),
    ],
)
def test_a_value_of_another_type_is_refused(text, read, message):
    with pytest.raises(TableError, match=message):
        read(table(text), "key")


def test_only_a_bound_may_be_infinite():
    assert table("key = -inf").number("key", may_be_infinite=True) == float("-inf")
    with pytest.raises(TableError, match="finite number, not nan"):
        table("key = nan").number("key", may_be_infinite=True)


def test_a_word_is_one_of_those_allowed():
    with pytest.raises(TableError, match="`key` is 'mean'; allowed are first, worst"):
        table("key = 'mean'").word("key", ("first", "worst"))


def test_a_moment_without_a_zone_is_one_of_the_zone_that_is_given():
    moment = table("key = 2026-04-01").instant("key", "Europe/Berlin")
    assert moment == datetime(2026, 3, 31, 22, tzinfo=UTC)


def test_an_unknown_key_is_named_before_one_that_is_missing():
    with pytest.raises(TableError, match=r"unknown key\(s\) huors\. Did you mean hours\? It may"):
        Table({"huors": 30}, "team.toml", allowed=("hours",))


def test_callers_get_the_error_that_they_expect():
    with pytest.raises(_OwnError, match="has to be a table of keys and values, not 3"):
        _OwnTable(3, "team.toml")
    with pytest.raises(_OwnError, match="lacks `key`"):
        _OwnTable({}, "team.toml").text("key")
