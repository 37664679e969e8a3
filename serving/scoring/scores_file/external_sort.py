"""Sort rows on disk: they come in parts and leave in order, whatever their number.

::

    part ─► in order ─► on disk ┐
    part ─► in order ─► on disk ├─► order of all keys ─► a few rows at once, some of each part
    part ─► in order ─► on disk ┘

In memory are 16 bytes a row: its key and its place. The file on disk has no name, so nothing of it
is left however the process ends.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import TracebackType

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

BLOCK = 256
"""Rows that are read from disk together: of smaller blocks there are more, of larger ones more is
read for nothing."""


class ExternalSort:
    """Rows by a falling key; unknown (NaN) last, and those of equal keys as they came."""

    def __init__(self, folder: Path) -> None:
        """``folder`` lies where the disk has room for the rows."""
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - __exit__ closes it
        self._schema: pa.Schema | None = None
        self._keys: list[NDArray[np.float64]] = []
        self._blocks: list[list[tuple[int, int]]] = []  # per part: where each begins, its length
        self._end = 0

    def __enter__(self) -> ExternalSort:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, rows: pl.DataFrame, key: NDArray[np.float64]) -> None:
        """Take a part; all have the same columns."""
        order = _falling(key)
        table = rows[order].to_arrow(compat_level=pl.CompatLevel.oldest())
        self._schema = table.schema
        blocks = []
        for batch in table.combine_chunks().to_batches(max_chunksize=BLOCK):
            size = self._file.write(batch.serialize())
            blocks.append((self._end, size))
            self._end += size
        self._keys.append(key[order])
        self._blocks.append(blocks)

    def parts(self, rows: int) -> Iterator[pa.Table]:
        """All rows in order, ``rows`` at a time. Can be called once."""
        if self._schema is None:
            return
        self._file.flush()
        first = np.cumsum([0, *(len(key) for key in self._keys)])
        keys, self._keys = np.concatenate(self._keys), []
        order = _falling(keys)
        del keys
        for start in range(0, len(order), rows):
            wanted = order[start : start + rows]  # of one part they lie side by side
            by_part = np.argsort(wanted)
            came = wanted[by_part]
            edges = np.searchsorted(came, first)
            batches = [
                batch
                for part, (a, b) in enumerate(pairwise(edges))
                if a < b
                for batch in self._read(
                    part, int(came[a] - first[part]), int(came[b - 1] - first[part]) + 1
                )
            ]
            back = np.empty(len(by_part), np.int64)
            back[by_part] = np.arange(len(by_part))
            # not pa.array: it would import pandas, for half a second
            yield pa.Table.from_batches(batches, self._schema).take(pl.Series(back).to_arrow())

    def _read(self, part: int, start: int, stop: int) -> Iterator[pa.RecordBatch]:
        for block in range(start // BLOCK, (stop - 1) // BLOCK + 1):
            at, size = self._blocks[part][block]
            content = pa.py_buffer(os.pread(self._file.fileno(), size, at))
            batch = pa.ipc.read_record_batch(content, self._schema)
            low, high = max(start - block * BLOCK, 0), min(stop - block * BLOCK, len(batch))
            yield batch.slice(low, high - low)


def _falling(key: NDArray[np.float64]) -> NDArray[np.int64]:
    """The order of falling keys, unknown ones last."""
    return np.argsort(-key, kind="stable")
