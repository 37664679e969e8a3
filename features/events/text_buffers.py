"""Read a column of texts as bytes and offsets, without copying it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl


def text_buffers(texts: pl.Series) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """The offsets at which the texts begin, with the end of the last, and the bytes of all texts."""
    arrow = texts.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    _, starts, content = arrow.buffers()
    offsets = np.frombuffer(starts, dtype=np.int64)[arrow.offset : arrow.offset + len(arrow) + 1]
    return offsets, np.frombuffer(content or b"", dtype=np.uint8)


SAMPLE = 2_000  # values that are looked at to tell whether a column is repetitive


def is_repetitive(column: pl.Series) -> bool:
    """Whether most values of a long column occur more than once, by its first ``SAMPLE`` values."""
    return len(column) > 2 * SAMPLE and column.head(SAMPLE).n_unique() < SAMPLE // 2
