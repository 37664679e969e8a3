"""This module is about keys of events: 64 bits of the id and 64 of the content, to find them by.

A key says where to look, or that there is nothing to look for; whether two ids are the same is
decided by the ids. Keys are stored, so they depend on no library, process or machine. They are not
proof against an adversary, who could only hide events of his own.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from features.events.text_buffers import comes_again, text_buffers
from features.kernel.numba_cache import compiled, inlined

Words = npt.NDArray[np.uint64]

ID_KEY, CONTENT_KEY = "__id_key", "__content_key"
TEXTS = ("account_id", "user_id", "kind", "properties")
NUMBERS = ("occurred_at", "event_count", "user_count")
FEW = 5_000
"""So few texts are hashed without the compiler, so that nobody waits for it."""

NO_QUANTITY = np.uint64(0x7FF8_0000_0000_0001)  # bits of no number


def with_keys(events: pl.DataFrame) -> pl.DataFrame:
    """The events with the keys of their id and of their content; each has an id."""
    content = np.full(events.height, 1, dtype=np.uint64)
    for name in TEXTS:
        content = _with(content, text_hashes(events[name]))
    for name in NUMBERS:
        content = _with(content, events[name].to_physical().to_numpy().view(np.uint64))
    quantity = events["quantity"]
    bits = quantity.fill_null(0.0).to_numpy().view(np.uint64)
    if quantity.null_count():
        bits = np.where(quantity.is_null().to_numpy(), NO_QUANTITY, bits)
    return events.with_columns(
        pl.Series(ID_KEY, text_hashes(events["event_id"]), dtype=pl.UInt64),
        pl.Series(CONTENT_KEY, _with(content, bits), dtype=pl.UInt64),
    )


def text_hashes(texts: pl.Series, *, few: int = FEW) -> Words:
    """64 bits of each text; a missing one counts as empty.

    >>> hex(text_hashes(pl.Series(["search"]))[0])
    '0x5b743426ffc254f5'
    """
    if comes_again(texts):
        different = texts.drop_nulls().unique()
        codes = texts.cast(pl.Enum(different)).to_physical()
        hashes: Words = np.append(_hashes(different, few), np.uint64(0))
        return hashes.take(codes.fill_null(len(different)).to_numpy())
    return _hashes(texts, few)


def _hashes(texts: pl.Series, few: int) -> Words:
    starts, content = text_buffers(texts.fill_null(""))
    if len(texts) > few:
        compiled: Words = _hash_each(starts, content)
        return compiled
    lengths = np.diff(starts)
    hashed = mixed(lengths.astype(np.uint64))
    if not len(content):
        return hashed
    padded = np.concatenate([content, np.zeros(8, dtype=np.uint8)])
    words: Words = np.ndarray(len(content) + 1, dtype="<u8", buffer=padded, strides=(1,))
    rows: npt.NDArray[np.intp] | slice = slice(None)
    for place in range(0, int(lengths.max()), 8):
        left = lengths[rows] - place
        if left.min() <= 0:
            longer = (
                np.flatnonzero(lengths > place) if isinstance(rows, slice) else (rows[left > 0])
            )
            rows, left = longer, lengths[longer] - place
        word = words[starts[:-1][rows] + place]
        if left.min() < 8:
            word &= KEPT[np.minimum(left, 8)]
        hashed[rows] = mixed(hashed[rows] ^ word)
    return hashed


def mixed(values: Words) -> Words:
    """The finaliser of splitmix64 (Steele, Lea and Flood, 2014): every bit moves every other."""
    mixing = values >> np.uint64(30)
    mixing ^= values
    mixing *= np.uint64(0xBF58476D1CE4E5B9)
    shifted = mixing >> np.uint64(27)
    mixing ^= shifted
    mixing *= np.uint64(0x94D049BB133111EB)
    np.right_shift(mixing, np.uint64(31), out=shifted)
    mixing ^= shifted
    return mixing


def _with(content: Words, values: Words) -> Words:
    """The keys of contents with one more number each."""
    if len(content) <= FEW:
        return mixed(content ^ values)
    more: Words = _mix_each(content, values)
    return more


KEPT = np.array([(1 << (8 * length)) - 1 for length in range(9)], dtype=np.uint64)
"""The bits of a word that belong to a text with so many letters left."""


@inlined
def _mixed(mixing):  # type: ignore[no-untyped-def]
    mixing = (mixing ^ (mixing >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixing = (mixing ^ (mixing >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixing ^ (mixing >> np.uint64(31))


@compiled
def _mix_each(content, values):  # type: ignore[no-untyped-def]
    more = np.empty(len(content), dtype=np.uint64)
    for row in range(len(content)):
        more[row] = _mixed(content[row] ^ values[row])
    return more


@compiled
def _hash_each(starts, content):  # type: ignore[no-untyped-def]
    hashes = np.empty(len(starts) - 1, dtype=np.uint64)
    for row in range(len(hashes)):
        start, end = starts[row], starts[row + 1]
        word = np.uint64(end - start)
        hashed = np.uint64(0)
        place = start
        while True:
            hashed = _mixed(hashed ^ word)
            if place >= end:
                break
            word = np.uint64(0)
            for letter in range(min(end - place, 8)):
                word |= np.uint64(content[place + letter]) << np.uint64(8 * letter)
            place += 8
        hashes[row] = hashed
    return hashes
