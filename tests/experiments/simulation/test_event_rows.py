"""Rows of events: their property text, and what is cut from them."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from experiments.simulation.event_rows import cut_after_end, event_rows, flat_json
from experiments.simulation.settings import PRESETS
from features.events.schema import properties_text

words = st.none() | st.text("abcdefghij_- .0123456789", max_size=8)
numbers = st.none() | st.integers(-(10**9), 10**9)


@given(st.lists(st.tuples(words, numbers, words), min_size=1, max_size=5))
def test_flat_json_equals_the_canonical_text(rows):
    name, seats, arm = zip(*rows, strict=True)
    texts = flat_json(
        name=pl.Series(name, dtype=pl.String),
        by="csm",
        seats=pl.Series(seats, dtype=pl.Int64),
        arm=pl.Series(arm, dtype=pl.String),
    )
    for text, (one, two, three) in zip(texts, rows, strict=True):
        assert text == properties_text({"name": one, "seats": two, "arm": three, "by": "csm"})


@given(st.floats(0, 1).map(lambda value: round(value, 2)))
def test_a_discount_is_written_as_json_writes_it(discount):
    assert json.loads(flat_json(discount=pl.Series([discount]))[0]) == {"discount": discount}


def test_unknown_quantities_are_null_not_nan():
    rows = event_rows(
        "action.decided",
        np.array([0, 1]),
        np.array([1, 1]),
        np.array([0, 0]),
        quantity=np.array([0.5, np.nan]),
    )
    assert rows["quantity"].to_list() == [0.5, None]
    assert rows["event_count"].to_list() == [1, 1]


def test_an_end_cuts_what_follows_it_and_keeps_itself():
    calendar = PRESETS["tiny"].calendar
    at = np.array([9, 10, 10, 11, calendar.days - 1])
    kinds = [
        "user.session",
        "contract.cancelled",
        "contract.renewed",
        "user.session",
        "user.session",
    ]
    rows = event_rows(
        "x",
        np.array([0, 0, 0, 0, 1]),
        at,
        np.zeros(5, dtype=np.int64),
        delay=np.array([0, 0, 0, 0, 86_400]),
    ).with_columns(kind=pl.Series(kinds))
    kept = cut_after_end(rows, ends=np.array([10, 10**6]), calendar=calendar)
    assert kept["kind"].to_list() == ["user.session", "contract.cancelled"]
