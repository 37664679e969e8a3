"""The compiled hash is that of ``hashlib``, at every length around the edge of a block."""

from __future__ import annotations

import hashlib

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from features.lake.deduplication._blake2b import BLOCK, hex_digests


def plainly(texts):
    return [hashlib.blake2b(text.encode(), digest_size=16).hexdigest() for text in texts]


def test_every_length_around_the_edges_of_blocks():
    texts = [
        "x" * length
        for edge in (0, BLOCK, 2 * BLOCK, 8 * BLOCK)
        for length in range(max(0, edge - 3), edge + 4)
    ]
    assert hex_digests(pl.Series(texts), few=0).to_list() == plainly(texts)


def test_a_digest_that_ends_in_zeros_keeps_them():
    texts = [str(number) for number in range(2_000)]
    assert any(digest.endswith("00") for digest in plainly(texts))
    assert hex_digests(pl.Series(texts), few=0).to_list() == plainly(texts)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(alphabet=st.characters(exclude_categories=["Cs"]))))
def test_any_texts_one_by_one_or_all_at_once(texts):
    column = pl.Series(texts, dtype=pl.String)
    assert hex_digests(column, few=0).to_list() == hex_digests(column).to_list() == plainly(texts)


def test_a_part_of_a_column_is_hashed_as_that_part():
    column = pl.Series([f"text {n}" * n for n in range(300)])
    assert hex_digests(column[7:200], few=0).to_list() == plainly(column[7:200])
