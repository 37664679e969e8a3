"""Let compiled code read the strings of a column in place, as Arrow's 16-byte views.

A view holds the length and up to 12 bytes, or the length and the address of the bytes. Compiled code can
so hash, compare and number the strings of a column without copying them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from features.kernel.numba_cache import compiled, compiled_in_place, inlined

INLINE = 12  # a string of up to so many bytes is stored in the view
NULL = 0xFFFFFFFFFFFFFFFF  # first word of the view of a null; no string is that long


@dataclass(frozen=True, kw_only=True)
class StringViews:
    """The strings of a column, in place; ``owner`` keeps the memory of the addresses alive."""

    words: npt.NDArray[np.uint64]  # (2 * n,): each view as two words
    addresses: npt.NDArray[np.uint64]  # of the buffers of longer strings
    owner: object

    @classmethod
    def of(cls, column: pl.Series) -> StringViews:
        """The views of a column of strings; a null differs from every string."""
        arrow: Any = column.rechunk().to_arrow(compat_level=pl.CompatLevel.newest())
        buffers = arrow.buffers()
        first, n = 2 * arrow.offset, len(arrow)
        words = np.empty(0, dtype=np.uint64)
        if n:
            words = np.frombuffer(buffers[1], dtype=np.uint64)[first : first + 2 * n]
        if column.null_count():
            words = words.copy()
            words[::2][column.is_null().to_numpy()] = np.uint64(NULL)
        words.flags.writeable = False  # one type for the compiler, whether copied or not
        addresses = np.array([buffer.address for buffer in buffers[2:]], dtype=np.uint64)
        return cls(words=words, addresses=addresses, owner=arrow)

    @classmethod
    def none(cls) -> StringViews:
        """The views of an empty column."""
        return cls.of(pl.Series([], dtype=pl.String))


def _load_word(typing_context, address):  # type: ignore[no-untyped-def]
    """The eight bytes at an address, aligned or not, as one word."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        word = ir.IntType(64)
        loaded = builder.load(builder.inttoptr(arguments[0], word.as_pointer()))
        loaded.align = 1
        return loaded

    return types.uint64(types.uint64), generate


_word_at: Any = intrinsic(_load_word)


@inlined
def is_null(words, row):  # type: ignore[no-untyped-def]
    """Whether the string of this row is null."""
    return words[2 * row] == np.uint64(NULL)


@inlined
def _bytes_at(words, addresses, row):  # type: ignore[no-untyped-def]
    place = words[2 * row + 1]
    return addresses[place & np.uint64(0xFFFFFFFF)] + (place >> np.uint64(32))


