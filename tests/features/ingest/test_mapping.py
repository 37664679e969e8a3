"""A mapping file is checked against itself and against a table before anything is written."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime

import pytest

from features.ingest.mapped_tables import ContractTable, EventTable, MappingError, check_columns
from features.ingest.mapping import load_mapping, read_mapping

WHOLE = """
name = "shop"
zone = "Europe/Berlin"
complete_until = 2026-04-01

[tables.use]
files = ["use_*.csv", "more/*.jsonl"]
kind = "feature.used"
account = "company"
occurred_at = "day"
recorded_delay = "end_of_day"
[tables.use.properties]
name = "feature"
seats = { column = "size", type = "number" }
"""


def mapping(text: str):
    return read_mapping(tomllib.loads(text), where="shop.toml")


def test_a_whole_mapping_is_read():
    shop = mapping(WHOLE)
    [use] = shop.tables
    assert isinstance(use, EventTable)
    assert use.columns == ("company", "day", "feature", "size")
    assert use.source.zone == "Europe/Berlin"
    assert use.source.complete_until == datetime(2026, 3, 31, 22, tzinfo=UTC)


def test_a_table_takes_files_by_name_and_by_path():
    [use] = mapping(WHOLE).tables
    taken = [
        use.source.takes(name)
        for name in ("use_1.csv", "deep/use_2.csv", "more/a.jsonl", "a.jsonl", "use.csv")
    ]
    assert taken == [True, True, True, False, False]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("kind =", "kinde ="),
            r"\[tables.use\] of shop.toml .*unknown key\(s\) kinde\. Did you mean kind\? It may "
            r"hold: account",
        ),
        (('name = "shop"', 'name = "shop"\nspeed = 3'), r"shop\.toml has unknown key\(s\) speed"),
        (('name = "shop"', ""), "shop.toml lacks `name`. Add it"),
        (('kind = "feature.used"', ""), "exactly one of kind and kind_column"),
        (('"feature.used"', '"feature_used"'), r"kind 'feature_used', which does not exist"),
        (("account =", "user ="), "lacks `account`"),
        (('recorded_delay = "end_of_day"', ""), "exactly one of recorded_at and recorded_delay"),
        (('"end_of_day"', '"soon"'), "recorded_delay 'soon' cannot be read"),
        (("Europe/Berlin", "Atlantis/Capital"), "zone 'Atlantis/Capital' is not known"),
        (('files = ["use_*.csv", "more/*.jsonl"]', ""), "must say where its rows are"),
        (('files = ["use_*.csv", "more/*.jsonl"]', 'query = "SELECT 1"'), "needs url_from"),
        (
            ('files = ["use_*.csv", "more/*.jsonl"]', "files = [3]"),
            "`files` has to be a list of texts",
        ),
        (('kind = "feature.used"', "kind = 3"), "`kind` has to be text, not 3"),
        (
            ('kind = "feature.used"', 'kind = "feature.used"\nquantity_factor = inf'),
            "`quantity_factor` has to be a finite number, not inf",
        ),
        (
            ('kind = "feature.used"', 'kind = "feature.used"\nquantity_factor = nan'),
            "`quantity_factor` has to be a finite number, not nan",
        ),
        (
            ('kind = "feature.used"', 'kind = "feature.used"\nformat = "xlsx"'),
            "`format` is 'xlsx'; allowed are csv, csv.gz",
        ),
        (
            ('kind = "feature.used"', 'kind = "feature.used"\nignored = ["day"]'),
            "both reads and ignores day",
        ),
        (('name = "feature"', "name = 3"), "properties.name must be a column name or a table"),
        (('type = "number"', 'kind = "number"'), r"properties.seats has unknown key\(s\) kind"),
        (
            ('kind = "feature.used"', 'kind = "feature.used"\nconstants = { plan = true }'),
            "`constants`: `plan` has to be text or a number, not True",
        ),
        (
            ('kind = "feature.used"', 'kind = "feature.used"\nonly = { plan = 3 }'),
            "`only`: `plan` has to be text, not 3",
        ),
        (
            ("complete_until = 2026-04-01", "complete_until = true"),
            "`complete_until` has to be a time",
        ),
        (
            ('zone = "Europe/Berlin"', ""),
            "`complete_until` is 2026-04-01 .*no time zone.*or declare `zone`",
        ),
    ],
)
def test_what_can_not_be_is_refused_with_what_could_be(change, message):
    text = WHOLE.replace(*change)
    assert text != WHOLE
    with pytest.raises(MappingError, match=message):
        mapping(text)


def test_a_mapping_without_a_table_is_refused():
    with pytest.raises(MappingError, match=r"describes no table. Add one as \[tables.NAME\]"):
        mapping('name = "shop"\n[tables]')
    with pytest.raises(MappingError, match="has to be a table of keys and values, not 3"):
        mapping('name = "shop"\n[tables]\nuse = 3')


def test_a_file_that_is_no_mapping_is_refused(tmp_path):
    with pytest.raises(MappingError, match="There is no mapping file"):
        load_mapping(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("name = ")
    with pytest.raises(MappingError, match=r"bad\.toml is not valid TOML"):
        load_mapping(tmp_path / "bad.toml")


def test_a_missing_column_is_named_with_the_columns_there_are():
    [use] = mapping(WHOLE).tables
    with pytest.raises(
        MappingError,
        match=r"use\.csv has no column 'feature', 'size'.*table 'use'"
        r".*It has: company, day.*Nothing was written",
    ):
        check_columns(use, ["company", "day"], file="use.csv")


def test_contract_periods_need_a_zone():
    text = """
    name = "shop"
    [tables.terms]
    type = "contract_periods"
    files = ["terms.csv"]
    account = "a"
    start = "s"
    end = "e"
    mrr = "m"
    """
    with pytest.raises(MappingError, match="needs zone, the time zone of its dates"):
        mapping(text)
    [terms] = mapping(text.replace('name = "shop"', 'name = "shop"\nzone = "UTC"')).tables
    assert isinstance(terms, ContractTable)
    assert terms.columns == ("a", "s", "e", "m")


def test_contract_periods_may_say_how_their_days_are_written():
    text = """
    name = "shop"
    zone = "UTC"
    [tables.terms]
    type = "contract_periods"
    files = ["terms.csv"]
    account = "a"
    start = "s"
    end = "e"
    mrr = "m"
    time_format = "%d/%m/%Y"
    """
    [terms] = mapping(text).tables
    assert (terms.time_format, terms.epoch) == ("%d/%m/%Y", None)
    [terms] = mapping(text.replace('time_format = "%d/%m/%Y"', 'epoch = "ms"')).tables
    assert (terms.time_format, terms.epoch) == (None, "ms")
