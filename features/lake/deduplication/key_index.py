"""The key index: for every part of the lake, the sorted keys of its events.

The file ``000001-0.keys`` belongs to ``000001-0.parquet``. It holds the keys of the ids in rising
order and, in the same order, the keys of the contents: 16 bytes an event. A batch searches these
files to find out which ids exist, without reading events. A missing index is made from its part, so
an index may be deleted.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from features.events.schema import EVENT_SCHEMA
from features.lake.deduplication.row_keys import CONTENT_KEY, ID_KEY, Words, with_keys

KEYS_SUFFIX = ".keys"
UNKNOWN, SAME, OTHER = 0, 1, 2
"""State of a key: not in the lake, there with the same content, there with another content."""


@dataclass(frozen=True, kw_only=True)
class KeyMatches:
    """Which keys are in the lake."""

    states: npt.NDArray[np.uint8]  # UNKNOWN, SAME or OTHER; OTHER wins over SAME
    parts: tuple[str, ...]  # the parts that hold any of them


def keys_path(part: Path) -> Path:
    """The key index of a part."""
    return part.with_suffix(KEYS_SUFFIX)


def write_keys(part: Path, keys: pl.DataFrame) -> None:
    """Write the index of a part from the keys of its events, and wait until it is on disk."""
    order = keys[ID_KEY].arg_sort()
    ids, contents = (
        keys[name].rechunk().gather(order).to_numpy() for name in (ID_KEY, CONTENT_KEY)
    )
    path = keys_path(part)
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as handle:
        ids.astype("<u8").tofile(handle)
        contents.astype("<u8").tofile(handle)
        handle.flush()
        os.fsync(handle.fileno())
    temporary.replace(path)


def make_keys(part: Path) -> None:
    """Write the index of a part from its events, a slice at a time."""
    kept = [
        with_keys(slice_).select(ID_KEY, CONTENT_KEY)
        for slice_ in pl.scan_parquet(part).select(*EVENT_SCHEMA).collect_batches()
    ]
    write_keys(
        part,
        pl.concat(kept)
        if kept
        else pl.DataFrame(schema={ID_KEY: pl.UInt64, CONTENT_KEY: pl.UInt64}),
    )


def look_up_keys(parts: Iterable[Path], ids: Words, contents: Words) -> KeyMatches:
    """Search the parts for keys, which are given in rising order of ``ids``."""
    states = np.zeros(len(ids), dtype=np.uint8)
    holders = []
    for part in parts if len(ids) else ():
        path = keys_path(part)
        if not path.exists():
            make_keys(part)
        rows = path.stat().st_size // 16
        if not rows:
            continue
        stored = np.memmap(path, dtype="<u8", mode="r", shape=(2, rows))
        first, last = np.searchsorted(stored[0], (ids[0], ids[-1]), side="left").tolist()
        while last < rows and stored[0, last] == ids[-1]:
            last += 1
        if _mark(
            ids,
            contents,
            stored[0, first:last].view(np.ndarray),
            stored[1, first:last].view(np.ndarray),
            states,
        ):
            holders.append(part.name)
    return KeyMatches(states=states, parts=tuple(holders))


def _mark(
    ids: Words,
    contents: Words,
    stored_ids: Words,
    stored_contents: Words,
    states: npt.NDArray[np.uint8],
) -> bool:
    """Set the ``states`` of the ids that are among the stored keys; return whether any is."""
    starts = np.searchsorted(stored_ids, ids, side="left")
    counts = np.searchsorted(stored_ids, ids, side="right") - starts
    if not counts.any():
        return False
    rows = np.repeat(np.arange(len(ids)), counts)
    versions = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    differs = stored_contents[starts[rows] + versions] != contents[rows]
    found = counts > 0
    states[found] = np.maximum(states[found], SAME)
    states[rows[differs]] = OTHER
    return True
