"""Medians of similar accounts in the file of a snapshot, one feature at a time.

The same medians as ``explanations.peers_of`` finds in a frame, from the snapshot's file: in memory
is one feature of all accounts, and not all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.catalogue.definitions.attributes import WITHOUT_CONTRACT
from serving.scoring.explanations import (
    LEAST_PEERS,
    PEER_KINDS,
    RENEWED,
    TERM,
    TERM_WORD,
    PeerKind,
    Peers,
    with_term,
)

Places = NDArray[np.int64]
Group = tuple[str | None, ...]

ORDER = ("price_plan", "segment", TERM_WORD)
"""Accounts of a plan lie side by side, among them those of a segment, among them those of a term."""


def peers_in_file(path: Path, features: Sequence[str]) -> Peers:
    """The medians of these features in every group of running accounts that is large enough."""
    there = pl.read_parquet_schema(path)
    if TERM in there and there[TERM].is_numeric():
        there = {**there, TERM_WORD: pl.String()}
    running = np.arange(int(pl.scan_parquet(path).select(pl.len()).collect().item()))
    if "contract_status" in there:
        status = _column(path, "contract_status")
        running = running[~status.is_in(WITHOUT_CONTRACT).fill_null(value=False).to_numpy()]
    meant = {False: running}
    if RENEWED in there:
        renewed = (_column(path, RENEWED).cast(pl.Float64) >= 1).fill_null(False).to_numpy()
        meant[True] = running[renewed[running]]
    sorted_rows = {renewed: _groups(path, there, rows) for renewed, rows in meant.items()}
    groups: dict[PeerKind, dict[Group, dict[str, float]]] = {
        kind: {group: {} for group in sorted_rows[kind.renewed][1][kind.columns]}
        for kind in PEER_KINDS
        if kind.renewed in meant and set(kind.columns) <= set(there)
    }
    for name in features:
        if name not in there:
            continue
        column = _column(path, name).cast(pl.Float64).to_numpy()
        of_rows = {renewed: column[rows] for renewed, (rows, _) in sorted_rows.items()}
        for kind, members in groups.items():
            for group, medians in members.items():
                parts = sorted_rows[kind.renewed][1][kind.columns][group]
                median = _median([of_rows[kind.renewed][part] for part in parts])
                if median is not None:
                    medians[name] = median
    return Peers(groups=groups)


def _groups(
    path: Path, there: Mapping[str, pl.DataType], rows: Places
) -> tuple[Places, dict[tuple[str, ...], dict[Group, list[slice]]]]:
    """These rows, those of a group side by side, and where in them each group lies."""
    words: dict[str, list[str | None]] = {}
    code = np.zeros(len(rows), np.int64)
    for name in ORDER:
        if name not in there:
            continue
        column = _column(path, name)
        different = column.drop_nulls().unique().sort()
        words[name] = [None, *different]
        known = column.cast(pl.Enum(different)).to_physical().cast(pl.Int64) + 1
        code = code * len(words[name]) + known.fill_null(0).to_numpy()[rows]
    order = np.argsort(code, kind="stable")
    code, rows = code[order], rows[order]
    edges = [0, *(np.nonzero(np.diff(code))[0] + 1).tolist(), len(code)]
    found: dict[tuple[str, ...], dict[Group, list[slice]]] = {
        kind.columns: {} for kind in PEER_KINDS if set(kind.columns) <= set(there)
    }
    for start, stop in pairwise(edges):
        rest, attributes = int(code[start]) if stop > start else 0, {}
        for name in reversed(list(words)):
            rest, word = divmod(rest, len(words[name]))
            attributes[name] = words[name][word]
        for columns, members in found.items():
            parts = members.setdefault(tuple(attributes[c] for c in columns), [])
            if parts and parts[-1].stop == start:
                parts[-1] = slice(parts[-1].start, stop)
            else:
                parts.append(slice(start, stop))
    sizes = {
        columns: {
            group: sum(part.stop - part.start for part in parts) for group, parts in members.items()
        }
        for columns, members in found.items()
    }

    def is_told(columns: tuple[str, ...], group: Group, size: int) -> bool:
        if size < LEAST_PEERS or TERM_WORD not in columns:
            return size >= LEAST_PEERS
        at = columns.index(TERM_WORD)
        alike: int = sizes[columns[:at] + columns[at + 1 :]][group[:at] + group[at + 1 :]]
        return alike > size  # some have another term

    return rows, {
        columns: {
            group: parts
            for group, parts in members.items()
            if is_told(columns, group, sizes[columns][group])
        }
        for columns, members in found.items()
    }


def _column(path: Path, name: str) -> pl.Series:
    if name == TERM_WORD:
        return with_term(pl.read_parquet(path, columns=[TERM]))[TERM_WORD]
    return pl.read_parquet(path, columns=[name])[name]


def _median(parts: Sequence[NDArray[np.float64]]) -> float | None:
    values = parts[0] if len(parts) == 1 else np.concatenate(parts)
    values = values[~np.isnan(values)]
    if len(values) < LEAST_PEERS:
        return None
    low, high = (len(values) - 1) // 2, len(values) // 2
    values.partition((low, high))
    return float(values[low] + 0.5 * (values[high] - values[low]))  # rounded as Polars does
