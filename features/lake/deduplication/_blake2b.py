"""This module is about BLAKE2b of many short texts at once: what ``hashlib`` gives, compiled.

One call of ``hashlib`` a row costs more in Python objects than in hashing. Few texts still go that
way, so that nobody waits for the compiler; both give the same (RFC 7693).
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from features.events.text_buffers import text_buffers
from features.kernel.numba_cache import compiled, inlined

FEW = 5_000
"""So many texts are hashed one by one."""

BLOCK = 128  # bytes
DIGEST = 16  # bytes

HEX = np.frombuffer(bytes(range(256)).hex().encode(), dtype=np.uint16)
"""Each byte as two letters."""

START = np.array(
    [
        0x6A09E667F3BCC908,
        0xBB67AE8584CAA73B,
        0x3C6EF372FE94F82B,
        0xA54FF53A5F1D36F1,
        0x510E527FADE682D1,
        0x9B05688C2B3E6C1F,
        0x1F83D9ABFB41BD6B,
        0x5BE0CD19137E2179,
    ],
    dtype=np.uint64,
)

ORDER = np.array(
    [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
        [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
        [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
        [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
        [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
        [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
        [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
        [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
        [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
    ],
    dtype=np.uint8,
)
"""Which word of the block goes where in each of the twelve rounds."""


def hex_digests(texts: pl.Series, *, few: int = FEW) -> pl.Series:
    """The BLAKE2b of each text, of 16 bytes, in hex.

    >>> hex_digests(pl.Series(["abc"])).to_list()
    ['cf4ab791c62b8d2b2109c90275287816']
    """
    if len(texts) <= few:
        hashed = [
            hashlib.blake2b(text.encode(), digest_size=DIGEST).hexdigest()
            for text in texts.to_list()
        ]
        return pl.Series(texts.name, hashed, dtype=pl.String)
    offsets, content = text_buffers(texts)
    digests: npt.NDArray[np.uint64] = _digests(offsets, content)
    letters = HEX[digests.view(np.uint8).ravel()].view(np.uint8)
    ends = np.arange(len(texts) + 1, dtype=np.int64) * 2 * DIGEST
    return pl.Series(
        texts.name,
        pa.LargeStringArray.from_buffers(len(texts), pa.py_buffer(ends), pa.py_buffer(letters)),
        dtype=pl.String,
    )


@inlined
def _turn(word, bits):  # type: ignore[no-untyped-def]
    return (word >> np.uint64(bits)) | (word << np.uint64(64 - bits))


@inlined
def _mix(a, b, c, d, x, y):  # type: ignore[no-untyped-def]
    a = a + b + x
    d = _turn(d ^ a, 32)
    c = c + d
    b = _turn(b ^ c, 24)
    a = a + b + y
    d = _turn(d ^ a, 16)
    c = c + d
    return a, _turn(b ^ c, 63), c, d


@compiled
def _compress(state, block, length, is_last):  # type: ignore[no-untyped-def]
    a0, a1, a2, a3 = state[0], state[1], state[2], state[3]
    b0, b1, b2, b3 = state[4], state[5], state[6], state[7]
    c0, c1, c2, c3 = START[0], START[1], START[2], START[3]
    d0, d1, d2, d3 = START[4] ^ np.uint64(length), START[5], START[6], START[7]
    if is_last:
        d2 = ~d2
    for turn in range(12):
        at = ORDER[turn]
        a0, b0, c0, d0 = _mix(a0, b0, c0, d0, block[at[0]], block[at[1]])
        a1, b1, c1, d1 = _mix(a1, b1, c1, d1, block[at[2]], block[at[3]])
        a2, b2, c2, d2 = _mix(a2, b2, c2, d2, block[at[4]], block[at[5]])
        a3, b3, c3, d3 = _mix(a3, b3, c3, d3, block[at[6]], block[at[7]])
        a0, b1, c2, d3 = _mix(a0, b1, c2, d3, block[at[8]], block[at[9]])
        a1, b2, c3, d0 = _mix(a1, b2, c3, d0, block[at[10]], block[at[11]])
        a2, b3, c0, d1 = _mix(a2, b3, c0, d1, block[at[12]], block[at[13]])
        a3, b0, c1, d2 = _mix(a3, b0, c1, d2, block[at[14]], block[at[15]])
    state[0] ^= a0 ^ c0
    state[1] ^= a1 ^ c1
    state[2] ^= a2 ^ c2
    state[3] ^= a3 ^ c3
    state[4] ^= b0 ^ d0
    state[5] ^= b1 ^ d1
    state[6] ^= b2 ^ d2
    state[7] ^= b3 ^ d3


@compiled
def _digests(offsets, content):  # type: ignore[no-untyped-def]
    rows = len(offsets) - 1
    digests = np.empty((rows, 2), dtype=np.uint64)
    block = np.zeros(16, dtype=np.uint64)
    letters = block.view(np.uint8)
    state = np.empty(8, dtype=np.uint64)
    for row in range(rows):
        start, end = offsets[row], offsets[row + 1]
        state[:] = START
        state[0] ^= np.uint64(0x01010000 ^ DIGEST)
        done = start
        while end - done > BLOCK:
            letters[:] = content[done : done + BLOCK]
            done += BLOCK
            _compress(state, block, done - start, False)
        rest = end - done
        for place in range(rest):
            letters[place] = content[done + place]
        letters[rest:] = 0
        _compress(state, block, end - start, True)
        digests[row, 0], digests[row, 1] = state[0], state[1]
    return digests
