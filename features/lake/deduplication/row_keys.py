"""Compute the keys of events: 64 bits of a hash of the id, and 64 of the content.

A key only says whether and where an event may exist: two ids are compared as ids. Keys are stored, so
they must not depend on a library, process or machine. They do not withstand an adversary, who could
hide no events but his own.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from features.events.text_buffers import is_repetitive, text_buffers

Words = npt.NDArray[np.uint64]

ID_KEY, CONTENT_KEY = "__id_key", "__content_key"
TEXTS = ("account_id", "user_id", "kind", "properties")
NUMBERS = ("occurred_at", "event_count", "user_count")
NO_QUANTITY = np.uint64(0x7FF8_0000_0000_0001)  # the bits of a NaN that no number has


def with_keys(events: pl.DataFrame) -> pl.DataFrame:
    """The events, which all have an id, with the keys of their id and of their content."""
    content = np.full(events.height, 1, dtype=np.uint64)
    for name in TEXTS:
        content = mix_bits(content ^ text_hashes(events[name]))
    for name in NUMBERS:
        content = mix_bits(content ^ events[name].to_physical().to_numpy().view(np.uint64))
    quantity = events["quantity"]
    bits = quantity.fill_null(0.0).to_numpy().view(np.uint64)
    if quantity.null_count():
        bits = np.where(quantity.is_null().to_numpy(), NO_QUANTITY, bits)
    return events.with_columns(
        pl.Series(ID_KEY, text_hashes(events["event_id"]), dtype=pl.UInt64),
        pl.Series(CONTENT_KEY, mix_bits(content ^ bits), dtype=pl.UInt64),
    )


def text_hashes(texts: pl.Series) -> Words:
    """A hash of 64 bits of each text; null counts as empty.

    >>> hex(text_hashes(pl.Series(["search"]))[0])
    '0x5b743426ffc254f5'
    """
    if is_repetitive(texts):
        different = texts.drop_nulls().unique()
        codes = texts.cast(pl.Enum(different)).to_physical()
        hashes: Words = np.append(_hashes(different), np.uint64(0))
        return hashes.take(codes.fill_null(len(different)).to_numpy())
    return _hashes(texts)


def _hashes(texts: pl.Series) -> Words:
    starts, content = text_buffers(texts.fill_null(""))
    lengths = np.diff(starts)
    hashed = mix_bits(lengths.astype(np.uint64))
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
            word &= TAIL_MASKS[np.minimum(left, 8)]
        hashed[rows] = mix_bits(hashed[rows] ^ word)
    return hashed


def mix_bits(values: Words) -> Words:
    """The finaliser of splitmix64 (Steele, Lea and Flood, 2014): each bit changes all others."""
    mixing = values >> np.uint64(30)
    mixing ^= values
    mixing *= np.uint64(0xBF58476D1CE4E5B9)
    shifted = mixing >> np.uint64(27)
    mixing ^= shifted
    mixing *= np.uint64(0x94D049BB133111EB)
    np.right_shift(mixing, np.uint64(31), out=shifted)
    mixing ^= shifted
    return mixing


TAIL_MASKS = np.array([(1 << (8 * length)) - 1 for length in range(9)], dtype=np.uint64)
"""By the number of bytes that are left of a text: the bits of a word that belong to it."""