@compiled_in_place
def hash_of(words, addresses, row):  # type: ignore[no-untyped-def]
    """A hash of the bytes, for hash tables of this process only."""
    length = words[2 * row] & np.uint64(0xFFFFFFFF)
    mixed = words[2 * row] * np.uint64(0x9E3779B97F4A7C15)
    if length <= INLINE or is_null(words, row):
        mixed ^= words[2 * row + 1]
    else:
        start = _bytes_at(words, addresses, row)
        for offset in range(np.uint64(0), length - np.uint64(8), np.uint64(8)):
            mixed = (mixed ^ _word_at(start + offset)) * np.uint64(0xD6E8FEB86659FD93)
            mixed ^= mixed >> np.uint64(32)
        mixed ^= _word_at(start + length - np.uint64(8))
    mixed = (mixed ^ (mixed >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93)
    mixed = (mixed ^ (mixed >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93)
    return mixed ^ (mixed >> np.uint64(32))


@compiled_in_place
def equal(words, addresses, one, other):  # type: ignore[no-untyped-def]
    """Whether two rows hold the same string; a null equals a null."""
    if words[2 * one] != words[2 * other]:
        return False
    if words[2 * one + 1] == words[2 * other + 1]:
        return True
    length = words[2 * one] & np.uint64(0xFFFFFFFF)
    if length <= INLINE or is_null(words, one):
        return is_null(words, one)
    first, second = _bytes_at(words, addresses, one), _bytes_at(words, addresses, other)
    for offset in range(np.uint64(0), length - np.uint64(8), np.uint64(8)):
        if _word_at(first + offset) != _word_at(second + offset):
            return False
    last = length - np.uint64(8)
    return _word_at(first + last) == _word_at(second + last)


@compiled_in_place
def _byte(words, addresses, row, place):  # type: ignore[no-untyped-def]
    length = words[2 * row] & np.uint64(0xFFFFFFFF)
    if length <= INLINE:
        at = place + 4
        return (words[2 * row + at // 8] >> np.uint64(8 * (at % 8))) & np.uint64(0xFF)
    start = _bytes_at(words, addresses, row)
    last = np.int64(length) - 8
    if place <= last:
        return _word_at(start + np.uint64(place)) & np.uint64(0xFF)
    return (_word_at(start + np.uint64(last)) >> np.uint64(8 * (place - last))) & np.uint64(0xFF)


@compiled_in_place
def less(words, addresses, one, other):  # type: ignore[no-untyped-def]
    """Whether one row's string sorts before another's, byte by byte; a null sorts before all."""
    if is_null(words, one) or is_null(words, other):
        return is_null(words, one) and not is_null(words, other)
    first = np.int64(words[2 * one] & np.uint64(0xFFFFFFFF))
    second = np.int64(words[2 * other] & np.uint64(0xFFFFFFFF))
    for place in range(min(first, second)):
        a, b = _byte(words, addresses, one, place), _byte(words, addresses, other, place)
        if a != b:
            return a < b
    return first < second


def string_keys(views: StringViews) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """Two words that identify the string of each row; both are zero for a null.

    The words hold a string of up to 15 bytes itself, and 127 bits of hash of a longer one.

    >>> low, high = string_keys(StringViews.of(pl.Series(["a", None, "a"])))
    >>> low.tolist() == [97, 0, 97], high[1].item()
    (True, 0)
    """
    low, high = _keys(views.words, views.addresses)
    return _fixed(low), _fixed(high)


def _fixed(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    words.flags.writeable = False
    return words


@compiled
def _keys(words, addresses):  # type: ignore[no-untyped-def]
    n = len(words) // 2
    low, high = np.empty(n, dtype=np.uint64), np.empty(n, dtype=np.uint64)
    top = np.uint64(1) << np.uint64(63)
    for row in range(n):
        if is_null(words, row):
            low[row] = high[row] = 0
            continue
        length = words[2 * row] & np.uint64(0xFFFFFFFF)
        if length <= INLINE:
            first = (words[2 * row] >> np.uint64(32)) | (words[2 * row + 1] << np.uint64(32))
            rest = words[2 * row + 1] >> np.uint64(32)
        else:
            start = _bytes_at(words, addresses, row)
            first = _word_at(start)
            last = _word_at(start + length - np.uint64(8))
            rest = last >> (np.uint64(8) * (np.uint64(16) - length)) if length < 16 else last
        if length < 16:
            low[row] = first
            high[row] = (np.uint64(1) << np.uint64(62)) | (rest << np.uint64(4)) | length
            continue
        one, other = np.uint64(length), ~np.uint64(length)
        for offset in range(np.uint64(0), length - np.uint64(8), np.uint64(8)):
            word = _word_at(start + offset)
            one = (one ^ word) * np.uint64(0xD6E8FEB86659FD93)
            one ^= one >> np.uint64(32)
            other = (other ^ word) * np.uint64(0x9FB21C651E98DF25)
            other ^= other >> np.uint64(28)
        one, other = _finished(one ^ last), _finished(~other ^ last * np.uint64(0xA0761D6478BD642F))
        low[row], high[row] = one, other | top
    return low, high


@inlined
def _finished(mixed):  # type: ignore[no-untyped-def]
    mixed = (mixed ^ (mixed >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93)
    mixed = (mixed ^ (mixed >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93)
    return mixed ^ (mixed >> np.uint64(32))


def number_strings(views: StringViews) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Each row's number among the distinct strings, and the first row of each.

    >>> codes, rows = number_strings(StringViews.of(pl.Series(["b", "a", None, "b"])))
    >>> codes.tolist(), rows.tolist()
    ([0, 1, 2, 0], [0, 1, 2])
    """
    codes: npt.NDArray[np.int32]
    rows: npt.NDArray[np.int64]
    codes, rows = _numbered(views.words, views.addresses)
    return codes, rows


@compiled
def _numbered(words, addresses):  # type: ignore[no-untyped-def]
    n = len(words) // 2
    codes = np.empty(n, dtype=np.int32)
    rows = np.empty(16, dtype=np.int64)
    table = np.full(64, -1, dtype=np.int32)
    # A file holds each distinct string once, so most rows have the view of an earlier row.
    views = np.zeros(512, dtype=np.uint64)
    code_of_view = np.full(256, -1, dtype=np.int32)
    found = 0
    for row in range(n):
        first, second = words[2 * row], words[2 * row + 1]
        slot = np.int64(
            ((first ^ (second * np.uint64(0x9E3779B97F4A7C15))) * np.uint64(0xD6E8FEB86659FD93))
            >> np.uint64(56)
        )
        if code_of_view[slot] >= 0 and views[2 * slot] == first and views[2 * slot + 1] == second:
            codes[row] = code_of_view[slot]
            continue
        place = hash_of(words, addresses, row) & np.uint64(len(table) - 1)
        while table[place] >= 0 and not equal(words, addresses, rows[table[place]], row):
            place = (place + np.uint64(1)) & np.uint64(len(table) - 1)
        if table[place] < 0:
            if found == len(rows):
                more = np.empty(2 * found, dtype=np.int64)
                more[:found] = rows
                rows = more
            table[place] = found
            rows[found] = row
            found += 1
        codes[row] = table[place]
        views[2 * slot], views[2 * slot + 1], code_of_view[slot] = first, second, table[place]
        if 2 * found > len(table):
            table = np.full(4 * len(table), -1, dtype=np.int32)
            for code in range(found):
                place = hash_of(words, addresses, rows[code]) & np.uint64(len(table) - 1)
                while table[place] >= 0:
                    place = (place + np.uint64(1)) & np.uint64(len(table) - 1)
                table[place] = code
    return codes, rows[:found].copy()
