"""This module is about the events of a few kinds, kept in memory beside the lake.

Whoever decides needs a handful of kinds of one account at once, and reading every part of the lake
for them takes longer than deciding. A part never changes, so what was read of it is kept as long
as the manifest names it; an answer is always that of the manifest as it is now.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from features.lake import CEASED_BY, LAKE_SCHEMA, Lake
from features.manifest import MANIFEST
from features.telemetry import EVENT_SCHEMA, UTC_INSTANT

FEW = 16
"""So many accounts are looked up one by one in the ordered parts."""


class KeptKinds:
    """The events of some kinds of one lake, as ``Lake.scan`` has them."""

    def __init__(self, lake: Lake, kinds: Sequence[str]) -> None:
        self._lake = lake
        self._kinds = tuple(kinds)
        self._parts: dict[str, pl.DataFrame] = {}  # each ordered by account
        self._ceased: tuple[tuple[str, ...], pl.DataFrame] | None = None
        self._stamp: tuple[int, ...] | None = None
        self._catching_up = threading.Lock()

    def events(self, account_ids: Sequence[str]) -> pl.DataFrame:
        """Every version of every event of these accounts, with ``superseded_at``."""
        parts, ceased = self._now()
        wanted = list(dict.fromkeys(account_ids))
        if len(wanted) <= FEW:
            found = [_of_account(part, account_id) for part in parts for account_id in wanted]
        else:
            found = [part.filter(pl.col("account_id").is_in(wanted)) for part in parts]
        events = pl.concat([pl.DataFrame(schema=EVENT_SCHEMA), *found])
        if ceased.is_empty():
            return events.with_columns(pl.lit(None, UTC_INSTANT).alias("superseded_at"))
        return events.join(ceased, on=[*CEASED_BY], how="left").select(*LAKE_SCHEMA)

    def _now(self) -> tuple[tuple[pl.DataFrame, ...], pl.DataFrame]:
        """The parts as the manifest has them now, and what has ceased to hold."""
        with self._catching_up:
            stamp = _stamp(self._lake.folder / MANIFEST)
            if stamp is None or stamp != self._stamp or self._ceased is None:
                manifest = self._lake.manifest
                self._parts = {
                    name: self._parts[name] if name in self._parts else self._read(name)
                    for name in manifest.parts}
                names = tuple(manifest.superseded)
                if self._ceased is None or self._ceased[0] != names:
                    self._ceased = names, self._lake.ceased(manifest).collect()
                self._stamp = stamp
            return tuple(part for part in self._parts.values() if len(part)), self._ceased[1]

    def _read(self, name: str) -> pl.DataFrame:
        return (pl.scan_parquet(self._lake.folder / name)
                .filter(pl.col("kind").is_in(list(self._kinds)))
                .select(*EVENT_SCHEMA).sort("account_id").collect())


def _of_account(part: pl.DataFrame, account_id: str) -> pl.DataFrame:
    accounts = part["account_id"]
    first = accounts.search_sorted(account_id, side="left")
    return part.slice(first, accounts.search_sorted(account_id, side="right") - first)


def _stamp(path: Path) -> tuple[int, ...] | None:
    """What changes whenever a file is replaced; None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
