"""A packed table has the bytes that Feast's own messages have, and Feast's own keys."""

from __future__ import annotations

import math

import polars as pl
import pytest
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from hypothesis import given
from hypothesis import strategies as st

from features.store._packed_rows import (
    ROWS_AT_ONCE,
    PackedRowError,
    pack_keys,
    pack_table,
    pack_values,
    unpack_values,
)

numbers = st.none() | st.floats() | st.sampled_from([0.0, -0.0, 1.0])
words = st.none() | st.text(max_size=200)


def value(cell: float | str | None) -> Value:
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return Value()
    return Value(string_val=cell) if isinstance(cell, str) else Value(double_val=cell)


@given(rows=st.lists(st.tuples(numbers, numbers, words, numbers, words), max_size=8))
def test_a_table_is_packed_as_its_values_would_be(
    rows: list[tuple[float | str | None, ...]],
) -> None:
    types = {"a": pl.Float64, "b": pl.Float64, "c": pl.String, "d": pl.Float64, "e": pl.String}
    table = pl.DataFrame(rows, schema=types, orient="row")
    assert list(pack_table(table)) == [pack_values(map(value, row)) for row in rows]


def test_a_long_table_is_packed_in_parts() -> None:
    count = 2 * ROWS_AT_ONCE + 1
    table = pl.DataFrame({"n": [None if n % 3 == 0 else float(n) for n in range(count)]})
    cells = unpack_values(list(pack_table(table)))
    assert [c.double_val if c.WhichOneof("val") else None for c in cells] == table["n"].to_list()


@given(
    keys=st.lists(
        st.tuples(
            st.text(max_size=20), st.integers(-(2**63), 2**63 - 1), st.integers(-(2**31), 2**31 - 1)
        ),
        max_size=5,
    )
)
def test_a_key_has_the_bytes_that_feast_gives_it(keys: list[tuple[str, int, int]]) -> None:
    table = pl.DataFrame(
        keys, schema={"word": pl.String, "big": pl.Int64, "little": pl.Int32}, orient="row"
    )
    assert pack_keys(table) == [
        serialize_entity_key(
            EntityKey(
                join_keys=["word", "big", "little"],
                entity_values=[
                    Value(string_val=word),
                    Value(int64_val=big),
                    Value(int32_val=little),
                ],
            ),
            3,
        )
        for word, big, little in keys
    ]


def test_a_column_that_is_neither_number_nor_word_is_refused() -> None:
    with pytest.raises(PackedRowError, match="column n is Int64; numbers are Float64"):
        list(pack_table(pl.DataFrame({"n": [1]})))


@pytest.mark.parametrize(
    ("column", "message"),
    [(pl.Series("k", [1.5]), "key k is Float64"), (pl.Series("k", ["a", None]), "with 1 unknown")],
)
def test_what_can_be_no_key_is_refused(column: pl.Series, message: str) -> None:
    with pytest.raises(PackedRowError, match=message):
        pack_keys(column.to_frame())
