"""Keys tell contents apart, and are the same wherever and whenever they are made."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.events.schema import Event, events_frame
from features.events.text_buffers import SAMPLE, is_repetitive
from features.lake.deduplication.row_keys import CONTENT_KEY, ID_KEY, text_hashes, with_keys

START = datetime(2026, 3, 1, tzinfo=UTC)
EVENT = Event(
    event_id="e",
    account_id="a",
    user_id="u",
    kind="feature.used",
    occurred_at=START,
    recorded_at=START,
    quantity=1.0,
    properties='{"name":"search"}',
)


def test_stored_keys_are_these_forever():
    found = with_keys(events_frame([EVENT, replace(EVENT, user_id=None, quantity=None)]))
    assert [hex(key) for key in found[ID_KEY]] == ["0xddbf782efd8c4fc1"] * 2
    assert [hex(key) for key in found[CONTENT_KEY]] == ["0x994edc2ce478db5a", "0x4ee77b75d3b01a38"]
    assert [hex(key) for key in text_hashes(pl.Series(["", "search", "nine char", "ü" * 20]))] == [
        "0x0",
        "0x5b743426ffc254f5",
        "0xc1bfb2549fdf144e",
        "0xbd6b0217a85247eb",
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"account_id": "b"},
        {"user_id": None},
        {"user_id": "v"},
        {"kind": "user.session"},
        {"occurred_at": START - timedelta(microseconds=1)},
        {"event_count": 2},
        {"user_count": 2},
        {"quantity": None},
        {"quantity": 0.0},
        {"properties": "{}"},
        {"account_id": "u", "user_id": "a"},
    ],
    ids=str,
)
def test_every_part_of_the_content_counts_and_the_moment_of_knowledge_does_not(change):
    other = replace(EVENT, recorded_at=START + timedelta(days=1))
    keys = with_keys(events_frame([EVENT, replace(EVENT, **change), other]))[CONTENT_KEY]
    assert keys[0] != keys[1]
    assert keys[0] == keys[2]


@settings(deadline=None)
@given(st.lists(st.text(alphabet="ab\x00ü", max_size=18), max_size=30))
def test_texts_have_one_hash_only_if_they_are_the_same(texts):
    hashes = text_hashes(pl.Series(texts, dtype=pl.String))
    assert len(set(hashes.tolist())) == len(set(texts))
    assert hashes.tolist() == [text_hashes(pl.Series([text]))[0] for text in texts]


@settings(deadline=None)
@given(
    st.lists(st.none() | st.text(alphabet="ab\x00ü", max_size=30), max_size=30), st.integers(0, 30)
)
def test_hashes_are_those_of_the_definition_word_by_word(texts, start):
    some = pl.Series(texts, dtype=pl.String)[start:]
    assert text_hashes(some).tolist() == [plainly(text or "") for text in some]


def plainly(text):
    """The hash of a text by its definition: its length, then its bytes by eights, each mix_bits in."""
    content = text.encode()
    words = [content[place : place + 8] for place in range(0, len(content), 8)]
    hashed = 0
    for word in (len(content), *(int.from_bytes(word, "little") for word in words)):
        hashed ^= word
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
            hashed = (hashed ^ (hashed >> shift)) * factor % 2**64
    return hashed


def test_a_column_that_says_few_things_often_has_the_same_hashes():
    texts = pl.Series(["a", None, "longer than eight", ""] * (SAMPLE + 1))
    assert is_repetitive(texts)
    assert text_hashes(texts).tolist() == text_hashes(texts[:4]).tolist() * (SAMPLE + 1)
