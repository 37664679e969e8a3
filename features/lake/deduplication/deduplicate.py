"""Decide about all events of a file together: new, duplicate, correction or refused.

::

    spool ─ keys ──► looked up in the key index ──► new, duplicate ────────┐
      │                        └─► contested ids: the events ──► versions ─┼─► events to store
      └─ pieces ──► equal rows without an id: the second, the third …  ────┘
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from features.lake.deduplication.ids import CONTENT, OWN, content_ids
from features.lake.deduplication.key_index import UNKNOWN, look_up_keys
from features.lake.deduplication.row_keys import CONTENT_KEY, ID_KEY, text_hashes, with_keys
from features.lake.deduplication.spool import ROW, Spool
from features.lake.deduplication.versions import (
    CORRECTED,
    DUPLICATE,
    LANDED,
    SUPERSEDED_SCHEMA,
    VERDICTS,
    classify_by_keys,
    resolve_versions,
)

CODES = {verdict: code for code, verdict in enumerate(VERDICTS)}


@dataclass(frozen=True, kw_only=True)
class Deduplication:
    """The verdict on every event of a file."""

    codes: npt.NDArray[np.uint8]  # by ROW: index of the verdict in VERDICTS
    renamed: pl.DataFrame  # ROW, event_id: the later of equal rows without an id
    superseded: pl.DataFrame

    def count(self, verdict: str) -> int:
        """How many events have this verdict."""
        return int(np.count_nonzero(self.codes == CODES[verdict]))

    def with_fates(self, pieces: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        """The pieces of the spool with each event's own id and, in ``became``, its verdict."""
        words = np.array(VERDICTS)
        for piece in pieces:
            first = piece[0, ROW]
            codes = self.codes[first : first + piece.height]
            became = (
                pl.lit(LANDED)
                if not codes.any()
                else pl.Series(words[codes].tolist(), dtype=pl.String)
            )
            yield self._renamed(piece).with_columns(became.alias("became"))

    def _renamed(self, piece: pl.DataFrame) -> pl.DataFrame:
        """The piece with an id of its own for each of the equal rows."""
        here = self.renamed.filter(pl.col(ROW).is_between(piece[0, ROW], piece[-1, ROW]))
        if here.is_empty():
            return piece
        at = here[ROW] - piece[0, ROW]
        return piece.with_columns(
            piece["event_id"].scatter(at, here["event_id"]),
            piece[ID_KEY].scatter(at, pl.Series(text_hashes(here["event_id"]), dtype=pl.UInt64)),
        )


def deduplicate_events(spool: Spool, parts: Sequence[Path]) -> Deduplication:
    """Compare the events of a file with each other and with the parts of the lake."""
    codes = np.zeros(spool.rows, dtype=np.uint8)  # 0 is LANDED
    contested: list[npt.NDArray[np.int64]] = []
    second: list[pl.DataFrame] = []
    holders: set[str] = set()
    for keys in spool.buckets():
        known = look_up_keys(parts, keys.ids, keys.contents)
        judged = classify_by_keys(keys, known.states)
        codes[keys.rows[judged.repeats]] = CODES[DUPLICATE]
        if judged.contested.any():
            contested.append(keys.rows[judged.contested])
            holders |= set(known.parts)
        if judged.ordinals.any():
            later = judged.ordinals > 0
            second.append(pl.DataFrame({ROW: keys.rows[later], "ordinal": judged.ordinals[later]}))
    renamed = _name_equal_rows(spool, second, parts, codes)
    superseded = _resolve_contested(
        spool, contested, [part for part in parts if part.name in holders], codes
    )
    return Deduplication(codes=codes, renamed=renamed, superseded=superseded)


def _name_equal_rows(
    spool: Spool,
    second: Sequence[pl.DataFrame],
    parts: Sequence[Path],
    codes: npt.NDArray[np.uint8],
) -> pl.DataFrame:
    """The ids of rows without one that equal an earlier row. ``codes`` is changed for duplicates."""
    if not second:
        return pl.DataFrame(schema={ROW: pl.Int64, "event_id": pl.String})
    asked = pl.concat(second)
    found = pl.concat(
        [
            rows.select(ROW, pl.Series("event_id", content_ids(rows, rows["ordinal"])), *CONTENT)
            for piece in spool.pieces()
            if not (rows := piece.join(asked, on=ROW, maintain_order="left")).is_empty()
        ]
    )
    keys = with_keys(found).sort(ID_KEY)
    known = look_up_keys(parts, keys[ID_KEY].to_numpy(), keys[CONTENT_KEY].to_numpy())
    codes[keys[ROW].to_numpy()] = np.where(known.states == UNKNOWN, CODES[LANDED], CODES[DUPLICATE])
    return found.select(ROW, "event_id").sort(ROW)


def _resolve_contested(
    spool: Spool,
    contested: Sequence[npt.NDArray[np.int64]],
    holders: Sequence[Path],
    codes: npt.NDArray[np.uint8],
) -> pl.DataFrame:
    """Compare the events whose id has several contents. ``codes`` is changed for them."""
    if not contested:
        return pl.DataFrame(schema=SUPERSEDED_SCHEMA)
    asked = pl.DataFrame({ROW: np.sort(np.concatenate(contested))})
    incoming = pl.concat(
        [piece.join(asked, on=ROW, how="semi", maintain_order="left") for piece in spool.pieces()]
    )
    ids = incoming.select("event_id").unique().lazy()
    columns = ("event_id", "recorded_at", *CONTENT)
    existing = pl.concat(
        [
            incoming.select(columns).clear(),
            *(
                pl.scan_parquet(part).join(ids, on="event_id", how="semi").select(columns).collect()
                for part in holders
            ),
        ]
    )
    versions = resolve_versions(incoming, existing)
    codes[incoming[ROW].to_numpy()] = versions.verdicts.replace_strict(
        CODES, return_dtype=pl.UInt8
    ).to_numpy()
    return versions.superseded


def select_new_events(resolved: pl.DataFrame) -> pl.DataFrame:
    """The events of a piece that are stored: new ones and corrections."""
    if resolved["became"].n_unique() == 1 and resolved["became"][0] == LANDED:
        return resolved.drop(ROW, OWN, "became")
    return resolved.filter(pl.col("became").is_in([LANDED, CORRECTED])).drop(ROW, OWN, "became")
