"""The first example of each reason names its place, and the value that was wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from features.events.schema import RAW
from features.ingest.mapping import load_mapping, read_mapping
from features.ingest.run import source_columns
from features.lake._examples import LONGEST_SHOWN, first_examples

CRM = Path(__file__).parents[3] / "examples" / "crm" / "mapping.toml"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("last week", " 'last week'"),
        ("two\nlines\x1b", r" 'two\nlines\x1b'"),
        (-3.5, " -3.5"),
        (None, ""),
        ("", ""),
        ("z" * 1000, " '" + "z" * (LONGEST_SHOWN - 1) + "…"),
    ],
)
def test_a_value_is_shown_on_one_short_line(value, shown):
    [example] = first_examples(
        [(3, "start is no time")], {3: {"From": value}}, file="a.csv", columns={"start": "From"}
    ).values()
    assert example == "a.csv:3" + shown


def test_the_first_of_each_reason_is_shown_in_whatever_order_rows_are_refused():
    rows = {line: {"m": f"m{line}", "s": f"s{line}"} for line in range(9)}
    found = first_examples(
        [(8, "mrr is no number"), (2, "mrr is no number"), (5, "seats is negative")],
        rows,
        file="a",
        columns={"mrr": "m", "seats": "s"},
        broken=[
            (7, "has 1 fields where the header has 2", "x"),
            (4, "has 1 fields where the header has 2", "y"),
        ],
    )
    assert found == {
        "mrr is no number": "a:2 'm2'",
        "seats is negative": "a:5 's5'",
        "has 1 fields where the header has 2": "a:4 'y'",
    }


def test_a_reason_that_names_no_column_shows_the_place():
    found = first_examples(
        [(1, "is a second contract row of the same account and start")],
        {1: {"m": 1}},
        file="a",
        columns={"mrr": "m"},
    )
    assert list(found.values()) == ["a:1"]


@pytest.mark.parametrize(
    ("sent", "reason", "shown"),
    [
        ({"quantity": "lots"}, "quantity: input should be a valid number", " 'lots'"),
        ({"account_id": ["a"]}, "account_id: input should be a valid string", " ['a']"),
        ({}, "account_id: field required", ""),
        ({"colour": "blue"}, "colour: extra inputs are not permitted", " 'blue'"),
        ([1], "row: input should be a dictionary", ""),
    ],
)
def test_an_event_that_was_sent_shows_the_value_that_it_was_refused_for(sent, reason, shown):
    [example] = first_examples(
        [(2, reason)], {2: {RAW: json.dumps(sent)}}, file="request", columns={}
    ).values()
    assert example == "request:2" + shown
    assert first_examples([(2, reason)], {2: {RAW: "{"}}, file="f", columns={}) == {reason: "f:2"}


def test_columns_are_those_that_the_mapping_reads():
    accounts, contracts, usage = load_mapping(CRM).tables
    assert source_columns(accounts) == {
        "account_id": "account_id",
        "occurred_at": "start_date",
        "property channel": "channel",
        "property region": "country",
        "property segment": "seats",
    }
    assert source_columns(contracts)["seats"] == "quantity"
    assert source_columns(usage)["event_count"] == "n_events"
    for table in (accounts, contracts, usage):
        assert set(source_columns(table).values()) <= set(table.columns)


def test_a_property_is_found_by_its_whole_name():
    [table] = read_mapping(
        {
            "name": "n",
            "tables": {
                "t": {
                    "files": "t.csv",
                    "kind": "feature.used",
                    "account": "a",
                    "occurred_at": "o",
                    "recorded_delay": "0s",
                    "properties": {
                        "size": {"column": "S", "type": "number"},
                        "size_max": {"column": "M", "type": "number"},
                    },
                }
            },
        },
        where="t.toml",
    ).tables
    [example] = first_examples(
        [(2, "property size_max is no number")],
        {2: {"S": "s", "M": "m"}},
        file="t",
        columns=source_columns(table),
    ).values()
    assert example == "t:2 'm'"
