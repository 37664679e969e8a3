"""Compare two manifests: which parts are new, and which events they correct.

A file is written once, so a name that is not known is a new file. A merge is the exception: it moves
known events into a new file. Then the files that were merged say which events are new.
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
class ManifestDiff:
    """The files that hold all new events and all newly superseded versions, perhaps with older ones."""

    parts: tuple[str, ...]
    superseded: tuple[str, ...]

    def corrected_accounts(
        self,
        lake: Lake,
        manifest: Manifest,
        kinds: Collection[str],
    ) -> list[str] | None:
        """The accounts of all versions of the corrected events, for events of these kinds.

        None where more than ``MOST_ROWS`` versions were corrected: that is an import.
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


def diff_manifest(manifest: Manifest, known: Set[str]) -> ManifestDiff:
    """The files of a manifest that are new to a reader who knows the files ``known``."""

    def retired(kind: str) -> list[str]:
        return [name for name in manifest.retired if kind_of_file(name) == kind]

    return ManifestDiff(
        parts=_new(manifest.parts, retired("parts"), known),
        superseded=_new(manifest.superseded, retired("superseded"), known),
    )


def is_merged(name: str) -> bool:
    """Whether a file was merged from smaller ones."""
    return MERGED in name.removesuffix(".parquet").split("-")


def _new(names: Sequence[str], retired: Sequence[str], known: Set[str]) -> tuple[str, ...]:
    new = [name for name in names if name not in known]
    if known.isdisjoint(retired):
        return tuple(new)
    # a merge joined known and unknown files: the new events are in the unknown ones
    return (
        *(name for name in new if not is_merged(name)),
        *(name for name in retired if name not in known),
    )
