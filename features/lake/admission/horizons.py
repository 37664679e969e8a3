"""How far back retention has gone for each kind of event: older rows have lost who they were about.

What is older than the horizon of its kind is not taken in again, or the next copy of an old file would
bring back what was removed. A horizon only moves forward.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import polars as pl

from features.events.validation import DraftPiece
from features.format_version import newer_format
from features.reloaded_file import ReloadedFile
from features.workspace_files import WorkspaceError, write_atomically

FOLDER, FILE = "retention", "horizons.json"
VERSION = 1

OUTDATED = "it is older than retention allows"
"""Why ingestion leaves a row out."""


@dataclass(frozen=True, kw_only=True)
class Horizon:
    """What was removed from events of one kind that occurred before a moment.

    Attributes:
        kind: the kind of event.
        before: events that occurred before it were aged.
        rows_stay: whether the rows stay, without whoever caused them; else they are gone.
        properties: those that stayed.
    """

    kind: str
    before: datetime
    rows_stay: bool
    properties: frozenset[str] = frozenset()


def applied_horizons(workspace: Path) -> Mapping[str, Horizon]:
    """By kind, how far back retention has gone in a workspace; empty where it never ran.

    Raises:
        WorkspaceError: the file cannot be read.
    """
    return _horizons_file(workspace / FOLDER / FILE).current()


def extend_horizons(workspace: Path, new: Iterable[Horizon]) -> None:
    """Note horizons before they are applied; one that is earlier than the one of before is not noted."""
    held = dict(applied_horizons(workspace))
    for one in new:
        before = held.get(one.kind)
        if before is None:
            held[one.kind] = one
            continue
        stay = before.properties & one.properties
        held[one.kind] = replace(
            one,
            before=max(before.before, one.before),
            rows_stay=before.rows_stay and one.rows_stay,
            properties=stay,
        )
    content = {
        "version": VERSION,
        "horizons": [
            {
                "kind": one.kind,
                "before": one.before.astimezone(UTC).isoformat(),
                "rows_stay": one.rows_stay,
                "properties": sorted(one.properties),
            }
            for one in held.values()
        ],
    }
    write_atomically(workspace / FOLDER / FILE, json.dumps(content, indent=1).encode())


def mark_outdated(piece: DraftPiece, workspace: Path) -> DraftPiece:
    """A piece of a file in which rows from before the horizon of their kind are left out."""
    horizons = applied_horizons(workspace)
    if not horizons or piece.draft.is_empty():
        return piece
    kinds = list(horizons)
    before = pl.col("kind").replace_strict(
        kinds,
        pl.Series([horizons[kind].before for kind in kinds], dtype=pl.Datetime("us", "UTC")),
        default=None,
        return_dtype=pl.Datetime("us", "UTC"),
    )
    is_old = (pl.col("occurred_at") < before).fill_null(value=False)
    marked = piece.draft.with_columns(
        pl.when(is_old).then(pl.lit(OUTDATED)).otherwise("left").alias("left")
    )
    return replace(piece, draft=marked)


@lru_cache(maxsize=16)
def _horizons_file(path: Path) -> ReloadedFile[Mapping[str, Horizon]]:
    return ReloadedFile(path, _read, dict)


def _read(path: Path) -> Mapping[str, Horizon]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        newer = newer_format(content.get("version"), newest=VERSION, what=f"{FOLDER}/{FILE}")
        if newer is None:
            return {
                one["kind"]: Horizon(
                    kind=one["kind"],
                    before=datetime.fromisoformat(one["before"]),
                    rows_stay=one["rows_stay"],
                    properties=frozenset(one["properties"]),
                )
                for one in content["horizons"]
            }
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise WorkspaceError(
            f"{FOLDER}/{path.name} cannot be read ({exc}). Put it back from a backup: without it, rows "
            f"that retention removed could come back."
        ) from exc
    raise WorkspaceError(newer)
