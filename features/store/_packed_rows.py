"""Pack the values of one entity and view into bytes, and unpack them.

A row is Feast's own protobuf ``RepeatedValue`` with one value for each field, so every type of Feast is
read back unchanged. Two messages of repeated values, one after the other, are one message: many rows
are parsed at once. Columns of numbers and texts are written as the same bytes, without an object for
each value.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import polars as pl
from feast.infra.key_encoding_utils import serialize_entity_key_prefix
from feast.protos.feast.types.Value_pb2 import RepeatedValue, Value, ValueType


class PackedRowError(Exception):
    """A table cannot be packed."""


def pack_values(values: Iterable[Value]) -> bytes:
    """Pack the values of one row.

    >>> unpack_values([pack_values([Value(double_val=2.0), Value()])])[0].double_val
    2.0
    """
    return bytes(RepeatedValue(val=values).SerializeToString())


def unpack_values(rows: Sequence[bytes]) -> Sequence[Value]:
    """The values of many rows, one after the other."""
    parsed: Sequence[Value] = RepeatedValue.FromString(b"".join(rows)).val
    return parsed


UNKNOWN = pack_values([Value()])
NUMBER = pack_values([Value(double_val=1.0)])
TAG_BYTES = len(NUMBER) - 8
"""The bytes before the eight bytes of a number."""
ROWS_AT_ONCE = 8192


def pack_table(table: pl.DataFrame) -> Iterator[bytes]:
    """Rows of a table, each with its columns in order; null and NaN are unknown.

    Raises:
        PackedRowError: a column is neither Float64 nor String.
    """
    kinds = [(list(names), dtype) for names, dtype in _runs(table)]
    for part in table.iter_slices(ROWS_AT_ONCE):
        blocks = [
            _pack_numbers(part.select(names))
            if dtype == pl.Float64
            else _pack_words(part[names[0]])
            for names, dtype in kinds
        ]
        if len(blocks) == 1:
            yield from blocks[0]
        else:
            yield from map(b"".join, zip(*blocks, strict=True))


def pack_keys(table: pl.DataFrame) -> list[bytes]:
    """The bytes of the entity key of each row, in Feast's serialisation (version 3).

    Raises:
        PackedRowError: a column has a type that cannot be a key, or holds null.
    """
    columns = []
    for name in sorted(table.columns):
        column = table[name]
        if column.dtype not in KEYS or column.null_count():
            raise PackedRowError(
                f"The key {name} is {column.dtype} with {column.null_count()} unknown; a key is "
                f"one of {', '.join(map(str, KEYS))} and always known."
            )
        number, form = KEYS[column.dtype]
        values = (
            [value.encode() for value in column]
            if form is None
            else [struct.pack(form, value) for value in column]
        )
        columns.append([struct.pack("<II", number, len(value)) + value for value in values])
    start = bytes(serialize_entity_key_prefix(table.columns, entity_key_serialization_version=3))
    return [start + b"".join(parts) for parts in zip(*columns, strict=True)]


KEYS: dict[pl.DataType | type[pl.DataType], tuple[int, str | None]] = {
    pl.String: (ValueType.STRING, None),
    pl.Int64: (ValueType.INT64, "<q"),
    pl.Int32: (ValueType.INT32, "<i"),
}


def _runs(table: pl.DataFrame) -> Iterator[tuple[list[str], pl.DataType]]:
    """Groups of neighbouring number columns; each text column is a group of its own."""
    numbers: list[str] = []
    for name, dtype in table.schema.items():
        if dtype == pl.Float64:
            numbers.append(name)
            continue
        if dtype != pl.String:
            raise PackedRowError(
                f"The column {name} is {dtype}; numbers are Float64 and words "
                f"String. Cast it, or write it through Feast."
            )
        if numbers:
            yield numbers, pl.Float64()
            numbers = []
        yield [name], dtype
    if numbers:
        yield numbers, pl.Float64()


def _pack_numbers(part: pl.DataFrame) -> list[bytes]:
    """Pack all cells at once, then cut unknown ones to their two bytes."""
    numbers = part.to_numpy(order="c").astype("<f8", copy=False)
    rows, width = numbers.shape
    cells = np.empty((rows, width, len(NUMBER)), np.uint8)
    cells[:, :, :TAG_BYTES] = np.frombuffer(NUMBER[:TAG_BYTES], np.uint8)
    cells[:, :, TAG_BYTES:] = numbers.view(np.uint8).reshape(rows, width, 8)
    unknown = np.isnan(numbers)
    ends = np.cumsum(width * len(NUMBER) - unknown.sum(axis=1) * (len(NUMBER) - len(UNKNOWN)))
    if unknown.any():
        cells[unknown, : len(UNKNOWN)] = np.frombuffer(UNKNOWN, np.uint8)
        kept = np.ones(cells.shape, bool)
        kept[unknown, len(UNKNOWN) :] = False
        packed = cells[kept].tobytes()
    else:
        packed = cells.tobytes()
    starts = [0, *ends.tolist()]
    return [packed[start:end] for start, end in pairwise(starts)]


def _pack_words(column: pl.Series) -> list[bytes]:
    packed = {
        word: UNKNOWN if word is None else pack_values([Value(string_val=word)])
        for word in column.unique()
    }
    return [packed[word] for word in column]
