"""Hold the events of a file, on disk if there are many, until all of them are read.

Whether an event is a duplicate depends on all events of its file with the same id. So a file is first
read to its end, piece by piece. Each piece is written to disk, with its keys in the order of their
ids. Then the keys are read in buckets, where one bucket holds all keys of an id, and then the pieces.
A small file stays in memory. Memory use depends on the size of a piece, not of the file.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from features.lake.deduplication.ids import OWN
from features.lake.deduplication.row_keys import CONTENT_KEY, ID_KEY, Words

SPOOL = ".spool"
MOST_IN_MEMORY = 300_000
"""Up to so many events of a file stay in memory; with more, all are on disk."""

BUCKET_EVENTS = 300_000
"""About so many keys are in a bucket."""

LINES = 4
"""Numbers stored of each key: id, content, ``recorded_at``, row with ``OWN``."""

KEY_BYTES = 8 * LINES

ROW = "__row"
"""Index of the row's event within its file, from 0."""


@dataclass(frozen=True, kw_only=True)
class EventKeys:
    """Keys of events in the order of their ids; ``recorded`` and ``rows`` decide between equal ones."""

    ids: Words
    contents: Words
    recorded: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    own: npt.NDArray[np.bool_]


class Spool:
    """The events of one file, with their keys and ``OWN``, until all are read."""

    def __init__(
        self,
        folder: Path,
        *,
        most_in_memory: int = MOST_IN_MEMORY,
        bucket_events: int = BUCKET_EVENTS,
    ) -> None:
        self.rows = 0
        self._folder = folder
        self._most_in_memory = most_in_memory
        self._bucket_events = bucket_events
        self._waiting: list[pl.DataFrame] = []
        self._pieces = 0

    def add(self, events: pl.DataFrame) -> None:
        """Add the next events of the file."""
        if events.is_empty():
            return
        numbered = events.with_columns(
            pl.int_range(self.rows, self.rows + events.height, dtype=pl.Int64).alias(ROW)
        )
        self.rows += events.height
        self._waiting.append(numbered)
        if self.rows > self._most_in_memory:
            for piece in self._waiting:
                self._put_down(piece)
            self._waiting = []

    def pieces(self) -> Iterator[pl.DataFrame]:
        """The events in the order of the file, with ``ROW``."""
        for number in range(self._pieces):
            yield _mapped(self._folder / f"{number}.arrow")
        yield from self._waiting

    def buckets(self) -> Iterator[EventKeys]:
        """The keys of all events; those of one id are in one bucket."""
        waiting = [_sorted_keys(piece) for piece in self._waiting]
        kept = [self._folder / f"{number}.keys" for number in range(self._pieces)]
        many = max(1, -(-self.rows // self._bucket_events))
        edges = np.array([bucket * 2**64 // many for bucket in range(1, many)], dtype=np.uint64)
        waiting_cuts = [_cuts(keys[0], edges) for keys in waiting]
        kept_cuts = [_cuts(_open(path)[0], edges) for path in kept]
        for bucket in range(many):
            lines = np.concatenate(
                [
                    np.empty((LINES, 0), "<u8"),
                    *(
                        keys[:, cuts[bucket] : cuts[bucket + 1]]
                        for keys, cuts in zip(waiting, waiting_cuts, strict=True)
                    ),
                    *(
                        _part_of(path, cuts[bucket], cuts[bucket + 1])
                        for path, cuts in zip(kept, kept_cuts, strict=True)
                    ),
                ],
                axis=1,
            )
            ids, contents, recorded, places = _by_id(list(lines))
            yield EventKeys(
                ids=ids,
                contents=contents,
                recorded=recorded.view(np.int64),
                rows=(places >> np.uint64(1)).view(np.int64),
                own=(places & np.uint64(1)).astype(np.bool_),
            )

    def _put_down(self, piece: pl.DataFrame) -> None:
        if not self._pieces:
            self._folder.mkdir(parents=True)
        piece.write_ipc(self._folder / f"{self._pieces}.arrow")
        _sorted_keys(piece).tofile(self._folder / f"{self._pieces}.keys")
        self._pieces += 1


@contextmanager
def open_spool(lake_folder: Path, *, most_in_memory: int = MOST_IN_MEMORY) -> Iterator[Spool]:
    """A spool below the folder of a lake. It is removed afterwards; after a kill, by the next one."""
    folder = lake_folder / SPOOL
    clear_spool(lake_folder)
    try:
        yield Spool(folder, most_in_memory=most_in_memory)
    finally:
        clear_spool(lake_folder)


def clear_spool(lake_folder: Path) -> None:
    """Remove the spool that a killed process left."""
    if (lake_folder / SPOOL).exists():
        shutil.rmtree(lake_folder / SPOOL)


def _sorted_keys(piece: pl.DataFrame) -> Words:
    """Id, content, ``recorded_at`` and row of each event, in the order of the ids."""
    place = (pl.col(ROW).cast(pl.UInt64) * 2 + pl.col(OWN).cast(pl.UInt64)).alias("place")
    columns = piece.select(ID_KEY, CONTENT_KEY, pl.col("recorded_at").to_physical(), place)
    return _by_id([column.to_numpy().view("<u8") for column in columns])


def _by_id(lines: list[Words]) -> Words:
    """Lines of keys, sorted by the first line."""
    order = pl.Series(lines[0]).arg_sort().to_numpy()
    ordered: Words = np.empty((len(lines), len(order)), dtype="<u8")
    for line, values in zip(ordered, lines, strict=True):
        np.take(values, order, out=line)
    return ordered


def _mapped(path: Path) -> pl.DataFrame:
    """A piece, mapped from disk: columns that are not used are not read."""
    with pa.memory_map(str(path)) as source:
        return pl.DataFrame(pa.ipc.open_file(source).read_all())


def _cuts(ids: Words, edges: Words) -> list[int]:
    """The index at which each bucket begins, and the end of the last."""
    return [0, *np.searchsorted(ids, edges).tolist(), len(ids)]


def _open(path: Path) -> Words:
    return np.memmap(path, dtype="<u8", mode="r", shape=(LINES, path.stat().st_size // KEY_BYTES))


def _part_of(path: Path, start: int, end: int) -> Words:
    """A range of the keys of a file, copied, because mapped pages would stay in memory."""
    return np.array(_open(path)[:, start:end])
