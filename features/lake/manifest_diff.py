"""Compare two manifests: which parts are new, and which events they correct.

Parts are written once, so a name that is not known is new. Only a merge moves events that may be
known to a file that is not: then the files that it was made of tell which are new.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence, Set
from dataclasses import dataclass

import polars as pl

from features.lake.lake import Lake
from features.lake.manifest import Manifest, kind_of_file

MOST_ROWS = 100_000
"""A part with more rows is an import, whose accounts ``keepwell snapshot`` recomputes."""

MERGED = "merged"


@dataclass(frozen=True, kw_only=True)
class News:
    """Files with all events, and all superseded versions, that are new; perhaps with others."""

    parts: tuple[str, ...]
    superseded: tuple[str, ...]

    def corrected_accounts(
        self,
        lake: Lake,
        manifest: Manifest,
        kinds: Collection[str],
    ) -> list[str] | None:
        """The accounts of all versions, of these kinds, of what was corrected.

        None where so much was corrected that it is an import.
        """
        if not self.superseded:
            return []
        ids = pl.concat(
            [pl.read_parquet(lake.folder / name, columns=["event_id"]) for name in self.superseded]
        )["event_id"]
        if ids.len() > MOST_ROWS:
            return None
        accounts = (
            lake.scan(manifest)
            .filter(
                pl.col("kind").is_in([*kinds]),
                pl.col("event_id").is_in(ids.implode()),
            )
            .select("account_id")
            .unique()
            .collect()["account_id"]
        )
        return accounts.sort().to_list()


def news_of(manifest: Manifest, known: Set[str]) -> News:
    """What a manifest names and is not among the known names."""

    def retired(kind: str) -> list[str]:
        return [name for name in manifest.retired if kind_of_file(name) == kind]

    return News(
        parts=_new(manifest.parts, retired("parts"), known),
        superseded=_new(manifest.superseded, retired("superseded"), known),
    )


def is_merged(name: str) -> bool:
    """Whether a file was made of smaller ones."""
    return MERGED in name.removesuffix(".parquet").split("-")


def _new(names: Sequence[str], retired: Sequence[str], known: Set[str]) -> tuple[str, ...]:
    new = [name for name in names if name not in known]
    if known.isdisjoint(retired):
        return tuple(new)
    # the newest merge made them of known and unknown files: what is new is in the unknown ones
    return (
        *(name for name in new if not is_merged(name)),
        *(name for name in retired if name not in known),
    )
